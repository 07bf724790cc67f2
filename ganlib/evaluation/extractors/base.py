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
from ganlib.schema import Config

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset

    Uint8Batches = Iterable[NDArray[np.uint8]]

BATCH = 250


@dataclass(frozen=True)
class FittedExtractor:
    """A feature space that is ready for use.

    Attributes:
        name: Short name, part of the name of every score in this space.
        network: From uint8-valued images [N, H, W, C] to (features [N, D], logits [N, K]).
        classes: What the logits stand for.
        facts: What else is known of it, such as its test accuracy.
    """

    name: str
    network: keras.Model
    classes: tuple[str, ...]
    facts: dict[str, Any]

    def outputs(self, batches: Uint8Batches) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yields features [n, D] and class probabilities [n, K] of uint8 images, a batch at a time."""
        for batch in batches:
            for start in range(0, len(batch), BATCH):
                features, logits = self.network.predict_on_batch(_padded(batch[start : start + BATCH]))
                count = len(batch[start : start + BATCH])
                yield features[:count], _softmax(logits[:count])

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
        facts = {"name": self.name, "classes": list(self.classes), "facts": self.facts, "sha256": self.sha256}
        storage.write_json(folder / "extractor.json", facts)

    @classmethod
    def load(cls, folder: Path) -> FittedExtractor:
        """Reads what `save` wrote.

        Raises:
            ValueError: The weights are not those that were saved.
        """
        saved = storage.read_json(folder / "extractor.json")
        network = keras.models.load_model(folder / "extractor.keras", compile=False)
        extractor = cls(saved["name"], network, tuple(saved["classes"]), saved["facts"])
        if extractor.sha256 != saved["sha256"]:
            raise ValueError(f"the extractor's weights were changed. Received: folder={str(folder)!r}")
        return extractor


class Extractor(Config):
    """A recipe for a feature space. Final classes add `kind` and their settings."""

    @abstractmethod
    def fit(self, dataset: PreparedDataset, *, seed: int) -> FittedExtractor:
        """Makes the feature space for a dataset.

        Raises:
            ValueError: The dataset lacks what this space is made from.
        """


def _padded(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fills a last, smaller batch up, so that one graph of one shape serves all of them."""
    missing = BATCH - len(batch)
    return batch if not missing else np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.uint8)])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
