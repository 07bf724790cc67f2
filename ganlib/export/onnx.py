"""ONNX files of the shipped networks, for onnxruntime without TensorFlow."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib.environment import UNUSED_BY_KERAS
from ganlib.export.process import Process, process
from ganlib.runtime import true_float32
from ganlib.tasks import LABEL
from ganlib.trained import INPUT, OUTPUT

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.export.config import OnnxChoice
    from ganlib.export.parity import Shipped
    from ganlib.inference import Inputs

NEEDED = ("tf2onnx", "onnxruntime")
CONVERT, CHECK = (str(Path(__file__).with_name(f"{name}.py")) for name in ("convert_onnx", "check_onnx"))

Case = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class OnnxFiles:
    """What became of the ONNX files.

    Attributes:
        difference: The largest one between their images, made by onnxruntime, and those of training.
        reason: Why there are no files, in one line; empty if there are.
    """

    difference: float | None = None
    reason: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """What `parity.json` says: `onnx`, the difference, or `without_onnx`, the reason."""
        return {"without_onnx": self.reason} if self.difference is None else {"onnx": self.difference}


class OnnxExport:
    """Writes the ONNX files of an exported model. Use `onnx_export()`."""

    def __init__(self, choice: OnnxChoice, converter: Process | None, absent: Sequence[str]) -> None:
        self._choice, self._converter, self._absent = choice, converter, absent

    def write(
        self,
        networks: Mapping[str, keras.Model],
        shipped: Sequence[Shipped],
        folder: Path,
        *,
        inputs: Inputs,
        tolerance: float,
    ) -> OnnxFiles:
        """Writes an ONNX file of each network, or none.

        Args:
            networks: The networks by name.
            shipped: The same networks, with their functions in the SavedModel.
            folder: The exported model, which has its SavedModel.
            inputs: What its functions take. The files carry it, too.
            tolerance: Largest difference from the images of training that is allowed.

        Returns:
            What became of the files.

        Raises:
            RuntimeError: `export.onnx` is true, and they cannot be written, or give other images.
        """
        if self._choice is False:
            return OnnxFiles(reason="export.onnx=false")
        files = {name: folder / f"{name}.onnx" for name in networks}
        try:
            self._convert(list(files.values()), shipped, folder, inputs)
            difference = _check(networks, shipped, list(files.values()), inputs, tolerance=tolerance)
        except RuntimeError as error:
            reason = str(error).replace(f"{folder.absolute()}/", "")
            if self._choice is True:
                raise RuntimeError(f"expected ONNX files, as export.onnx=true asks for. Received: {reason}") from error
            for file in files.values():
                file.unlink(missing_ok=True)
            print(f"export: note: without ONNX files: {reason}", flush=True)
            return OnnxFiles(reason=reason)
        print(f"export: onnxruntime gives the same images (largest difference {difference:.1e})", flush=True)
        return OnnxFiles(difference=difference)

    def _convert(self, files: Sequence[Path], shipped: Sequence[Shipped], folder: Path, inputs: Inputs) -> None:
        if self._converter is None:
            raise RuntimeError(f"{' and '.join(self._absent)} not installed")
        functions = [
            {
                "signature": one.signature,
                "file": str(file.absolute()),
                "classes": len(inputs.classes),
                "properties": {"inputs.json": json.dumps(inputs.to_parameter())},
            }
            for one, file in zip(shipped, files, strict=True)
        ]
        saved_model = str((folder / "saved_model").absolute())
        try:
            self._converter.answer({"saved_model": saved_model, "functions": functions})
        except RuntimeError as error:
            raise RuntimeError(f"the conversion failed: {error}") from error


def check_installed(choice: OnnxChoice) -> list[str]:
    """Returns the packages that ONNX files need, and that are not installed.

    Args:
        choice: `export.onnx`.

    Raises:
        ValueError: There are such packages, and the files are asked for.
    """
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent and choice is True:
        raise ValueError(
            "export.onnx=true needs tf2onnx and onnxruntime: pip install -r requirements/onnx.txt. "
            f"Received: {' and '.join(absent)} not installed"
        )
    return absent


@contextlib.contextmanager
def onnx_export(choice: OnnxChoice) -> Iterator[OnnxExport]:
    """Starts the converter, which imports its libraries while the caller writes other files; it ends with the block.

    Args:
        choice: `export.onnx`.

    Raises:
        ValueError: The files are asked for, but what they need is not installed.
    """
    absent = check_installed(choice)
    with contextlib.ExitStack() as stack:
        wanted = choice is not False and not absent
        converter = stack.enter_context(process(CONVERT, *UNUSED_BY_KERAS)) if wanted else None
        yield OnnxExport(choice, converter, absent)


def _check(
    networks: Mapping[str, keras.Model],
    shipped: Sequence[Shipped],
    files: Sequence[Path],
    inputs: Inputs,
    *,
    tolerance: float,
) -> float:
    """Returns the largest difference from the images of training, in a process with onnxruntime alone.

    Raises:
        RuntimeError: It is too large, or a file cannot be opened, or takes labels that it should refuse.
    """
    with tempfile.TemporaryDirectory() as scratch, process(CHECK) as checker:
        plan = []
        for network, one, file in zip(networks.values(), shipped, files, strict=True):
            with np.load(one.witness, allow_pickle=False) as witness:
                case = {name: witness[name] for name in witness.files}
            cases = [case, *(_first(case, count) for count in (1, 3)), *_other_size(network, case)]
            refused = _with_wrong_labels(case, len(inputs.classes))
            paths = [
                [_save(each, Path(scratch) / f"{file.stem}-{word}-{number}.npz") for number, each in enumerate(group)]
                for word, group in (("case", cases), ("refused", refused))
            ]
            plan.append({"file": str(file.absolute()), "cases": paths[0], "refused": paths[1]})
        try:
            answer = checker.answer({"networks": plan})
        except RuntimeError as error:
            raise RuntimeError(f"onnxruntime fails: {error}") from error
    if not answer["difference"] <= tolerance:
        raise RuntimeError(
            f"onnxruntime gives other images than training did, expected a difference of at most "
            f"export.tolerance={tolerance}. Received: difference={answer['difference']}"
        )
    if not answer["refuses"]:
        raise RuntimeError("onnxruntime takes labels of no class, or not as many labels as latents")
    return float(answer["difference"])


def _first(case: Case, count: int) -> Case:
    """Returns the first images of a case: a file must take any number of them."""
    return {name: values[:count] for name, values in case.items()}


def _other_size(network: keras.Model, case: Case) -> list[Case]:
    """Returns a case of one image, twice as high and three times as wide, if the network takes any size."""
    if all(None not in tensor.shape[1:] for tensor in network.inputs):
        return []
    larger = {}
    for name, values in case.items():
        if name != OUTPUT:
            height, width = values.shape[1:3]
            larger[name] = np.pad(values[:1], [(0, 0), (0, height), (0, 2 * width), (0, 0)], mode="symmetric")
    with true_float32():
        images = network({name.removeprefix(INPUT): values for name, values in larger.items()}, training=False)
    return [{**larger, OUTPUT: np.asarray(images)}]


def _with_wrong_labels(case: Case, classes: int) -> list[Case]:
    """Returns cases that must be refused: labels of no class, and one label for two latents."""
    key = f"{INPUT}{LABEL}"
    if key not in case:
        return []
    two = {name: np.concatenate([values[:1], values[:1]]) for name, values in case.items()}
    wrong = [np.array([0, label], two[key].dtype) for label in (-1, classes)]
    return [{**two, key: labels} for labels in (*wrong, two[key][:1])]


def _save(case: Case, path: Path) -> str:
    np.savez(path, **case)  # type: ignore[arg-type]  # names of arrays
    return str(path.absolute())
