"""Pictures that explain scores.

The most and least realistic samples, samples with similar training images, and the best and worst results beside their
inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels
from ganlib.evaluation.measures.catalogue import pairwise_count
from ganlib.evaluation.measures.precision_recall import NEIGHBOUR, realism
from ganlib.tasks import Sheet, sheet_side

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.extremes import Extremes
    from ganlib.evaluation.network_scores import NetworkScores
    from ganlib.evaluation.reference import Reference

ROWS = 2
EXTREME_PIXELS, EXTREME_GAP = 128, 4  # to which smaller images are enlarged where few are shown; pixels between them


def save_extremes(folder: Path, extremes: Mapping[str, Extremes]) -> dict[str, dict[Path, str]]:
    """Saves one picture for each of the best and the worst samples of each network.

    Args:
        folder: Folder to write to.
        extremes: The samples by network; without samples there are no pictures.

    Returns:
        For each group of samples by its title, the caption of each saved file.
    """
    groups = {}
    for network, samples in extremes.items():
        prefix, label = (f"{network}-", f"{network}: ") if len(extremes) > 1 else ("", "")
        for word, rows in (("best", samples.best), ("worst", samples.worst)):
            captions = {}
            for number, row in enumerate(rows, start=1):
                path = folder / f"{prefix}{word}-{number}.png"
                scale = max(1, EXTREME_PIXELS // max(row.pictures.shape[1:3]))
                gap = max(1, EXTREME_GAP // scale)  # between the pictures of one sample, less than between samples
                pixels.save_picture(pixels.grid(row.pictures, columns=len(row.pictures), scale=scale, gap=gap), path)
                captions[path] = f"{samples.measure} {row.value:.4g}"
            if captions:
                groups[f"{label}the {word} by {samples.measure}: {samples.shown}"] = captions
    return groups


def save_galleries(folder: Path, parts: Mapping[str, NetworkScores], reference: Reference) -> dict[Path, str]:
    """Saves the pictures of each network, if there are enough images for them.

    Args:
        folder: Folder to write to.
        parts: The scored networks by name.
        reference: The reference.

    Returns:
        The caption of each saved file.
    """
    captions = {}
    for name, part in parts.items():
        prefix = f"{name}-" if len(parts) > 1 else ""
        for path, caption in _save_gallery(folder, prefix, part, reference.of(name)).items():
            captions[path] = f"{name}: {caption}" if prefix else caption
    return captions


def _save_gallery(folder: Path, prefix: str, part: NetworkScores, reference: Reference) -> dict[Path, str]:
    """Saves the pictures of one network, and returns their captions."""
    captions, columns = {}, sheet_side(part.real.image_shape)
    images, sample = part.images, part.sample.first(len(part.images))
    count = pairwise_count(len(sample), len(reference.real))
    if count > NEIGHBOUR:
        order = np.argsort(-realism(sample.features, reference.real.features[:count]), kind="stable")
        number = min(ROWS * columns, len(order) // 2)
        for word, rows, where in (
            ("best", order[:number], "deepest among"),
            ("worst", order[-number:], "farthest from"),
        ):
            path = folder / f"{prefix}{word}.png"
            pixels.save_grid(images[rows], path, columns=columns)
            captions[path] = f"the {word} by precision: generated images {where} the real ones"
    if part.closeness is not None:
        ratios, indices = part.closeness
        closest = np.argsort(ratios, kind="stable")[:columns]
        first = np.arange(min(columns, len(images)))
        training = _training_images(part.real, indices[np.concatenate([closest, first])])
        for word, rows, title in (
            ("closest", closest, "the closest pairs"),
            ("neighbours", first, "the first samples"),
        ):
            path = folder / f"{prefix}{word}.png"
            neighbours = np.stack([training[index] for index in indices[rows]])
            pixels.save_grid(np.concatenate([images[rows], neighbours]), path, columns=len(rows))
            captions[path] = f"{title}: generated above, the nearest training image below"
    return captions


def save_sheets(folder: Path, sheets: Mapping[str, Sheet], real: Mapping[str, PreparedDataset]) -> None:
    """Saves `generated.png`, and `real.png` of held-out images in the same order of classes.

    Args:
        folder: Folder to write to.
        sheets: Samples of each network.
        real: The real images that they are compared with.
    """
    joined = Sheet.join(list(sheets.values()))
    pixels.save_grid(joined.images, folder / "generated.png", columns=joined.columns)
    parts = [_real_sheet(sheet, real[name]) for name, sheet in sheets.items()]
    pixels.save_grid(Sheet.join(parts).images, folder / "real.png", columns=parts[0].columns)


def _real_sheet(sheet: Sheet, dataset: PreparedDataset) -> Sheet:
    """Returns held-out images in the order of the classes of a sheet."""
    columns = sheet_side(dataset.image_shape)
    first = next(dataset.read("test"))[0][: len(sheet.images) // sheet.per_sample]
    images = first if sheet.labels is None else _held_out_images(dataset, sheet.labels)
    return Sheet(images, columns, 1, None)


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
