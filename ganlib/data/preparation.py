"""The verb `prepare`: any source becomes one dataset of equal images on disk."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from etils import epy
from pydantic import BeforeValidator, Field

from ganlib import pixels, storage
from ganlib.data.archive import Archive
from ganlib.data.arrays import Arrays
from ganlib.data.base import Listing, Split
from ganlib.data.conform import Colour, Fit, Resize, UnusableImageError, conform
from ganlib.data.digits import Digits
from ganlib.data.image_folder import ImageFolder
from ganlib.data.records import FORMAT, PreparedDataset, SplitWriter
from ganlib.progress import Progress
from ganlib.schema import Config, from_word

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Source = Annotated[Digits | ImageFolder | Archive | Arrays, Field(discriminator="kind"), BeforeValidator(from_word)]
"""Every source there is: a new one is one file and one word here."""

SPLITS: tuple[Split, ...] = ("train", "test")
ORDER_SEED = 0
CHUNK = 256
PREVIEW_IMAGES = 64
SHOWN_REASONS = 3
RECORDED = ("size", "colour", "fit", "resize", "min_side", "train_images", "flip")


class DataConfig(Config):
    """Where the images come from, and the one shape that they are brought to."""

    source: Source = Digits()
    """Where the images come from."""
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    """Short name of the data, part of the name of every score on it; absent means the source's kind."""
    size: int = Field(default=28, ge=8, le=1024)
    """Side of the square images in pixels."""
    colour: Colour = "grey"
    """Grey (one channel) or RGB (three)."""
    fit: Fit = "crop"
    """How an oblong image becomes square: cut out its centre, or pad it with black."""
    resize: Resize = "bicubic"
    """Filter for resizing; all but nearest are antialiased when reducing."""
    min_side: int = Field(default=8, ge=1)
    """Images with a shorter side than this many pixels are set aside."""
    max_unusable: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of unusable images above which the preparation fails."""
    train_images: int | None = Field(default=None, ge=2)
    """At most so many training images, the same ones for every run; absent means all."""
    flip: bool = False
    """Whether training images are mirrored left to right at random, where the subject allows it."""
    shards: int = Field(default=1, ge=1, le=10_000)
    """Number of files that the training images are written to."""
    fingerprint: str | None = None
    """Checksum of the source's listing; a run fills it in, so that changed images are prepared anew."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every prepared image."""
        return self.size, self.size, 1 if self.colour == "grey" else 3


def prepare(config: DataConfig, output: Path) -> PreparedDataset:
    """Writes a source's images as TFRecord shards, with a manifest and a preview picture.

    Args:
        config: Source and shape.
        output: Folder to create; it appears whole or not at all.

    Returns:
        The dataset in `output`.

    Raises:
        ValueError: The source holds nothing usable, or too many images had to be set aside.
        OSError: The disk is full or not writable, or the source cannot be read any more.
    """
    listing = config.source.listing()
    listing.check_splits()
    try:
        with storage.whole_folder(output) as folder:
            writing = _Writing(config, listing, folder)
            writing.run()
            storage.write_json(folder / "manifest.json", writing.manifest())
    except storage.RemoteError:  # of reading
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"cannot write prepared images: {reason}. Received: output={str(output)!r}") from error
    return PreparedDataset.open(output)


