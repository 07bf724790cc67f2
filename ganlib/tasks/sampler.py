"""Images from a trained network: any number of them, or a sheet to look at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import pixels, streams
from ganlib.runtime import true_float32
from ganlib.tasks.base import LABEL

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import ImageShape
    from ganlib.tasks.base import Task

BATCH = 100  # images that a network makes at once, fewer of large ones
SHEET_SIDE, SHEET_PIXELS = 10, 1280  # most images in a row of a sheet, and the width in pixels that limits them
FEWEST_IN_A_ROW = 4


@dataclass(frozen=True)
class Samples:
    """Some samples.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int64 [N], the requested classes, or those of the images that samples are made from; None without.
        truths: uint8 [N, H, W, C], the true image of each; None without true images.
        unchanged: uint8 [N, H, W, C], what doing nothing would give for each; None if that has no meaning.
        holes: bool [N, H, W, 1], where each had to be invented; None without such places.
        pictures: What a sheet shows side by side for each sample, uint8 [N, H, W, C] each.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    truths: NDArray[np.uint8] | None
    unchanged: NDArray[np.uint8] | None
    holes: NDArray[np.bool_] | None
    pictures: list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Sheet:
    """A sheet of samples to look at.

    Attributes:
        images: uint8 [N, H, W, C], row by row.
        columns: Images in a row.
        per_sample: Images that the task shows side by side for each sample.
        labels: int64 [N], the class of each, where one class a row was asked for.
    """

    images: NDArray[np.uint8]
    columns: int
    per_sample: int
    labels: NDArray[np.int64] | None

    @classmethod
    def join(cls, sheets: Sequence[Sheet]) -> Sheet:
        """Returns one sheet with the rows of all, which have the same columns; incomplete rows end with white."""
        first, *others = sheets
        if not others:
            return first
        rows = [
            np.pad(sheet.images, [(0, -len(sheet.images) % first.columns), *[(0, 0)] * 3], constant_values=255)
            for sheet in sheets
        ]
        return cls(np.concatenate(rows), first.columns, first.per_sample, None)

    def left_fraction(self, columns: int) -> float:
        """Returns the fraction of the width that `columns` columns take, rounded up to complete samples."""
        return min(1.0, -(-columns // self.per_sample) * self.per_sample / self.columns)


class Sampler:
    """Draws uint8 images from a network in full float32 (no TF32), with one graph and one batch size.

    Args:
        task: Knows the network's inputs.
        network: One of those that `Task.shipped` returned.
        shares: Share of each class among the real images, empty without labels.
        image_shape: Height, width and channels of the images.
        held_out: Data with the test images that samples are made from, if the task makes them from images.
        name: Name of the network; by default the first one that is scored.

    Attributes:
        batch_size: Images that the network makes at once.
    """

    def __init__(
        self,
        task: Task,
        network: keras.Model,
        *,
        shares: Sequence[float],
        image_shape: ImageShape,
        held_out: PreparedDataset | None = None,
        name: str | None = None,
    ) -> None:
        if task.samples_from == "images" and held_out is None:
            raise ValueError(f"expected a data set, since task={task.kind} makes samples from images. Received: none")
        self._task, self._shares, self._name = task, shares, name
        self._held_out = held_out
        self.batch_size = pixels.batch_size(image_shape, limit=BATCH)
        self._side = sheet_side(image_shape)
        self._draw = tf.function(
            lambda inputs: pixels.to_uint8(network(inputs, training=False)), reduce_retracing=True, autograph=False
        )

    @property
    def takes_label(self) -> bool:
        """Whether a class can be asked for."""
        return self._task.takes_label

    @property
    def available(self) -> int | None:
        """Largest number of samples, None if there is no limit."""
        return None if self._held_out is None else self._task.sample_limit(self._held_out, self._name)

    def inputs(self, count: int, *, seed: int) -> dict[str, NDArray[Any]]:
        """Returns the network's inputs for the first `count` samples."""
        [examples] = itertools.islice(self._examples(count, count), 1)
        inputs = self._task.inputs(count, seed=seed, shares=self._shares, examples=examples or None, network=self._name)
        return {name: np.asarray(values) for name, values in inputs.items()}

    def batches(self, count: int, *, seed: int, labels: NDArray[np.int64] | None = None) -> Iterator[Samples]:
        """Yields `count` samples in all.

        Args:
            count: Number of images; equal seeds give equal ones.
            seed: Chooses them.
            labels: A class for each. By default classes are as frequent as in the data, if the task has classes.

        Raises:
            ValueError: The count is not possible, or a label is invalid.
        """
        self._check(labels, count)
        padded = -(-count // self.batch_size) * self.batch_size
        label = None if labels is None else np.pad(labels, (0, padded - count))
        inputs: Mapping[str, Any] = {}
        if self._task.samples_from == "seed":
            inputs = self._task.inputs(padded, seed=seed, shares=self._shares, label=label, network=self._name)
        for number, examples in enumerate(self._examples(count, self.batch_size)):
            start = number * self.batch_size
            if examples:
                key = streams.key("sample inputs", seed, number)
                chosen = self._task.inputs(
                    self.batch_size,
                    seed=key,
                    shares=self._shares,
                    label=None if label is None else label[start : start + self.batch_size],
                    examples=examples,
                    network=self._name,
                )
            else:
                chosen = {name: values[start : start + self.batch_size] for name, values in inputs.items()}
            with true_float32():
                images = self._draw(chosen).numpy()
            rows = slice(count - start)
            expected = chosen.get(LABEL) if LABEL in chosen or not examples else self._task.labels(examples)
            values = {name: np.asarray(value) for name, value in chosen.items()} if examples else {}
            truths = self._task.truth(examples, self._name) if examples else None
            unchanged, holes = self._task.unchanged(values), self._task.holes(values)
            yield Samples(
                images[rows],
                None if expected is None else np.asarray(expected)[rows],
                _first(truths, rows),
                _first(unchanged, rows),
                _first(holes, rows),
                [picture[rows] for picture in self._task.pictures(images, unchanged=unchanged, truth=truths)],
            )

    def _examples(self, count: int, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yields held-out examples in batches of one size, the last one padded; empty dicts without examples."""
        if self._task.samples_from == "seed" or self._held_out is None:
            yield from ({} for _ in range(0, count, size))
            return
        waiting: dict[str, NDArray[Any]] = {}
        yielded = 0
        for examples in self._task.held_out(self._held_out, self._name).examples("test"):
            waiting = {
                name: np.concatenate([waiting[name], part]) if waiting else part for name, part in examples.items()
            }
            while yielded < count and len(next(iter(waiting.values()))) >= min(size, count - yielded):
                yield {name: _pad(part[:size], size) for name, part in waiting.items()}
                waiting = {name: part[size:] for name, part in waiting.items()}
                yielded += size
            if yielded >= count:
                return

    def _check(self, labels: NDArray[np.int64] | None, count: int) -> None:
        """Refuses counts that are not possible, and labels of no class."""
        if count < 1:
            raise ValueError(f"expected at least one image. Received: count={count}")
        if self.available is not None and count > self.available:
            raise ValueError(f"expected at most one sample of each of {self.available} images. Received: count={count}")
        if labels is None or not self._task.takes_label:  # the task itself refuses those that it does not take
            return
        if labels.shape != (count,):
            raise ValueError(f"expected a label for each of {count} images. Received: shape={labels.shape}")
        unknown = labels[(labels < 0) | (labels >= len(self._shares))]
        if unknown.size:
            raise ValueError(f"expected labels in 0..{len(self._shares) - 1}. Received: label={unknown[0]}")

    def images(self, count: int, *, seed: int, labels: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Returns `count` images, uint8 [count, H, W, C]."""
        return np.concatenate([samples.images for samples in self.batches(count, seed=seed, labels=labels)])

    def change(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns what the network makes of images, uint8 [N, H, W, C], if it makes images from images."""
        made = []
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            examples = {"images": _pad(part, self.batch_size)}
            inputs = self._task.inputs(
                self.batch_size, seed=0, shares=self._shares, examples=examples, network=self._name
            )
            with true_float32():
                made.append(self._draw(inputs).numpy()[: len(part)])
        return np.concatenate(made)

    def sheet(self, *, seed: int, share: int = 1) -> Sheet:
        """Returns up to a hundred samples to look at, each with what the task shows beside it.

        One class a row where classes can be asked for.

        Args:
            seed: Chooses the samples.
            share: Number of networks that share a sheet; each has fewer rows.
        """
        rows = max(1, self._side // share)
        pictures = len(next(self.batches(1, seed=seed)).pictures) if self._task.samples_from == "images" else 1
        per_row = max(1, self._side // pictures)
        count = min(per_row * rows, self.available or SHEET_SIDE**2)
        labels = None
        if self._task.takes_label:
            labels = sheet_labels(len(self._shares), side=rows, per_row=per_row)[:count]
        groups = zip(*(samples.pictures for samples in self.batches(count, seed=seed, labels=labels)), strict=True)
        columns = np.stack([np.concatenate(parts) for parts in groups], axis=1)  # [N, pictures, H, W, C]
        return Sheet(columns.reshape(-1, *columns.shape[2:]), per_row * pictures, pictures, labels)


def _first(images: NDArray[Any] | None, rows: slice) -> NDArray[Any] | None:
    return None if images is None else images[rows]


def _pad(part: NDArray[Any], size: int) -> NDArray[Any]:
    """Pads a batch by repeating its last row."""
    return part if len(part) == size else np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])


def sheet_side(image_shape: ImageShape) -> int:
    """Returns the number of images in a row and in a column of a sheet: ten, or fewer of large images."""
    return min(SHEET_SIDE, max(FEWEST_IN_A_ROW, SHEET_PIXELS // max(image_shape[:2])))


def sheet_labels(classes: int, *, side: int = SHEET_SIDE, per_row: int | None = None) -> NDArray[np.int64]:
    """Returns the classes of the samples of a sheet, one class a row: each in turn, or evenly spread ones.

    Args:
        classes: Number of classes.
        side: Number of rows.
        per_row: Samples in a row; absent means as many as rows.

    Returns:
        int64 [side * per_row].
    """
    rows = np.arange(side * (per_row or side)) // (per_row or side)
    return rows * classes // side
