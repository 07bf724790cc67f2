"""What an architecture is: networks for an image shape."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from ganlib.schema import Config

if TYPE_CHECKING:
    import keras

ImageShape = tuple[int, int, int]


class Architecture(Config):
    """A family of networks. Final classes add `kind` and their settings."""

    @abstractmethod
    def check(self, image_shape: ImageShape) -> None:
        """Says whether the networks can serve an image shape, before anything is built.

        Raises:
            ValueError: They cannot; the message says what they can.
        """

    @abstractmethod
    def generator(self, *, latent_dim: int, image_shape: ImageShape, dtype: str) -> keras.Model:
        """Builds the generator, in training mode to be called with `training=True`.

        Args:
            latent_dim: Width of the latent vector.
            image_shape: Height, width, channels.
            dtype: Keras dtype policy, `float32` or `mixed_bfloat16`.

        Returns:
            Network from latents, float32 [N, latent_dim], to images, float32 [N, H, W, C] in -1..1.
        """

    @abstractmethod
    def discriminator(self, *, image_shape: ImageShape, dtype: str, seed: int) -> keras.Model:
        """Builds the discriminator.

        Args:
            image_shape: Height, width, channels.
            dtype: Keras dtype policy, `float32` or `mixed_bfloat16`.
            seed: Seed of whatever is random inside, such as dropout.

        Returns:
            Network from images, float32 [N, H, W, C] in -1..1, to logits, float32 [N, 1].
        """
