"""The base class of damages: what is done to an image that a restorer then repairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from etils import epy
from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from ganlib import storage
from ganlib.schema import Config

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.models.base import ImageShape

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Damaged:
    """Damaged images.

    Attributes:
        images: uint8 [N, H, W, C], as a user's damaged images are, so what a damage computes is rounded and clipped.
        mask: float32 [N, H, W, 1], 1 where the image is unknown and 0 where it is untouched. None if there is no mask,
            because any pixel may be damaged.
    """

    images: tf.Tensor
    mask: tf.Tensor | None = None


class Damage(Config):
    """What is done to the images. Final classes add `kind` and their settings.

    A damaged image is a function of the image and its key alone. So it is the same in any batch, on any replica, and
    after training is resumed.
    """

    kind: str

    @abstractmethod
    def apply(self, images: tf.Tensor, keys: tf.Tensor) -> Damaged:
        """Damages images, in eager mode or in a graph. The height, width and channels must be static.

        Args:
            images: uint8 [N, H, W, C].
            keys: int64 [N, 2], the seed of each image. Equal keys give equal damage.
        """

    @property
    def has_mask(self) -> bool:
        """Whether it is known which pixels are damaged."""
        return False

    @property
    def floor(self) -> str | None:
        """The score of the damaged image itself as text, if it is the same for all images; otherwise None."""
        return None

    def identity(self, image_shape: ImageShape) -> str:
        """Returns what must be equal before scores of two damages are compared, as text.

        Args:
            image_shape: Height, width and channels.
        """
        del image_shape
        return storage.canonical_json(self.to_parameter())

    def check(self, image_shape: ImageShape) -> None:
        """Checks whether images of a shape can be damaged.

        Args:
            image_shape: Height, width and channels.

        Raises:
            ValueError: They cannot; the message says why.
        """
        del image_shape


def for_each(function: Callable[..., tf.Tensor], *tensors: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Calls a function for each image and stacks the results.

    TensorFlow's random functions take one key at a time. Besides, the last bits of functions such as a sine depend on
    the place of a number in its tensor, so they are computed for each image by itself.

    Args:
        function: Takes a slice of each tensor.
        tensors: Tensors with the same first dimension.
        dtype: Type of the result.
    """
    return tf.map_fn(lambda slices: function(*slices), tensors, fn_output_signature=dtype)


def as_pixels(values: tf.Tensor) -> tf.Tensor:
    """Rounds floats to uint8 0..255, half to even, and clips."""
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)


def ends(setting: Number | tuple[Number, Number]) -> tuple[Number, Number]:
    """Returns the ends of a range; of a single number, the number twice."""
    return setting if isinstance(setting, tuple) else (setting, setting)


def between(lowest: float, highest: float) -> WrapValidator:
    """Returns the check of a setting that is a number or a range of two numbers.

    Args:
        lowest: Smallest number.
        highest: Largest number.
    """

    def check(value: object, read: ValidatorFunctionWrapHandler) -> object:
        expected = f"expected a number from {lowest:g} to {highest:g}, or two of them with the smaller one first"
        try:
            setting = read(value)
        except ValidationError as error:  # one line instead of one for each of the two types
            raise ValueError(expected) from error
        low, high = ends(setting)
        if not lowest <= low <= high <= highest:
            raise ValueError(expected)
        return setting

    return WrapValidator(check)
