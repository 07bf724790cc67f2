"""Pictures of requests to a served model, as files and as arrays. What a network would lose of them is refused.

A copy stands beside every exported model, where `served.py` loads it. So it imports nothing of ganlib.
"""

from __future__ import annotations

import base64
import io
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 2**22  # of all pictures of a request together
WHITE = 127  # values of a mask above it are to be repaired
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # become grey or RGB of 8 bits without a loss
PROFILE_SPACES = {1: b"GRAY", 3: b"RGB "}
SHOWN, LISTED = 60, 10  # most characters of a value in a message, and most values of a list


class RequestError(ValueError):
    """A request is wrong. The message is one line."""


def refuse(expected: str, received: str) -> NoReturn:
    """Raises a RequestError that says what was expected and what was received."""
    raise RequestError(f"expected {expected}. Received: {received}") from None


def show(value: Any) -> str:
    """Returns a value for a message: on one line and of bounded length."""
    return _cut(repr(value.item() if isinstance(value, np.generic) else value))


def show_names(names: Any) -> str:
    """Returns names for a message, without quotes."""
    names = [_cut(repr(str(name))[1:-1]) for name in names]
    return ", ".join([*names[:LISTED], *([f"... ({len(names)} in all)"] if len(names) > LISTED else [])])


def _cut(text: str) -> str:
    return text[:SHOWN] + "..." * (len(text) > SHOWN)


class File:
    """A picture as a PNG or JPEG file in base64, or as the bytes of such a file. Only its header is read at first.

    Args:
        name: Name of the input, for messages.
        value: The file.
        channels: Channels that the network takes.
    """

    def __init__(self, name: str, value: Any, channels: int) -> None:
        self._name, self._channels = name, channels
        self._received = f"{name}={show(value)}"
        try:
            content = value if value[:3] in (b"\x89PN", b"\xff\xd8\xff") else base64.b64decode(value)
            self._file = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        except MemoryError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            refuse_size(name, "far more")
        except Exception:  # noqa: BLE001  # Pillow raises almost anything on damaged files
            self._refuse_damaged()
        self.area = self._file.width * self._file.height
        if ";16" in str(self._file.tile):  # Pillow itself would drop half of the bits
            refuse(f"{name} with 8 bits a channel", "16 bits")
        if (frames := getattr(self._file, "n_frames", 1)) > 1:
            refuse(f"{name} as one picture", f"an animation or a series of {frames}")

    def pixels(self) -> NDArray[np.uint8]:
        """Decodes the picture, turned upright.

        Returns:
            uint8 [H, W, C].

        Raises:
            RequestError: It is damaged, or has something that the network would lose.
        """
        try:
            picture: Image.Image = ImageOps.exif_transpose(self._file)
            opaque = not picture.has_transparency_data or picture.convert("RGBA").getchannel("A").getextrema()[0] == 255
            colours = np.asarray(picture.convert("RGB"), np.uint8)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  # the same
            self._refuse_damaged()
        if picture.mode not in MODES:
            refuse(f"{self._name} in grey or RGB", f"colours of the kind {picture.mode}")
        if not opaque:
            refuse(f"{self._name} without transparent parts", "some")
        if self._channels == 1 and (colours != colours[..., :1]).any():
            refuse(f"{self._name} in grey", "colours")
        return colours[..., : self._channels]

    def profile(self, channels: int) -> bytes | None:
        """Returns the colour profile of the file, if it has one, for a result of so many channels.

        Raises:
            RequestError: The result has other colours.
        """
        profile: bytes | None = self._file.info.get("icc_profile") or None
        if profile and profile[16:20] != PROFILE_SPACES.get(channels):
            space = show_names([profile[16:20].decode("latin-1").strip()])
            refuse(f"{self._name} without a colour profile for other colours than the result's", f"one for {space}")
        return profile

    def _refuse_damaged(self) -> NoReturn:
        refuse(f"{self._name} as a PNG or JPEG file in base64", f"{self._received}, which cannot be decoded")


class Array:
    """A picture as an array, with the same methods."""

    def __init__(self, name: str, value: Any, channels: int) -> None:
        image = np.asarray(value)
        if image.dtype.kind not in "iu" or image.ndim != 3 or image.shape[2] != channels or not image.size:
            refuse(f"{name} as uint8 [N, H, W, {channels}]", f"{image.dtype} {list(image.shape)} in a row")
        if not 0 <= int(image.min()) <= int(image.max()) <= 255:
            refuse(f"{name} in 0..255", f"values in {image.min()}..{image.max()}")
        self._pixels = image.astype(np.uint8)
        self.area = image.shape[0] * image.shape[1]

    def pixels(self) -> NDArray[np.uint8]:
        """Returns uint8 [H, W, C]."""
        return self._pixels

    def profile(self, channels: int) -> None:
        """Returns None: arrays have no colour profile."""
        del channels


def read(name: str, values: Any, channels: int) -> list[File] | list[Array]:
    """Reads pictures of one input, without decoding files: `image` and `mask` are files, `images` and `masks` arrays.

    Raises:
        RequestError: One of them is of another kind, or they have too many pixels together.
    """
    kind: Any = Array if name.endswith("s") else File
    pictures: list[File] | list[Array] = [kind(name, value, channels) for value in values]
    if (pixels := sum(picture.area for picture in pictures)) > MAX_PIXELS:
        refuse_size(name, str(pixels))
    return pictures


def refuse_size(name: str, received: str) -> NoReturn:
    """Refuses pictures of too many pixels."""
    refuse(f"{name} of at most {MAX_PIXELS} pixels in a request", received)


def check_sizes(images: list[Any], masks: list[Any], sides: Any, limits: dict[str, Any]) -> None:
    """Refuses images of sizes that the network does not take, and masks of other sizes.

    Args:
        images: uint8 [H, W, C] each.
        masks: uint8 [H, W, 1] for each image, or empty.
        sides: Height and width that the function takes, None for any.
        limits: Content of `inputs.json`.

    Raises:
        RequestError: A size is wrong.
    """
    multiple, minimum = limits.get("multiple_of", 1), limits.get("minimum", 1)
    fixed = [side or other for side, other in zip(sides, limits.get("fixed") or (None, None), strict=True)]
    rule = f"sides that are multiples of {multiple} and at least {minimum}"
    sizes = f"images of {fixed[1]}x{fixed[0]} pixels" if all(fixed) else rule
    for row, image in enumerate(images):
        size = f"image {row} of {image.shape[1]}x{image.shape[0]}"
        for side, only in zip(image.shape[:2], fixed, strict=True):
            if side % multiple or side < minimum or (only and side != only):
                refuse(sizes, size)
        if masks and masks[row].shape[:2] != image.shape[:2]:
            refuse("a mask of the size of its image", "{}, mask of {}x{}".format(size, *masks[row].shape[1::-1]))


def check_mask(name: str, mask: NDArray[np.uint8]) -> None:
    """Refuses a mask that is not black but marks nothing, such as one of 0 and 1.

    Raises:
        RequestError: It is such a mask.
    """
    if 0 < (largest := int(mask.max())) <= WHITE:
        refuse(f"{name} with 255 where a picture is to be repaired, and 0 elsewhere", f"values up to {largest}")


def to_png(image: NDArray[np.uint8], profile: bytes | None = None) -> str:
    """Returns an image, uint8 [H, W, C], as a PNG file in base64."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, format="PNG", icc_profile=profile)
    return base64.b64encode(file.getvalue()).decode("ascii")
