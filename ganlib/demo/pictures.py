"""Somebody's own picture: read as the command `apply` reads it, and translated or repaired.

Nothing is kept. The page sends the picture again, so there is nothing to delete, to confuse or to guess.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from etils import epy

from ganlib.data.loading import UnusableImageError
from ganlib.demo.generation import png
from ganlib.demo.model import DemoModel
from ganlib.inference import tiling
from ganlib.inference.apply import COLOURS, SPLIT, choose_tile, splits_a_hole
from ganlib.inference.functions import ImageFunction
from ganlib.inference.pictures import ON_WHITE, Picture, Pictures

with epy.lazy_imports():
    import numpy as np
    import PIL
    from PIL import Image

MOST_PIXELS = 25_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")  # Pillow would start Ghostscript for PostScript
OWN_MASK = f"mask: {ON_WHITE}"  # a canvas writes its masks with an opaque alpha channel

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Answer(NamedTuple):
    """What is made of a picture.

    Attributes:
        notes: What was lost or may look wrong.
        files: PNG files.
    """

    notes: list[str]
    files: list[bytes]


class Given(NamedTuple):
    """A picture that a function takes, with its mask if it needs one.

    Attributes:
        picture: The picture.
        notes: What was lost when it was read.
    """

    picture: Picture
    notes: list[str]


def show(function: ImageFunction, data: bytes) -> Answer:
    """Returns a picture as a function takes it: upright, in grey or colour, of 8 bits.

    Args:
        function: The function that it is meant for.
        data: The file.

    Returns:
        The picture; for a function that takes masks also a mask of its transparent parts, white, if it has any.

    Raises:
        UnusableImageError: It is damaged, has too many pixels, or is no picture.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = _write(Path(folder), data)
        _check_size(file)
        picture, notes = _read(function, file, takes_mask=False)
        if function.takes_masks and ON_WHITE in notes:
            with suppress(UnusableImageError):  # transparent in a way that is no mask; then the note says so
                picture, notes = _read(function, file, takes_mask=True)
    files = [png(picture.pixels, profile=picture.profile)]
    return Answer(notes, files if picture.mask is None else [*files, _mask_png(picture.mask)])


def read(function: ImageFunction, data: bytes, mask: bytes) -> Given:
    """Reads a picture for a function, and its mask.

    Args:
        function: The function.
        data: The picture, as `show` returned it.
        mask: Mask for a function that takes one, white where the picture is to be repaired; otherwise empty.

    Raises:
        UnusableImageError: The picture or the mask is not usable.
    """
    if function.takes_masks != bool(mask):
        raise UnusableImageError(
            f"the function {function.name} takes {'a mask' if function.takes_masks else 'no mask'}"
        )
    with tempfile.TemporaryDirectory() as folder:
        file = _write(Path(folder), data)
        _check_size(file)
        masks = _write(Path(folder) / "masks", mask) if mask else None
        return Given(*_read(function, file, masks=masks, takes_mask=function.takes_masks))


def make(
    model: DemoModel,
    function: ImageFunction,
    given: Given,
    *,
    report: Callable[[float], None],
    stop: threading.Event,
) -> Answer:
    """Translates or repairs a picture.

    Args:
        model: The model of the function.
        function: The function.
        given: What `read` returned for it.
        report: Called with the share that is done.
        stop: Set when nobody waits for the result any more.

    Raises:
        FunctionError: The function failed.
        InterruptedError: Nobody waits any more.
    """
    picture, notes = given

    def check(share: float) -> None:
        if stop.is_set():
            raise InterruptedError
        report(share)

    tile, overlap = choose_tile(function)
    with model.alone(stop):
        check(0.0)
        made = tiling.run(function, picture.pixels, picture.mask, tile=tile, overlap=overlap, report=check)
    if splits_a_hole(function, picture, tile, overlap):
        notes = [*notes, SPLIT]
    return Answer(notes, [png(made, profile=picture.profile)])


def _write(folder: Path, data: bytes) -> Path:
    """Writes a file with the suffix of a picture, so that nothing else, such as an archive, is made of it."""
    folder.mkdir(exist_ok=True)
    file = folder / "picture.png"
    file.write_bytes(data)
    return file


def _check_size(file: Path) -> None:
    """Refuses a picture of too many pixels before it is decoded; other faults are found when it is read."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            width, height = picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImageError(f"too many pixels: expected at most {MOST_PIXELS:,}") from error
    except PIL.UnidentifiedImageError as error:
        raise UnusableImageError("unreadable: not an image") from error
    except Exception:  # noqa: BLE001  # Pillow raises almost anything; the reader says what is wrong
        return
    if width * height > MOST_PIXELS:
        raise UnusableImageError(
            f"too many pixels: expected at most {MOST_PIXELS:,}, and it has {width}x{height}; `gan-pipelines apply` "
            "takes larger pictures"
        )


def _read(
    function: ImageFunction, file: Path, *, takes_mask: bool, masks: Path | None = None
) -> tuple[Picture, list[str]]:
    pictures = Pictures.at(str(file), masks=None if masks is None else str(masks))
    colour, result = COLOURS[function.channels], COLOURS[function.channels_out]
    try:
        picture = pictures.read(0, colour=colour, result=result, takes_mask=takes_mask)
    except UnusableImageError as error:
        message = str(error).replace("set data.value_range", "`gan-pipelines apply --value-range` takes it")
        raise UnusableImageError(message) from error
    return picture, [remark for remark in pictures.remarks if remark != OWN_MASK]


def _mask_png(mask: NDArray[np.bool_]) -> bytes:
    return png(np.where(mask, np.uint8(255), np.uint8(0))[..., None])
