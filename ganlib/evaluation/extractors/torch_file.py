"""Reads the tensors of a file from `torch.save` before version 1.6, without PyTorch and without unpickling.

Such a file has five pickles (a magic number, a version, facts about the machine, the position of each tensor in its
storage, the order of the storages), followed by the bytes of the storages. A pickle is a program: an unpickler imports
and calls whatever it names. This reader interprets only the some twenty instructions that build strings, numbers,
tuples, lists and dicts. Names remain text, so nothing can be called.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
STORAGES = {"torch FloatStorage": "<f4", "torch LongStorage": "<i8"}
COUNT_BYTES = 8  # each storage begins with its number of elements
MAX_AXES = 8
MAX_ELEMENTS = 2**31
MAX_SHOWN = 60


def tensors(data: bytes, *, complete: bool = True) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a file.

    Args:
        data: Content of the file; the arrays are views of it.
        complete: Whether all tensors must be there; otherwise those that a truncated file lacks are left out.

    Returns:
        float32 or int64 arrays by name.

    Raises:
        ValueError: The file is damaged or truncated, or has anything but tensors.
    """
    if not data.startswith(MAGIC):
        raise ValueError("not a file from torch.save before version 1.6")
    stream = io.BytesIO(data)
    try:
        _, _, _, by_name, keys = (_Machine().run(stream) for _ in range(5))
    except (ValueError, LookupError) as error:
        raise ValueError(f"damaged, truncated, or not a file of weights: {_shorten(error)}") from error
    tensors_only = isinstance(by_name, dict) and all(isinstance(tensor, _Tensor) for tensor in by_name.values())
    _require(tensors_only, "tensors by name and nothing else")
    storages = _storages(data, stream.tell(), keys, [tensor.storage for tensor in by_name.values()], complete=complete)
    return {
        name: _array(tensor, storages[tensor.storage.key])
        for name, tensor in by_name.items()
        if tensor.storage.key in storages
    }


class _Name(NamedTuple):
    """A name that an unpickler would import; here only text."""

    text: str


class _Storage(NamedTuple):
    key: str
    dtype: str
    elements: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Machine:
    """Interprets the instructions of one pickle. The table `INSTRUCTIONS` lists the supported ones."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name == "STOP":
                return self.stack.pop()
            if instruction.name not in INSTRUCTIONS:
                raise ValueError(f"expected no instruction {instruction.name} in a file of weights")
            INSTRUCTIONS[instruction.name](self, argument)
        raise ValueError("no end")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def items(self, count: int | None = None) -> tuple[Any, ...]:
        """Removes and returns the last `count` items of the stack, or all since the last mark."""
        start = self.marks.pop() if count is None else len(self.stack) - count
        _require(0 <= start <= len(self.stack), "more items on the stack")
        items = tuple(self.stack[start:])
        del self.stack[start:]
        return items

    def set_items(self, items: tuple[Any, ...]) -> None:
        names, values = items[::2], items[1::2]
        _require(
            isinstance(self.stack[-1], dict) and all(isinstance(name, str) for name in names),
            "a dict with strings as keys",
        )
        self.stack[-1].update(zip(names, values, strict=True))

    def extend(self, items: tuple[Any, ...]) -> None:
        _require(isinstance(self.stack[-1], list), "a list")
        self.stack[-1].extend(items)

    def call(self) -> None:
        name, arguments = self.items(2)
        match name, arguments:
            case _Name("collections OrderedDict"), ():
                self.push({})
            case _Name("torch._utils _rebuild_tensor_v2"), (_Storage() as storage, offset, shape, strides, *_):
                self.push(_tensor(storage, offset, shape, strides))
            case _Name(text), _:
                raise ValueError(f"expected no call of {text!r} in a file of weights")
            case _:
                raise ValueError("expected a name to call")

    def storage(self) -> None:
        match self.stack.pop():
            case ("storage", _Name(kind), str(key), str(), int(elements), None) if kind in STORAGES:
                _require(0 <= elements < MAX_ELEMENTS, "a storage of a plausible size")
                self.push(_Storage(key, STORAGES[kind], elements))
            case _:
                raise ValueError("expected a storage of float32 or int64")

    def drop_state(self) -> None:
        """Drops the versions of modules, which PyTorch attaches to a dict of weights."""
        target, _ = self.items(2)
        _require(isinstance(target, dict), "a dict with a state")
        self.push(target)


INSTRUCTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda _, __: None,
    **dict.fromkeys(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"), _Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.push(machine.items()),
    "TUPLE1": lambda machine, _: machine.push(machine.items(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.items(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.items(3)),
    "SETITEM": lambda machine, _: machine.set_items(machine.items(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.items()),
    "APPEND": lambda machine, _: machine.extend(machine.items(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.items()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, place: machine.memo.update({place: machine.stack[-1]})),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "GLOBAL": lambda machine, text: machine.push(_Name(text)),
    "BINPERSID": lambda machine, _: machine.storage(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.drop_state(),
}


def _tensor(storage: _Storage, offset: Any, shape: Any, strides: Any) -> _Tensor:
    match offset, shape, strides:
        case int(), tuple(), tuple() if len(shape) == len(strides) <= MAX_AXES:
            numbers = (offset, *shape, *strides)
        case _:
            raise ValueError("expected a tensor's offset, shape and strides")
    _require(all(isinstance(number, int) and number >= 0 for number in numbers), "whole numbers from 0")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    elements = math.prod(shape)
    inside = elements <= storage.elements and (not elements or last < storage.elements)
    _require(inside, "tensors within their storages")
    return _Tensor(storage, offset, shape, strides)


def _storages(
    data: bytes, start: int, keys: Any, storages: Iterable[_Storage], *, complete: bool
) -> dict[str, NDArray[Any]]:
    """Returns the elements of the storages by key, without copies. Sizes are checked against the length of the file."""
    known = {storage.key: storage for storage in storages}
    _require(all(storage == known[storage.key] for storage in storages), "one storage for each key")
    only_known = isinstance(keys, list) and all(isinstance(key, str) for key in keys) and sorted(known) == sorted(keys)
    _require(only_known, "the tensors' storages and no others")
    sizes = [COUNT_BYTES + known[key].elements * np.dtype(known[key].dtype).itemsize for key in keys]
    if complete and start + sum(sizes) > len(data):
        raise ValueError(f"truncated: expected {start + sum(sizes)} bytes, found {len(data)}")
    elements = {}
    for key, size in zip(keys, sizes, strict=True):
        end = start + size
        if end > len(data):
            break
        storage = known[key]
        written = int.from_bytes(data[start : start + COUNT_BYTES], "little")
        _require(written == storage.elements, f"a storage of {storage.elements} elements, found {written}")
        elements[key] = np.frombuffer(data, storage.dtype, storage.elements, start + COUNT_BYTES)
        start = end
    return elements


def _array(tensor: _Tensor, elements: NDArray[Any]) -> NDArray[Any]:
    strides = [stride * elements.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided
    return view(elements[tensor.offset :], tensor.shape, strides, writeable=False)


def _require(condition: bool, expected: str) -> None:
    if not condition:
        raise ValueError(f"expected {expected}")


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
