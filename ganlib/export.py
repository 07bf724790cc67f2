"""The verb `export`: a generator that anybody can load without this project, proved to be the trained one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy
from pydantic import Field, field_validator

from ganlib import pixels, storage
from ganlib.schema import Config
from ganlib.surroundings import own_keras, printable
from ganlib.tracking import Tracker, flattened

with epy.lazy_imports():
    import keras
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.evaluation import Evaluation
    from ganlib.tasks import Task
    from ganlib.training import TrainedModel
    from ganlib.training.model import Kept

PARITY = "parity.json"
PARITY_SECONDS = 300

# Runs in a fresh interpreter that knows nothing of this project.
PARITY_SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf, keras
folder, witness = sys.argv[1:]
with np.load(witness, allow_pickle=False) as file:
    inputs = {name: file[name] for name in file.files}
expected = inputs.pop("images")
model = tf.saved_model.load(folder + "/saved_model")
serve, generate = (model.signatures[name] for name in ("serving_default", "generate"))
served = serve(**{name: tf.constant(values) for name, values in inputs.items()})["images"].numpy()
loaded = keras.models.load_model(folder + "/generator.keras", compile=False)(inputs, training=False)
asked = {"label": tf.constant(0, tf.int64)} if "label" in inputs else {}
draw = lambda: generate(seed=tf.constant(1, tf.int64), count=tf.constant(3), **asked)["images"].numpy()
first, second = draw(), draw()
print(json.dumps({
    "saved_model": float(np.abs(served - expected).max()),
    "keras": float(np.abs(np.asarray(loaded) - expected).max()),
    "generate": bool(first.dtype == np.uint8 and first.shape == (3, *expected.shape[1:]) and (first == second).all()),
    "free": not any(name.partition(".")[0] in ("ganlib", "components", "pipelines") for name in sys.modules),
}))
"""


class ExportConfig(Config):
    """What the exported generator must satisfy, and where it goes."""

    tolerance: float = Field(default=1e-4, gt=0.0)
    """Largest difference, on the range -1..1, between an exported image and the one made in training."""
    target: str | None = Field(default=None, min_length=1)
    """gs:// address or folder to which the exported model is published too; a later export replaces it there."""

    @field_validator("target")
    @classmethod
    def _can_be_written(cls, target: str | None) -> str | None:
        if target is not None and storage.is_remote(target) and not target.startswith("gs://"):
            raise ValueError(f"expected a gs:// address or a folder. Received: target={target!r}")
        return target


@dataclass(frozen=True)
class ExportedModel:
    """An exported generator in a folder: `saved_model/`, `generator.keras`, `README.md`, `samples.png`.

    Attributes:
        folder: Where it lies.
        parity: Differences that the check in a fresh process found.
        target: Where it was published too, if anywhere.
    """

    folder: Path
    parity: dict[str, Any]
    target: str | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """What a KFP artifact of this model says of it."""
        largest = max(self.parity["saved_model"], self.parity["keras"])
        published = {} if self.target is None else {"published": self.target}
        return {"largest_difference": largest, "framework": "tensorflow", **published}

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / "README.md"


@printable()
@own_keras()
def export(model: TrainedModel, evaluation: Evaluation, config: ExportConfig, output: Path) -> ExportedModel:
    """Writes the judged generator for shipping.

    Args:
        model: What `training.train` left behind.
        evaluation: Its scores; they say which of the kept generators was judged.
        config: Tolerance of the check, and where the model is published.
        output: Folder to create; it appears whole or not at all.

    Returns:
        The exported model in `output`.

    Raises:
        RuntimeError: The exported files do not give the images that training saw, or cannot be loaded.
        ValueError: The target cannot be written to, or is a folder that no export wrote.
        OSError: It could not be published; then `output` does not appear either.
    """
    _check_target(config.target)
    kept: Kept = "last" if evaluation.protocol["generator"].endswith("last") else "best"
    network = model.network(kept)
    with storage.whole_folder(output) as folder:
        network.save(folder / "generator.keras")
        _save_signatures(network, model.task, folder / "saved_model", classes=len(model.classes))
        storage.publish(evaluation.samples, folder / "samples.png")
        (folder / "README.md").write_text(
            _card(model, evaluation, kept, network, target=config.target), encoding="utf-8"
        )
        parity = _check(folder, model.folder / f"{kept}_witness.npz", config.tolerance)
        storage.write_json(folder / PARITY, parity)
        if config.target is not None:
            storage.publish(folder, config.target)
            print(f"export: published at {config.target}", flush=True)
    with Tracker(output, belongs_to=model.folder) as tracker:
        tracker.params(flattened({"export": config.to_parameter()}))
        tracker.artifact(output / "README.md", place="model_card")
        tracker.artifact(output / "samples.png", place="model_card")
        tracker.model(output / "generator.keras", requirements=_requirements())
    print(f"export: a fresh process gives the same images (largest difference {parity['saved_model']:.1e})", flush=True)
    return ExportedModel(output, parity, config.target)


