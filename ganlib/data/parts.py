"""The preparation in parts: each is a slice of the splits' fixed orders, and depends on nothing else.

Part 3 of 8 holds the usable images of the fourth eighth of the training images, a shard of its own, and those of the
fourth eighth of the test images, a piece of the test split's one shard. What is skipped leaves its place empty.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etils import epy

from ganlib import storage
from ganlib.data.base import Listing, Split
from ganlib.data.config import DataConfig
from ganlib.data.image_chunks import ChunkResult, ConformOptions
from ganlib.data.reading import Reader
from ganlib.data.value_range import ValueRange
from ganlib.progress import Progress

with epy.lazy_imports():
    import numpy as np

SPLITS: tuple[Split, ...] = ("train", "test")
ORDER_SEED = 0
CHUNK_IMAGES = 256
CHUNK_BYTES = 8 * 2**20  # of images and their records, so that memory is no matter of their size


@dataclass
class SplitResult:
    """What became of some images of a split.

    Attributes:
        by_class: Usable images of each class; one number where there are no classes.
        read: All of them.
        skipped: Names of the others, and why.
        remarks: What conversions lost, and how often.
        formats: How many usable images there are of each file format.
        low: Lowest value of the usable images on the scale 0..255, as `ImageStats` has it.
        high: Highest one.
        bytes: Length of the records.
        sha256: Checksum of their file, if that holds no other records.
    """

    by_class: list[int]
    read: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    remarks: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    low: int = 255
    high: int = 0
    bytes: int = 0
    sha256: str | None = None

    @classmethod
    def empty(cls, listing: Listing) -> SplitResult:
        """Returns one without images."""
        return cls([0] * max(1, len(listing.classes)))

    @property
    def count(self) -> int:
        """Usable images."""
        return sum(self.by_class)

    def add(self, listing: Listing, indices: Sequence[int], result: ChunkResult) -> None:
        """Takes in what became of some more images."""
        self.read += len(indices)
        self.remarks = dict(Counter(self.remarks) + result.remarks)
        self.formats = dict(Counter(self.formats) + result.stats.formats)
        self.low, self.high = min(self.low, result.stats.low), max(self.high, result.stats.high)
        self.bytes += len(result.records)
        for position, index in enumerate(indices):
            entry = listing.entries[index]
            if position in result.skipped:
                self.skipped.append({"name": entry.name, "reason": result.skipped[position]})
            else:
                self.by_class[entry.label or 0] += 1


class Order:
    """The fixed order of each split's images, and its slices."""

    def __init__(self, config: DataConfig, listing: Listing) -> None:
        self._parts = config.shards
        self._order = {split: _shuffled(listing, split) for split in SPLITS}
        limit = config.train_images
        self.wanted = {split: len(order) for split, order in self._order.items()}
        self.wanted["train"] = min(self.wanted["train"], limit or self.wanted["train"])

    def slice(self, split: Split, part: int) -> list[int]:
        """Returns the indices of a part; all parts are of one size, but for an image."""
        each, more = divmod(self.wanted[split], self._parts)
        start = part * each + min(part, more)
        return self._order[split][start : start + each + (part < more)]

    def behind(self, split: Split) -> list[int]:
        """Returns the indices behind those that are wanted."""
        return self._order[split][self.wanted[split] :]


def _shuffled(listing: Listing, split: Split) -> list[int]:
    """Shuffled once here, so that a reader with a small window never meets one class only."""
    chosen = [index for index, entry in enumerate(listing.entries) if entry.split == split]
    order: list[int] = np.random.default_rng(ORDER_SEED).permutation(chosen).tolist()
    return order


def shard(folder: Path, split: Split, number: int, config: DataConfig) -> Path:
    """Returns the place of a shard; the test split has one."""
    of = config.shards if split == "train" else 1
    return folder / f"{split}-{number:05d}-of-{of:05d}.tfrecord"


