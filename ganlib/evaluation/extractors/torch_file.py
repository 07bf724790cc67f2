"""Tensors of a file that `torch.save` wrote before version 1.6, read without PyTorch and without unpickling.

Such a file is five pickles (a magic number, a version, facts of the machine, how each tensor lies in its storage, the
order of the storages), then the storages' bytes. A pickle is a program: an unpickler imports and calls what it names.
Here some twenty of its instructions are followed, which build strings, numbers, tuples, lists and dicts, and names stay
text: there is nothing that could be called.

PyTorch would do it in one line, and would be a second framework of several hundred megabytes for one file of weights.
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
COUNT_BYTES = 8  # the number of a storage's elements, before them
MOST_AXES = 8
MOST_ELEMENTS = 2**31
MAX_SHOWN = 60


def tensors(data: bytes, *, whole: bool = True) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a file.

    Args:
        data: The file's bytes; the arrays are views of them.
        whole: Whether all must be there; else those that a cut took away are left out.

    Returns:
        Arrays float32 or int64 by name.

    Raises:
        ValueError: The file is damaged or cut off, or holds anything but tensors.
    """
    if not data.startswith(MAGIC):
        raise ValueError("not a file as torch.save wrote it before version 1.6")
    stream = io.BytesIO(data)
    try:
        _, _, _, named, keys = (_Machine().run(stream) for _ in range(5))
    except (ValueError, LookupError) as error:
        raise ValueError(f"damaged, cut off, or no file of weights: {_shown(error)}") from error
    tensors_only = isinstance(named, dict) and all(isinstance(tensor, _Tensor) for tensor in named.values())
    _require(tensors_only, "tensors by name and nothing else")
    storages = _storages(data, stream.tell(), keys, [tensor.storage for tensor in named.values()], whole=whole)
    return {
        name: _array(tensor, storages[tensor.storage.key])
        for name, tensor in named.items()
        if tensor.storage.key in storages
    }


class _Name(NamedTuple):
    """What an unpickler would import."""

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
    """Follows the instructions of one pickle; the table `STEPS` says which there are."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name == "STOP":
                return self.stack.pop()
            if instruction.name not in STEPS:
                raise ValueError(f"weights need no instruction {instruction.name}")
            STEPS[instruction.name](self, argument)
        raise ValueError("no end")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def items(self, count: int | None = None) -> tuple[Any, ...]:
        """Takes the last items from the stack, all since the last mark unless counted."""
        start = self.marks.pop() if count is None else len(self.stack) - count
        _require(0 <= start <= len(self.stack), "more items on the stack")
        taken = tuple(self.stack[start:])
        del self.stack[start:]
        return taken

    def set_items(self, items: tuple[Any, ...]) -> None:
        names, values = items[::2], items[1::2]
        _require(isinstance(self.stack[-1], dict) and all(isinstance(name, str) for name in names), "a dict by strings")
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
                raise ValueError(f"weights need no call of {text!r}")
            case _:
                raise ValueError("expected a name to call")

    def storage(self) -> None:
        match self.stack.pop():
            case ("storage", _Name(kind), str(key), str(), int(elements), None) if kind in STORAGES:
                _require(0 <= elements < MOST_ELEMENTS, "a storage of a possible size")
                self.push(_Storage(key, STORAGES[kind], elements))
            case _:
                raise ValueError("expected a storage of float32 or int64")

    def drop_state(self) -> None:
        """Leaves out the versions of modules that PyTorch hangs on a dict of weights."""
        target, _ = self.items(2)
        _require(isinstance(target, dict), "a dict that has a state")
        self.push(target)


STEPS: dict[str, Callable[[_Machine, Any], object]] = {
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
        case int(), tuple(), tuple() if len(shape) == len(strides) <= MOST_AXES:
            numbers = (offset, *shape, *strides)
        case _:
            raise ValueError("expected a tensor's offset, shape and strides")
    _require(all(isinstance(number, int) and number >= 0 for number in numbers), "whole numbers from 0")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    elements = math.prod(shape)
    inside = elements <= storage.elements and (not elements or last < storage.elements)
    _require(inside, "tensors within their storages")
    return _Tensor(storage, offset, shape, strides)


def _storages(data: bytes, start: int, keys: Any, named: Iterable[_Storage], *, whole: bool) -> dict[str, NDArray[Any]]:
    """Returns the storages' elements by key; sizes are compared with the file's length, and nothing is copied."""
    known = {storage.key: storage for storage in named}
    _require(all(storage == known[storage.key] for storage in named), "one storage a key")
    only_known = isinstance(keys, list) and all(isinstance(key, str) for key in keys) and sorted(known) == sorted(keys)
    _require(only_known, "the tensors' storages and no others")
    sizes = [COUNT_BYTES + known[key].elements * np.dtype(known[key].dtype).itemsize for key in keys]
    if whole and start + sum(sizes) > len(data):
        raise ValueError(f"cut off: expected {start + sum(sizes)} bytes, found {len(data)}")
    found = {}
    for key, size in zip(keys, sizes, strict=True):
        end = start + size
        if end > len(data):
            break
        storage = known[key]
        written = int.from_bytes(data[start : start + COUNT_BYTES], "little")
        _require(written == storage.elements, f"a storage of {storage.elements} elements, found {written}")
        found[key] = np.frombuffer(data, storage.dtype, storage.elements, start + COUNT_BYTES)
        start = end
    return found


def _array(tensor: _Tensor, elements: NDArray[Any]) -> NDArray[Any]:
    strides = [stride * elements.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided
    return view(elements[tensor.offset :], tensor.shape, strides, writeable=False)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"expected {what}")


def _shown(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
