"""The one on-disk format of prepared images: TFRecord shards beside a manifest. Read, batch.

A record is a `tf.train.Example` with the raw bytes of a uint8 image and its label (-1 without
labels), and for pairs those of a second image of the same shape, its target. So reading gives
back exactly the pixels that were written.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from etils import epy

from ganlib import storage, tracking
from ganlib.data import shuffling
from ganlib.data.base import Split
from ganlib.data.conform import height_and_width
from ganlib.data.domains import class_manifest, with_label
from ganlib.data.notes import notes
from ganlib.data.value_range import ValueRange

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shown = Literal["images", "targets"]

FORMAT = "gan-pipelines/tfrecord@1"
NEEDED = {"name", "image_shape", "classes", "sha256", "splits", "preparation", "skipped"}  # of a manifest
IN_MEMORY_BYTES = 2 * 2**30
READ_BATCH = 512


class PreparedDataset:
    """Prepared images in a folder. Use `PreparedDataset.open(folder)`.

    Attributes:
        folder: Where it is stored.
        manifest: The parsed `manifest.json`.
        shown: Which images `read` and `load` give: `images`, or of pairs the `targets`.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], *, shown: Shown = "images") -> None:
        self.folder = folder
        self.manifest = manifest
        self.shown: Shown = shown
        self._tensors: weakref.WeakValueDictionary[str, tf.Tensor] = weakref.WeakValueDictionary()
        self._verified: set[Split] = set()

    @classmethod
    def open(cls, folder: str | Path) -> PreparedDataset:
        """Opens a folder that `data.prepare` wrote.

        Raises:
            ValueError: The folder holds no prepared data, or of another format, or something is missing.
        """
        folder = Path(folder)
        manifest = storage.read_json(folder / "manifest.json")
        stored_format = manifest.get("format") if isinstance(manifest, dict) else None
        if stored_format != FORMAT:
            raise ValueError(f"expected prepared data of format {FORMAT}. Received: format={stored_format!r}")
        if not manifest.keys() >= NEEDED:
            raise ValueError(f"expected a whole manifest.json; prepare the data anew. Received: folder={str(folder)!r}")
        for split in manifest["splits"].values():
            for shard in split["shards"]:
                path = folder / shard["file"]
                if not path.exists() or path.stat().st_size != shard["bytes"]:
                    raise ValueError(f"the shard {path.name} is missing or cut off. Received: folder={str(folder)!r}")
        return cls(folder, manifest)

    @property
    def name(self) -> str:
        """Name under which scores and MLflow know the data."""
        return cast("str", self.manifest["name"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.manifest["image_shape"]
        return height, width, channels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty without labels."""
        return tuple(self.manifest["classes"])

    @property
    def paired(self) -> bool:
        """Whether each image has a target of the same shape."""
        return cast("bool", self.manifest.get("paired", False))

    def of(self, shown: Shown) -> PreparedDataset:
        """Returns the same data set with `read` and `load` giving the images or the targets.

        Raises:
            ValueError: There are no targets.
        """
        if shown == "targets" and not self.paired:
            raise ValueError(f"expected pairs of images. Received: data={self.name!r} without targets")
        return PreparedDataset(self.folder, self.manifest, shown=shown)

    def of_class(self, name: str) -> PreparedDataset:
        """Returns the images of one class as a data set, with a checksum of its own. Labels and classes stay.

        Raises:
            ValueError: There is no such class, or a split has no image of it.
        """
        return PreparedDataset(self.folder, class_manifest(self.manifest, name), shown=self.shown)

    @property
    def checksum(self) -> str:
        """SHA-256 that identifies the pixels and labels."""
        whole = cast("str", self.manifest["sha256"])
        return whole if self.shown == "images" else hashlib.sha256(f"{whole} {self.shown}".encode()).hexdigest()

    @property
    def summary(self) -> dict[str, Any]:
        """What a KFP artifact of this dataset says of it."""
        return {
            "name": self.name,
            "sha256": self.checksum,
            "image_shape": list(self.image_shape),
            "classes": len(self.classes),
            "train": self.count("train"),
            "test": self.count("test"),
            "skipped": len(self.manifest["skipped"]),
        }

    @property
    def flip(self) -> bool:
        """Whether training batches are mirrored at random; data from before that choice are not."""
        return cast("bool", self.manifest["preparation"].get("flip", False))

    @property
    def jitter(self) -> float:
        """The factor by which training batches are enlarged and cropped back; 1.0 for none, as in older data."""
        return cast("float", self.manifest["preparation"].get("jitter", 1.0))

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images in training batches: those of the crops, if any."""
        height, width = height_and_width(self.manifest["preparation"].get("crop") or list(self.image_shape[:2]))
        return height, width, self.image_shape[2]

    @property
    def class_shares(self) -> list[float]:
        """Share of each class among the training images; empty without labels."""
        counts = self.manifest["splits"]["train"]["classes"]
        return [counts[name] / sum(counts.values()) for name in self.classes]

    @property
    def values(self) -> ValueRange | None:
        """Numbers of the originals that became 0 and 255, None where all originals had 8 bits."""
        saved = self.manifest.get("value_range" if self.shown == "images" else "target_value_range")
        return ValueRange(*saved) if saved else None

    @property
    def notes(self) -> list[str]:
        """What to know of the images before scores on them are trusted."""
        return notes(self.manifest)

    def formats(self, split: Split) -> dict[str, int]:
        """Returns how many originals of a split there are of each file format; earlier versions did not say."""
        formats = "formats" if self.shown == "images" else "target_formats"
        return dict(self.manifest["splits"][split].get(formats, {}))

    def count(self, split: Split) -> int:
        """Returns the number of images of a split."""
        return cast("int", self.manifest["splits"][split]["count"])

    def read(self, split: Split) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Yields batches of images and labels in the stored order: uint8 [n, H, W, C] and int64 [n].

        Raises:
            ValueError: A shard is damaged, or not the one that the manifest names.
        """
        for examples in self.examples(split):
            yield examples[self.shown], examples["labels"]

    def examples(self, split: Split) -> Iterator[dict[str, NDArray[Any]]]:
        """Yields batches of examples in the stored order: `images`, `labels`, and of pairs `targets` like `images`.

        Raises:
            ValueError: A shard is damaged, or not the one that the manifest names.
        """
        self._verify(split)
        records = self._records(self._files(split)).batch(READ_BATCH).map(self._parse).prefetch(2)
        try:
            for examples in records:
                yield {name: values.numpy() for name, values in examples.items()}
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            details = f"folder={str(self.folder)!r} ({tracking.error_summary(error)})"
            raise ValueError(f"damaged images; prepare them anew. Received: {details}") from error

    def load(self, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Returns a whole split: uint8 [N, H, W, C] and int64 [N]."""
        batches = list(self.read(split))
        return np.concatenate([batch[0] for batch in batches]), np.concatenate([batch[1] for batch in batches])

    def batches(
        self, *, batch_size: int, seed: int, start: int = 0, in_memory_bytes: int = IN_MEMORY_BYTES
    ) -> tf.data.Dataset:
        """Endless shuffled training batches, a pure function of the seed and the batch number.

        Each epoch has an order of its own and drops the remainder, so after a resume at batch
        `start` exactly those batches follow that would have followed anyway. A split that fits
        into memory is shuffled as a whole; a larger one is streamed, shard order and a window of
        records being shuffled, and a resume reads up to its place again. With `jitter` and `crop`,
        each image is enlarged and cropped at a random place; with `flip`, it is mirrored left to
        right with probability 1/2.

        Args:
            batch_size: Images in a batch.
            seed: Chooses the order, the places of crops, and what is mirrored.
            start: Number of the first batch.
            in_memory_bytes: Largest size that is held in memory.

        Returns:
            Dataset of dicts: `images` uint8 [batch_size, *batch_shape], `labels` int64 [batch_size], and of pairs
            `targets` like `images`.

        Raises:
            ValueError: The split is smaller than a batch.
        """
        count = self.count("train")
        if count < batch_size:
            raise ValueError(
                f"expected at least training.batch_size={batch_size} training images. Received: images={count}"
            )
        per_epoch, size = count // batch_size, count * int(np.prod(self.image_shape)) * (1 + self.paired)
        if size <= in_memory_bytes:
            batches = shuffling.from_memory(self._in_memory(), batch_size, per_epoch, seed=seed, start=start)
        else:
            files = self._files("train")
            serialized = shuffling.from_files(files, batch_size, per_epoch, read=self._records, seed=seed, start=start)
            batches = serialized.map(lambda records: self._parse(records, batch_size))
        if self.jitter > 1.0 or self.batch_shape != self.image_shape:
            preparation, crop = self.manifest["preparation"], self.batch_shape[:2]
            method = preparation.get("resize", "bicubic")
            resize = {"images": method, "targets": preparation.get("target_resize", method)}
            batches = shuffling.jitter(
                batches, batch_size, factor=self.jitter, crop=crop, resize=resize, seed=seed, start=start
            )
        return shuffling.mirror(batches, batch_size, seed=seed, start=start) if self.flip else batches

    def _in_memory(self) -> dict[str, tf.Tensor]:
        """Returns the training split as tensors, the same ones as long as any pipeline uses them."""
        tensors = {name: self._tensors.get(name) for name in self._names}
        if None in tensors.values():
            batches = list(self.examples("train"))
            with tf.device("CPU:0"):  # one name after the other, so that no more than one is in memory twice
                tensors = {
                    name: tf.constant(np.concatenate([batch.pop(name) for batch in batches])) for name in self._names
                }
            self._tensors.update(tensors)
        return tensors

    def _verify(self, split: Split) -> None:
        """Verifies the SHA-256 of the shards, once per split: their size alone cannot tell two data sets apart."""
        for shard in [] if split in self._verified else self.manifest["splits"][split]["shards"]:
            if storage.sha256(self.folder / shard["file"]) != shard["sha256"]:
                details = f"folder={str(self.folder)!r} ({shard['file']} is not that of the manifest)"
                raise ValueError(f"damaged images; prepare them anew. Received: {details}")
        self._verified.add(split)

    def _files(self, split: Split) -> list[str]:
        return [str(self.folder / shard["file"]) for shard in self.manifest["splits"][split]["shards"]]

    def _records(self, files: tf.Tensor | list[str]) -> tf.data.Dataset:
        """Returns the serialized records of files: all, or those of the only class."""
        records, label = tf.data.TFRecordDataset(files), self.manifest.get("only_label")
        return records if label is None else with_label(records, label)

    @property
    def _names(self) -> tuple[str, ...]:
        """Names of what an example has."""
        return ("images", "labels", "targets") if self.paired else ("images", "labels")

    def _parse(self, serialized: tf.Tensor, count: int | None = None) -> dict[str, tf.Tensor]:
        features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        if self.paired:
            features["target"] = tf.io.FixedLenFeature([], tf.string)
        parsed = tf.io.parse_example(serialized, features)
        labels, classes = parsed["label"], len(self.classes)
        if classes:  # a label of no class would be trained on without a word, as a picture of none
            known = tf.reduce_all((labels >= 0) & (labels < classes))
            tf.debugging.Assert(known, [f"expected labels in 0..{classes - 1}. Received: label=", labels])
        images = {f"{name}s": parsed[name] for name in parsed if name != "label"}
        decoded = {name: tf.io.decode_raw(raw, tf.uint8, fixed_length=None) for name, raw in images.items()}
        pixels = {name: tf.reshape(raw, [count or -1, *self.image_shape]) for name, raw in decoded.items()}
        return {**pixels, "labels": tf.ensure_shape(labels, [count])}
