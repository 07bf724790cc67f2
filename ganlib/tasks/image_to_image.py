"""The base class of tasks whose generators make images from images."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, Literal

from etils import epy

from ganlib import pixels
from ganlib.models import ImageToImage
from ganlib.tasks.base import Signature, Task

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import keras
    from numpy.typing import NDArray

    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Inputs

IMAGE = "image"  # the input of a network that makes images from images
EXAMPLE_SIDE = 64  # of the image that an exported function is tried with, where it takes any size


class ImageToImageTask(Task, ABC):
    """Samples are made from held-out images, one from each."""

    def check_architecture(self, architecture: Architecture) -> None:
        """Refuses networks that do not make images from images."""
        if not isinstance(architecture, ImageToImage):
            raise ValueError(  # noqa: TRY004  # a wrong setting, not a wrong type
                f"task={self.kind} needs networks from images to images, such as unet or resnet_translator. "
                f"Received: model={architecture.kind}"
            )

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
        """Returns `image` float32 [count, H, W, C], the held-out images."""
        del count, seed, shares, network
        if label is not None:
            raise ValueError(f"expected no labels, since this generator takes none. Received: labels={label}")
        if examples is None:
            raise ValueError("expected held-out images to make samples from. Received: none")
        return {IMAGE: pixels.to_model_range(examples["images"])}

    def unchanged(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | None:
        """Returns the images of the inputs."""
        images: NDArray[np.uint8] = pixels.to_uint8(inputs[IMAGE]).numpy()
        return images

    def signatures(
        self, networks: Mapping[str, keras.Model], *, image_shape: ImageShape, classes: int
    ) -> dict[str, Signature]:
        """Returns `translate` of the first network, and `translate_<name>` of each further one."""
        del classes
        first = self.scored[0]
        return {
            "translate" if name == first else f"translate_{name}": _translation(network, image_shape)
            for name, network in networks.items()
        }


def _translation(network: keras.Model, image_shape: ImageShape) -> Signature:
    """Returns the function from uint8 images to uint8 images of a network."""
    sides = network.input[IMAGE].shape[1:3]  # None where it takes any size

    def translate(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": pixels.to_uint8(network({IMAGE: pixels.to_model_range(images)}, training=False))}

    spec = tf.TensorSpec([None, *sides, image_shape[2]], tf.uint8, name="images")
    ramp = np.arange(2 * int(np.prod(image_shape))) * 7 % 256
    return Signature(translate, {"images": spec}, {"images": ramp.reshape(2, *image_shape).astype(np.uint8)})
