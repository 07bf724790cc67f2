"""Whether generated images are copies of training images.

Both common remedies against the plain distance to the nearest training image go in: it is compared with that of real
images which the generator never saw (Meehan et al. 2020, https://arxiv.org/abs/2004.05675), and it is taken as a share
of the distances to the next nearest ones (Carlini et al. 2023, https://arxiv.org/abs/2301.13188), since a blurred image
is near to every training image, and a copy to one. Pixels tell noisy copies better than the features of a classifier
do; copies that are moved or mirrored are told by neither.
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
ROWS = 2048
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

    def training() -> Iterator[NDArray[np.float32]]:
        progress = Progress("memorisation", total=dataset.count("train"), unit="training images")
        read = 0
        for batch, _ in dataset.read("train"):
            yield _flat(batch)
            read += len(batch)
            progress.update(read)

    found = closeness(_flat(images), training())
    if not dataset.flip:
        return found
    mirrored = closeness(_flat(images[:, :, ::-1]), training())
    nearer = mirrored[0] < found[0]
    np.copyto(found[0], mirrored[0], where=nearer)
    np.copyto(found[1], mirrored[1], where=nearer)
    return found


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
    centre = images.mean(axis=0)  # a large common part would leave its rounding in place of small distances
    images = images - centre
    best = np.full((len(images), OTHERS + 1), np.inf, np.float32)
    places = np.zeros(best.shape, np.int64)
    start = 0
    for block in _gathered(training):
        numbers = np.arange(start, start + len(block))
        for row in range(0, len(images), ROWS):
            rows = slice(row, row + ROWS)
            apart = _squared(images[rows], block - centre)
            found = np.concatenate([best[rows], apart], axis=1)
            named = np.concatenate([places[rows], np.broadcast_to(numbers, apart.shape)], axis=1)
            near = np.argpartition(found, OTHERS, axis=1)[:, : OTHERS + 1]
            best[rows], places[rows] = (np.take_along_axis(values, near, axis=1) for values in (found, named))
        start += len(block)
    if start <= OTHERS:
        raise ValueError(f"expected more than {OTHERS} training images. Received: {start}")
    distances = np.sqrt(best.astype(np.float64))
    nearest = distances.min(axis=1)
    further = (distances.sum(axis=1) - nearest) / OTHERS
    # A copy of what is there many times has all its neighbours at the same distance: rounding, beside its own length.
    nearest[nearest**2 <= ROUNDING * (images.astype(np.float64) ** 2).sum(axis=1)] = 0.0
    ratios = np.divide(nearest, further, out=np.ones(len(images)), where=further > 0)
    ratios[nearest == 0.0] = 0.0
    return ratios, places[np.arange(len(images)), distances.argmin(axis=1)]


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
