"""Images of one size, read from any place without preparation, in order to be scored."""

from __future__ import annotations

import functools
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import storage
from ganlib.data.archive import DAMAGE_ERRORS, PACKED, Archive, is_tar
from ganlib.data.arrays import Arrays
from ganlib.data.base import DataSource, Listing, Split
from ganlib.data.conform import Colour, ImageStats, open_image
from ganlib.data.description import describe
from ganlib.data.image_folder import ImageFolder
from ganlib.data.loading import UnusableImageError
from ganlib.data.notes import range_notes, scale_note
from ganlib.data.records import PreparedDataset
from ganlib.data.value_range import ValueRange
from ganlib.data.value_survey import Survey, survey

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 256
MAX_UNUSABLE = 0.05
SPLITS: tuple[Split, ...] = ("train", "test")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Images:
    """A set of images. Use `Images.at(location)`.

    Attributes:
        name: The location, for messages.
        source: A prepared dataset, or the listing of any other source.
        splits: The splits to use.
        remarks: Number of images by lossy conversion; updated by `batches`.
        stats: Statistics of the originals; updated by `batches` unless the images are prepared.
    """

    name: str
    source: PreparedDataset | Listing
    splits: tuple[Split, ...]
    remarks: Counter[str] = field(default_factory=Counter)
    stats: ImageStats = field(default_factory=ImageStats)

    @classmethod
    def at(cls, location: str) -> Images:
        """Opens the images at a location.

        Args:
            location: A folder that `prepare` wrote, a folder of image files, an archive of such a folder, or the npz or
                idx files that `Arrays` reads. A suffix `#train` or `#test` selects one split; the default is all.

        Raises:
            ValueError: There are no images.
        """
        place, separator, split = location.rpartition("#")
        chosen = [name for name in SPLITS if separator and split == name]
        path = storage.fetch(place if chosen else location)
        splits = tuple(chosen) or SPLITS
        if (path / MANIFEST).is_file():
            return cls(location, PreparedDataset.open(path), splits)
        return cls(location, _source(path).listing(), splits)

    @property
    def count(self) -> int:
        """The number of images, before any is read."""
        if isinstance(self.source, PreparedDataset):
            return sum(self.source.count(split) for split in self.splits)
        return sum(entry.split in self.splits for entry in self.source.entries)

    def checksum(self, *, with_times: bool = False) -> str:
        """Returns the SHA-256 of the list of images, see `Listing.checksum`; of prepared ones, that of the pixels.

        Images of a split that is not used count, too.
        """
        if isinstance(self.source, PreparedDataset):
            return self.source.checksum
        return self.source.checksum(with_times=with_times)

    @property
    def description(self) -> list[str]:
        """Lines that describe the images for the user."""
        if isinstance(self.source, PreparedDataset):
            return list(self.source.manifest.get("description", []))
        return describe(self.source, self._survey, with_splits=not self.source.drawn or self.splits != SPLITS)

    @property
    def values(self) -> ValueRange | None:
        """The range of values that is scaled to 0..255, the same for all images; None if all have 8 bits."""
        return self._survey.values

    @functools.cached_property
    def _survey(self) -> Survey:
        """The range of values, estimated from some of the images. Prepared images have it in their manifest."""
        if isinstance(self.source, PreparedDataset):
            return Survey(self.source.values, 0, 0)
        return survey(self.source, rows=self._rows(self.source))

    @property
    def formats(self) -> Mapping[str, int]:
        """The number of images of each file format. Complete once all images have been read."""
        if not isinstance(self.source, PreparedDataset):
            return self.stats.formats
        return sum((Counter(self.source.formats(split)) for split in self.splits), Counter[str]())

    @property
    def notes(self) -> list[str]:
        """Notes on lossy conversions and unusual properties. Complete once all images have been read."""
        if isinstance(self.source, PreparedDataset):
            return [] if self.values is None else [f"Of {self.name}, {scale_note(self.values)}"]
        lost = [f"Of {self.name}, {many} of {self.count} images: {remark}." for remark, many in self.remarks.items()]
        unused = (
            [f"Of {self.name}, ignored: {'; '.join(map(str, self.source.ignored))}."] if self.source.ignored else []
        )
        few = [f"Of {self.name}: {note}" for note in range_notes(self.stats.low, self.stats.high, self.values)]
        return [*lost, *unused, *few]

    def _rows(self, listing: Listing) -> list[int]:
        return [row for row, entry in enumerate(listing.entries) if entry.split in self.splits]

    def batches(self, colour: Colour) -> Iterator[NDArray[np.uint8]]:
        """Yields batches uint8 [n, H, W, C] in a fixed order, all of one size.

        Args:
            colour: Grey or RGB; prepared images keep their own colours.

        Raises:
            ValueError: The images differ in size, or too many of them cannot be read.
        """
        if isinstance(self.source, PreparedDataset):
            for split in self.splits:
                yield from (images for images, _ in self.source.read(split))
        else:
            yield from self._read(self.source, colour)

    def _read(self, listing: Listing, colour: Colour) -> Iterator[NDArray[np.uint8]]:
        rows, values = self._rows(listing), self.values
        unusable: list[str] = []
        first: tuple[str, tuple[int, ...]] | None = None

        def pixels(row: int) -> tuple[NDArray[np.uint8], list[str], ImageStats] | UnusableImageError:
            stats = ImageStats()
            try:
                image, remarks = open_image(lambda: listing.read(row), colour=colour, values=values, stats=stats)
            except UnusableImageError as error:
                return error
            return np.asarray(image, np.uint8).reshape(image.height, image.width, -1), remarks, stats

        with ThreadPoolExecutor() as pool:
            for start in range(0, len(rows), CHUNK):
                batch = []
                for row, result in zip(rows[start:], pool.map(pixels, rows[start : start + CHUNK]), strict=False):
                    name = listing.entries[row].name
                    if isinstance(result, UnusableImageError):
                        unusable.append(f"{name} ({result})")
                        continue
                    image, remarks, stats = result
                    self.remarks.update(remarks)
                    self.stats.merge(stats)
                    first = first or (name, image.shape)
                    if image.shape != first[1]:
                        raise ValueError(_size_mismatch(first[0], first[1], name, image.shape))
                    batch.append(image)
                if len(unusable) > MAX_UNUSABLE * len(rows):
                    received = f"{len(unusable)} of {len(rows)} images, such as {unusable[0]}"
                    raise ValueError(f"expected at most {MAX_UNUSABLE:.0%} unusable images. Received: {received}")
                if batch:
                    yield np.stack(batch)
        if unusable:
            self.remarks[f"skipped, such as {unusable[0]}"] = len(unusable)


def _source(path: Path) -> DataSource:
    if path.is_dir():
        files = any(path.glob("*-idx3-ubyte*"))
        return Arrays(path=str(path)) if files else ImageFolder(path=str(path))
    if zipfile.is_zipfile(path):
        return Arrays(path=str(path)) if _holds_arrays(path) else Archive(path=str(path))
    with path.open("rb") as opened_file:
        magic = opened_file.read(6)
    if magic.startswith(b"\0\0\x08") or "idx" in path.name:
        return Arrays(path=str(path))
    if not magic.startswith(tuple(PACKED)) and not is_tar(path):
        expected = "a folder of images, a zip or tar file of them, or an npz or idx file, undamaged"
        raise ValueError(f"expected {expected}. Received: path={str(path)!r}")
    return Archive(path=str(path))


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except DAMAGE_ERRORS:  # `Archive` reports them
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _size_mismatch(first: str, shape: tuple[int, ...], second: str, other: tuple[int, ...]) -> str:
    sizes = f"{shape[1]}x{shape[0]} ({first}) and {other[1]}x{other[0]} ({second})"
    return f"expected images of one size; resize them first. Received: {sizes}"
