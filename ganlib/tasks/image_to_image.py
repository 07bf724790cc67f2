"""The base class of tasks whose generators make images from images."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, Literal

from etils import epy

from ganlib import pixels
from ganlib.models import ImageToImage
from ganlib.tasks.base import DISCRIMINATOR, GENERATOR, Task
from ganlib.tasks.play import Signature

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import keras
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Inputs

IMAGE, MASK = "image", "mask"  # inputs of a network that makes images from images
MASK_THRESHOLD = 127  # of a mask's pixels in 0..255; above it, the image is unknown


class ImageToImageTask(Task, ABC):
    """Samples are made from held-out images, one from each."""

    def check_architecture(self, architecture: Architecture) -> None:
        """Refuses networks that do not make images from images."""
        self.family(architecture)

    def family(self, architecture: Architecture) -> ImageToImage:
        """Returns an architecture that makes images from images.

        Raises:
            ValueError: It does not.
        """
        if not isinstance(architecture, ImageToImage):
            raise ValueError(  # noqa: TRY004  # a wrong setting, not a wrong type
                f"task={self.kind} needs networks from images to images, such as unet or resnet_translator. "
                f"Received: model={architecture.kind}"
            )
        return architecture

    def generators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int | None
    ) -> dict[str, keras.Model]:
        """Builds one generator."""
        del classes  # of no use here
        build = self.family(architecture).generator
        return {GENERATOR: build(image_shape=image_shape, channels=image_shape[2], dtype=dtype, seed=seed)}

    def discriminators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> dict[str, keras.Model]:
        """Builds one discriminator."""
        del classes  # of no use here
        return {DISCRIMINATOR: architecture.discriminator(image_shape=image_shape, classes=0, dtype=dtype, seed=seed)}

    def protocol(self, dataset: PreparedDataset, network: str | None = None) -> dict[str, Any]:
        """Returns the checksum of the data whose test images are the inputs."""
        return {"inputs_sha256": self.held_out(dataset, network).checksum}

    @property
    def samples_from(self) -> Literal["seed", "images"]:
        """`images`."""
        return "images"

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
        """Returns what `inputs_from` makes of held-out images. Samples depend on nothing but these."""
        del count, seed, shares
        if label is not None:
            raise ValueError(f"expected no labels, since this generator takes none. Received: labels={label}")
        if examples is None:
            raise ValueError("expected held-out images to make samples from. Received: none")
        return self.inputs_from(examples, network)

    def inputs_from(self, examples: Mapping[str, NDArray[Any]], network: str | None) -> Inputs:
        """Returns the inputs of a network for examples: `image` float32 [N, H, W, C], their images."""
        del network
        return {IMAGE: pixels.to_model_range(examples["images"])}

    @property
    def signature(self) -> str:
        """Name of the exported function of the first network."""
        return "translate"

    def unchanged(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | None:
        """Returns the images of the inputs."""
        images: NDArray[np.uint8] = pixels.to_uint8(inputs[IMAGE]).numpy()
        return images

    def signatures(
        self, networks: Mapping[str, keras.Model], *, image_shape: ImageShape, classes: int
    ) -> dict[str, Signature]:
        """Returns `signature` for the first network, and `<signature>_<name>` for each further one."""
        del classes
        first = self.scored[0]
        return {
            self.signature if name == first else f"{self.signature}_{name}": _signature(network, image_shape)
            for name, network in networks.items()
        }


def _signature(network: keras.Model, image_shape: ImageShape) -> Signature:
    """Returns the function from uint8 images, and masks if the network takes them, to uint8 images."""
    sides = network.input[IMAGE].shape[1:3]  # None where it takes any size

    def change(images: tf.Tensor, masks: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        inputs = {IMAGE: pixels.to_model_range(images)}
        if masks is not None:
            inputs[MASK] = tf.cast(masks > MASK_THRESHOLD, tf.float32)
        return {"images": pixels.to_uint8(network(inputs, training=False))}

    specs = {"images": tf.TensorSpec([None, *sides, image_shape[2]], tf.uint8, name="images")}
    example = {"images": _ramp((2, *image_shape), slope=7)}
    if MASK in network.input:
        specs["masks"] = tf.TensorSpec([None, *sides, 1], tf.uint8, name="masks")
        example["masks"] = np.where(_ramp((2, *image_shape[:2], 1), slope=3) > MASK_THRESHOLD, 255, 0).astype(np.uint8)
    return Signature(change, specs, example)


def _ramp(shape: tuple[int, ...], *, slope: int) -> NDArray[np.uint8]:
    """Returns pixels of all values."""
    return (np.arange(int(np.prod(shape))) * slope % 256).reshape(shape).astype(np.uint8)
