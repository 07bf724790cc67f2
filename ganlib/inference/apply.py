"""Applies an exported model to pictures, and writes a PNG file for each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.data.every_image import is_picture
from ganlib.data.loading import FILE_ERRORS, UnusableImageError
from ganlib.data.names import shorten
from ganlib.inference import tiling
from ganlib.inference.functions import ExportedFunctions, FunctionError, ImageFunction
from ganlib.inference.outputs import PNG, check_output, result_files, save_png
from ganlib.inference.pictures import Picture, Pictures
from ganlib.inference.tiling import round_up
from ganlib.progress import Progress

if TYPE_CHECKING:
    from ganlib.data.conform import Colour

SPLIT = "a hole leads through all that two tiles share, and they may repair it differently"
WAYS_OUT = "; a larger --overlap, up to half a --tile, or --tile 0 may avoid that"
COLOURS: dict[int, Colour] = {1: "grey", 3: "rgb"}


@dataclass(frozen=True)
class Applied:
    """The result of `apply`.

    Attributes:
        written: Number of pictures that were written.
        failed: The reason why a picture was not written, by its name.
    """

    written: int
    failed: dict[str, str]


def apply(
    model: str,
    source: str,
    output: Path,
    *,
    function: str | None = None,
    masks: str | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    value_range: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> Applied:
    """Makes a picture from each picture with a function of an exported model.

    The result has the size of the picture: its sides are extended by reflection where the network needs it, and cut
    back. A picture larger than a tile is made from overlapping tiles, so that the memory is bounded. Where masks are
    used, all other pixels stay as they are. A picture that cannot be read is reported, and the others are made.

    Args:
        model: The exported model, a folder or an address in a bucket.
        source: A picture, a folder or an archive of pictures, or a folder of a bucket.
        output: Folder for the results, which have the names of the pictures and the suffix .png; for a single picture
            also a file that ends in .png.
        function: Name of the function. Default: `translate` or `restore`.
        masks: The same kinds of places as `source`, with a mask for each picture: white where it is to be repaired.
            Default: the transparent parts of the pictures, if the function takes masks.
        tile: Largest side of a tile, 0 for the whole picture. Default: 512, or the size that the network takes.
        overlap: Pixels that neighbouring tiles share, at most half a tile. Default: what the model asks for. More of
            them let colours change more gradually between tiles, if the network gives each tile colours of its own.
        value_range: The values that become 0 and 255, for pictures of more than 8 bits.
        overwrite: Whether existing files may be replaced.

    Raises:
        ValueError: The model, the places or the tile do not fit, or the output exists.
        OSError: A result cannot be written, or a bucket cannot be read.
    """
    check_output(output, overwrite=overwrite, inputs=[source, *([masks] if masks else [])])
    pictures = Pictures.at(source, masks=masks, value_range=value_range)
    files = _files(pictures.names, output)
    exported = ExportedFunctions.open(model)
    made_by = exported.from_images(function)
    if masks is not None and not made_by.takes_masks:
        raise ValueError(f"the function {made_by.name} takes no masks. Received: masks={masks!r}")
    work = _Work(pictures, made_by, *choose_tile(made_by, tile, overlap))
    print(work.plan, flush=True)
    others = [name for name in exported.image_functions if name != made_by.name] if function is None else []
    for note in [*_ignored(pictures), *([f"other functions of the model: {', '.join(others)}"] if others else [])]:
        print(f"note: {note}", flush=True)
    failed = work.run(files)
    for remark, many in pictures.remarks.items():
        print(f"note: {many} of {len(files)} pictures: {remark}", flush=True)
    return Applied(len(files) - len(failed), failed)


def _files(names: Sequence[str], output: Path) -> list[Path]:
    """Returns the file of each result; the output itself for a single picture and a name with the suffix of one."""
    if output.is_dir() or not is_picture(output.name):
        return result_files(names, output)
    if len(names) > 1 or output.suffix.lower() != PNG:
        expected = "a folder" if len(names) > 1 else "a folder or a name that ends in .png, a format without losses"
        raise ValueError(f"expected {expected}. Received: output={str(output)!r}")
    return [output]


def choose_tile(function: ImageFunction, tile: int | None = None, overlap: int | None = None) -> tuple[int, int]:
    """Returns the largest side of a tile, where the function leaves a choice, and the overlap; see `apply`.

    Raises:
        ValueError: The function takes no such tiles, or they overlap by more than half.
    """
    if tile is not None and any(side not in (None, tile) for side in function.sides):
        height, width = function.sides
        raise ValueError(
            f"the function {function.name} takes images of one size, {width}x{height}, so tiles have that size. "
            f"Received: tile={tile}"
        )
    inputs = function.inputs
    size = tiling.DEFAULT_TILE if tile is None else tile
    size = size and max(round_up(size, inputs.multiple_of), round_up(inputs.minimum, inputs.multiple_of))
    half = min(side or size for side in function.sides) // 2
    if overlap is not None and overlap > half:
        raise ValueError(f"expected an overlap of at most half a tile, {half}. Received: overlap={overlap}")
    return size, min(inputs.overlap, half) if overlap is None else overlap


def splits_a_hole(function: ImageFunction, picture: Picture, tile: int, overlap: int) -> bool:
    """Says whether a hole of a picture leads from tile to tile; see `tiling.splits_a_hole`."""
    if picture.mask is None:
        return False
    cuts = tiling.cuts(function, *picture.mask.shape, tile=tile, overlap=overlap)
    return tiling.splits_a_hole(picture.mask, *cuts)


def _ignored(pictures: Pictures) -> list[str]:
    """Returns a note for whatever is not used."""
    notes = [f"ignored: {item}" for item in pictures.listing.ignored]
    notes += [f"ignored among the masks: {item}" for item in (pictures.masks.ignored if pictures.masks else ())]
    if unused := pictures.unused_masks():
        notes.append(f"masks of no picture: {len(unused)}, such as {shorten(unused[0])}")
    return notes


@dataclass(frozen=True)
class _Work:
    """Pictures, the function that is applied to them, the largest side of a tile, and how far tiles overlap."""

    pictures: Pictures
    function: ImageFunction
    tile: int
    overlap: int

    @property
    def plan(self) -> str:
        """One line about what is done."""
        height, width = (side or self.tile for side in self.function.sides)
        tiles = f"tiles of {width}x{height} pixels, which overlap by {self.overlap}"
        whole = f"larger ones in {tiles}" if height else "each as a whole"
        count = len(self.pictures.names)
        return f"apply: {self.function.name}, {count} picture{'s' * (count != 1)}, {whole}"

    def run(self, files: Sequence[Path]) -> dict[str, str]:
        """Makes and writes all pictures; returns the reasons of those that failed."""
        failed: dict[str, str] = {}
        progress = Progress("apply", total=len(files), unit="pictures")
        for row, (name, file) in enumerate(zip(self.pictures.names, files, strict=True)):

            def report(share: float, name: str = name, row: int = row) -> None:
                if share < 1:
                    progress.update(row, note=f"{share:.0%} of {shorten(name)}")

            try:
                self._make(row, file, report)
            except (UnusableImageError, FunctionError) as error:
                failed[name] = str(error).replace("data.value_range", "--value-range")
            except MemoryError:
                failed[name] = "too little memory"
            except OSError as error:
                if error.errno not in FILE_ERRORS:  # such as a full disk: no other result could be written
                    raise
                failed[name] = f"its result cannot be written: {error.strerror}"
            if name in failed:
                print(f"failed: {name}: {failed[name]}", file=sys.stderr, flush=True)
            progress.update(row + 1, note=shorten(name))
        return failed

    def _make(self, row: int, file: Path, report: Callable[[float], None]) -> None:
        picture = self._read(row)
        made = tiling.run(
            self.function, picture.pixels, picture.mask, tile=self.tile, overlap=self.overlap, report=report
        )
        save_png(made, file, profile=picture.profile)
        if splits_a_hole(self.function, picture, self.tile, self.overlap):
            self.pictures.remarks[SPLIT + ("" if any(self.function.sides) else WAYS_OUT)] += 1

    def _read(self, row: int) -> Picture:
        colour, result = (COLOURS[channels] for channels in (self.function.channels, self.function.channels_out))
        try:
            return self.pictures.read(row, colour=colour, result=result, takes_mask=self.function.takes_masks)
        except OSError as error:
            raise UnusableImageError(f"unreadable: {error.strerror or error}") from error
