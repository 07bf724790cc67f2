"""Turns the shards of all parts into one dataset: replaces unusable images, prints notes, writes `manifest.json`."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from etils import epy

from ganlib import pixels, storage
from ganlib.data import tfrecord
from ganlib.data.base import MIN_IMAGES, Listing, Split
from ganlib.data.config import DataConfig
from ganlib.data.conform import NARROW_RANGE
from ganlib.data.description import describe
from ganlib.data.notes import notes
from ganlib.data.parts import SPLITS, Ranges, SplitResult, shard, top_up
from ganlib.data.records import FORMAT
from ganlib.data.value_range import ValueRange
from ganlib.data.value_survey import Survey

with epy.lazy_imports():
    import numpy as np

PREVIEW_IMAGES = 64
SHOWN_REASONS = 3
RECORDED = ("size", "colour", "fit", "resize", "target_resize", "min_side", "train_images", "flip", "jitter", "crop")


class TooManyUnusableError(ValueError):
    """A larger share of the images than `data.max_unusable` cannot be used.

    Attributes:
        skipped: Name and reason of each.
    """

    def __init__(self, message: str, skipped: list[dict[str, str]]) -> None:
        super().__init__(message)
        self.skipped = skipped


@dataclass(frozen=True)
class Origin:
    """Facts about the listing that the images come from.

    Attributes:
        sha256: Checksum of the listing.
        classes: Names of the classes.
        ignored: Number of files that are not used.
        description: Lines that describe it for the user.
        values: Its range of values; None if all images have 8 bits.
        paired: Whether each image has a target.
        target_values: The range of values of the targets.
    """

    sha256: str
    classes: list[str]
    ignored: int
    description: list[str]
    values: ValueRange | None = None
    paired: bool = False
    target_values: ValueRange | None = None

    @classmethod
    def of(cls, listing: Listing, survey: Survey) -> Origin:
        """Collects the facts about a listing."""
        return cls(
            listing.checksum(),
            list(listing.classes),
            listing.ignored_count,
            describe(listing, survey),
            survey.values,
            listing.paired,
            survey.target_values if listing.paired else None,
        )

    @property
    def ranges(self) -> Ranges:
        """The ranges of values of the images and of their targets."""
        return self.values, self.target_values


def finish(
    config: DataConfig,
    origin: Origin,
    parts: Sequence[dict[Split, SplitResult]],
    folder: Path,
    listing: Callable[[], Listing],
) -> None:
    """Completes a dataset in a folder that contains the shards of all parts.

    Args:
        config: Settings of the preparation.
        origin: Facts about the listing.
        parts: The results for each part, in the order of the parts.
        folder: Folder of the shards.
        listing: Returns the listing, which is needed only if unusable images must be replaced by others.

    Raises:
        ValueError: Too many images were skipped, or nearly all of a split.
    """
    train = [part["train"] for part in parts]
    missing = sum(result.read - result.count for result in train)
    if missing and config.train_images:
        last = max(number for number, result in enumerate(train) if result.read)
        top_up(config, listing(), missing, train[last], shard(folder, "train", last, config), origin.ranges)
    totals = {split: _total([part[split] for part in parts]) for split in SPLITS}
    _check(config, origin, totals)
    repeated = _count_repeated(folder)
    shards: dict[Split, list[dict[str, Any]]] = {
        "train": _train_shards(config, train, folder),
        "test": _test_shards(config, totals["test"], folder),
    }
    _save_preview(config, origin, [folder / item["file"] for item in shards["train"]], folder / "preview.png")
    manifest = _manifest(config, origin, totals, shards) | repeated
    storage.write_json(folder / "manifest.json", manifest)
    for note in notes(manifest):
        print(f"note: {note}", flush=True)


def _count_repeated(folder: Path) -> dict[str, int]:
    """Counts images that occur more than once, pixel for pixel, and removes the files of fingerprints."""
    train, test = (
        np.concatenate([np.fromfile(path, np.uint64) for path in folder.glob(f"{split}-*.fingerprints")])
        for split in SPLITS
    )
    for path in folder.glob("*.fingerprints"):
        path.unlink()
    return {"test_among_train": int(np.isin(test, train).sum()), "train_repeated": len(train) - len(np.unique(train))}


def _values_used(low: int, high: int) -> list[int] | None:
    """Returns the lowest and highest value if they span a small share of 0..255; a wider range is not known exactly."""
    return [low, high] if high - low < NARROW_RANGE else None


def _total(results: Sequence[SplitResult]) -> SplitResult:
    return SplitResult(
        by_class=[sum(counts) for counts in zip(*(result.by_class for result in results), strict=True)],
        read=sum(result.read for result in results),
        skipped=[item for result in results for item in result.skipped],
        remarks=_sum([result.remarks for result in results]),
        formats=_sum([result.formats for result in results]),
        low=min(result.low for result in results),
        high=max(result.high for result in results),
        target_formats=_sum([result.target_formats for result in results]),
        target_low=min(result.target_low for result in results),
        target_high=max(result.target_high for result in results),
    )


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return dict(sorted(sum(map(Counter, counts), Counter[str]()).items()))


def _check(config: DataConfig, origin: Origin, totals: dict[Split, SplitResult]) -> None:
    """Checks that enough images are usable, and reports those that are not."""
    skipped = [item for split in SPLITS for item in totals[split].skipped]
    read = sum(total.read for total in totals.values())
    unusable, share = f"{len(skipped)} of {read} images", len(skipped) / max(read, 1)
    reasons = "; ".join(f"{item['name']} ({item['reason']})" for item in skipped[:SHOWN_REASONS])
    if share > config.max_unusable:
        more = ", ..." if len(skipped) > SHOWN_REASONS else ""
        raise TooManyUnusableError(
            f"{unusable} cannot be used: {reasons}{more}. Expected a share of at most "
            f"data.max_unusable. Received: max_unusable={config.max_unusable}, share={share:.3f}",
            skipped,
        )
    for split, total in totals.items():
        if total.count < MIN_IMAGES:
            raise ValueError(
                f"expected at least {MIN_IMAGES} usable images in the {split} split. Received: images={total.count}"
            )
        without = [name for name, count in zip(origin.classes, total.by_class, strict=False) if not count]
        if without:
            some = f"{len(without)} of {len(origin.classes)}, such as {without[0]}"
            print(f"note: classes without {split} images: {some}", flush=True)
    if skipped:
        print(f"skipped {unusable}: {reasons}", flush=True)


def _train_shards(config: DataConfig, results: Sequence[SplitResult], folder: Path) -> list[dict[str, Any]]:
    paths = [shard(folder, "train", number, config) for number in range(len(results))]
    return [_shard_entry(path, result) for path, result in zip(paths, results, strict=True) if result.count]


def _test_shards(config: DataConfig, total: SplitResult, folder: Path) -> list[dict[str, Any]]:
    path = shard(folder, "test", 0, config)
    total.sha256 = storage.sha256(path)
    return [_shard_entry(path, total)]


def _shard_entry(path: Path, result: SplitResult) -> dict[str, Any]:
    return {"file": path.name, "count": result.count, "bytes": path.stat().st_size, "sha256": result.sha256}


def _save_preview(config: DataConfig, origin: Origin, shards: Sequence[Path], path: Path) -> None:
    """Saves a picture of the first training images, each beside its target. They are read back from the shards."""
    shape, each = config.image_shape, 1 + origin.paired
    stored = (tfrecord.images(file, math.prod(shape), paired=origin.paired) for file in shards)
    first = b"".join(islice(chain.from_iterable(stored), PREVIEW_IMAGES))
    images = np.concatenate(np.frombuffer(first, np.uint8).reshape(-1, each, *shape).swapaxes(0, 1), axis=2)
    pixels.save_grid(images, path, columns=(16 if len(images) > 16 else 8) // each)


def _manifest(
    config: DataConfig, origin: Origin, totals: dict[Split, SplitResult], shards: dict[Split, list[dict[str, Any]]]
) -> dict[str, Any]:
    digest = hashlib.sha256()
    for split in SPLITS:
        for item in shards[split]:
            digest.update(f"{item['file']} {item['sha256']}\n".encode())
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": config.name or config.source.kind,
        "image_shape": list(config.image_shape),
        "classes": origin.classes,
        "sha256": digest.hexdigest(),
        "splits": {
            split: {
                "count": total.count,
                "classes": dict(zip(origin.classes, total.by_class, strict=False)),
                "formats": total.formats,
                "shards": shards[split],
            }
            for split, total in totals.items()
        },
        "source": {**config.source.to_parameter(), "listing_sha256": origin.sha256},
        "preparation": config.model_dump(mode="json", include=set(RECORDED), exclude_none=True),
        "remarks": _sum([total.remarks for total in totals.values()]),
        "value_range": None if origin.values is None else list(origin.values),
        "values_used": _values_used(*_ends([(total.low, total.high) for total in totals.values()])),
        "skipped": [item for split in SPLITS for item in totals[split].skipped],
        "ignored_files": origin.ignored,
        "description": origin.description,
    }
    if origin.paired:
        manifest["paired"] = True
        manifest["target_value_range"] = None if origin.target_values is None else list(origin.target_values)
        ends = _ends([(total.target_low, total.target_high) for total in totals.values()])
        manifest["target_values_used"] = _values_used(*ends)
        for split, total in totals.items():
            manifest["splits"][split]["target_formats"] = total.target_formats
    return manifest


def _ends(ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Returns the lowest and the highest value of some ranges."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)
