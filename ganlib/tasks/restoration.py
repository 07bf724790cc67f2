"""Damaged images to undamaged ones: holes, noise, low resolution, missing colour, JPEG."""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any, Literal

from etils import epy
from pydantic import Field, model_validator

from ganlib import pixels, streams
from ganlib.tasks.base import DISCRIMINATOR, GENERATOR
from ganlib.tasks.damage import AnyDamage, Mask
from ganlib.tasks.features import compute_features
from ganlib.tasks.image_to_image import IMAGE, MASK, ImageToImageTask
from ganlib.tasks.play import Match, Networks, Play

with epy.lazy_imports():
    import keras
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Batch, Inputs
    from ganlib.tasks.damage import Damage
    from ganlib.tasks.play import Terms

DAMAGED = "damaged"


class Restoration(ImageToImageTask):
    """A generator that repairs images, and a discriminator that sees undamaged and repaired ones.

    The terms are those of LaMa (Suvorov et al. 2022, https://arxiv.org/abs/2109.07161), without the perceptual one,
    which needs a network trained on other images. The preset `inpaint` weighs them as LaMa does. Where the damage is a
    mask, the discriminator is trained to take known pixels for real and repaired ones for generated, and known pixels
    of the result are those of the input.
    """

    kind: Literal["restoration"] = "restoration"
    damage: AnyDamage = Mask()
    """What is done to training images: mask, noise, downscale, grey or jpeg."""
    test_damage: AnyDamage | None = None
    """What is done to the held-out images that are scored; null means the same."""
    l1_weight: float = Field(default=10.0, ge=0.0)
    """Weight of the mean absolute difference to the undamaged image, of pixels in -1..1. With a mask, the pixels
    under it count as 0 in this mean."""
    hole_l1_weight: float = Field(default=0.0, ge=0.0)
    """The same for the pixels under a mask; the others count as 0. It makes repairs blurred, and is needed without the
    adversarial terms."""
    adversarial_weight: float = Field(default=10.0, ge=0.0)
    """Weight of the adversarial terms. With 0 there is no discriminator, and the network is trained by differences
    alone: a reference for the peak signal-to-noise ratio."""
    feature_weight: float = Field(default=100.0, ge=0.0)
    """Weight of feature matching (Wang et al. 2018, https://arxiv.org/abs/1711.11585): the mean squared difference of
    the discriminator's features, as in LaMa, of images without augmentation. There is none without a discriminator."""

    residual: bool = False
    """Whether the network computes what must be added to the damaged image, as in DnCNN (Zhang et al. 2017,
    https://arxiv.org/abs/1608.03981), instead of the whole image. It then begins as a network that changes
    nothing, which helps where most of the image is right, as with `downscale` and `jpeg`. Not for masks."""
    best_by: Literal["distance", "l1"] | None = None
    """What chooses the best generator: `distance` to real images, or `l1`, the difference to the true images, of holes
    where there are any. By default `l1` without adversarial terms, and otherwise `distance`."""

    @model_validator(mode="after")
    def _check_damage_and_weights(self) -> Restoration:
        if self.damage.has_mask != self._test_damage.has_mask:
            raise ValueError(
                "expected a mask in both damage and test_damage, or in neither. "
                f"Received: damage={self.damage.kind}, test_damage={self._test_damage.kind}"
            )
        if self.hole_l1_weight and not self.damage.has_mask:
            received = f"damage={self.damage.kind}, hole_l1_weight={self.hole_l1_weight:g}"
            raise ValueError(f"hole_l1_weight is of no use without damage=mask. Received: {received}")
        if self.residual and self.damage.has_mask:
            raise ValueError(
                "residual is of no use with damage=mask: holes have nothing to add to. Received: residual=True"
            )
        name = "hole_l1_weight" if self.damage.has_mask else "l1_weight"
        if not self.adversarial_weight and not getattr(self, name):
            received = f"adversarial_weight=0, {name}=0"
            raise ValueError(f"expected {name} above 0, since nothing else trains repairs. Received: {received}")
        return self

    @property
    def has_real_patches(self) -> bool:
        """Whether a discriminator sees repairs with a mask: pixels that are known count as real."""
        return self.damage.has_mask and self.adversarial_weight > 0.0

    @property
    def best_measure(self) -> str:
        """`distance`, `l1`, or `l1_hole` for masks."""
        chosen = self.best_by or ("distance" if self.adversarial_weight else "l1")
        return "l1_hole" if chosen == "l1" and self.damage.has_mask else chosen

    def origin(self, dataset: PreparedDataset) -> dict[str, Any]:
        """Returns the checksums of masks of your own."""
        shape = dataset.image_shape
        damages = {"masks": self.damage, "test masks": self._test_damage}
        own = {name: one for name, one in damages.items() if isinstance(one, Mask) and one.masks is not None}
        return {name: one.identity(shape) for name, one in own.items()}

    def protocol(self, dataset: PreparedDataset, network: str | None = None) -> dict[str, Any]:
        """Returns the damage of the inputs, too."""
        return {**super().protocol(dataset, network), "damage": self._test_damage.identity(dataset.image_shape)}

    @property
    def signature(self) -> str:
        """`restore`."""
        return "restore"

    def check_data(self, *, image_shape: ImageShape, classes: Sequence[str], paired: bool) -> None:
        """Refuses images that cannot be damaged like this."""
        del classes, paired  # ignored
        for damage in (self.damage, self._test_damage):
            damage.check(image_shape)

    @property
    def _test_damage(self) -> Damage:
        return self.test_damage or self.damage

    def generators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int | None
    ) -> dict[str, keras.Model]:
        """Builds the one generator. Where there is a mask, it takes `mask` beside `image`."""
        if not self.damage.has_mask:
            built = super().generators(architecture, image_shape=image_shape, classes=classes, dtype=dtype, seed=seed)
            return {name: _with_input_added(network) for name, network in built.items()} if self.residual else built
        height, width, channels = image_shape
        build = self.family(architecture).generator
        network = build(image_shape=(height, width, channels + 1), channels=channels, dtype=dtype, seed=seed)
        sides = network.input[IMAGE].shape[1:3]
        image = keras.Input((*sides, channels), name=IMAGE, dtype="float32")
        mask = keras.Input((*sides, 1), name=MASK, dtype="float32")
        known = keras.layers.Multiply(dtype="float32")([image, 1.0 - mask])
        together = keras.layers.Concatenate(dtype="float32")([known, mask])
        return {GENERATOR: keras.Model({IMAGE: image, MASK: mask}, network({IMAGE: together}), name="generator")}

    def discriminators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> dict[str, keras.Model]:
        """Builds the one discriminator, if there are adversarial terms."""
        if not self.adversarial_weight:
            return {}
        return super().discriminators(architecture, image_shape=image_shape, classes=classes, dtype=dtype, seed=seed)

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds the damaged images, uint8 [N, H, W, C], and their mask, float32 [N, H, W, 1], if there is one."""
        count = batch["images"].shape[0]
        places = number * count + tf.range(count, dtype=tf.int64)
        keys = tf.stack([tf.fill([count], tf.constant(streams.key("damage", seed), tf.int64)), places], axis=1)
        damaged = self.damage.apply(batch["images"], keys)
        mask = {} if damaged.mask is None else {MASK: damaged.mask}
        return {**batch, DAMAGED: damaged.images, **mask}

    def play(self, networks: Networks, batch: Batch, *, training: bool) -> Play:
        """Compares undamaged images with repaired ones."""
        images = pixels.to_model_range(batch["images"])
        mask = batch.get(MASK)
        inputs = {IMAGE: pixels.to_model_range(batch[DAMAGED])} | ({} if mask is None else {MASK: mask})
        repaired = networks.generators[GENERATOR](inputs, training=training)
        match = Match(images, repaired, weight=self.adversarial_weight, generated=mask)
        discriminators = networks.discriminators
        return Play(dict.fromkeys(discriminators, match), lambda: self._terms(images, repaired, mask, discriminators))

    def _terms(
        self,
        images: tf.Tensor,
        repaired: tf.Tensor,
        mask: tf.Tensor | None,
        discriminators: Mapping[str, keras.Model],
    ) -> Terms:
        difference = tf.abs(repaired - images)
        if mask is None:
            terms = {"l1": self.l1_weight * tf.reduce_mean(difference)}
        else:
            # Means over all pixels: those of a part would give each replica its own weights.
            terms = {"l1_known": self.l1_weight * tf.reduce_mean(difference * (1.0 - mask))}
            if self.hole_l1_weight:
                terms["l1_hole"] = self.hole_l1_weight * tf.reduce_mean(difference * mask)
        if self.feature_weight and discriminators:
            of_features = _feature_difference(discriminators[DISCRIMINATOR], images, repaired)
            terms["feature_matching"] = self.feature_weight * of_features
        return terms

    def shipped(self, generators: dict[str, keras.Model]) -> dict[str, keras.Model]:
        """Returns the generator. With a mask, it leaves known pixels as they are; a sum is cut off to -1..1."""
        network = generators[GENERATOR]
        if self.residual:
            return {GENERATOR: keras.Model(network.input, keras.ops.clip(network.output, -1.0, 1.0), name="generator")}
        if not self.damage.has_mask:
            return {GENERATOR: network}
        image, mask = network.input[IMAGE], network.input[MASK]
        composed = keras.ops.where(mask > 0.5, network.output, image)
        return {GENERATOR: keras.Model({IMAGE: image, MASK: mask}, composed, name="generator")}

    def inputs_from(self, examples: Mapping[str, NDArray[Any]], network: str | None) -> Inputs:
        """Returns `image` float32 [N, H, W, C], the damaged images of examples, and their `mask`, if any.

        The damage of an image depends on nothing but the image. So all scores of all runs are of the same damage.
        """
        del network
        images = examples["images"]
        keys = [(streams.key("sample damage"), zlib.crc32(image.tobytes())) for image in images]
        damaged, mask = _graph(self._test_damage)(tf.constant(images), tf.constant(keys, tf.int64))
        return {IMAGE: pixels.to_model_range(damaged)} | ({} if mask is None else {MASK: mask})

    def truth(self, examples: Mapping[str, NDArray[Any]], network: str | None = None) -> NDArray[np.uint8] | None:
        """Returns the undamaged images."""
        del network
        images: NDArray[np.uint8] = examples["images"]
        return images

    def labels(self, examples: Mapping[str, NDArray[Any]]) -> NDArray[np.int64] | None:
        """Returns the classes of the undamaged images, if they have any."""
        labels: NDArray[np.int64] = examples["labels"]
        return labels if (labels >= 0).all() else None

    def holes(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
        """Returns the masks."""
        return inputs[MASK] > 0.5 if MASK in inputs else None


@functools.cache
def _graph(damage: Damage) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor | None]]:
    """Returns the function that damages images and returns their mask, as a graph, which is much faster than eager."""

    def apply(images: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        damaged = damage.apply(images, keys)
        return damaged.images, damaged.mask

    return tf.function(apply, autograph=False)


def _with_input_added(network: keras.Model) -> keras.Model:
    """Returns a network whose output is added to its input. It begins as one that changes nothing.

    With the first weights of other networks it would begin far from the image, and end with adding nothing at all: on
    the way there its activations die.
    """
    last = [layer for layer in network.layers if getattr(layer, "kernel", None) is not None][-1]
    last.kernel.assign(keras.ops.zeros_like(last.kernel))
    image = keras.Input(network.input[IMAGE].shape[1:], name=IMAGE, dtype="float32")
    restored = keras.layers.Add(dtype="float32")([image, network({IMAGE: image})])
    return keras.Model({IMAGE: image}, restored, name="generator")


def _feature_difference(discriminator: keras.Model, images: tf.Tensor, repaired: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared difference of the features of real and repaired images, a mean over the layers."""
    real_and_fake = (compute_features(discriminator, each, training=True) for each in (images, repaired))
    differences = [
        tf.reduce_mean(tf.math.squared_difference(tf.cast(real, tf.float32), tf.cast(fake, tf.float32)))
        for real, fake in zip(*real_and_fake, strict=True)
    ]
    return tf.add_n(differences) / len(differences)
