"""Reads the pictures that an exported model is applied to, and the masks of what is to be repaired."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from etils import epy

from ganlib.data.base import Listing
from ganlib.data.conform import Colour, open_image
from ganlib.data.every_image import every_image, without_suffix
from ganlib.data.loading import UnusableImageError
from ganlib.data.names import shorten
from ganlib.data.value_range import ValueRange, kind_of
from ganlib.data.value_survey import survey

with epy.lazy_imports():
    import numpy as np
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHITE = 127  # values above are to be repaired
OPAQUE = 255
ON_WHITE = "transparent: put on a white background"
PROFILE_SPACES: dict[Colour, bytes] = {"grey": b"GRAY", "rgb": b"RGB "}


class Picture(NamedTuple):
    """A picture.

    Attributes:
        pixels: uint8 [H, W, C].
        mask: bool [H, W], True where it is to be repaired; None if masks are not used.
        profile: Its colour profile, if it has one that suits the result.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    profile: bytes | None


@dataclass(frozen=True)
class Pictures:
    """The pictures at a location. Use `Pictures.at(location)`.

    Attributes:
        listing: The pictures.
        masks: The masks; None if they are not used, or if they are the transparent parts of the pictures.
        values: The range of values of the pictures that is scaled to 0..255; None if all have 8 bits.
        mask_values: The same for the masks.
        remarks: Number of pictures by what was lost or may look wrong; updated by `read`, and by whoever uses them.
    """

    listing: Listing
    masks: Listing | None
    values: ValueRange | None
    mask_values: ValueRange | None
    remarks: Counter[str] = field(default_factory=Counter)
    _rows: dict[str, int] = field(default_factory=dict)

    @classmethod
    def at(cls, location: str, *, masks: str | None = None, value_range: tuple[float, float] | None = None) -> Pictures:
        """Lists pictures and masks.

        Args:
            location: A picture, a folder, an archive, or a folder of a bucket.
            masks: The same for masks. The mask of a picture has its name, with the suffix of any image. The mask of a
                single picture may have another name if it is a single one too.
            value_range: The values of all pictures that become 0 and 255. Default: 0 and 255 for 8 bits; the smallest
                usual range that contains the values of all others.

        Raises:
            ValueError: There are no images, two masks have the same name, or the range is empty.
            OSError: A place cannot be read.
        """
        if value_range is not None and not -math.inf < value_range[0] < value_range[1] < math.inf:
            raise ValueError(f"expected a low value and a higher one. Received: value_range={value_range}")
        listing = every_image(location)
        mask_listing = None if masks is None else every_image(masks)
        values = survey(listing, value_range).values
        pictures = cls(listing, mask_listing, values, None if mask_listing is None else survey(mask_listing).values)
        for row, entry in enumerate([] if mask_listing is None else mask_listing.entries):
            stem = without_suffix(entry.name)
            if mask_listing is not None and stem in pictures._rows:
                other = mask_listing.entries[pictures._rows[stem]].name
                raise ValueError(
                    f"expected one mask for each picture. Received: masks={masks!r}, with {shorten(other)!r} and "
                    f"{shorten(entry.name)!r}"
                )
            pictures._rows[stem] = row
        if mask_listing is not None and len(mask_listing.entries) == len(listing.entries) == 1:
            pictures._rows[without_suffix(listing.entries[0].name)] = 0
        return pictures

    @property
    def names(self) -> list[str]:
        """The names of the pictures: their paths below the location."""
        return [entry.name for entry in self.listing.entries]

    def unused_masks(self) -> list[str]:
        """Returns the names of masks that belong to no picture."""
        if self.masks is None:
            return []
        used = {self._rows.get(without_suffix(name)) for name in self.names}
        return [entry.name for row, entry in enumerate(self.masks.entries) if row not in used]

    def read(self, row: int, *, colour: Colour, result: Colour, takes_mask: bool) -> Picture:
        """Reads a picture, and its mask.

        Args:
            row: Number of the picture.
            colour: Grey or RGB.
            result: Colours of what is made of it, which its colour profile must suit.
            takes_mask: Whether masks are used.

        Raises:
            UnusableImageError: The picture is damaged, or has no mask.
            RemoteError: A bucket cannot be read.
            OSError: This machine failed to read it, although the picture may be fine.
            MemoryError: There is too little memory at the moment.
        """
        opened: list[Image.Image] = []

        def read() -> Image.Image:
            opened.append(self.listing.read(row))  # type: ignore[arg-type]  # files are no arrays
            return opened[0]

        image, remarks = open_image(read, colour=colour, values=self.values)
        pixels = np.asarray(image, np.uint8).reshape(image.height, image.width, -1)
        mask = None
        if takes_mask and self.masks is None:
            mask = _transparency(opened[0])
            remarks = [remark for remark in remarks if remark != ON_WHITE]
        elif takes_mask:
            mask, lost = self._mask(without_suffix(self.listing.entries[row].name), pixels.shape)
            remarks = [*remarks, *(f"mask: {remark}" for remark in lost)]
        profile = opened[0].info.get("icc_profile")
        if profile and profile[16:20] != PROFILE_SPACES[result]:
            profile, remarks = None, [*remarks, f"colour profile of other colours than {result}: left out"]
        self.remarks.update(remarks)
        return Picture(pixels, mask, profile or None)

    def _mask(self, stem: str, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], list[str]]:
        """Reads the mask of a picture of a shape; also returns a remark for every loss."""
        if self.masks is None or stem not in self._rows:
            raise UnusableImageError("it has no mask")
        row, masks = self._rows[stem], self.masks
        name = masks.entries[row].name
        try:
            image, lost = open_image(lambda: masks.read(row), colour="grey", values=self.mask_values)
        except UnusableImageError as error:
            raise UnusableImageError(f"mask {name}: {error}") from error
        if (image.height, image.width) != shape[:2]:
            raise UnusableImageError(
                f"mask {name}: expected the size of the picture, {shape[1]}x{shape[0]}, and it has "
                f"{image.width}x{image.height}"
            )
        values = np.asarray(image, np.uint8)
        if 0 < values.max() <= WHITE:
            raise UnusableImageError(
                f"mask {name}: expected white, 255, where the picture is to be repaired, and its largest value is "
                f"{values.max()}"
            )
        return values > WHITE, lost


def _transparency(source: Image.Image) -> NDArray[np.bool_]:
    """Returns where a picture, as it was opened, is not opaque."""
    if kind_of(source) is not None or not source.has_transparency_data:
        raise UnusableImageError("it has no mask: no transparent parts, and --masks is not given")
    return np.asarray(source.convert("RGBA").getchannel("A")) < OPAQUE
