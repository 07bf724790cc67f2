"""The folder that training writes, for evaluation, export and people."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from etils import epy

from ganlib import storage, tracking
from ganlib.environment import standard_keras
from ganlib.schema import parse
from ganlib.tasks import AnyTask, Sampler, Task, sheet_labels, sheet_side

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset

Which = Literal["best", "last"]
BEST_AND_LAST: tuple[Which, ...] = get_args(Which)
PLACES = (".masks", ".masks_fingerprint")  # names of settings that end so are places of further images
SAMPLES_FOLDER = "samples"  # of sheets
INPUT, OUTPUT = "input/", "output"  # names in the file of a witness


class TrainedModel:
    """A trained generator in a folder, the best and the last. Use `TrainedModel.open(folder)`.

    Attributes:
        folder: The folder.
        facts: Config, steps, score and devices of the run.
        task: What the generator does.
        networks: Names of the networks that are shipped, the scored ones first.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self.facts = folder, facts
        self.task: Task = parse(AnyTask, facts["config"]["task"])
        self.networks: tuple[str, ...] = tuple(facts["networks"])

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
    def network(self, which: Which, name: str | None = None) -> keras.Model:
        """Loads a network, the first one unless a name is given.

        Raises:
            ValueError: Its file is absent or damaged.
        """
        file = self.file(which, name)
        try:
            return keras.models.load_model(file, compile=False)
        except (ValueError, LookupError, TypeError, OSError, zipfile.BadZipFile) as error:
            received = f"path={str(file)!r} ({tracking.error_summary(error)})"
            raise ValueError(f"expected the whole Keras file of a generator. Received: {received}") from error

    def file(self, which: Which, name: str | None = None) -> Path:
        """Returns the Keras file of a network, the first one unless a name is given."""
        return network_file(self.folder, which, name or self.networks[0])

    def identity(self, which: Which) -> dict[str, Any]:
        """Returns what distinguishes a generator from all others, and what people call it."""
        hashes = [storage.sha256(self.file(which, name)) for name in self.networks]
        sha256 = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
        return {"which": which, "averaged": True, "step": self.step(which), "sha256": sha256}

    def step(self, which: Which) -> int:
        """Returns the step of the best or the last generator."""
        return int(self.facts[f"{which}_step"])

    def sampler(self, which: Which, held_out: PreparedDataset | None = None, name: str | None = None) -> Sampler:
        """Returns what draws images from a network.

        Args:
            which: The best generator, or the last one.
            held_out: Data whose test images samples are made from, where the task makes them from images.
            name: Name of the network; by default the first one.
        """
        network = self.network(which, name)
        return Sampler(
            self.task, network, shares=self.shares, image_shape=self.image_shape, held_out=held_out, name=name
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images."""
        height, width, channels = self.facts["image_shape"]
        return height, width, channels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the data's classes; empty without labels."""
        return tuple(self.facts["classes"])

    @property
    def sheet_classes(self) -> tuple[str, ...]:
        """Names of the classes that a sheet of samples shows, where a class can be asked for."""
        labels = sheet_labels(len(self.classes), side=sheet_side(self.image_shape))
        return tuple(dict.fromkeys(self.classes[label] for label in labels))

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class among the training images."""
        return tuple(self.facts["class_shares"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """Health events of the run, in the order of the steps."""
        return [row for row in storage.read_lines(self.folder / tracking.HISTORY) if "event" in row]

    def witness(self, which: Which, name: str | None = None) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
        """Returns inputs by name and the images that training itself made of them, in -1..1."""
        with np.load(witness_file(self.folder, which, name or self.networks[0]), allow_pickle=False) as file:
            inputs = {key.removeprefix(INPUT): file[key] for key in file.files if key != OUTPUT}
            return inputs, file[OUTPUT]

    @property
    def summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact of this model."""
        names = ["dataset", "precision", "replicas", "best_step", "best_score", "best_measure", "last_step"]
        names += ["rollbacks", "stopped"]
        known = {name: self.facts[name] for name in names if self.facts.get(name) is not None}
        return {**known, "mlflow_run_id": tracking.run_id(self.folder) or "", "image_shape": self.facts["image_shape"]}

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings by dotted name, without places on the machine of the training."""
        return without_places(tracking.flatten(self.facts["config"]))

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of numbers of the run's history."""
        return [row for row in storage.read_lines(self.folder / tracking.HISTORY) if "event" not in row]

    @property
    def sample_pictures(self) -> list[Path]:
        """Pictures of samples from fixed inputs, the earliest first."""
        return sorted((self.folder / SAMPLES_FOLDER).glob("*.png"))


def network_file(folder: Path, which: Which | str, name: str) -> Path:
    """Returns the Keras file of a network in the folder of a trained model."""
    return folder / which / f"{name}.keras"


def witness_file(folder: Path, which: Which | str, name: str) -> Path:
    """Returns the file of inputs of a network and the images that training made of them."""
    return folder / which / f"{name}.npz"


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings by dotted name without places of further images, such as masks of one's own."""
    return {name: value for name, value in settings.items() if not name.endswith(PLACES)}


def save_witness(path: Path, inputs: Mapping[str, NDArray[Any]], images: NDArray[np.float32]) -> None:
    """Writes inputs of a network and the images that it makes of them."""
    arrays = {OUTPUT: images, **{f"{INPUT}{name}": values for name, values in inputs.items()}}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # names of arrays
