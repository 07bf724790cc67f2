"""The proof that exported files give the images of training, in a process that knows nothing of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ganlib.environment import UNUSED_BY_KERAS

SECONDS = 300

# Runs in a fresh interpreter that knows nothing of this project.
SCRIPT = """
import json, sys
folder, witness, *unused = sys.argv[1:]
sys.modules.update(dict.fromkeys(unused))  # so that Keras does not import them
import numpy as np, tensorflow as tf, keras
tf.config.experimental.enable_tensor_float_32_execution(False)
with np.load(witness, allow_pickle=False) as file:
    inputs = {name: file[name] for name in file.files}
expected = inputs.pop("images")
model = tf.saved_model.load(folder + "/saved_model")
network = keras.models.load_model(folder + "/generator.keras", compile=False)
serve, generate = (model.signatures[name] for name in ("serving_default", "generate"))
serve_all = lambda inputs: serve(**{name: tf.constant(values) for name, values in inputs.items()})["images"].numpy()
call = lambda inputs: np.asarray(network(inputs, training=False))
asked = {"label": tf.constant(0, tf.int64)} if "label" in inputs else {}
draw = lambda **asked: generate(seed=tf.constant(1, tf.int64), count=tf.constant(3), **asked)["images"].numpy()
first, second = draw(**asked), draw(**asked)
def refused(draws, *inputs, **asked):
    try:
        draws(*inputs, **asked)
    except tf.errors.InvalidArgumentError:
        return True
    return False
none = dict(inputs, label=inputs["label"] * 0 - 1) if asked else {}
print(json.dumps({
    "saved_model": float(np.abs(serve_all(inputs) - expected).max()),
    "keras": float(np.abs(call(inputs) - expected).max()),
    "refuses": not asked or all((refused(serve_all, none), refused(call, none), refused(draw, label=none["label"][0]))),
    "generate": bool(first.dtype == np.uint8 and first.shape == (3, *expected.shape[1:]) and (first == second).all()),
    "free": not any(name.partition(".")[0] in ("ganlib", "components", "pipelines") for name in sys.modules),
}))
"""


def check(folder: Path, witness: Path, tolerance: float) -> dict[str, Any]:
    """Loads the exported files in a fresh process and compares their images with those made in training.

    Args:
        folder: The exported model.
        witness: Inputs, and the images that training made of them.
        tolerance: Largest difference that is no other image.

    Returns:
        What the process found: the differences, and whether the model answers and refuses as it must.

    Raises:
        RuntimeError: The model cannot be loaded, or gives other images.
    """
    command = [sys.executable, "-I", "-c", SCRIPT, str(folder.absolute()), str(witness.absolute()), *UNUSED_BY_KERAS]
    try:
        done = subprocess.run(  # noqa: S603  # our own script
            command,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the exported model could not be checked within {SECONDS} s") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"the exported model cannot be loaded in a fresh process: {reason[0]}")
    parity: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    for name in ("saved_model", "keras"):
        if not parity[name] <= tolerance:
            raise RuntimeError(
                f"the exported {name} gives other images than training did, expected a difference of at most "
                f"export.tolerance={tolerance}. Received: difference={parity[name]}"
            )
    if not (parity["generate"] and parity["free"] and parity["refuses"]):
        raise RuntimeError(f"the exported model does not answer as it must. Received: {parity}")
    return parity
