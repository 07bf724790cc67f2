"""Pictures that explain scores: the most and least realistic samples, and samples with similar training images."""

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
    closeness: Closeness | None,
    *,
    dataset: PreparedDataset,
    reference: Reference,
) -> dict[Path, str]:
    """Saves the pictures, if there are enough images for them.

    Args:
        folder: Folder to write to.
        images: uint8 [N, H, W, C], the generated images.
        sample: Their features.
        closeness: Their closeness to the nearest training image, and the index of that image.
        dataset: The real images.
        reference: The reference.

    Returns:
        The caption of each saved file.
    """
    captions, columns = {}, sheet_side(dataset.image_shape)
    count = pairwise_count(len(sample), len(reference.real))
    if count > NEIGHBOUR:
        order = np.argsort(-realism(sample.features, reference.real.features[:count]), kind="stable")
        number = min(ROWS * columns, len(order) // 2)
        for name, rows, where in (
            ("best", order[:number], "deepest among"),
            ("worst", order[-number:], "farthest from"),
        ):
            path = folder / f"{name}.png"
            pixels.save_grid(images[rows], path, columns=columns)
            captions[path] = f"the {name} by precision: generated images {where} the real ones"
    if closeness is not None:
        ratios, indices = closeness
        closest = np.argsort(ratios, kind="stable")[:columns]
        first = np.arange(min(columns, len(images)))
        training = _training_images(dataset, indices[np.concatenate([closest, first])])
        for name, rows, title in (
            ("closest", closest, "the closest pairs"),
            ("neighbours", first, "the first samples"),
        ):
            path = folder / f"{name}.png"
            neighbours = np.stack([training[index] for index in indices[rows]])
            pixels.save_grid(np.concatenate([images[rows], neighbours]), path, columns=len(rows))
            captions[path] = f"{title}: generated above, the nearest training image below"
    return captions


def save_sheets(folder: Path, sheet: Sheet, *, dataset: PreparedDataset) -> None:
    """Saves `generated.png`, and `real.png` of held-out images in the same order of classes.

    Args:
        folder: Folder to write to.
        sheet: Samples.
        dataset: The real images.
    """
    pixels.save_grid(sheet.images, folder / "generated.png", columns=sheet.columns)
    columns = sheet_side(dataset.image_shape)
    first = next(dataset.read("test"))[0][: len(sheet.images) // sheet.per_sample]
    real = first if sheet.labels is None else _held_out_images(dataset, sheet.labels)
    pixels.save_grid(real, folder / "real.png", columns=columns)


def _held_out_images(dataset: PreparedDataset, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns a held-out image [n, H, W, C] for each label; white if there are too few images of its class."""
    chosen = np.full((len(labels), *dataset.image_shape), 255, np.uint8)
    places = {int(label): list(np.flatnonzero(labels == label)) for label in labels}  # still empty, by class
    for images, classes in dataset.read("test"):
        for image, label in zip(images, classes, strict=True):
            if places.get(int(label)):
                chosen[places[int(label)].pop(0)] = image
        if not any(places.values()):
            break
    return chosen


def _training_images(dataset: PreparedDataset, indices: NDArray[np.int64]) -> dict[int, NDArray[np.uint8]]:
    """Returns single training images [H, W, C] by their index."""
    chosen: dict[int, NDArray[np.uint8]] = {}
    start = 0
    for images, _ in dataset.read("train"):
        chosen |= {int(index): images[index - start] for index in indices if start <= index < start + len(images)}
        start += len(images)
        if start > indices.max():
            break
    return chosen
