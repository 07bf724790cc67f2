"""What a feature space is: a network from images to features, identified by its weights."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.evaluation.extractors.resizing import Treatment, resized
from ganlib.runtime import true_float32
from ganlib.schema import Config

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset

    Uint8Batches = Iterable[NDArray[np.uint8]]

BATCH, BATCH_PIXELS = 250, 250 * 128 * 128  # most images and pixels that a network sees at once
# Names reserved for one network.
CANONICAL = {"fd": "fid", "fd_infinity": "fid_infinity", "kd": "kid", "class_score": "inception_score"}


@dataclass(frozen=True)
class FittedExtractor:
    """A feature space that is ready for use.

    Attributes:
        name: Short name, part of the name of every score in this space.
        network: From images [N, H, W, C] with values 0..255 to (features [N, D], logits [N, K]).
        classes: What the logits stand for, where that is the data's own classes.
        facts: What else is known of it, such as its test accuracy.
        treatment: How images reach the network's own side and three channels; None where it takes them as they are.
        canonical: Whether this is the network of 2015 by which FID is defined.
        batch: Images that the network sees at once.
    """

    name: str
    network: keras.Model
    classes: tuple[str, ...]
    facts: dict[str, Any]
    treatment: Treatment | None = None
    canonical: bool = False
    batch: int = BATCH

    def measure(self, word: str) -> str:
        """Returns the name of a measure in this space; `fid`, `kid`, `inception_score` are the canonical network's."""
        if self.canonical and word in CANONICAL:
            return f"{CANONICAL[word]}_{self.treatment}"
        return f"{word}_{self.name}"

    def outputs(self, batches: Uint8Batches) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yields features [n, D] and class probabilities [n, K] of uint8 images, some at a time."""
        for images in _rebatched(batches, self.batch):
            with true_float32():
                features, logits = self.network.predict_on_batch(self._input(_padded(images, self.batch)))
            yield features[: len(images)], _softmax(logits[: len(images)])

    def _input(self, images: NDArray[np.uint8]) -> Any:
        if self.treatment is None:
            return images
        return resized(images, treatment=self.treatment, side=self.network.input_shape[1])

    def all_outputs(self, batches: Uint8Batches) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns features [N, D] and class probabilities [N, K] of uint8 images [n, H, W, C], a row each."""
        features, probabilities = zip(*self.outputs(batches), strict=True)
        return np.concatenate(features), np.concatenate(probabilities)

    @property
    def sha256(self) -> str:
        """Hash of the weights: scores in spaces with different hashes do not compare."""
        digest = hashlib.sha256()
        for weights in self.network.get_weights():
            digest.update(str(weights.shape).encode() + np.ascontiguousarray(weights, "<f4").tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Writes network and facts into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save(folder / "extractor.keras")
        saved = {
            "name": self.name,
            "classes": list(self.classes),
            "facts": self.facts,
            "treatment": self.treatment,
            "canonical": self.canonical,
            "batch": self.batch,
            "sha256": self.sha256,
        }
        storage.write_json(folder / "extractor.json", saved)

    @classmethod
    def load(cls, folder: Path) -> FittedExtractor:
        """Reads what `save` wrote.

        Raises:
            ValueError: The weights are not those that were saved.
        """
        saved = storage.read_json(folder / "extractor.json")
        sha256, classes = saved.pop("sha256"), tuple(saved.pop("classes"))
        network = keras.models.load_model(folder / "extractor.keras", compile=False)
        extractor = cls(network=network, classes=classes, **saved)
        if extractor.sha256 != sha256:
            raise ValueError(f"the extractor's weights were changed. Received: folder={str(folder)!r}")
        return extractor


class Extractor(Config):
    """A recipe for a feature space. Final classes add `kind` and their settings."""

    @abstractmethod
    def fit(self, dataset: PreparedDataset, *, seed: int, weights: Path | None = None) -> FittedExtractor:
        """Makes the feature space for a dataset.

        Args:
            dataset: Prepared real images.
            seed: Of whatever is trained.
            weights: File of a network that comes trained, for the spaces that need one.

        Raises:
            ValueError: The dataset, or the file, lacks what this space is made from.
        """


class FixedExtractor(Extractor):
    """A recipe that looks at no data, so that scores of any data in it stand beside each other."""

    @abstractmethod
    def load(self, weights: Path | None = None) -> FittedExtractor:
        """Makes the feature space.

        Args:
            weights: File of the network, for the spaces that need one.

        Raises:
            ValueError: The file is missing, or not such a one.
        """

    def fit(self, dataset: PreparedDataset, *, seed: int, weights: Path | None = None) -> FittedExtractor:
        """Makes the feature space, whatever the dataset; see the base class."""
        del dataset, seed
        return self.load(weights)


def batch_size(image_shape: tuple[int, ...]) -> int:
    """Returns how many images [H, W, C] a network sees at once, so that large images do not fill the memory."""
    return max(1, min(BATCH, BATCH_PIXELS // (image_shape[0] * image_shape[1])))


def _rebatched(batches: Uint8Batches, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yields batches of one size, the last one excepted: each that is filled up costs as much as a full one."""
    waiting: list[NDArray[np.uint8]] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= size:
            joined = np.concatenate(waiting)
            whole = len(joined) - len(joined) % size
            yield from (joined[start : start + size] for start in range(0, whole, size))
            waiting = [joined[whole:]]
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _padded(batch: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Fills a last, smaller batch up, so that one graph of one shape serves all of them."""
    missing = size - len(batch)
    return batch if not missing else np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.uint8)])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
