"""The base classes of feature extractors: networks from images to features, identified by their weights."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.evaluation.extractors.resizing import ResizeMode, resize_images
from ganlib.runtime import true_float32
from ganlib.schema import Config

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset

    Uint8Batches = Iterable[NDArray[np.uint8]]

BATCH = 250  # images that a network sees at once, fewer of large ones
# Names that only scores of the canonical Inception network may have.
CANONICAL = {
    "fd": "fid",
    "fd_infinity": "fid_infinity",
    "kd": "kid",
    "class_score": "inception_score",
    "pds": "p_ids",
    "uds": "u_ids",
}

MIN_LEARNED = 0.25  # minimum test accuracy, as a share of the range from chance to 1
MIN_TRUSTED = 0.65  # the same, below which single images are not told apart well


@dataclass(frozen=True)
class FittedExtractor:
    """A feature extractor that is ready for use.

    Attributes:
        name: Short name; part of the name of every score in this feature space.
        network: Network from images [N, H, W, C] in 0..255 to (features [N, D], logits [N, K]).
        classes: Names of the logits, if they are the classes of the data.
        facts: Further facts for the report, such as the accuracy on test images.
        resize_mode: How images are resized to the network's input size and three channels; None means not at all.
        canonical: Whether this is the Inception network of 2015 that defines FID.
        batch: Batch size of the network.
    """

    name: str
    network: keras.Model
    classes: tuple[str, ...]
    facts: dict[str, Any]
    resize_mode: ResizeMode | None = None
    canonical: bool = False
    batch: int = BATCH

    def measure(self, word: str) -> str:
        """Returns the full name of a measure; `fid`, `kid`, `p_ids` and so on are those of the canonical network."""
        if self.canonical and word in CANONICAL:
            return f"{CANONICAL[word]}_{self.resize_mode}"
        return f"{word}_{self.name}"

    def outputs(self, batches: Uint8Batches) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yields features [n, D] and class probabilities [n, K] of uint8 images, a batch at a time."""
        for images in _rebatch(batches, self.batch):
            with true_float32():
                features, logits = self.network.predict_on_batch(self._input(_pad(images, self.batch)))
            yield features[: len(images)], _softmax(logits[: len(images)])

    def _input(self, images: NDArray[np.uint8]) -> Any:
        if self.resize_mode is None:
            return images
        return resize_images(images, resize_mode=self.resize_mode, side=self.network.input_shape[1])

    def all_outputs(self, batches: Uint8Batches) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns features [N, D] and class probabilities [N, K] of all images in batches of uint8 [n, H, W, C]."""
        features, probabilities = zip(*self.outputs(batches), strict=True)
        return np.concatenate(features), np.concatenate(probabilities)

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights. Scores from extractors with different hashes cannot be compared."""
        digest = hashlib.sha256()
        for weights in self.network.get_weights():
            digest.update(str(weights.shape).encode() + np.ascontiguousarray(weights, "<f4").tobytes())
        return digest.hexdigest()

    @property
    def notes(self) -> list[str]:
        """A sentence on how little the extractor learned of the images, if that is so."""
        accuracy, chance = self.facts.get("test_accuracy", 1.0), self.facts.get("chance", 0.0)
        learned = (accuracy - chance) / (1.0 - chance) if chance < 1.0 else 0.0
        known = f"(test accuracy {accuracy:.3f}, chance {chance:.3f})"
        if learned <= MIN_LEARNED:
            means = f"has hardly learned {known}, so its distances mean little"
        elif learned < MIN_TRUSTED:
            means = f"is weak {known}: it takes different images for alike, so precision and recall say little"
        else:
            return []
        return [f"The feature extractor {means}. More training images or epochs may help."]

    def save(self, folder: Path) -> None:
        """Saves the network and its facts to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save(folder / "extractor.keras")
        saved = {
            "name": self.name,
            "classes": list(self.classes),
            "facts": self.facts,
            "resize_mode": self.resize_mode,
            "canonical": self.canonical,
            "batch": self.batch,
            "sha256": self.sha256,
        }
        storage.write_json(folder / "extractor.json", saved)

    @classmethod
    def load(cls, folder: Path) -> FittedExtractor:
        """Reads what `save` wrote.

        Raises:
            ValueError: The weights differ from those that were saved.
        """
        saved = storage.read_json(folder / "extractor.json")
        sha256, classes = saved.pop("sha256"), tuple(saved.pop("classes"))
        network = keras.models.load_model(folder / "extractor.keras", compile=False)
        extractor = cls(network=network, classes=classes, **saved)
        if extractor.sha256 != sha256:
            raise ValueError(f"the extractor's weights were changed. Received: folder={str(folder)!r}")
        return extractor


class Extractor(Config):
    """Settings of a feature extractor. Concrete classes add `kind` and their settings."""

    @abstractmethod
    def fit(self, dataset: PreparedDataset, *, seed: int, weights: Path | None = None) -> FittedExtractor:
        """Builds the extractor, and trains it on the dataset if need be.

        Args:
            dataset: Prepared real images.
            seed: Seed of the training.
            weights: File with the weights of a pretrained network, for the extractors that need one.

        Raises:
            ValueError: The dataset has no labels that the extractor needs, or the file cannot be used.
        """


class FixedExtractor(Extractor):
    """An extractor that does not depend on the dataset, so that its scores can be compared across datasets."""

    @abstractmethod
    def load(self, weights: Path | None = None) -> FittedExtractor:
        """Builds the extractor.

        Args:
            weights: File with the weights of the network, for the extractors that need one.

        Raises:
            ValueError: The file is missing or cannot be used.
        """

    def fit(self, dataset: PreparedDataset, *, seed: int, weights: Path | None = None) -> FittedExtractor:
        """Builds the extractor; `dataset` and `seed` are not used."""
        del dataset, seed
        return self.load(weights)


def _rebatch(batches: Uint8Batches, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yields batches of one size, except for the last: a padded batch takes as long as a full one."""
    pending: list[NDArray[np.uint8]] = []
    for batch in batches:
        pending.append(batch)
        if sum(map(len, pending)) >= size:
            images = np.concatenate(pending)
            end = len(images) - len(images) % size
            yield from (images[start : start + size] for start in range(0, end, size))
            pending = [images[end:]]
    if any(map(len, pending)):
        yield np.concatenate(pending)


def _pad(batch: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pads the last, smaller batch with zeros, so that all batches have one shape and one graph."""
    missing = size - len(batch)
    return batch if not missing else np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.uint8)])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
