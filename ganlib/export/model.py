"""Export: files that anybody can load without this project, checked against the trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.environment import escape_output, standard_keras
from ganlib.export.card import model_card, with_inline_pictures
from ganlib.export.config import ExportConfig
from ganlib.export.facts import PARITY, digest, save_facts
from ganlib.export.mlflow_model import write_mlflow_model
from ganlib.export.network import save_network, save_signatures, signatures
from ganlib.export.onnx import onnx_export
from ganlib.export.parity import Shipped, fresh_process
from ganlib.inference import Inputs
from ganlib.runtime import true_float32, without_autograph
from ganlib.tracking import Tracker, flatten
from ganlib.trained import BEST_AND_LAST, Which, witness_file

with epy.lazy_imports():
    import keras
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.evaluation import Evaluation
    from ganlib.trained import TrainedModel

OVERLAP = 256  # of tiles, in pixels: half a tile, since instance norm makes neighbouring ones differ


@dataclass(frozen=True)
class ExportedModel:
    """An exported model in a folder.

    It has `saved_model/`, a Keras file and an ONNX file of each network, `inputs.json`, `README.md` and `samples.png`.
    With `MLmodel` and `served.py`, it is also a model of MLflow.

    Attributes:
        folder: The folder.
        parity: Differences that the checks in fresh processes found; `without_onnx` says why there are no ONNX files.
        target: Where it was also published, if anywhere.
    """

    folder: Path
    parity: dict[str, Any]
    target: str | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact of this model."""
        largest = max(self.parity[name] for name in ("saved_model", "keras", "onnx") if name in self.parity)
        published = {} if self.target is None else {"published": self.target}
        return {"largest_difference": largest, "framework": "tensorflow", **published}

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / "README.md"

    @property
    def page(self) -> str:
        """The model card with its pictures inside."""
        return with_inline_pictures(self.card.read_text(encoding="utf-8"), self.folder)


@escape_output()
@standard_keras()
@without_autograph
def export(model: TrainedModel, evaluation: Evaluation, config: ExportConfig, output: Path) -> ExportedModel:
    """Writes the scored networks as files that need nothing of this project.

    Args:
        model: What `training.train` wrote.
        evaluation: Its scores. The generator that was scored, best or last, is shipped.
        config: Tolerance of the check, whether to write ONNX files, and where to publish the model.
        output: Folder to create; it appears whole or not at all.

    Returns:
        The exported model in `output`.

    Raises:
        RuntimeError: The exported files do not give the images of training, or cannot be loaded.
        ValueError: The scores are not of this model, or the target cannot be written, or no export wrote it, or what
            ONNX files need is not installed.
        OSError: It could not be published; then `output` does not appear either.
    """
    _check_target(config.target)
    which = _scored(model, evaluation)
    with fresh_process() as process, onnx_export(config.onnx) as onnx, storage.atomic_folder(output) as folder:
        networks = {name: model.network(which, name) for name in model.networks}
        classes = len(model.classes) if model.task.takes_label else 0
        for name, network in networks.items():
            save_network(network, folder / f"{name}.keras", classes=classes)
        functions = signatures(networks, model.task, image_shape=model.image_shape, classes=classes)
        save_signatures(networks, functions, folder / "saved_model")
        storage.publish(evaluation.samples, folder / "samples.png")
        inputs = _inputs(model, networks, classes=classes)
        inputs.write(folder)
        write_mlflow_model(folder, requirements=[f"tensorflow=={tf.__version__}", f"numpy=={np.__version__}"])
        shipped = [
            Shipped(folder / f"{name}.keras", signature, witness_file(model.folder, which, name))
            for name, signature in zip(networks, functions, strict=False)  # `functions` lists those of networks first
        ]
        with true_float32():
            parity = process.check(folder, shipped, functions, tolerance=config.tolerance)
        print(
            f"export: a fresh process gives the same images (largest difference {parity['saved_model']:.1e})",
            flush=True,
        )
        files = onnx.write(networks, shipped, folder, inputs=inputs, tolerance=config.tolerance)
        parity |= files.facts
        card = model_card(model, evaluation, which, networks, functions, config=config, onnx=files)
        (folder / "README.md").write_text(card, encoding="utf-8")
        storage.write_json(folder / PARITY, parity)
        save_facts(model, evaluation, networks, folder)
        if config.target is not None:
            storage.publish(folder, config.target)
            print(f"export: published at {config.target}", flush=True)
    with Tracker(output, belongs_to=model.folder) as tracker:
        tracker.params(flatten({"export": config.to_parameter()}))
        tracker.artifact(output / "README.md", place="model_card")
        tracker.artifact(output / "samples.png", place="model_card")
        settings = {name: str(value) for name, value in model.settings.items()}
        scores = [f"{evaluation.prefix}{name}" for name in evaluation.values]
        tracker.model(digest=digest(output), step=model.step(which), params=settings, scores=scores)
    return ExportedModel(output, parity, config.target)


def _inputs(model: TrainedModel, networks: Mapping[str, keras.Model], *, classes: int) -> Inputs:
    """Returns what the exported functions take, as far as their types do not say it."""
    names = model.classes if classes else ()
    if model.task.samples_from == "seed":
        return Inputs(classes=names)
    shapes = [tensor.shape for tensor in networks[model.networks[0]].inputs]
    fixed = next((shape[1:3] for shape in shapes if None not in shape[1:3]), None)
    sizes = model.facts.get("sizes", {})  # older models have none
    return Inputs(**sizes, fixed=fixed, overlap=OVERLAP, classes=names)


def _scored(model: TrainedModel, evaluation: Evaluation) -> Which:
    """Returns which generator was scored; refuses the scores of another model."""
    scored = evaluation.generator or {}
    which: Which | None = next((name for name in BEST_AND_LAST if name == scored.get("which")), None)
    where = f"scores={str(evaluation.folder)!r}"
    if which is None:
        raise ValueError(f"expected scores of a trained model, as `evaluate` saves them. Received: {where}")
    if scored.get("sha256") != model.identity(which)["sha256"]:
        raise ValueError(
            f"expected scores of this model's {which} generator; measure them again. Received: "
            f"model={str(model.folder)!r}, {where}"
        )
    return which


def _check_target(target: str | None) -> None:
    """Refuses to replace a folder that no export wrote."""
    if target is None:
        return
    if storage.is_remote(target):
        not_an_export = storage.has_foreign_objects(target)
    else:
        place = Path(target).expanduser()
        not_an_export = place.exists() and not (place / PARITY).is_file()
    if not_an_export:
        raise ValueError(f"expected a new folder, or one that an export wrote. Received: export.target={target!r}")
