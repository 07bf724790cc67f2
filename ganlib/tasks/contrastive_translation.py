"""Images of one domain to another, in one direction and without pairs (CUT: Park et al. 2020, arXiv 2007.15651)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy
from pydantic import Field

from ganlib import pixels, streams
from ganlib.tasks.base import DISCRIMINATOR, GENERATOR
from ganlib.tasks.domains import DomainTranslation
from ganlib.tasks.features import FEATURE, compute_features, compute_output_and_features, feature_shapes
from ganlib.tasks.play import Match, Networks, Play

with epy.lazy_imports():
    import tensorflow as tf

    from ganlib.tasks import patch_nce

if TYPE_CHECKING:
    import keras

    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Batch
    from ganlib.tasks.play import Terms

PROJECTION = "projection"
NUMBERS, FLIPPED = "patch_numbers", "flipped"


class ContrastiveTranslation(DomainTranslation):
    """A generator from the source domain to the target domain, and a discriminator of the target domain.

    Instead of a way back, features of the generator's own first half tie a translation to its original: each place of
    the one should be closer to the same place of the other than to its other places. With batch norm translations, too,
    enter the generator's statistics, so a `unet` should have `norm: instance`.

    The weights are those of CUT where the adversarial term is not halved. `least_squares` is, so the preset `cut` has
    0.5. FastCUT, which needs less time and memory, has ten times the `nce_weight`, `identity_nce_weight: 0` and
    `flip_equivariance: true`.
    """

    kind: Literal["contrastive_translation"] = "contrastive_translation"
    nce_weight: float = Field(default=1.0, gt=0.0)
    """Weight of PatchNCE between images of the source domain and their translations."""
    identity_nce_weight: float = Field(default=1.0, ge=0.0)
    """Weight of PatchNCE between images of the target domain and their translations, which should not change; 0 leaves
    it out. With it, half of each term counts."""
    temperature: float = Field(default=0.07, gt=0.0)
    """What similarities are divided by; with less, the most similar wrong places count more."""
    patches: int = Field(default=256, ge=2)
    """Random places of each layer of features that are compared, or all places of a smaller map. A map of a
    single place is left out."""
    projection_width: int = Field(default=256, ge=1)
    """Width of both layers of the networks that project features before they are compared."""
    flip_equivariance: bool = False
    """Whether images are mirrored half the time before they are translated, and the features of the translation are
    mirrored back before they are compared."""

    def notes(self, architecture: Architecture, *, classes: int) -> list[str]:
        """Says that statistics of batches are those of several kinds of images, if the generator has such."""
        del classes
        if not self.family(architecture).mixes_images:
            return []
        note = (
            f"with task={self.kind}, the batch norm of {architecture.kind} averages over images and their translations "
            "alike; resnet_translator, or unet with model.norm=instance or none, has no such statistics"
        )
        return [note]

    def generators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int | None
    ) -> dict[str, keras.Model]:
        """Builds the one generator.

        Raises:
            ValueError: It has no layers whose features could be compared.
        """
        built = super().generators(architecture, image_shape=image_shape, classes=classes, dtype=dtype, seed=seed)
        if not _compared(built[GENERATOR], image_shape):
            raise ValueError(
                f"task={self.kind} needs a generator with layers named {FEATURE}0, {FEATURE}1, ..., such as that of "
                f"resnet_translator. Received: model={architecture.kind}"
            )
        return built

    def auxiliary(self, generators: dict[str, keras.Model], *, image_shape: ImageShape) -> dict[str, keras.Model]:
        """Builds a projection for each layer of features that is compared."""
        compared = _compared(generators[GENERATOR], image_shape)
        return {name: patch_nce.head(channels, self.projection_width, name=name) for name, channels in compared.items()}

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds numbers that choose the places, and if images are mirrored, which ones, bool [N]."""
        numbers = patch_nce.draw_numbers(batch["images"], key=streams.key("patches", seed), number=number)
        if not self.flip_equivariance:
            return {**batch, NUMBERS: numbers}
        chances = tf.random.stateless_uniform(numbers.shape[:1], streams.pair(streams.key("flips", seed), number))
        return {**batch, NUMBERS: numbers, FLIPPED: chances < 0.5}

    def play(self, networks: Networks, batch: Batch, *, training: bool) -> Play:
        """Compares translations with images of the target domain."""
        source, target = (pixels.to_model_range(batch[name]) for name in ("images", "targets"))
        generator = networks.generators[GENERATOR]
        fake, features = compute_output_and_features(generator, _flip(source, batch), training=training)

        def patch_nce_of(images: tf.Tensor, features: list[tf.Tensor], made: tf.Tensor) -> tf.Tensor:
            # Those of the mirrored images are of no use.
            keys = compute_features(generator, images, training=training) if self.flip_equivariance else features
            return self._patch_nce(networks, batch, keys, compute_features(generator, made, training=training))

        def terms() -> Terms:
            nce = self.nce_weight * patch_nce_of(source, features, fake)
            if not self.identity_nce_weight:
                return {"nce": nce}
            same, target_features = compute_output_and_features(generator, _flip(target, batch), training=training)
            identity_nce = self.identity_nce_weight * patch_nce_of(target, target_features, same)
            return {"nce": nce / 2, "identity_nce": identity_nce / 2}

        return Play({DISCRIMINATOR: Match(target, fake)}, terms)

    def _patch_nce(
        self, networks: Networks, batch: Batch, keys: list[tf.Tensor], queries: list[tf.Tensor]
    ) -> tf.Tensor:
        """Returns the mean over the layers of PatchNCE between the features of originals and of translations."""
        heads, losses = networks.auxiliary, list[tf.Tensor]()
        for index, (key, query) in enumerate(zip(keys, queries, strict=True)):
            network = heads.get(_projection(index))
            if network is None:
                continue
            size, start = key.shape[1] * key.shape[2], len(losses) / len(heads)
            places = patch_nce.choose_places(batch[NUMBERS], size=size, patches=self.patches, start=start)
            query, key = (patch_nce.project(network, each, places) for each in (_flip(query, batch), key))
            losses.append(patch_nce.patch_nce(query, key, temperature=self.temperature))
        return tf.add_n(losses) / len(losses)


def _projection(index: int) -> str:
    """Returns the name of the projection of a layer of features."""
    return f"{PROJECTION}_{index}"


def _compared(generator: keras.Model, image_shape: ImageShape) -> dict[str, int]:
    """Returns the channels of the layers that are compared, by the name of their projection.

    A map of a single place, as a U-Net has it at its innermost level, has no other place to be mistaken for: its loss
    would always be zero, and its projection would not be trained.
    """
    shapes = enumerate(feature_shapes(generator, image_shape))
    return {_projection(index): channels for index, (height, width, channels) in shapes if height * width > 1}


def _flip(images: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Mirrors the images, or their features, [N, H, W, C], that the batch says are mirrored, if any."""
    if FLIPPED not in batch:
        return images
    return tf.where(batch[FLIPPED][:, None, None, None], tf.reverse(images, [2]), images)
