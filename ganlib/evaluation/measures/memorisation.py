"""Whether generated images are copies of training images.

Both common remedies against the plain distance to the nearest training image go in: it is compared with that of real
images which the generator never saw (Meehan et al. 2020, https://arxiv.org/abs/2004.05675), and it is taken as a share
of the distances to the next nearest ones (Carlini et al. 2023, https://arxiv.org/abs/2301.13188), since a blurred image
is near to every training image, and a copy to one. Pixels tell noisy copies better than the features of a classifier
do; copies that are moved or mirrored are told by neither.

The nearest images are found here and not by scikit-learn, whose brute force needs all training images in memory and
takes 1.6 times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.extractors.resizing import resize_images
from ganlib.evaluation.scores import fraction_error
from ganlib.progress import Progress

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset

OTHERS = 10  # next nearest training images
TAIL = 0.05  # share of held-out images that count as close by chance
SIDE = 32  # larger images are reduced: copies stay copies, and distances stay cheap
REDUCED = 256  # images that are reduced at once
TRAINING_BLOCK = 4096  # training images whose distances are in memory at once
ROWS = 512  # images whose distances are taken at once
ROUNDING = 1e-6  # of a squared distance in float32, relative to the square of the image


def closeness_to_training(
    images: NDArray[np.uint8], dataset: PreparedDataset
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns `closeness` of uint8 images [N, H, W, C] to all training images of a dataset, in pixels.

    Where training mirrors images, mirrored copies are copies too.

    Raises:
        ValueError: The dataset's images have another shape.
    """
    if images.shape[1:] != dataset.image_shape:
        expected, received = ("x".join(map(str, shape)) for shape in (dataset.image_shape, images.shape[1:]))
        raise ValueError(f"expected images of {expected}, as those of {dataset.name}. Received: {received}")

    sides = [images, images[:, :, ::-1]] if dataset.flip else [images]
    nearest = [_Nearest(_flat(side)) for side in sides]
    for block in _gathered(_training(dataset)):
        for side in nearest:
            side.add(block)
    ratios, places = nearest[0].closeness()
    for mirrored in nearest[1:]:
        other_ratios, other_places = mirrored.closeness()
        nearer = other_ratios < ratios
        np.copyto(ratios, other_ratios, where=nearer)
        np.copyto(places, other_places, where=nearer)
    return ratios, places


def _training(dataset: PreparedDataset) -> Iterator[NDArray[np.float32]]:
    """Yields all training images as `_flat` has them, and shows how many have passed."""
    progress = Progress("memorisation", total=dataset.count("train"), unit="training images")
    read = 0
    for batch, _ in dataset.read("train"):
        yield _flat(batch)
        read += len(batch)
        progress.update(read)


def closeness(
    images: NDArray[np.float32], training: Iterable[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns how much nearer than others the nearest training image is, and which one it is.

    Args:
        images: Pixels or features [N, D].
        training: The same of training images, batches of [m, D], more than `OTHERS` in all.

    Returns:
        float64 [N], the distance to the nearest training image over the mean distance to the next ten, 0 for a copy and
        1 where all are equally far; int64 [N], the number of the nearest.

    Raises:
        ValueError: There are too few training images.
    """
    nearest = _Nearest(images)
    for block in _gathered(training):
        nearest.add(block)
    return nearest.closeness()


class _Nearest:
    """The nearest training images of some images, found a block of training images at a time.

    Args:
        images: float32 [N, D].
    """

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._centre = images.mean(axis=0)  # a large common part would leave its rounding in place of small distances
        self._images = images - self._centre
        self._squares = np.full((len(images), OTHERS + 1), np.inf, np.float32)  # of the nearest, in any order
        self._places = np.zeros(self._squares.shape, np.int64)
        self._count = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """Looks at the next training images [m, D]."""
        others = block - self._centre
        for row in range(0, len(self._images), ROWS):
            rows = slice(row, row + ROWS)
            apart = _squared(self._images[rows], others)
            near = _smallest(apart)  # of the block first: few columns are then joined with the nearest so far
            squares = np.concatenate([self._squares[rows], np.take_along_axis(apart, near, axis=1)], axis=1)
            places = np.concatenate([self._places[rows], self._count + near], axis=1)
            near = _smallest(squares)
            self._squares[rows] = np.take_along_axis(squares, near, axis=1)
            self._places[rows] = np.take_along_axis(places, near, axis=1)
        self._count += len(block)

    def closeness(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Returns what the function `closeness` does, of all images that were added."""
        if self._count <= OTHERS:
            raise ValueError(f"expected more than {OTHERS} training images. Received: {self._count}")
        distances = np.sqrt(self._squares.astype(np.float64))
        nearest = distances.min(axis=1)
        further = (distances.sum(axis=1) - nearest) / OTHERS
        # A copy of what is there many times has all its neighbours at the same distance: rounding, beside its own
        # length.
        nearest[nearest**2 <= ROUNDING * (self._images.astype(np.float64) ** 2).sum(axis=1)] = 0.0
        ratios = np.divide(nearest, further, out=np.ones(len(nearest)), where=further > 0)
        ratios[nearest == 0.0] = 0.0
        return ratios, self._places[np.arange(len(nearest)), distances.argmin(axis=1)]


def memorised(generated: NDArray[np.float64], held_out: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the share of generated images that are closer to a training image than 95 % of held-out images are.

    Args:
        generated: Closeness [N] of generated images.
        held_out: Closeness [M] of real images that training did not see.

    Returns:
        The share, 0.05 without memorisation, and its standard error, both samples being drawn.
    """
    hits = int((generated <= np.quantile(held_out, TAIL)).sum())  # ties count, for copies may all be at 0
    error = np.hypot(fraction_error(hits, len(generated)), fraction_error(TAIL * len(held_out), len(held_out)))
    return hits / len(generated), float(error)


def _flat(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns pixels in 0..1, float32 [N, D], of images reduced to `SIDE` if they are larger."""
    if max(images.shape[1:3]) <= SIDE:
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255.0)
    blocks = (images[start : start + REDUCED] for start in range(0, len(images), REDUCED))
    small = [resize_images(block, resize_mode="clean", side=SIDE).numpy()[..., : images.shape[3]] for block in blocks]
    flat: NDArray[np.float32] = np.concatenate(small).reshape(len(images), -1)
    return flat / np.float32(255.0)


def _squared(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    distances = rows @ others.T
    distances *= -2.0
    distances += (rows**2).sum(axis=1)[:, None]
    distances += (others**2).sum(axis=1)
    return np.maximum(distances, 0.0, out=distances)


def _smallest(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the columns of each row's `OTHERS` + 1 smallest values, in any order; all where there are no more."""
    kept = min(OTHERS + 1, values.shape[1])
    return np.argpartition(values, kept - 1, axis=1)[:, :kept]


def _gathered(batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yields larger batches, for one large product costs less than many small ones."""
    waiting: list[NDArray[np.float32]] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= TRAINING_BLOCK:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
