"""Locations of pairs: an image and its target, in two files or in the halves of one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn, Protocol

from ganlib.data.loading import Loaded, UnusableImageError, load
from ganlib.data.locations import ImageLocation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Half = Literal["left", "right"]


class PairLocation(ImageLocation, Protocol):
    """The location of an image and its target."""

    def load(self) -> tuple[Loaded, Loaded]:
        """Reads the image and its target, which have one size.

        Raises:
            UnusableImageError: One of them is damaged, or they do not fit together.
            RemoteError: It is stored in a bucket that cannot be read.
            OSError: This machine failed to read it, although the image may be fine.
            MemoryError: There is too little memory at the moment.
        """


class Halves(NamedTuple):
    """A picture with an image in one half and its target in the other."""

    picture: ImageLocation
    input: Half

    def open(self) -> Image.Image | NDArray[np.generic]:
        """Opens the whole picture."""
        return self.picture.open()

    def load(self) -> tuple[Loaded, Loaded]:
        """Reads the picture once and cuts it in two."""
        whole = load(self.picture.open)
        width, height = whole.size
        if width % 2:
            raise UnusableImageError(f"{width} columns: expected an even number, an image beside its target")
        left = whole.crop((0, 0, width // 2, height))
        right = whole.crop((width // 2, 0, width, height))
        return (left, right) if self.input == "left" else (right, left)


class TwoFiles(NamedTuple):
    """An image and its target in files of their own."""

    image: ImageLocation
    target: ImageLocation

    def open(self) -> Image.Image | NDArray[np.generic]:
        """Opens the image."""
        return self.image.open()

    def load(self) -> tuple[Loaded, Loaded]:
        """Reads both."""
        image, target = _load(self.image, "input"), _load(self.target, "target")
        if image.size != target.size:
            sizes = ["x".join(map(str, loaded.size)) for loaded in (image, target)]
            raise UnusableImageError(f"input {sizes[0]}, target {sizes[1]}: expected equal sizes")
        return image, target


class Unpaired(NamedTuple):
    """An image that is not part of a pair."""

    reason: str

    def open(self) -> NoReturn:
        """Raises the reason."""
        raise UnusableImageError(self.reason)

    def load(self) -> tuple[Loaded, Loaded]:
        """Raises the reason."""
        return self.open()


def _load(location: ImageLocation, name: str) -> Loaded:
    try:
        return load(location.open)
    except UnusableImageError as error:
        raise UnusableImageError(f"{name} {error}") from error