class _Writing:
    """State of one preparation: what was written, what was set aside and why."""

    def __init__(self, config: DataConfig, listing: Listing, folder: Path) -> None:
        self.config, self.listing, self.folder = config, listing, folder
        self.set_aside: list[dict[str, str]] = []
        self.remarks: Counter[str] = Counter()
        self.labels: dict[Split, Counter[int | None]] = {split: Counter() for split in SPLITS}
        self.shards: dict[Split, list[dict[str, Any]]] = {}
        self.preview: list[NDArray[np.uint8]] = []
        self._order = {split: self._shuffled(split) for split in SPLITS}
        self._left = {split: self._wanted(split) for split in SPLITS}  # images still to be read, at the least
        self._total = sum(self._left.values())
        self._progress = Progress("prepare", total=self._total, unit="images")
        self._read = 0

    def run(self) -> None:
        with ThreadPoolExecutor() as pool:
            for split in SPLITS:
                self._write_split(split, pool)
        self._check()
        columns = 16 if len(self.preview) > 16 else 8
        pixels.save_grid(np.stack(self.preview), self.folder / "preview.png", columns=columns)

    def _shuffled(self, split: Split) -> list[int]:
        """Shuffled once here, so that a reader with a small window never meets one class only."""
        chosen = [index for index, entry in enumerate(self.listing.entries) if entry.split == split]
        order: list[int] = np.random.default_rng(ORDER_SEED).permutation(chosen).tolist()
        return order

    def _wanted(self, split: Split) -> int:
        """Usable images that the split takes, if it has so many."""
        count, limit = len(self._order[split]), self.config.train_images
        return count if split == "test" or limit is None else min(count, limit)

    def _write_split(self, split: Split, pool: ThreadPoolExecutor) -> None:
        counts = _shard_counts(self._wanted(split), self._shards(split))
        writer = SplitWriter(self.folder, split=split, counts=counts)
        try:
            for image, index in self._conformed(split, pool):
                label = self.listing.entries[index].label
                writer.write(image, label)
                self.labels[split][label] += 1
                if split == "train" and len(self.preview) < PREVIEW_IMAGES:
                    self.preview.append(image)
        finally:
            writer.close()
        self.shards[split] = writer.shards()

    def _shards(self, split: Split) -> int:
        return self.config.shards if split == "train" else 1

    def _conformed(self, split: Split, pool: ThreadPoolExecutor) -> Iterator[tuple[NDArray[np.uint8], int]]:
        order, wanted, read, kept = self._order[split], self._wanted(split), 0, 0
        while self._left[split]:
            chunk = order[read : read + min(self._left[split], CHUNK)]  # no image is read in vain
            for index, result in zip(chunk, pool.map(self._conform, chunk), strict=True):
                if isinstance(result, UnusableImageError):
                    self.set_aside.append({"name": self.listing.entries[index].name, "reason": str(result)})
                    continue
                image, remarks = result
                self.remarks.update(remarks)
                kept += 1
                yield image, index
            read += len(chunk)
            self._read += len(chunk)
            self._left[split] = min(wanted - kept, len(order) - read)
            self._progress.update(self._total - sum(self._left.values()))

    def _conform(self, index: int) -> tuple[NDArray[np.uint8], list[str]] | UnusableImageError:
        config = self.config
        try:
            return conform(
                lambda: self.listing.read(index),
                size=config.size,
                colour=config.colour,
                fit=config.fit,
                resize=config.resize,
                min_side=config.min_side,
            )
        except UnusableImageError as error:
            return error

    def _check(self) -> None:
        unusable = f"{len(self.set_aside)} of {self._read} images"
        share = len(self.set_aside) / max(self._read, 1)
        reasons = "; ".join(f"{item['name']} ({item['reason']})" for item in self.set_aside[:SHOWN_REASONS])
        if share > self.config.max_unusable:
            more = ", ..." if len(self.set_aside) > SHOWN_REASONS else ""
            raise ValueError(
                f"{unusable} cannot be used: {reasons}{more}. Expected a share of at most "
                f"data.max_unusable. Received: max_unusable={self.config.max_unusable}, share={share:.3f}"
            )
        for split in SPLITS:
            if self.labels[split].total() < 2:
                raise ValueError(
                    f"expected at least 2 usable images in the {split} split. "
                    f"Received: images={self.labels[split].total()}"
                )
            without = [name for index, name in enumerate(self.listing.classes) if not self.labels[split][index]]
            if without:
                told = f"{len(without)} of {len(self.listing.classes)}, such as {without[0]}"
                print(f"note: classes without {split} images: {told}", flush=True)
        if self.set_aside:
            print(f"set aside {unusable}: {reasons}", flush=True)

    def manifest(self) -> dict[str, Any]:
        """Returns what `manifest.json` holds."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for shard in self.shards[split]:
                digest.update(f"{shard['file']} {shard['sha256']}\n".encode())
        return {
            "format": FORMAT,
            "name": self.config.name or self.config.source.kind,
            "image_shape": list(self.config.image_shape),
            "classes": list(self.listing.classes),
            "sha256": digest.hexdigest(),
            "splits": {split: self._manifest_of(split) for split in SPLITS},
            "source": {**self.config.source.to_parameter(), "listing_sha256": self.listing.checksum()},
            "preparation": self.config.model_dump(mode="json", include=set(RECORDED), exclude_none=True),
            "remarks": dict(sorted(self.remarks.items())),
            "set_aside": self.set_aside,
            "ignored_files": self.listing.ignored,
        }

    def _manifest_of(self, split: Split) -> dict[str, Any]:
        labels = self.labels[split]
        by_class = {name: labels[index] for index, name in enumerate(self.listing.classes)}
        return {"count": labels.total(), "classes": by_class, "shards": self.shards[split]}


def _shard_counts(total: int, shards: int) -> list[int]:
    """Spreads records over shards as evenly as possible."""
    return [total // shards + (1 if index < total % shards else 0) for index in range(shards)]
