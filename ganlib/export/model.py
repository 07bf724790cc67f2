"""The verb `export`: a generator that anybody can load without this project, proved to be the trained one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.environment import escape_output, standard_keras
from ganlib.export.card import model_card
from ganlib.export.config import ExportConfig
from ganlib.export.network import save_network, save_signatures
from ganlib.export.parity import check
from ganlib.runtime import without_autograph
from ganlib.tracking import Tracker, flatten
from ganlib.trained import BEST_AND_LAST, Which

with epy.lazy_imports():
    import keras
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.evaluation import Evaluation
    from ganlib.trained import TrainedModel

PARITY = "parity.json"


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


@escape_output()
@standard_keras()
@without_autograph
def export(model: TrainedModel, evaluation: Evaluation, config: ExportConfig, output: Path) -> ExportedModel:
    """Writes the scored generator for shipping.

    Args:
        model: What `training.train` left behind.
        evaluation: Its scores; they say which of the kept generators was scored, and that one is shipped.
        config: Tolerance of the check, and where the model is published.
        output: Folder to create; it appears whole or not at all.

    Returns:
        The exported model in `output`.

    Raises:
        RuntimeError: The exported files do not give the images that training saw, or cannot be loaded.
        ValueError: The scores are not those of a generator of this model; or the target cannot be written to, or is a
            folder that no export wrote.
        OSError: It could not be published; then `output` does not appear either.
    """
    _check_target(config.target)
    which = _scored(model, evaluation)
    network = model.network(which)
    with storage.atomic_folder(output) as folder:
        classes = len(model.classes) if model.task.takes_label else 0
        save_network(network, folder / "generator.keras", classes=classes)
        save_signatures(network, model.task, folder / "saved_model", classes=classes)
        storage.publish(evaluation.samples, folder / "samples.png")
        card = model_card(model, evaluation, which, network, config=config)
        (folder / "README.md").write_text(card, encoding="utf-8")
        parity = check(folder, model.folder / f"{which}_witness.npz", config.tolerance)
        storage.write_json(folder / PARITY, parity)
        if config.target is not None:
            storage.publish(folder, config.target)
            print(f"export: published at {config.target}", flush=True)
    with Tracker(output, belongs_to=model.folder) as tracker:
        tracker.params(flatten({"export": config.to_parameter()}))
        tracker.artifact(output / "README.md", place="model_card")
        tracker.artifact(output / "samples.png", place="model_card")
        tracker.model(output / "generator.keras", requirements=_requirements())
    print(f"export: a fresh process gives the same images (largest difference {parity['saved_model']:.1e})", flush=True)
    return ExportedModel(output, parity, config.target)


def _scored(model: TrainedModel, evaluation: Evaluation) -> Which:
    """Returns which of the kept generators was scored; refuses the scores of another one."""
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
    """Refuses to replace a folder of somebody else."""
    if target is None:
        return
    if storage.is_remote(target):
        foreign = storage.has_foreign_objects(target)
    else:
        place = Path(target).expanduser()
        foreign = place.exists() and not (place / PARITY).is_file()
    if foreign:
        raise ValueError(f"expected a new folder, or one that an export wrote. Received: export.target={target!r}")


def _requirements() -> list[str]:
    """What the exported model needs, and nothing of this project."""
    return [f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}", f"numpy=={np.__version__}"]