def fingerprints(shard: Path) -> Path:
    """Returns the place of the fingerprints of a shard's images, in their order."""
    return shard.with_suffix(".fingerprints")


def write(
    config: DataConfig, listing: Listing, parts: Sequence[int], folder: Path, values: ValueRange | None
) -> list[dict[Split, SplitResult]]:
    """Writes some parts, one after the other, into the shards of a folder.

    Args:
        config: Source and shape.
        listing: That of the source.
        parts: Their numbers, below `config.shards`.
        folder: Where the shards are; a part's test images go to the end of what the test split's shard holds.
        values: The set's range of values.

    Returns:
        What became of the images of each part.
    """
    order = Order(config, listing)
    slices: list[dict[Split, SplitResult]] = [{split: SplitResult.empty(listing) for split in SPLITS} for _ in parts]
    work = []
    for part, made in zip(parts, slices, strict=True):
        for split in SPLITS:
            path = shard(folder, split, part if split == "train" else 0, config)
            work += [(made[split], path, chosen) for chosen in _chunks(config, listing, order.slice(split, part))]
    _fill("prepare", config, listing, work, values)
    for part, made in zip(parts, slices, strict=True):
        if made["train"].count:
            made["train"].sha256 = storage.sha256(shard(folder, "train", part, config))
    return slices


def top_up(
    config: DataConfig, listing: Listing, missing: int, made: SplitResult, path: Path, values: ValueRange | None
) -> None:
    """Appends training images from behind those that were wanted, in the place of some that could not be used.

    Args:
        config: Source and shape.
        listing: That of the source.
        missing: How many usable images are wanted; there may be fewer. No more are read than need be.
        made: The slice that takes them in.
        path: Its shard.
        values: The set's range of values.
    """
    behind, wanted = Order(config, listing).behind("train"), made.count + missing
    _part_from_links(path)
    while made.count < wanted and behind:
        chosen, behind = behind[: wanted - made.count], behind[wanted - made.count :]
        work = [(made, path, indices) for indices in _chunks(config, listing, chosen)]
        _fill("replace", config, listing, work, values)
    if made.count:
        made.sha256 = storage.sha256(path)


def _part_from_links(path: Path) -> None:
    """Makes a file that stands in several places one of its own."""
    if path.exists() and path.stat().st_nlink > 1:
        copy = path.with_suffix(".copy")
        shutil.copyfile(path, copy)
        os.replace(copy, path)


def _fill(
    label: str,
    config: DataConfig,
    listing: Listing,
    work: Sequence[tuple[SplitResult, Path, list[int]]],
    values: ValueRange | None,
) -> None:
    """Reads images chunk by chunk, each for a slice and for the end of a file."""
    total, done = sum(len(indices) for _, _, indices in work), 0
    progress = Progress(label, total=total, unit="images")
    chunks = ([(listing.locate(index), listing.entries[index].label) for index in indices] for _, _, indices in work)
    shape = ConformOptions(config.size, config.colour, config.fit, config.resize, config.min_side, values)
    with Reader(shape, listing.files) as reader:
        for (made, path, indices), result in zip(work, reader.prepare_chunks(chunks, total=total), strict=True):
            made.add(listing, indices, result)
            if result.records:
                for place, content in ((path, result.records), (fingerprints(path), result.fingerprints)):
                    with place.open("ab") as file:
                        file.write(content)
            done += len(indices)
            progress.update(done)


def _chunks(config: DataConfig, listing: Listing, indices: Sequence[int]) -> Iterator[list[int]]:
    """Yields indices in their order, so many at a time as one process is asked for."""
    each = config.size**2 * (1 if config.colour == "grey" else 3)
    chunk, load = [], 0
    for index in indices:
        chunk.append(index)
        load += each + listing.entries[index].size
        if len(chunk) == CHUNK_IMAGES or load >= CHUNK_BYTES:
            yield chunk
            chunk, load = [], 0
    if chunk:
        yield chunk
