"""The settings of the preparation."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from ganlib.data.archive import Archive
from ganlib.data.arrays import Arrays
from ganlib.data.conform import Colour, Fit, Resize, height_and_width
from ganlib.data.digits import Digits
from ganlib.data.image_folder import ImageFolder
from ganlib.data.paired_images import PairedImages
from ganlib.schema import Config, from_word

AnySource = Annotated[
    Digits | ImageFolder | Archive | Arrays | PairedImages, Field(discriminator="kind"), BeforeValidator(from_word)
]
"""All sources. To add one, write its file and add its class here."""

MIN_SIDE, MAX_SIDE = 8, 1024  # pixels


def _check_sides(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Reads a size. Of the mistakes that pydantic lists for each form of it, this makes one."""
    try:
        return read(value)
    except ValidationError as error:
        raise ValueError(f"expected one side, or height and width, of {MIN_SIDE} to {MAX_SIDE} pixels") from error


Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
Sides = Annotated[Side | tuple[Side, Side], WrapValidator(_check_sides)]
"""Size of images in pixels: the side of a square, or height and width."""


class DataConfig(Config):
    """Where the images come from, and the size and colour that they are converted to."""

    source: AnySource = Digits()
    """Where the images come from."""
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    """Short name of the data, which becomes part of the name of every score on it. Default: the source's kind."""
    size: Sides = 28
    """Size of the images in pixels: the side of a square, or height and width, such as `[48, 80]`."""
    colour: Colour = "grey"
    """Grey (one channel) or RGB (three)."""
    fit: Fit = "crop"
    """How an image of another shape is made to fit: crop its centre, or pad it with black."""
    resize: Resize = "bicubic"
    """Filter for resizing. All filters but nearest antialias when they shrink an image."""
    target_resize: Resize | None = None
    """Filter for resizing the targets of pairs, such as `nearest` for maps of labels. Default: as for images."""
    min_side: int = Field(default=8, ge=1)
    """Images with a side shorter than this are skipped, in pixels."""
    value_range: tuple[float, float] | None = None
    """Values of the originals that become 0 and 255, with linear scaling between them. Applies to all images, also to
    those of 8 bits. Default: images of 8 bits stay as they are; for deeper ones, the range is found from the set."""
    max_unusable: float = Field(default=0.05, ge=0.0, le=1.0)
    """The preparation fails if a larger share of the images than this is unusable."""
    train_images: int | None = Field(default=None, ge=2)
    """Maximum number of training images, the same ones in every run. Default: all."""
    flip: bool = False
    """Whether training images are mirrored left to right at random. Use it only if a mirrored image is still valid."""
    jitter: float = Field(default=1.0, ge=1.0)
    """Training images are enlarged by this factor and cropped back at a random place, anew in each epoch, an image and
    its target alike. 1.0 means no change; 1.117 is the classic choice for translation (286 of 256 pixels)."""
    crop: Sides | None = None
    """Size of random crops of the training images, as for `size`. The networks train on them; samples and scores use
    whole images. Default: whole images."""
    shards: int = Field(default=1, ge=1, le=10_000)
    """Number of files that the training images are written to. On Kubeflow, several tasks prepare them at once, see
    platform.prepare_tasks."""
    fingerprint: str | None = None
    """Checksum of the list of images. A run fills it in, so that changed images are prepared again; a value of your own
    stays."""

    @field_validator("value_range")
    @classmethod
    def _low_is_below_high(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends is not None and ends[0] >= ends[1]:
            raise ValueError(f"expected two numbers, the lower one first. Received: value_range={list(ends)}")
        return ends

    @model_validator(mode="after")
    def _check_crops(self) -> DataConfig:
        height, width, _ = self.image_shape
        crop_height, crop_width, _ = self.batch_shape
        if crop_height > height or crop_width > width:
            raise ValueError(
                "expected crops no larger than the images, data.size. "
                f"Received: data.crop={self.crop}, data.size={self.size}"
            )
        if self.jitter > 1.0 and (round(self.jitter * height), round(self.jitter * width)) == (height, width):
            raise ValueError(
                f"expected data.jitter=1.0, or one that adds at least a pixel to {max(height, width)}. "
                f"Received: data.jitter={self.jitter}"
            )
        return self

    @model_validator(mode="after")
    def _check_targets(self) -> DataConfig:
        if self.target_resize is not None and not isinstance(self.source, PairedImages):
            raise ValueError(
                "expected data.target_resize only for pairs of images. "
                f"Received: data.target_resize={self.target_resize}, data.source={self.source.kind}"
            )
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every prepared image."""
        return (*height_and_width(self.size), 1 if self.colour == "grey" else 3)

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images in training batches: those of the crops, if any."""
        return (*height_and_width(self.crop or self.size), self.image_shape[2])
