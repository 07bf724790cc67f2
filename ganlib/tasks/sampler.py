"""Images drawn from a generator: as many as are asked for, or a sheet to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels
from ganlib.runtime import true_float32

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from ganlib.tasks.base import Task

SAMPLE_BATCH = 100
SAMPLE_COLUMNS = 10
SAMPLES = 100


class Sampler:
    """Draws uint8 images from a network in true float32, always through one graph of one batch size.

    Args:
        task: Knows the network's inputs.
        network: What `Task.sampler` returned.
        shares: Share of each class among the real images, empty without labels.
    """

    def __init__(self, task: Task, network: keras.Model, *, shares: Sequence[float]) -> None:
        self._task, self._shares = task, shares
        self._draw = tf.function(lambda inputs: pixels.to_uint8(network(inputs, training=False)), reduce_retracing=True)

    def batches(
        self, count: int, *, seed: int, labels: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        """Yields `count` images in all, uint8 [n, H, W, C], and the classes that were asked for, int64 [n].

        Args:
            count: Number of images; equal seeds give equal ones.
            seed: Chooses them.
            labels: A class for each; absent means classes as frequent as the real ones, where the task knows any.

        Raises:
            ValueError: There is no image to draw, or no class that a label names.
        """
        if count < 1:
            raise ValueError(f"expected at least one image. Received: count={count}")
        self._check(labels, count)
        whole = -(-count // SAMPLE_BATCH) * SAMPLE_BATCH
        label = None if labels is None else np.pad(labels, (0, whole - count))
        inputs = self._task.inputs(whole, seed=seed, shares=self._shares, label=label)
        for start in range(0, count, SAMPLE_BATCH):
            chosen = {name: values[start : start + SAMPLE_BATCH] for name, values in inputs.items()}
            with true_float32():
                images = self._draw(chosen).numpy()
            asked = chosen.get("label")
            yield images[: count - start], None if asked is None else asked.numpy()[: count - start]

    def _check(self, labels: NDArray[np.int64] | None, count: int) -> None:
        """Refuses labels that would give pictures of no class."""
        if labels is None or not self._task.takes_label:  # the task itself refuses those that it does not take
            return
        if labels.shape != (count,):
            raise ValueError(f"expected a label for each of {count} images. Received: shape={labels.shape}")
        unknown = labels[(labels < 0) | (labels >= len(self._shares))]
        if unknown.size:
            raise ValueError(f"expected labels in 0..{len(self._shares) - 1}. Received: label={unknown[0]}")

    def images(self, count: int, *, seed: int, labels: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Returns `count` images, uint8 [count, H, W, C]."""
        return np.concatenate([images for images, _ in self.batches(count, seed=seed, labels=labels)])

    def sheet(self, *, seed: int) -> NDArray[np.uint8]:
        """Returns a hundred images to look at, ten a row; one class a row where classes can be asked for."""
        return self.images(SAMPLES, seed=seed, labels=self.sheet_labels)

    @property
    def sheet_labels(self) -> NDArray[np.int64] | None:
        """Classes of a sheet's images, int64 [100], where they can be asked for."""
        return sheet_labels(len(self._shares)) if self._task.takes_label else None


def sheet_labels(classes: int) -> NDArray[np.int64]:
    """Returns the classes of a sheet's images, one a row: each in turn, or as many as there are rows, evenly spread."""
    rows = np.arange(SAMPLES) // SAMPLE_COLUMNS
    return rows * classes // (SAMPLES // SAMPLE_COLUMNS)
