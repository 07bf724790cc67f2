"""Prepares images in parts. Each part is a slice of the fixed order of each split, and depends on nothing else.

Part 3 of 8 contains the usable images of the fourth eighth of the training images, as a shard of its own, and those of
the fourth eighth of the test images, as a piece of the only test shard. Skipped images are not replaced within a part.
"""

from __future__ import annotations

import math
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

Ranges = tuple[ValueRange | None, ValueRange | None]
"""Ranges of values of the images and of their targets."""
SPLITS: tuple[Split, ...] = ("train", "test")
ORDER_SEED = 0
CHUNK_IMAGES = 256
CHUNK_BYTES = 8 * 2**20  # of images and their records, which limits the memory that large images take


@dataclass
class SplitResult:
    """The result of preparing some images of a split.

    Attributes:
        by_class: Number of usable images of each class; a single number without classes.
        read: Number of all images that were read.
        skipped: Names of the unusable images with the reasons.
        remarks: Number of images by lossy conversion.
        formats: Number of usable images of each file format.
        low: Lowest value of the usable images on the scale 0..255, as in `ImageStats`.
        high: Highest value.
        target_formats: Number of usable targets of each file format.
        target_low: Lowest value of the usable targets, likewise.
        target_high: Highest value of the usable targets.
        bytes: Length of the records.
        sha256: Checksum of their file, if it contains no other records.
    """

    by_class: list[int]
    read: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    remarks: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    low: int = 255
    high: int = 0
    target_formats: dict[str, int] = field(default_factory=dict)
    target_low: int = 255
    target_high: int = 0
    bytes: int = 0
    sha256: str | None = None

    @classmethod
    def empty(cls, listing: Listing) -> SplitResult:
        """Returns a result of no images."""
        return cls([0] * max(1, len(listing.classes)))

    @property
    def count(self) -> int:
        """The number of usable images."""
        return sum(self.by_class)

    def add(self, listing: Listing, indices: Sequence[int], result: ChunkResult) -> None:
        """Adds the result of a chunk."""
        self.read += len(indices)
        self.remarks = dict(Counter(self.remarks) + result.remarks)
        self.formats = dict(Counter(self.formats) + result.stats.formats)
        self.low, self.high = min(self.low, result.stats.low), max(self.high, result.stats.high)
        targets = result.target_stats
        self.target_formats = dict(Counter(self.target_formats) + targets.formats)
        self.target_low, self.target_high = min(self.target_low, targets.low), max(self.target_high, targets.high)
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
        self._order = {split: _shuffle(listing, split) for split in SPLITS}
        limit = config.train_images
        self.counts = {split: len(order) for split, order in self._order.items()}
        self.counts["train"] = min(self.counts["train"], limit or self.counts["train"])

    def slice(self, split: Split, part: int) -> list[int]:
        """Returns the indices of a part. The sizes of the parts differ by at most one."""
        each, more = divmod(self.counts[split], self._parts)
        start = part * each + min(part, more)
        return self._order[split][start : start + each + (part < more)]

    def spare(self, split: Split) -> list[int]:
        """Returns the indices after those of the parts."""
        return self._order[split][self.counts[split] :]


def _shuffle(listing: Listing, split: Split) -> list[int]:
    """Returns the indices of a split in random order, so that any small window of the records mixes the classes."""
    chosen = [index for index, entry in enumerate(listing.entries) if entry.split == split]
    order: list[int] = np.random.default_rng(ORDER_SEED).permutation(chosen).tolist()
    return order


def shard(folder: Path, split: Split, number: int, config: DataConfig) -> Path:
    """Returns the path of a shard. The test split has only one."""
    of = config.shards if split == "train" else 1
    return folder / f"{split}-{number:05d}-of-{of:05d}.tfrecord"


def fingerprints(shard: Path) -> Path:
    """Returns the path of the fingerprints of a shard's images, in the same order."""
    return shard.with_suffix(".fingerprints")


