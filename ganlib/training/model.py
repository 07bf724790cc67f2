"""What training leaves behind, as a folder that scoring and export read."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from etils import epy

from ganlib import storage, streams, tracking
from ganlib.runtime import true_float32
from ganlib.schema import parse
from ganlib.surroundings import own_keras
from ganlib.tasks import Duty, Task
from ganlib.training.callbacks import SAMPLES_FOLDER, Sampler, sheet_labels

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.training.state import TrainState

Kept = Literal["best", "last"]
KEPT: tuple[Kept, ...] = get_args(Kept)
WITNESSES = 16


class TrainedModel:
    """A trained generator in a folder, the best and the last. Use `TrainedModel.open(folder)`.

    Attributes:
        folder: Where it lies.
        facts: Config, steps, score and devices of the run.
        task: What the generator does.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self.facts = folder, facts
        self.task: Task = parse(Duty, facts["config"]["task"])

    @classmethod
    def open(cls, folder: str | Path) -> TrainedModel:
        """Opens a folder that `train` wrote.

        Raises:
            ValueError: The folder holds no trained model.
        """
        folder = Path(folder)
        facts = storage.read_json(folder / "model.json")
        try:
            return cls(folder, facts)
        except (LookupError, TypeError) as error:
            raise ValueError(f"expected what `train` leaves behind. Received: folder={str(folder)!r}") from error

    @own_keras()
    def network(self, kept: Kept) -> keras.Model:
        """Loads one of the two kept generators.

        Raises:
            ValueError: Its file is absent or damaged.
        """
        try:
            return keras.models.load_model(self.file(kept), compile=False)
        except (ValueError, LookupError, TypeError, OSError, zipfile.BadZipFile) as error:
            told = f"path={str(self.file(kept))!r} ({tracking.reason(error)})"
            raise ValueError(f"expected the whole Keras file of a generator. Received: {told}") from error

    def file(self, kept: Kept) -> Path:
        """Returns the Keras file of a kept generator."""
        return self.folder / f"{kept}.keras"

    def identity(self, kept: Kept) -> dict[str, Any]:
        """Returns what tells a kept generator from all others, and what people call it."""
        return {"kept": kept, "averaged": True, "step": self.step(kept), "sha256": storage.sha256(self.file(kept))}

    def step(self, kept: Kept) -> int:
        """Returns the step at which a kept generator stood."""
        return int(self.facts[f"{kept}_step"])

    def sampler(self, kept: Kept) -> Sampler:
        """Returns what draws images from a kept generator."""
        return Sampler(self.task, self.network(kept), shares=self.shares)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the data's classes; empty without labels."""
        return tuple(self.facts["classes"])

    @property
    def sheet_classes(self) -> tuple[str, ...]:
        """Names of the classes that a sheet of samples shows, where they can be asked for."""
        return tuple(dict.fromkeys(self.classes[label] for label in sheet_labels(len(self.classes))))

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class among the training images."""
        return tuple(self.facts["class_shares"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """What health noticed and did, in the order of the steps."""
        return [row for row in storage.read_lines(self.folder / tracking.HISTORY) if "event" in row]

    def witness(self, kept: Kept) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
        """Returns inputs by name and the images that training itself made of them, in -1..1."""
        with np.load(self.folder / f"{kept}_witness.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name != "images"}, file["images"]

    @property
    def summary(self) -> dict[str, Any]:
        """What a KFP artifact of this model says of it."""
        names = ("dataset", "precision", "replicas", "best_step", "best_score", "last_step", "rollbacks", "stopped")
        known = {name: self.facts[name] for name in names if self.facts[name] is not None}
        return {**known, "mlflow_run_id": tracking.run_id(self.folder) or "", "image_shape": self.facts["image_shape"]}

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings by dotted name."""
        return tracking.flattened(self.facts["config"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of numbers of the run's history."""
        return [row for row in storage.read_lines(self.folder / tracking.HISTORY) if "event" not in row]

    @property
    def sample_pictures(self) -> list[Path]:
        """Pictures of samples from fixed inputs, the earliest first."""
        return sorted((self.folder / SAMPLES_FOLDER).glob("*.png"))


def write_model(output: Path, state: TrainState, task: Task, *, home: Path, facts: Mapping[str, Any]) -> TrainedModel:
    """Writes the folder of a trained model; it appears whole or not at all.

    Args:
        output: Folder to create.
        state: Where training ended.
        task: Its task.
        home: Folder with the run's history and pictures.
        facts: What else to record.
    """
    networks = {"best": task.sampler(state.best_averaged()), "last": task.sampler(state.trained.averaged)}
    inputs = task.inputs(WITNESSES, seed=streams.key("witness"), shares=facts["class_shares"])
    with storage.whole_folder(output) as folder:
        for kept, network in networks.items():
            network.save(folder / f"{kept}.keras")
            with true_float32():
                images = network(inputs, training=False)
            np.savez(folder / f"{kept}_witness.npz", images=images, **inputs)
        for name in (tracking.HISTORY, tracking.JOURNAL, tracking.IDENTITY, SAMPLES_FOLDER):
            if (home / name).exists():
                storage.publish(home / name, folder / name)
        best, last_step = state.best, state.clock.step
        best_step = last_step if best.step is None else best.step
        kept_facts = {"best_step": best_step, "last_step": last_step, "best_score": best.score}
        ending = {"stopped": state.ending and state.ending.text, "rollbacks": state.health.rollbacks}
        storage.write_json(folder / "model.json", {**facts, **kept_facts, **ending})
    return TrainedModel.open(output)
