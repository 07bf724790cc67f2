"""The base classes of architectures, which build networks for an image shape."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from ganlib.schema import Config

if TYPE_CHECKING:
    import keras

ImageShape = tuple[int, int, int]


class Architecture(Config):
    """A family of networks. Concrete classes add `kind` and their settings."""

    kind: str

    @abstractmethod
    def check(self, image_shape: ImageShape) -> None:
        """Checks whether the networks can be built for an image shape.

        Raises:
            ValueError: They cannot; the message says for which shapes they can.
        """

    @property
    def judges_batches(self) -> bool:
        """Whether the logit of an image depends on the others of its batch, as with batch norm in a discriminator."""
        return False

    @abstractmethod
    def discriminator(self, *, image_shape: ImageShape, classes: int, dtype: str, seed: int) -> keras.Model:
        """Builds the discriminator.

        Args:
            image_shape: Height, width, channels.
            classes: Number of classes that a label chooses from, 0 for none.
            dtype: Keras dtype policy, such as `float32` or `mixed_bfloat16`.
            seed: Seed of random layers, such as dropout.

        Returns:
            Network from a dict with `images`, float32 [N, H, W, C] in -1..1, and where there are classes
            `label`, int64 [N], to logits, float32 [N, 1].
        """


class LatentToImage(Architecture):
    """A family whose generator makes images from latent vectors."""

    @abstractmethod
    def generator(self, *, latent_dim: int, image_shape: ImageShape, classes: int, dtype: str) -> keras.Model:
        """Builds the generator of stock Keras layers only, so that its file can be loaded without this project.

        Args:
            latent_dim: Width of the latent vector.
            image_shape: Height, width, channels.
            classes: Number of classes that can be asked for, 0 for none.
            dtype: Keras dtype policy, such as `float32` or `mixed_bfloat16`.

        Returns:
            Network from a dict with `latent`, float32 [N, latent_dim], and where there are classes `label`,
            int64 [N], to images, float32 [N, H, W, C] in -1..1.
        """


class ImageToImage(Architecture):
    """A family whose generator makes images from images.

    Layers whose outputs serve as features are named `feature_0`, `feature_1`, ... in both networks.
    """

    @property
    def mixes_images(self) -> bool:
        """Whether a generated image depends on the others of its batch in training, as with batch norm."""
        return False

    @property
    def multiple_of(self) -> int:
        """Multiple that both sides of an image must be; 1 if any size will do."""
        return 1

    @property
    def smallest(self) -> int:
        """Pixels that a side must have for the generator."""
        return self.multiple_of

    def multiple_at(self, image_shape: ImageShape) -> int:
        """Returns the multiple that sides must be for a generator which was built for an image shape.

        A network that is as deep as its image allows needs more than the smallest multiple, `multiple_of`.
        """
        del image_shape
        return self.multiple_of

    def smallest_at(self, image_shape: ImageShape) -> int:
        """Returns the pixels that a side must have for a generator which was built for an image shape."""
        del image_shape
        return self.smallest

    @abstractmethod
    def generator(self, *, image_shape: ImageShape, channels: int, dtype: str, seed: int | None) -> keras.Model:
        """Builds the generator.

        Args:
            image_shape: Height, width and channels of what it takes; channels may count a mask too.
            channels: Channels of the images that it makes.
            dtype: Keras dtype policy, such as `float32` or `mixed_bfloat16`.
            seed: Seed of random layers, such as dropout. None leaves them out, and the weights are the same: so the
                network is scored and shipped, of stock Keras layers only, and its file can be loaded without this
                project.

        Returns:
            Network from a dict with `image`, float32 [N, H, W, C], to images, float32 [N, H, W, channels] in -1..1.
            A fully convolutional one takes any height and width that are multiples of `multiple_at(image_shape)`.
        """

    @abstractmethod
    def discriminator(
        self, *, image_shape: ImageShape, classes: int, dtype: str, seed: int, condition_channels: int = 0
    ) -> keras.Model:
        """Builds the discriminator.

        Args:
            image_shape: Height, width, channels.
            classes: Number of classes that a label chooses from, 0 for none.
            dtype: Keras dtype policy, such as `float32` or `mixed_bfloat16`.
            seed: Seed of random layers, such as dropout.
            condition_channels: Channels of images that are judged together with the images, 0 for none.

        Returns:
            Network from a dict with `images`, float32 [N, H, W, C] in -1..1, and where there are channels of a
            condition `condition`, float32 [N, H, W, condition_channels], to logits, one for each patch, float32
            [N, h, w, 1].
        """
