"""Pictures that explain scores: the most and the least realistic samples, and samples beside training images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels
from ganlib.evaluation.measures.catalogue import pairwise_count
from ganlib.evaluation.measures.precision_recall import NEIGHBOUR, realism
from ganlib.tasks import sheet_side

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.reference import Reference
    from ganlib.evaluation.sample import Sample
    from ganlib.tasks import Sheet

    Closeness = tuple[NDArray[np.float64], NDArray[np.int64]]

ROWS = 2


def save_galleries(
    folder: Path,
    images: NDArray[np.uint8],
    sample: Sample,
    nearest: Closeness | None,
    *,
    dataset: PreparedDataset,
    reference: Reference,
) -> dict[Path, str]:
    """Writes the pictures that there are enough images for.

    Args:
        folder: Where they go.
        images: uint8 [N, H, W, C], the generated images.
        sample: Their features.
        nearest: How close each is to its nearest training image, and which that is.
        dataset: The real images.
        reference: Their features.

    Returns:
        A caption for each file that was written.
    """
    captions, columns = {}, sheet_side(dataset.image_shape)
    count = pairwise_count(len(sample), len(reference.real))
    if count > NEIGHBOUR:
        order = np.argsort(-realism(sample.features, reference.real.features[:count]), kind="stable")
        shown = min(ROWS * columns, len(order) // 2)
        for name, rows, which in (("best", order[:shown], "deepest among"), ("worst", order[-shown:], "farthest from")):
            path = folder / f"{name}.png"
            pixels.save_grid(images[rows], path, columns=columns)
            captions[path] = f"the {name} by precision: generated images {which} the real ones"
    if nearest is not None:
        ratios, places = nearest
        closest = np.argsort(ratios, kind="stable")[:columns]
        for name, rows in (("closest", closest), ("neighbours", np.arange(min(columns, len(images))))):
            path = folder / f"{name}.png"
            training = _training_images(dataset, places[rows])
            pixels.save_grid(np.concatenate([images[rows], training]), path, columns=len(rows))
            shown_as = "the closest pairs" if name == "closest" else "the first samples"
            captions[path] = f"{shown_as}: generated above, the nearest training image below"
    return captions


def save_sheets(folder: Path, sheet: Sheet, *, dataset: PreparedDataset) -> None:
    """Writes `generated.png`, and `real.png` of held-out images in the same order of classes.

    Args:
        folder: Where they go.
        sheet: Samples.
        dataset: The real images.
    """
    pixels.save_grid(sheet.images, folder / "generated.png", columns=sheet.columns)
    columns = sheet_side(dataset.image_shape)
    first = next(dataset.read("test"))[0][: len(sheet.images) // sheet.per_sample]
    real = first if sheet.labels is None else _held_out_images(dataset, sheet.labels)
    pixels.save_grid(real, folder / "real.png", columns=columns)


def _held_out_images(dataset: PreparedDataset, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Reads a held-out image [n, H, W, C] for each label; white where there are not so many of its class."""
    chosen = np.full((len(labels), *dataset.image_shape), 255, np.uint8)
    wanted = {int(label): list(np.flatnonzero(labels == label)) for label in labels}
    for images, classes in dataset.read("test"):
        for image, label in zip(images, classes, strict=True):
            if wanted.get(int(label)):
                chosen[wanted[int(label)].pop(0)] = image
        if not any(wanted.values()):
            break
    return chosen


def _training_images(dataset: PreparedDataset, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Reads single training images [n, H, W, C] by their place."""
    found: dict[int, NDArray[np.uint8]] = {}
    start = 0
    for images, _ in dataset.read("train"):
        found |= {int(row): images[row - start] for row in rows if start <= row < start + len(images)}
        start += len(images)
        if start > rows.max():
            break
    return np.stack([found[int(row)] for row in rows])
