"""A program that compares the images of ONNX files with those of training, where there is no TensorFlow.

`onnx.py` runs it in a process of its own. Imports onnxruntime, and nothing of this project.
"""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
SILENT = 4  # of levels 0 to 4: the errors are raised, too


def read(path: str) -> Arrays:
    """Returns the arrays of a file by name."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def difference(session: onnxruntime.InferenceSession, case: Arrays) -> float:
    """Returns the largest difference between the images of a file and `output`; infinite if their shapes differ."""
    inputs = {name.removeprefix("input/"): values for name, values in case.items() if name != "output"}
    [images] = session.run(["images"], inputs)
    expected = case["output"]
    same = (images.shape, images.dtype) == (expected.shape, expected.dtype)
    return float(np.abs(images - expected).max()) if same else float("inf")


def refuses(session: onnxruntime.InferenceSession, case: Arrays) -> bool:
    """Returns whether inputs are refused."""
    try:
        difference(session, case)
    except (
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
        onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    ):
        return True
    return False


def main() -> None:
    """Reads a line of JSON that names files and cases, and prints one with the largest difference."""
    question = json.loads(sys.stdin.readline())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves the processor to others
    differences, refused = [0.0], True
    for network in question["networks"]:
        session = onnxruntime.InferenceSession(network["file"], options, providers=["CPUExecutionProvider"])
        differences += [difference(session, read(path)) for path in network["cases"]]
        refused &= all(refuses(session, read(path)) for path in network["refused"])
    print(json.dumps({"difference": float(np.max(differences)), "refuses": refused}))  # NaN stays NaN


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001  # whatever it is becomes the program's last line
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
