"""The base class of networks that halve and double images in stages."""

from __future__ import annotations

from abc import ABC
from typing import Self

from pydantic import Field, model_validator

from ganlib.models.base import Architecture, ImageShape, LatentToImage

SMALLEST, LARGEST = 16, 1024
BASE = 4  # shorter side of the smallest feature map, at least


class Doubling(Architecture, ABC):
    """A family whose channels double with each stage away from the image, up to `max_width`."""

    kind: str
    width: int = Field(default=64, ge=4)
    """Channels of the stage nearest to the image; each further stage doubles them."""
    max_width: int = Field(default=512, ge=4)
    """Upper bound of the channels."""

    @model_validator(mode="after")
    def _check_bound(self) -> Self:
        # A default below a width that the user has set gives way.
        if self.max_width < self.width and self.max_width != type(self).model_fields["max_width"].default:
            raise ValueError(
                "expected max_width, the upper bound of the channels, to be at least width. "
                f"Received: width={self.width}, max_width={self.max_width}"
            )
        return self

    def channels(self, stage: int) -> int:
        """Returns the channels of a stage; stage 0 is nearest to the image."""
        return min(self.width * 2**stage, max(self.max_width, self.width))


class Pyramid(Doubling, LatentToImage, ABC):
    """A family that makes images from latents in stages of factor two."""

    kind: str

    def check(self, image_shape: ImageShape) -> None:
        """Refuses shapes that stages of factor two cannot reach."""
        height, width, _ = image_shape
        if any(not SMALLEST <= side <= LARGEST or side % 4 for side in (height, width)):
            raise ValueError(
                f"{self.kind} serves images of {SMALLEST} to {LARGEST} pixels a side in steps of 4 "
                f"(its stages double twice at least). Received: size={height}x{width}"
            )

    def stages(self, image_shape: ImageShape) -> int:
        """Returns how often both sides of the image are halved until one is odd or as small as the smallest map."""
        height, width, _ = image_shape
        halvings = 0
        while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= BASE:
            height, width, halvings = height // 2, width // 2, halvings + 1
        return halvings

    def base(self, image_shape: ImageShape) -> tuple[int, int]:
        """Returns the height and width of the smallest map."""
        scale = 2 ** self.stages(image_shape)
        return image_shape[0] // scale, image_shape[1] // scale
