"""Whether generated images are copies of training images.

The distance to the nearest training image alone is misleading, so two published corrections are applied. The result is
compared with that of real images which the generator never saw (Meehan et al. 2020, https://arxiv.org/abs/2004.05675).
And the distance is divided by the distances to the next nearest images (Carlini et al. 2023,
https://arxiv.org/abs/2301.13188), because a blurred image is near to all training images, but a copy only to one. In
pixels, noisy copies are recognised better than in the features of a classifier. Shifted or mirrored copies are
recognised in neither.

NearestNeighbors of scikit-learn is not used, because its brute force needs all training images in memory and takes
twice as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.extractors.resizing import resize_images
from ganlib.evaluation.scores import fraction_error
from ganlib.evaluation.statistics import join_batches
from ganlib.progress import Progress

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset

MEASURE = "memorised_pixels"
OTHERS = 10  # next nearest training images
TAIL = 0.05  # share of held-out images that count as close by chance
SIDE = 32  # larger images are reduced to this size: copies stay copies, and distances cost less
RESIZE_BATCH = 256  # images that are reduced at the same time
TRAINING_BLOCK = 4096  # training images in a block of distances
ROWS = 512  # images in a block of distances
ROUNDING = 1e-6  # of a squared distance in float32, relative to the square of the image


def closeness_to_training(
    images: NDArray[np.uint8], dataset: PreparedDataset
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns the `closeness` of uint8 images [N, H, W, C] to all training images of a dataset, in pixels.

    If training mirrors images, mirrored copies count as copies, too.

    Raises:
        ValueError: The dataset's images have another shape.
    """
    if images.shape[1:] != dataset.image_shape:
        expected, received = ("x".join(map(str, shape)) for shape in (dataset.image_shape, images.shape[1:]))
        raise ValueError(f"expected images of {expected}, as those of {dataset.name}. Received: {received}")

    sides = [images, images[:, :, ::-1]] if dataset.flip else [images]
    nearest = [_Nearest(_flatten(side)) for side in sides]
    for block in join_batches(_training_batches(dataset), least=TRAINING_BLOCK):
        for side in nearest:
            side.add(block)
    ratios, indices = nearest[0].closeness()
    for mirrored in nearest[1:]:
        other_ratios, other_indices = mirrored.closeness()
        closer = other_ratios < ratios
        np.copyto(ratios, other_ratios, where=closer)
        np.copyto(indices, other_indices, where=closer)
    return ratios, indices


def _training_batches(dataset: PreparedDataset) -> Iterator[NDArray[np.float32]]:
    """Yields all training images, flattened, and reports the progress."""
    progress = Progress("memorisation", total=dataset.count("train"), unit="training images")
    done = 0
    for batch, _ in dataset.read("train"):
        yield _flatten(batch)
        done += len(batch)
        progress.update(done)


def closeness(
    images: NDArray[np.float32], training: Iterable[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns how much closer the nearest training image is than the next ones, and which one it is.

    Args:
        images: Pixels or features [N, D].
        training: The same of training images, batches of [m, D], more than `OTHERS` in total.

    Returns:
        float64 [N], the distance to the nearest training image divided by the mean distance to the next ten: 0 for a
        copy, and 1 if all are equally far; int64 [N], the index of the nearest.

    Raises:
        ValueError: There are too few training images.
    """
    nearest = _Nearest(images)
    for block in join_batches(training, least=TRAINING_BLOCK):
        nearest.add(block)
    return nearest.closeness()


class _Nearest:
    """The nearest training images of some images, updated with one block of training images at a time.

    Args:
        images: float32 [N, D].
    """

    def __init__(self, images: NDArray[np.float32]) -> None:
        # With a large common part, its rounding errors would exceed small distances.
        self._centre = images.mean(axis=0)
        self._images = images - self._centre
        self._scaled = -2.0 * self._images
        self._lengths = (self._images**2).sum(axis=1)
        self._squares = np.full((len(images), OTHERS + 1), np.inf, np.float32)  # of the nearest, in any order
        self._indices = np.zeros(self._squares.shape, np.int64)
        self._count = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """Adds training images [m, D]."""
        others = block - self._centre
        lengths = (others**2).sum(axis=1)
        for row in range(0, len(self._images), ROWS):
            rows = slice(row, row + ROWS)
            distances = self._scaled[rows] @ others.T
            distances += self._lengths[rows, None]
            distances += lengths
            np.maximum(distances, 0.0, out=distances)
            near = _smallest(distances)  # first of the block alone, so that only few are compared with the others
            squares = np.concatenate([self._squares[rows], np.take_along_axis(distances, near, axis=1)], axis=1)
            indices = np.concatenate([self._indices[rows], self._count + near], axis=1)
            near = _smallest(squares)
            self._squares[rows] = np.take_along_axis(squares, near, axis=1)
            self._indices[rows] = np.take_along_axis(indices, near, axis=1)
        self._count += len(block)

    def closeness(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Returns what the function `closeness` returns, for all training images that were added."""
        if self._count <= OTHERS:
            raise ValueError(f"expected more than {OTHERS} training images. Received: {self._count}")
        distances = np.sqrt(self._squares.astype(np.float64))
        nearest = distances.min(axis=1)
        mean_of_others = (distances.sum(axis=1) - nearest) / OTHERS
        # If a training image occurs many times, a copy of it has the same distance to all its neighbours: rounding.
        nearest[nearest**2 <= ROUNDING * (self._images.astype(np.float64) ** 2).sum(axis=1)] = 0.0
        ratios = np.divide(nearest, mean_of_others, out=np.ones(len(nearest)), where=mean_of_others > 0)
        ratios[nearest == 0.0] = 0.0
        return ratios, self._indices[np.arange(len(nearest)), distances.argmin(axis=1)]


def memorised_share(generated: NDArray[np.float64], held_out: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the share of generated images that are closer to a training image than 95 % of held-out images are.

    Args:
        generated: Closeness [N] of generated images.
        held_out: Closeness [M] of real images that were not used for training.

    Returns:
        The share, 0.05 without memorisation, and its standard error over draws of both sets.
    """
    hits = int((generated <= np.quantile(held_out, TAIL)).sum())  # includes ties, because all copies may be at 0
    error = np.hypot(fraction_error(hits, len(generated)), fraction_error(TAIL * len(held_out), len(held_out)))
    return hits / len(generated), float(error)


def _flatten(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns pixels in 0..1, float32 [N, D], of images reduced to `SIDE` if they are larger."""
    if max(images.shape[1:3]) <= SIDE:
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255.0)
    batches = (images[start : start + RESIZE_BATCH] for start in range(0, len(images), RESIZE_BATCH))
    small = [resize_images(batch, resize_mode="clean", side=SIDE).numpy()[..., : images.shape[3]] for batch in batches]
    flat: NDArray[np.float32] = np.concatenate(small).reshape(len(images), -1)
    return flat / np.float32(255.0)


def _smallest(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the columns of the `OTHERS` + 1 smallest values of each row, in any order; all if there are no more."""
    count = min(OTHERS + 1, values.shape[1])
    return np.argpartition(values, count - 1, axis=1)[:, :count]