def write(
    config: DataConfig, listing: Listing, parts: Sequence[int], folder: Path, values: Ranges
) -> list[dict[Split, SplitResult]]:
    """Writes some parts, one after the other, into the shards of a folder.

    Args:
        config: Settings of the preparation.
        listing: The listing of the source.
        parts: Numbers of the parts, below `config.shards`.
        folder: Folder of the shards. The test images of each part are appended to the test shard.
        values: Ranges of values of the set.

    Returns:
        The results for each part.
    """
    order = Order(config, listing)
    results: list[dict[Split, SplitResult]] = [{split: SplitResult.empty(listing) for split in SPLITS} for _ in parts]
    work = []
    for part, result in zip(parts, results, strict=True):
        for split in SPLITS:
            path = shard(folder, split, part if split == "train" else 0, config)
            work += [(result[split], path, chosen) for chosen in _chunks(config, listing, order.slice(split, part))]
    _fill("prepare", config, listing, work, values)
    for part, result in zip(parts, results, strict=True):
        if result["train"].count:
            result["train"].sha256 = storage.sha256(shard(folder, "train", part, config))
    return results


def top_up(config: DataConfig, listing: Listing, missing: int, result: SplitResult, path: Path, values: Ranges) -> None:
    """Appends spare training images to replace unusable ones.

    Args:
        config: Settings of the preparation.
        listing: The listing of the source.
        missing: Number of usable images to append. There may be fewer. No more images are read than needed.
        result: The result to add them to.
        path: Path of its shard.
        values: Ranges of values of the set.
    """
    spare, target = Order(config, listing).spare("train"), result.count + missing
    _break_hard_link(path)
    while result.count < target and spare:
        chosen, spare = spare[: target - result.count], spare[target - result.count :]
        work = [(result, path, indices) for indices in _chunks(config, listing, chosen)]
        _fill("replace", config, listing, work, values)
    if result.count:
        result.sha256 = storage.sha256(path)


def _break_hard_link(path: Path) -> None:
    """Replaces a file that has several hard links by a copy of its own."""
    if path.exists() and path.stat().st_nlink > 1:
        copy = path.with_suffix(".copy")
        shutil.copyfile(path, copy)
        os.replace(copy, path)


def _fill(
    label: str,
    config: DataConfig,
    listing: Listing,
    work: Sequence[tuple[SplitResult, Path, list[int]]],
    values: Ranges,
) -> None:
    """Reads images chunk by chunk. Each chunk is appended to a file and added to a result."""
    total, done = sum(len(indices) for _, _, indices in work), 0
    progress = Progress(label, total=total, unit="images")
    chunks = ([(listing.locate(index), listing.entries[index].label) for index in indices] for _, _, indices in work)
    options = ConformOptions(
        config.image_shape[:2],
        config.colour,
        config.fit,
        config.resize,
        config.min_side,
        values[0],
        listing.paired,
        values[1],
        config.target_resize,
    )
    with Reader(options, listing.files) as reader:
        for (result, path, indices), chunk in zip(work, reader.prepare_chunks(chunks, total=total), strict=True):
            result.add(listing, indices, chunk)
            if chunk.records:
                for target, content in ((path, chunk.records), (fingerprints(path), chunk.fingerprints)):
                    with target.open("ab") as file:
                        file.write(content)
            done += len(indices)
            progress.update(done)


def _chunks(config: DataConfig, listing: Listing, indices: Sequence[int]) -> Iterator[list[int]]:
    """Yields the indices in chunks, each the work of one process at a time."""
    each = math.prod(config.image_shape) * (1 + listing.paired)
    chunk, load = [], 0
    for index in indices:
        chunk.append(index)
        load += each + listing.entries[index].size
        if listing.targets is not None:
            load += listing.targets.entries[index].size
        if len(chunk) == CHUNK_IMAGES or load >= CHUNK_BYTES:
            yield chunk
            chunk, load = [], 0
    if chunk:
        yield chunk
