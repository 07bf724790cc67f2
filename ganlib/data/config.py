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
"""Every source there is: a new one is one file and one word here."""


class DataConfig(Config):
    """Where the images come from, and the one shape that they are brought to."""

    source: AnySource = Digits()
    """Where the images come from."""
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    """Short name of the data, part of the name of every score on it; absent means the source's kind."""
    size: int = Field(default=28, ge=8, le=1024)
    """Side of the square images in pixels."""
    colour: Colour = "grey"
    """Grey (one channel) or RGB (three)."""
    fit: Fit = "crop"
    """How an oblong image becomes square: cut out its centre, or pad it with black."""
    resize: Resize = "bicubic"
    """Filter for resizing; all but nearest are antialiased when reducing."""
    min_side: int = Field(default=8, ge=1)
    """Images with a shorter side than this many pixels are skipped."""
    value_range: tuple[float, float] | None = None
    """Numbers of the originals that become 0 and 255, those between in proportion, for all images, of 8 bits too.
    Absent means that images of 8 bits stay as they are, and that those of more have the range found in the set."""
    max_unusable: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of unusable images above which the preparation fails."""
    train_images: int | None = Field(default=None, ge=2)
    """At most so many training images, the same ones for every run; absent means all."""
    flip: bool = False
    """Whether training images are mirrored left to right at random, where the subject allows it."""
    shards: int = Field(default=1, ge=1, le=10_000)
    """Number of files that the training images are written to, and of the tasks that prepare them on Kubeflow."""
    fingerprint: str | None = None
    """Checksum of the source's listing; a run fills it in, so that changed images are prepared anew."""

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
