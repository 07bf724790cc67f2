"""What a task hands to training and to export: networks, what discriminators compare, and functions to ship."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    import keras

    Terms = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Networks:
    """The networks of a task by name.

    Attributes:
        generators: Networks that make images. Their averages are scored and shipped.
        discriminators: Networks that classify images as real or fake. Each has the name of its match.
        frozen: Networks that only give features. They are not trained and not part of a checkpoint.
        memory: Variables that a task changes while it plays, such as a pool of images. They are part of a checkpoint.
        auxiliary: Networks that are trained with the generators, but neither averaged nor shipped.
    """

    generators: dict[str, keras.Model]
    discriminators: dict[str, keras.Model]
    frozen: dict[str, keras.Model] = field(default_factory=dict)
    memory: dict[str, keras.Variable] = field(default_factory=dict)
    auxiliary: dict[str, keras.Model] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """What one discriminator compares.

    Attributes:
        real: float32 [N, H, W, C] in -1..1.
        fake: The same shape, generated.
        condition: Further inputs of the discriminator by name, shared by the real and the fake image at each index.
            Those of rank 4 are images, and an augmentation moves them with the images that they belong to.
        weight: Factor on the losses of both networks in this match.
        pooled: What updates of the discriminator use in place of `fake`, such as images from earlier steps.
        generated: float32 [N, H, W, 1], 1 where `fake` is generated and 0 where it is real, for discriminators of
            patches; None means that all of it is generated.
    """

    real: tf.Tensor
    fake: tf.Tensor
    condition: Mapping[str, tf.Tensor] = field(default_factory=dict)
    weight: float = 1.0
    pooled: tf.Tensor | None = None
    generated: tf.Tensor | None = None

    @property
    def shown(self) -> tf.Tensor:
        """The generated images that an update of the discriminator uses."""
        return self.fake if self.pooled is None else self.pooled

    def generated_logits(self, logits: tf.Tensor) -> tf.Tensor | None:
        """Returns which logits of the fake images are those of generated patches, by their centres; None if all are.

        Convolutions that halve the image keep its border, and others may cut it off, so the logits are the middle of a
        grid of one logit for each 1, 2, 4 ... pixels.

        Args:
            logits: Logits of patches, [N, h, w, 1].

        Returns:
            bool [N, h, w, 1].
        """
        if self.generated is None:
            return None
        grid, cut = [], []
        for side, count in zip(self.generated.shape[1:3], logits.shape[1:3], strict=True):
            cells = -(-side // 2 ** int(math.log2(side / count)))
            grid.append(cells)
            cut.append((cells - count) // 2)
        centres = tf.image.resize(self.generated, grid, tf.image.ResizeMethod.NEAREST_NEIGHBOR) > 0.5
        height, width = logits.shape[1:3]
        return centres[:, cut[0] : cut[0] + height, cut[1] : cut[1] + width]


@dataclass(frozen=True)
class Play:
    """The generators' forward pass: images for each discriminator, and further terms of the generators' loss.

    Attributes:
        matches: What each discriminator compares, by the discriminator's name.
        terms: Returns further terms of the generators' loss, such as a reconstruction's, as float32 scalars by name. It
            is called for updates of the generators only, after the update of the discriminators.
    """

    matches: dict[str, Match]
    terms: Callable[[], Terms] = dict


@dataclass(frozen=True)
class Signature:
    """A function that is shipped beside the networks, in the SavedModel.

    Attributes:
        function: Takes tensors by name and returns tensors by name.
        inputs: Its arguments, as `tf.TensorSpec` by name.
        example: Arguments for which every process must return the same result.
        refused: Arguments that it must refuse.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: Mapping[str, tf.TensorSpec]
    example: Mapping[str, Any]
    refused: Sequence[Mapping[str, Any]] = ()
