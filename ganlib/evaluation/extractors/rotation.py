"""Features learned without labels, by telling how an image was turned (Gidaris et al. 2018, arXiv:1803.07728)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib.evaluation.extractors.base import Extractor, FittedExtractor, batch_size
from ganlib.evaluation.extractors.network import NetworkSettings, facts_on_test_images

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset

TURNS = ("0", "90", "180", "270")


class Rotation(Extractor):
    """The layer before the logits of a network that predicts a turn by 0, 90, 180 or 270 degrees."""

    kind: Literal["rotation"] = "rotation"
    network: NetworkSettings = NetworkSettings()
    """Size and training of the network that tells the turns."""

    def fit(self, dataset: PreparedDataset, *, seed: int, weights: Path | None = None) -> FittedExtractor:
        """Trains the network on every image in four positions; see the base class."""
        del weights
        height, width, _ = dataset.image_shape
        if height != width:
            raise ValueError(
                "rotation needs square images, since it learns from quarter turns; use evaluation.extractor=random. "
                f"Received: size={height}x{width}"
            )
        images, turns = _turned(dataset.load("train")[0])
        network = self.network.train(images, turns, classes=len(TURNS), seed=seed)
        facts = facts_on_test_images(network, *_turned(dataset.load("test")[0]))
        # Turns are not classes of the data, so none are named.
        return FittedExtractor(f"{dataset.name}_rotation", network, (), facts, batch=batch_size(dataset.image_shape))


def _turned(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    turned = [np.rot90(images, k=k, axes=(1, 2)) for k in range(len(TURNS))]
    return np.concatenate(turned), np.repeat(np.arange(len(TURNS)), len(images))
