"""Features learned without labels, by predicting how an image was rotated (Gidaris et al. 2018, arXiv:1803.07728)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib import pixels
from ganlib.evaluation.extractors.base import BATCH, Extractor, FittedExtractor
from ganlib.evaluation.extractors.network import NetworkSettings, facts_on_test_images

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset

ROTATIONS = ("0", "90", "180", "270")  # degrees


class Rotation(Extractor):
    """The layer before the logits of a network that predicts a rotation by 0, 90, 180 or 270 degrees."""

    kind: Literal["rotation"] = "rotation"
    network: NetworkSettings = NetworkSettings()
    """Size and training of the network that predicts rotations."""

    def fit(self, dataset: PreparedDataset, *, seed: int, weights: Path | None = None) -> FittedExtractor:
        """Trains the network on each training image in all four rotations."""
        del weights
        height, width, _ = dataset.image_shape
        if height != width:
            raise ValueError(
                "rotation needs square images; set evaluation.extractor=random for others. "
                f"Received: size={height}x{width}"
            )
        images, rotations = _rotate(dataset.load("train")[0])
        network = self.network.train(images, rotations, classes=len(ROTATIONS), seed=seed)
        facts = facts_on_test_images(network, *_rotate(dataset.load("test")[0]))
        # Rotations are not classes of the data, so `classes` is empty.
        batch = pixels.batch_size(dataset.image_shape, limit=BATCH)
        return FittedExtractor(f"{dataset.name}_rotation", network, (), facts, batch=batch)


def _rotate(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rotated = [np.rot90(images, k=k, axes=(1, 2)) for k in range(len(ROTATIONS))]
    return np.concatenate(rotated), np.repeat(np.arange(len(ROTATIONS)), len(images))
