"""Runs a network over an image of any size: on the whole, or tile by tile without seams and in little memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.inference.functions import ImageFunction

DEFAULT_TILE = 512
BATCH = 16  # tiles of up to 128x128 pixels that the network takes at once; fewer of larger ones


@dataclass(frozen=True)
class Cut:
    """How one side of an image is cut.

    The side is extended to `length` by reflection. A tile has no influence on the first quarter of an overlap from its
    edge, where its network did not see what is beyond; in the next half its influence grows to 1 as a raised cosine
    does. So tiles that overlap by four times the reach of the network give the same image as the whole.

    Attributes:
        side: Pixels of the image.
        length: Pixels after the extension.
        tile: Pixels of a tile.
        overlap: Pixels that neighbouring tiles share at least.
        step: Pixels from a tile to the next one, a number that keeps the grid of the network.
    """

    side: int
    length: int
    tile: int
    overlap: int
    step: int

    @classmethod
    def of(cls, side: int, *, fixed: int | None, tile: int, multiple_of: int, minimum: int, overlap: int) -> Cut:
        """Returns the cut of a side.

        Args:
            side: Pixels of the image.
            fixed: The only side that the network takes, if it takes only one.
            tile: Largest side of a tile, 0 for any.
            multiple_of: Number that the sides of tiles are multiples of.
            minimum: Smallest side that the network takes.
            overlap: Pixels that neighbouring tiles share, at most half a tile.
        """
        smallest = fixed or round_up(minimum, multiple_of)
        length = max(round_up(side, multiple_of), smallest)
        largest = fixed or max(round_up(tile, multiple_of) or length, smallest)
        tile = min(length, largest)
        overlap = max(0, min(overlap, tile // 2, tile - multiple_of))
        step = (tile - overlap) // multiple_of * multiple_of
        return cls(side, length, tile, overlap, step)

    @functools.cached_property
    def starts(self) -> list[int]:
        """The first pixel of each tile."""
        last = self.length - self.tile
        return [*range(0, last, self.step), last]

    @property
    def shared(self) -> list[slice]:
        """The pixels of the image that two tiles share, or where they only touch, the last and the first one."""
        ends = [start + self.tile for start in self.starts[:-1]]
        return [
            slice(later, end) if later < end else slice(later - 1, later + 1)
            for end, later in zip(ends, self.starts[1:], strict=True)
        ]

    @functools.cached_property
    def pixels(self) -> NDArray[np.intp]:
        """The pixel of the image that stands at each place after the extension by reflection."""
        return np.pad(np.arange(self.side), (0, self.length - self.side), mode="reflect")

    @functools.cached_property
    def weights(self) -> list[NDArray[np.float32]]:
        """The influence of each tile on its pixels; at each pixel, those of all tiles sum to 1."""
        places = np.arange(self.tile) + 0.5
        windows = []
        for start in self.starts:
            window = np.ones(self.tile)
            if start > 0:
                window *= self._rise(places)
            if start + self.tile < self.length:
                window *= self._rise(places[::-1])
            windows.append(window)
        total = np.zeros(self.length)
        for start, window in zip(self.starts, windows, strict=True):
            total[start : start + self.tile] += window
        return [
            (window / total[start : start + self.tile]).astype(np.float32)
            for start, window in zip(self.starts, windows, strict=True)
        ]

    def _rise(self, distance: NDArray[np.floating]) -> NDArray[np.floating]:
        share = np.clip((distance - self.overlap / 4) / max(self.overlap / 2, 1e-9), 0, 1)
        return np.sin(share * np.pi / 2) ** 2


def round_up(side: int, multiple_of: int) -> int:
    """Returns the smallest multiple that is at least a side."""
    return -(-side // multiple_of) * multiple_of


def cuts(function: ImageFunction, height: int, width: int, *, tile: int, overlap: int | None = None) -> tuple[Cut, Cut]:
    """Returns how the rows and the columns of an image are cut.

    Args:
        function: The function that takes the tiles.
        height: Height of the image.
        width: Its width.
        tile: Largest side of a tile, 0 for the whole image.
        overlap: Pixels that neighbouring tiles share, at most half a tile. Default: what the model asks for.
    """
    inputs = function.inputs
    rows, columns = (
        Cut.of(
            side,
            fixed=fixed,
            tile=tile,
            multiple_of=inputs.multiple_of,
            minimum=inputs.minimum,
            overlap=inputs.overlap if overlap is None else overlap,
        )
        for side, fixed in zip((height, width), function.sides, strict=True)
    )
    return rows, columns


def splits_a_hole(mask: NDArray[np.bool_], rows: Cut, columns: Cut) -> bool:
    """Says whether a hole leads from tile to tile through all that they share, half as thick as that is wide, or more.

    What is thinner, as a scratch, has known pixels beside it, which both tiles see.

    Args:
        mask: bool [H, W], True in holes.
        rows: How the rows are cut.
        columns: How the columns are cut.
    """
    for holes, cut in ((mask, rows), (mask.T, columns)):
        for part in cut.shared:
            lines: NDArray[np.bool_] = np.all(holes[part], axis=0)
            thickness = min((part.stop - part.start) // 2, lines.size)
            if np.lib.stride_tricks.sliding_window_view(lines, thickness).all(axis=1).any():
                return True
    return False


def run(
    function: ImageFunction,
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    *,
    tile: int,
    overlap: int | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> NDArray[np.uint8]:
    """Runs a function over an image, one row of tiles after the other.

    Args:
        function: The function.
        image: uint8 [H, W, C].
        mask: bool [H, W], True where the image is to be repaired. All other pixels stay as they are.
        tile: Largest side of a tile, 0 for the whole image. A function of one size takes tiles of that size.
        overlap: Pixels that neighbouring tiles share, at most half a tile. Default: what the model asks for.
        report: Called after each row of tiles with the share that is done.

    Returns:
        uint8 [H, W, C'].

    Raises:
        FunctionError: The function failed.
    """
    height, width = image.shape[:2]
    rows, columns = cuts(function, height, width, tile=tile, overlap=overlap)
    made = np.empty((height, width, function.channels_out), np.uint8)
    band = np.zeros((rows.tile, columns.length, function.channels_out), np.float32)
    tops, weights = rows.starts, rows.weights
    for number, (top, weight) in enumerate(zip(tops, weights, strict=True)):
        places = rows.pixels[top : top + rows.tile]
        _add_row(function, image, mask, band, places, columns, weight)
        bottom = tops[number + 1] if number + 1 < len(tops) else rows.length
        complete = np.rint(band[: bottom - top, :width])
        made[top:bottom] = complete[: height - top]
        rest = rows.tile - (bottom - top)
        band[:rest] = band[rows.tile - rest :]
        band[rest:] = 0
        report((number + 1) / len(tops))
    if mask is not None:
        np.copyto(made, image, where=~mask[..., None])
    return made


def _add_row(
    function: ImageFunction,
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    band: NDArray[np.float32],
    places: NDArray[np.intp],
    columns: Cut,
    weight: NDArray[np.float32],
) -> None:
    """Adds what the network makes of a row of tiles. Tiles without anything to repair are left out."""
    tiles = []
    for left, across in zip(columns.starts, columns.weights, strict=True):
        square = np.ix_(places, columns.pixels[left : left + columns.tile])
        if mask is None or mask[square].any():
            tiles.append((left, across, square))
    size = pixels.batch_size((len(places), columns.tile), limit=BATCH)
    for first in range(0, len(tiles), size):
        batch = tiles[first : first + size]
        masks = None if mask is None else np.stack([mask[square] for *_, square in batch])[..., None]
        made = function(
            np.stack([image[square] for *_, square in batch]),
            None if masks is None else np.where(masks, np.uint8(255), np.uint8(0)),
        )
        for (left, across, _), result in zip(batch, made, strict=True):
            band[:, left : left + columns.tile] += result * (weight[:, None] * across)[..., None]
