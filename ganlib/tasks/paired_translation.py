"""Images to target images, learned from pairs (pix2pix: Isola et al. 2017, https://arxiv.org/abs/1611.07004)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from etils import epy
from pydantic import Field

from ganlib import pixels
from ganlib.tasks.base import DISCRIMINATOR, GENERATOR
from ganlib.tasks.image_to_image import IMAGE, ImageToImageTask
from ganlib.tasks.play import Match, Networks, Play

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import keras
    import numpy as np
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Batch

CONDITION = "condition"


class PairedTranslation(ImageToImageTask):
    """One generator from images to their targets, and a discriminator that sees an image beside its target.

    The generator's loss has the term `l1`, the mean absolute difference to the target.
    """

    kind: Literal["paired_translation"] = "paired_translation"
    l1_weight: float = Field(default=100.0, ge=0.0)
    """Weight of the mean absolute difference to the target, pixels in -1..1."""
    adversarial_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the adversarial terms. With 0 there is no discriminator: the difference alone trains."""
    best_by: Literal["distance", "l1"] | None = None
    """What chooses the best generator: `distance` to real targets, or `l1`, the difference to the true ones. By default
    `l1` without adversarial terms, and otherwise `distance`."""

    @property
    def best_measure(self) -> str:
        """`distance` or `l1`."""
        return self.best_by or ("distance" if self.adversarial_weight else "l1")

    def check_data(self, *, image_shape: ImageShape, classes: Sequence[str], paired: bool) -> None:
        """Refuses images without targets."""
        del image_shape, classes  # ignored
        if not paired:
            raise ValueError(
                "task=paired_translation needs pairs of images, as from data.source.kind=paired_images. "
                "Received: single images"
            )

    def discriminators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> dict[str, keras.Model]:
        """Builds the one discriminator, which also takes the input as `condition`, if there are adversarial terms."""
        del classes  # of no use here
        if not self.adversarial_weight:
            return {}
        build, channels = self.family(architecture).discriminator, image_shape[2]
        network = build(image_shape=image_shape, classes=0, dtype=dtype, seed=seed, condition_channels=channels)
        return {DISCRIMINATOR: network}

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds nothing."""
        del seed, number
        return batch

    def play(self, networks: Networks, batch: Batch, *, training: bool) -> Play:
        """Compares targets with generated images, each beside its input."""
        images, targets = (pixels.to_model_range(batch[name]) for name in ("images", "targets"))
        fake = networks.generators[GENERATOR]({IMAGE: images}, training=training)
        match = Match(targets, fake, {CONDITION: images}, weight=self.adversarial_weight)
        matches = dict.fromkeys(networks.discriminators, match)
        return Play(matches, lambda: {"l1": self.l1_weight * tf.reduce_mean(tf.abs(fake - targets))})

    def real(self, dataset: PreparedDataset, network: str | None = None) -> PreparedDataset:
        """Returns the targets."""
        del network
        return dataset.of("targets")

    def truth(self, examples: Mapping[str, NDArray[Any]], network: str | None = None) -> NDArray[np.uint8] | None:
        """Returns the targets."""
        del network
        return examples["targets"]
