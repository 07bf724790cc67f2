"""Checks that exported files give the images of training, in a process that cannot import this project."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import pixels
from ganlib.environment import UNUSED_BY_KERAS
from ganlib.export.process import Process, process

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.tasks import Signature

VALUE = "value/"  # before names of arrays in files, which may be any

# Runs in a fresh interpreter that knows nothing of this project. It imports its libraries while the files are written,
# and then reads from its standard input what to check.
SCRIPT = """
import json, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # so that Keras does not import them
import numpy as np, tensorflow as tf, keras
tf.config.experimental.enable_tensor_float_32_execution(False)
plan = json.loads(sys.stdin.readline())

def read(path):
    with np.load(path, allow_pickle=False) as file:
        return {name.removeprefix("value/"): file[name] for name in file.files}

def refused(function, inputs):
    try:
        function(inputs)
    except tf.errors.InvalidArgumentError:
        return True
    return False

model = tf.saved_model.load(plan["saved_model"])
results = {"saved_model": 0.0, "keras": 0.0, "signatures": True, "refuses": True}
for network in plan["networks"]:
    inputs = read(network["witness"])
    expected = inputs.pop("output")
    inputs = {name.removeprefix("input/"): values for name, values in inputs.items()}
    loaded = keras.models.load_model(network["file"], compile=False)
    serve = lambda inputs: model.signatures[network["signature"]](
        **{name: tf.constant(values) for name, values in inputs.items()})["images"].numpy()
    call = lambda inputs: np.asarray(loaded(inputs, training=False))
    for format, images in (("saved_model", serve(inputs)), ("keras", call(inputs))):
        results[format] = float(np.maximum(results[format], np.abs(images - expected).max()))  # NaN stays NaN
    if "label" in inputs:
        unknown = dict(inputs, label=inputs["label"] * 0 - 1)
        results["refuses"] &= refused(serve, unknown) and refused(call, unknown)
for signature in plan["signatures"]:
    function = model.signatures[signature["name"]]
    ask = lambda inputs: function(**{name: tf.constant(values, function.structured_input_signature[1][name].dtype)
                                     for name, values in inputs.items()})
    answers = [ask(read(signature["example"])) for _ in range(2)]
    expected = read(signature["expected"])
    for name, values in expected.items():
        first, second = (answer[name].numpy() for answer in answers)
        alike = first.dtype == values.dtype and first.shape == values.shape and (first == second).all()
        near = alike and np.abs(first.astype(float) - values.astype(float)).max() <= signature["tolerance"][name]
        results["signatures"] &= bool(near)
    results["refuses"] &= all(refused(ask, read(path)) for path in signature["refused"])
results["free"] = not any(name.partition(".")[0] in ("ganlib", "components", "pipelines") for name in sys.modules)
print(json.dumps(results))
"""


@dataclass(frozen=True)
class Shipped:
    """A network as it is shipped.

    Attributes:
        file: Its Keras file.
        signature: Its function in the SavedModel.
        witness: Inputs, and the images that training made of them.
    """

    file: Path
    signature: str
    witness: Path


class FreshProcess:
    """A process that loads exported files. Use `fresh_process()`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def check(
        self, folder: Path, networks: list[Shipped], signatures: Mapping[str, Signature], *, tolerance: float
    ) -> dict[str, Any]:
        """Compares the results of the exported files with those of training and of this process.

        Args:
            folder: The exported model.
            networks: Its networks.
            signatures: Its functions, which are called with their examples.
            tolerance: Largest difference that is allowed, for images in -1..1.

        Returns:
            The differences, and whether the model accepts and refuses inputs as it should.

        Raises:
            RuntimeError: The model cannot be loaded, or gives other images.
        """
        with tempfile.TemporaryDirectory() as scratch:
            plan = {
                "saved_model": str((folder / "saved_model").absolute()),
                "networks": [
                    {
                        "file": str(one.file.absolute()),
                        "signature": one.signature,
                        "witness": str(one.witness.absolute()),
                    }
                    for one in networks
                ],
                "signatures": [
                    _write_example(name, signature, Path(scratch), tolerance)
                    for name, signature in signatures.items()
                    if signature.example
                ],
            }
            try:
                results = self._process.answer(plan)
            except RuntimeError as error:
                raise RuntimeError(f"the exported model cannot be used in a fresh process: {error}") from error
        for name in ("saved_model", "keras"):
            if not results[name] <= tolerance:
                raise RuntimeError(
                    f"the exported {name} gives other images than training did, expected a difference of at most "
                    f"export.tolerance={tolerance}. Received: difference={results[name]}"
                )
        if not (results["signatures"] and results["free"] and results["refuses"]):
            raise RuntimeError(f"the exported model failed its check. Received: {results}")
        return results


@contextlib.contextmanager
def fresh_process() -> Iterator[FreshProcess]:
    """Starts a process that imports its libraries while the caller writes the files; it ends with the block."""
    with process("-c", SCRIPT, *UNUSED_BY_KERAS) as started:
        yield FreshProcess(started)


def _write_example(name: str, signature: Signature, scratch: Path, tolerance: float) -> dict[str, Any]:
    """Writes the example of a function, its result in this process, and the arguments that it must refuse."""
    dtypes = {key: spec.dtype.as_numpy_dtype for key, spec in signature.inputs.items()}

    def save(word: str, values: Mapping[str, Any]) -> str:
        path = scratch / f"{name}-{word}.npz"
        arrays: dict[str, Any] = {f"{VALUE}{key}": np.asarray(value, dtypes.get(key)) for key, value in values.items()}
        np.savez(path, **arrays)
        return str(path)

    answer = signature.function(**{key: tf.constant(value, dtypes[key]) for key, value in signature.example.items()})
    expected = {key: value.numpy() for key, value in answer.items()}
    # Two values that round to neighbouring integers may differ by less than the tolerance before.
    tolerances = {
        key: max(1.0, tolerance * pixels.HALF_RANGE) if value.dtype.kind in "iu" else tolerance
        for key, value in expected.items()
    }
    return {
        "name": name,
        "example": save("example", signature.example),
        "expected": save("expected", expected),
        "tolerance": tolerances,
        "refused": [save(f"refused-{number}", values) for number, values in enumerate(signature.refused)],
    }