def _check_target(target: str | None) -> None:
    """Refuses to replace a folder of somebody else."""
    if target is None:
        return
    if storage.is_remote(target):
        foreign = storage.is_foreign(target)
    else:
        place = Path(target).expanduser()
        foreign = place.exists() and not (place / PARITY).is_file()
    if foreign:
        raise ValueError(f"expected a new folder, or one that an export wrote. Received: export.target={target!r}")


def _save_signatures(network: keras.Model, task: Task, folder: Path, *, classes: int) -> None:
    """Writes the SavedModel with the signatures `serving_default` and `generate`."""
    module = tf.Module()
    module.network = network
    served = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in network.inputs}
    numbers = {"seed": tf.int64, "count": tf.int32} | ({"label": tf.int64} if task.takes_label else {})
    drawn = {name: tf.TensorSpec([], dtype, name=name) for name, dtype in numbers.items()}

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": network(inputs, training=False)}

    def generate(**asked: tf.Tensor) -> dict[str, tf.Tensor]:
        for label in [asked["label"]] if task.takes_label else []:
            tf.debugging.assert_non_negative(label, message=f"expected a label in 0..{classes - 1}")
            tf.debugging.assert_less(label, tf.constant(classes, tf.int64), message=f"expected a label below {classes}")
        inputs = task.inputs(asked["count"], seed=asked["seed"], shares=(), label=asked.get("label"))
        return {"images": pixels.to_uint8(network(inputs, training=False))}

    signatures = {
        "serving_default": tf.function(serve).get_concrete_function(**served),
        "generate": tf.function(generate).get_concrete_function(**drawn),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _check(folder: Path, witness: Path, tolerance: float) -> dict[str, Any]:
    """Loads the exported files in a fresh process and compares their images with those made in training."""
    command = [sys.executable, "-I", "-c", PARITY_SCRIPT, str(folder.absolute()), str(witness.absolute())]
    try:
        done = subprocess.run(  # noqa: S603  # our own script
            command,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=PARITY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the exported model could not be checked within {PARITY_SECONDS} s") from error
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
    if not (parity["generate"] and parity["free"]):
        raise RuntimeError(f"the exported model's signature `generate` is broken. Received: {parity}")
    return parity


def _requirements() -> list[str]:
    """What the exported model needs, and nothing of this project."""
    return [f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}", f"numpy=={np.__version__}"]


def _card(model: TrainedModel, evaluation: Evaluation, kept: Kept, network: keras.Model, *, target: str | None) -> str:
    facts = model.facts
    height, width, channels = facts["image_shape"]
    colour = "grey" if channels == 1 else "RGB"
    rows = [f"| `{s.name}` | {s.text} | {s.floor_text} |" for s in evaluation.scores]
    protocol = [f"- {name}: `{value}`" for name, value in evaluation.protocol.items()]
    settings = [f"- {name}: `{value}`" for name, value in sorted(model.settings.items())]
    parameters = int(sum(np.prod(weight.shape) for weight in network.weights))
    return CARD.format(
        name=facts["config"]["training"]["run_name"],
        shape=f"{height}x{width} {colour}",
        dataset=facts["dataset"],
        kept=kept,
        step=model.step(kept),
        last_step=facts["last_step"],
        parameters=parameters,
        published="" if target is None else f" Published at `{target}`.",
        inputs=_described(network),
        classes=_classes(model),
        asked=", label=tf.constant(0, tf.int64)" if model.task.takes_label else "",
        tensorflow=facts["tensorflow"],
        scores="\n".join(rows),
        notes="".join(f"\n- {note}" for note in evaluation.notes) + "\n" * bool(evaluation.notes),
        protocol="\n".join(protocol),
        settings="\n".join(settings),
    )


def _described(network: keras.Model) -> str:
    """Names the network's inputs with their types and shapes."""
    shapes = {tensor.name: ", ".join(["N", *map(str, tensor.shape[1:])]) for tensor in network.inputs}
    return " and ".join(f"`{tensor.name}`, {tensor.dtype} [{shapes[tensor.name]}]," for tensor in network.inputs)


def _classes(model: TrainedModel) -> str:
    """Says which classes can be asked for, if any."""
    if not model.task.takes_label:
        return ""
    named = ", ".join(f"{index} = `{name}`" for index, name in enumerate(model.classes))
    return f"`label` chooses the class: {named}. A class for each image is asked for by the other signature.\n"


CARD = """# {name}

A generator of {shape} images, trained adversarially on the data set `{dataset}`.
It is the averaged (EMA) generator of step {step} of {last_step} (the {kept} one), {parameters:,} parameters.{published}

![samples](samples.png)

## Use
```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
generate = model.signatures["generate"]
images = generate(seed=tf.constant(1, tf.int64), count=tf.constant(16){asked})["images"]  # uint8 [16, H, W, C]
```
{classes}`serving_default` maps {inputs} to `images`, float32 [N, H, W, C] in -1..1.
`generator.keras` is the same network for Keras. Made with TensorFlow {tensorflow}; nothing else is needed.

## Scores
| measure | generated | real images (floor) |
|---|---|---|
{scores}
{notes}
They compare only with scores of the same protocol:

{protocol}

## Settings
{settings}
"""
