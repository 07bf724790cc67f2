"""The settings of the preparation."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from ganlib.data.archive import Archive
from ganlib.data.arrays import Arrays
from ganlib.data.conform import Colour, Fit, Resize
from ganlib.data.digits import Digits
from ganlib.data.image_folder import ImageFolder
from ganlib.schema import Config, from_word

AnySource = Annotated[Digits | ImageFolder | Archive | Arrays, Field(discriminator="kind"), BeforeValidator(from_word)]
"""All sources. To add one, write its file and add its class here."""


class DataConfig(Config):
    """Where the images come from, and the size and colour that they are converted to."""

    source: AnySource = Digits()
    """Where the images come from."""
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    """Short name of the data, which becomes part of the name of every score on it. Default: the source's kind."""
    size: int = Field(default=28, ge=8, le=1024)
    """Side of the square images in pixels."""
    colour: Colour = "grey"
    """Grey (one channel) or RGB (three)."""
    fit: Fit = "crop"
    """How an image becomes square: crop its centre, or pad it with black."""
    resize: Resize = "bicubic"
    """Filter for resizing. All filters but nearest antialias when they shrink an image."""
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
    shards: int = Field(default=1, ge=1, le=10_000)
    """Number of files that the training images are written to. On Kubeflow, a task of its own prepares each file."""
    fingerprint: str | None = None
    """Checksum of the source's listing. A run fills it in, so that changed images are prepared again."""

    @field_validator("value_range")
    @classmethod
    def _low_is_below_high(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends is not None and ends[0] >= ends[1]:
            raise ValueError(f"expected two numbers, the lower one first. Received: value_range={list(ends)}")
        return ends

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every prepared image."""
        return self.size, self.size, 1 if self.colour == "grey" else 3
