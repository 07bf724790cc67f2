"""Images from random latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from etils import epy
from pydantic import Field

from ganlib import pixels, streams
from ganlib.models import LatentToImage
from ganlib.tasks.base import DISCRIMINATOR, GENERATOR, LABEL, Task
from ganlib.tasks.play import Match, Networks, Play, Signature

with epy.lazy_imports():
    import tensorflow as tf

    from ganlib.tasks import checks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import keras
    from numpy.typing import NDArray

    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Batch, Inputs

LATENT = "latent"


class Generation(Task):
    """One generator from Gaussian latents to images, one discriminator against real images.

    With `conditional` both networks are class-conditional, and a fake has the class of the real image at its index.
    """

    kind: Literal["generation"] = "generation"
    latent_dim: int = Field(default=100, ge=1, le=4096)
    """Width of the latent vector."""
    conditional: bool = False
    """Whether a class can be asked for; needs labelled images."""

    def check_architecture(self, architecture: Architecture) -> None:
        """Refuses networks that do not make images from latents."""
        if not isinstance(architecture, LatentToImage):
            raise ValueError(  # noqa: TRY004  # a wrong setting, not a wrong type
                "task=generation needs networks from latents to images, such as dcgan or r3gan. "
                f"Received: model={architecture.kind}"
            )

    def check_data(self, *, image_shape: ImageShape, classes: Sequence[str], paired: bool) -> None:
        """Refuses class-conditional networks without labels."""
        del image_shape, paired  # targets are ignored
        if self.conditional and len(classes) < 2:
            raise ValueError(
                "task.conditional needs images with labels of 2 classes or more; otherwise set task.conditional=false. "
                f"Received: classes={len(classes)}, conditional=True"
            )

    def notes(self, architecture: Architecture, *, classes: int) -> list[str]:
        """Says what classes are used for if none can be asked for."""
        del architecture
        if self.conditional or classes < 2:
            return []
        return [
            "the classes are used for scores only; task.conditional=true, or the preset conditional, generates by class"
        ]

    def generators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int | None
    ) -> dict[str, keras.Model]:
        """Builds the one generator."""
        del seed  # nothing in it is random
        self.check_architecture(architecture)
        known = classes if self.conditional else 0
        build = architecture.generator  # type: ignore[attr-defined]  # checked above
        return {GENERATOR: build(latent_dim=self.latent_dim, image_shape=image_shape, classes=known, dtype=dtype)}

    def discriminators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> dict[str, keras.Model]:
        """Builds the one discriminator."""
        known = classes if self.conditional else 0
        return {
            DISCRIMINATOR: architecture.discriminator(image_shape=image_shape, classes=known, dtype=dtype, seed=seed)
        }

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds `latents`, float32 [N, latent_dim]."""
        shape = [batch["images"].shape[0], self.latent_dim]
        latents = tf.random.stateless_normal(shape, streams.pair(streams.key("latents", seed), number))
        return {**batch, "latents": latents}

    def play(self, networks: Networks, batch: Batch, *, training: bool) -> Play:
        """Compares real images with generated ones."""
        condition = {LABEL: batch["labels"]} if self.conditional else {}
        fake = networks.generators[GENERATOR]({LATENT: batch["latents"], **condition}, training=training)
        return Play({DISCRIMINATOR: Match(pixels.to_model_range(batch["images"]), fake, condition)})

    def inputs(
        self,
        count: int | tf.Tensor,
        *,
        seed: int | tf.Tensor,
        shares: Sequence[float],
        label: int | tf.Tensor | None = None,
        examples: Mapping[str, NDArray[Any]] | None = None,
        network: str | None = None,
    ) -> Inputs:
        """Returns `latent` float32 [count, latent_dim] and, if conditional, `label` int64 [count]."""
        del examples, network  # latents come from the seed, and there is one network
        if label is not None and not self.conditional:
            raise ValueError(f"expected no labels, since this generator takes none. Received: labels={label}")
        stream = streams.pair(seed, streams.key("sample latents"))
        inputs = {LATENT: tf.random.stateless_normal([count, self.latent_dim], stream)}
        if self.conditional:
            uniform = tf.random.stateless_uniform([count], streams.pair(seed, streams.key("sample classes")))
            bounds = tf.cumsum(tf.constant(shares[:-1], tf.float32))
            drawn = tf.searchsorted(bounds, uniform, side="right", out_type=tf.int64)
            inputs[LABEL] = drawn if label is None else tf.broadcast_to(tf.cast(label, tf.int64), [count])
        return inputs

    @property
    def takes_label(self) -> bool:
        """Whether it is conditional."""
        return self.conditional

    def signatures(
        self, networks: Mapping[str, keras.Model], *, image_shape: ImageShape, classes: int
    ) -> dict[str, Signature]:
        """Returns `generate`: images of a seed, and of a class where one can be asked for."""
        del image_shape
        network = networks[GENERATOR]
        numbers = {"seed": tf.int64, "count": tf.int32} | ({LABEL: tf.int64} if classes else {})

        def generate(**arguments: tf.Tensor) -> dict[str, tf.Tensor]:
            count = checks.positive(arguments["count"], name="count")
            inputs = self.inputs(count, seed=arguments["seed"], shares=(), label=arguments.get(LABEL))
            return {"images": pixels.to_uint8(network(checks.checked(inputs, classes=classes), training=False))}

        example = {"seed": 1, "count": 3} | ({LABEL: 0} if classes else {})
        refused = [{**example, "count": 0}] + ([{**example, LABEL: -1}] if classes else [])
        specs = {name: tf.TensorSpec([], dtype, name=name) for name, dtype in numbers.items()}
        return {"generate": Signature(generate, specs, example, refused)}
