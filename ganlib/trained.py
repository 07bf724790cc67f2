"""What training leaves behind, as a folder that scoring and export read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from etils import epy

from ganlib import storage, tracking
from ganlib.environment import standard_keras
from ganlib.schema import parse
from ganlib.tasks import AnyTask, Sampler, Task, sheet_labels

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Which = Literal["best", "last"]
BEST_AND_LAST: tuple[Which, ...] = get_args(Which)
SAMPLES_FOLDER = "samples"  # where its pictures lie


class TrainedModel:
    """A trained generator in a folder, the best and the last. Use `TrainedModel.open(folder)`.

    Attributes:
        folder: Where it lies.
        facts: Config, steps, score and devices of the run.
        task: What the generator does.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self.facts = folder, facts
        self.task: Task = parse(AnyTask, facts["config"]["task"])

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

    @standard_keras()
    def network(self, which: Which) -> keras.Model:
        """Loads one of the two kept generators.

        Raises:
            ValueError: Its file is absent or damaged.
        """
        try:
            return keras.models.load_model(self.file(which), compile=False)
        except (ValueError, LookupError, TypeError, OSError, zipfile.BadZipFile) as error:
            told = f"path={str(self.file(which))!r} ({tracking.error_summary(error)})"
            raise ValueError(f"expected the whole Keras file of a generator. Received: {told}") from error

    def file(self, which: Which) -> Path:
        """Returns the Keras file of a kept generator."""
        return self.folder / f"{which}.keras"

    def identity(self, which: Which) -> dict[str, Any]:
        """Returns what tells a kept generator from all others, and what people call it."""
        return {"which": which, "averaged": True, "step": self.step(which), "sha256": storage.sha256(self.file(which))}

    def step(self, which: Which) -> int:
        """Returns the step at which a kept generator stood."""
        return int(self.facts[f"{which}_step"])

    def sampler(self, which: Which) -> Sampler:
        """Returns what draws images from a kept generator."""
        return Sampler(self.task, self.network(which), shares=self.shares)

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

    def witness(self, which: Which) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
        """Returns inputs by name and the images that training itself made of them, in -1..1."""
        with np.load(self.folder / f"{which}_witness.npz", allow_pickle=False) as file:
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
        return tracking.flatten(self.facts["config"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of numbers of the run's history."""
        return [row for row in storage.read_lines(self.folder / tracking.HISTORY) if "event" not in row]

    @property
    def sample_pictures(self) -> list[Path]:
        """Pictures of samples from fixed inputs, the earliest first."""
        return sorted((self.folder / SAMPLES_FOLDER).glob("*.png"))
