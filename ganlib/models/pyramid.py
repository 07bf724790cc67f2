"""What networks share that halve and double square images in stages."""

from __future__ import annotations

from abc import ABC

from pydantic import Field, model_validator

from ganlib.models.base import Architecture, ImageShape

SMALLEST, LARGEST = 16, 128
BASE = 4  # side of the smallest feature map, at least


class Pyramid(Architecture, ABC):
    """A family whose channels double with each stage away from the image, up to `max_width`."""

    kind: str
    width: int = Field(default=64, ge=4)
    """Channels of the stage nearest to the image; each further stage doubles them."""
    max_width: int = Field(default=512, ge=4)
    """Upper bound of the channels."""

    @model_validator(mode="after")
    def _check_bound(self) -> Pyramid:
        # A default below a width that was asked for gives way, since nobody asked for it.
        if self.max_width < self.width and self.max_width != type(self).model_fields["max_width"].default:
            raise ValueError(
                "expected max_width, the upper bound of the channels, to be at least width. "
                f"Received: width={self.width}, max_width={self.max_width}"
            )
        return self

    def check(self, image_shape: ImageShape) -> None:
        """Refuses shapes that stages of factor two cannot reach; see the base class."""
        height, width, _ = image_shape
        if height != width or not SMALLEST <= height <= LARGEST or height % 4:
            raise ValueError(
                f"{self.kind} serves square images of {SMALLEST} to {LARGEST} pixels a side in steps of 4 "
                f"(its stages double twice at least). Received: size={height}x{width}"
            )

    def stages(self, size: int) -> int:
        """Returns how often the image is halved until no even step above the smallest map is left."""
        halvings = 0
        while size % 2 == 0 and size // 2 >= BASE:
            size, halvings = size // 2, halvings + 1
        return halvings

    def base(self, size: int) -> int:
        """Returns the side of the smallest map."""
        return size // 2 ** self.stages(size)

    def channels(self, stage: int) -> int:
        """Returns the channels of a stage; stage 0 is nearest to the image."""
        return min(self.width * 2**stage, max(self.max_width, self.width))
