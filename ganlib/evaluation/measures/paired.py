"""Measures that compare each sample with its true image, for tasks that have one.

All are computed per image and then averaged, so each has a standard error over images. The definitions, because tools
differ:

- `l1`: mean absolute difference of pixels in 0..1, over all pixels and channels.
- `psnr`: 10 log10(255^2 / mean squared difference) in dB, over all channels together; at most 100 dB, because equal
  images would be infinite, and so would the mean. Where others average the squared difference of all images before the
  logarithm, their value is lower.
- `ssim`, `ms_ssim`: see the modules of these names.
- `_hole`: the same inside the hole only, for images that have one. `ssim_hole` is the mean over the windows whose
  centre is in the hole, so it sees five pixels beyond it, and no hole that is within five pixels of the edge.
- `_10_20`: the same over images whose hole covers more than 10 and at most 20 % of the image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures import ms_ssim, ssim
from ganlib.evaluation.scores import Score, add_baselines, mean_score

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PEAK = 255.0
HIGHEST = 100.0  # dB
MEANINGS = {
    "l1": "mean absolute difference to the true images{where}, of pixels in 0..1; lower is better",
    "psnr": "mean peak signal-to-noise ratio to the true images{where}, in dB; higher is better",
    "ssim": "mean structural similarity to the true images{where}, at most 1; higher is better",
    "ms_ssim": "mean multi-scale structural similarity to the true images{where}, at most 1; higher is better",
}
IN_HOLE = ("l1_hole", "psnr_hole", "ssim_hole")
MEASURES = (*MEANINGS, *IN_HOLE)
BIN = 10  # per cent of the image that the holes of two neighbouring groups differ by


class PairedMeasures:
    """Paired scores, from batches of images.

    measures = PairedMeasures()
    for samples, truths, holes, inputs in batches:
        measures.add(samples, truths, holes=holes, inputs=inputs)
    measures.scores()
    """

    def __init__(self) -> None:
        self._samples, self._inputs = _Rows(), _Rows()
        self._small: set[tuple[int, ...]] = set()

    def add(
        self,
        samples: NDArray[np.uint8],
        truths: NDArray[np.uint8],
        *,
        holes: NDArray[np.bool_] | None = None,
        inputs: NDArray[np.uint8] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Compares a batch.

        Args:
            samples: uint8 [N, H, W, C].
            truths: The same shape.
            holes: bool [N, H, W, 1], True where the input had no image; None if the task has no holes.
            inputs: Like the samples, what doing nothing gives; None leaves the scores without baselines. An input of
                another shape must be resized or converted first.

        Returns:
            The measures of the samples [N] by name, NaN for those that have none.

        Raises:
            ValueError: The shapes differ.
        """
        _check(samples, truths, holes=holes, inputs=inputs)
        if len(samples) and min(samples.shape[1:3]) < ms_ssim.SMALLEST_SIDE:
            self._small.add(samples.shape[1:3])
        if inputs is not None:
            self._inputs.add(inputs, truths, holes)
        return self._samples.add(samples, truths, holes)

    def scores(self) -> list[Score]:
        """Returns the scores over all images, and those inside the holes; the baselines are the scores of the inputs.

        Scores that no image has are left out: see `notes`.
        """
        return add_baselines(self._samples.scores(), self._inputs.scores())

    def scores_by_hole(self) -> list[Score]:
        """Returns the scores by the share of the image that the hole covers, for shares that occur."""
        return add_baselines(self._samples.scores_by_hole(), self._inputs.scores_by_hole())

    def notes(self) -> list[str]:
        """Names the scores that are left out because images are too small."""
        return [
            f"Images of {height}x{width} pixels have no {name}, which needs sides of at least {side}."
            for height, width in sorted(self._small)
            for name, side in (("ms_ssim", ms_ssim.SMALLEST_SIDE), ("ssim", ssim.SIDE))
            if min(height, width) < side
        ]


def differences(
    samples: NDArray[np.uint8], truths: NDArray[np.uint8], *, holes: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Returns `l1` of each image, and `l1_hole` if there are holes; NaN for an image whose hole is empty.

    Args:
        samples: uint8 [N, H, W, C].
        truths: The same shape.
        holes: bool [N, H, W, 1], True where the input had no image.

    Raises:
        ValueError: The shapes differ.
    """
    _check(samples, truths, holes=holes, inputs=None)
    apart = np.abs(samples.astype(np.float64) - truths) / PEAK
    values = {"l1": apart.mean(axis=(1, 2, 3))}
    if holes is not None:
        sizes = holes.sum(axis=(1, 2, 3)) * samples.shape[3]
        sums = (apart * holes).sum(axis=(1, 2, 3))
        values["l1_hole"] = np.divide(sums, sizes, out=np.full(len(samples), np.nan), where=sizes > 0)
    return values


class _Rows:
    """The measures of single images, and the share that the hole of each covers; NaN where there is none."""

    def __init__(self) -> None:
        self._values = {name: [np.empty(0)] for name in MEASURES}
        self._shares = [np.empty(0)]

    def add(
        self, samples: NDArray[np.uint8], truths: NDArray[np.uint8], holes: NDArray[np.bool_] | None
    ) -> dict[str, NDArray[np.float64]]:
        """Compares samples and true images [N, H, W, C], and their parts in the holes [N, H, W, 1]."""
        masks = [None] * len(samples) if holes is None else holes[..., 0]
        rows = [_compare(*images) for images in zip(samples, truths, masks, strict=True)]
        values = {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in MEASURES}
        for name, batch in values.items():
            self._values[name].append(batch)
        self._shares.append(np.array([np.nan if mask is None else mask.mean() for mask in masks], np.float64))
        return values

    def scores(self) -> list[Score]:
        """Returns the scores over all images that have them."""
        return self._scores(slice(None))

    def scores_by_hole(self) -> list[Score]:
        """Returns the scores over images whose holes cover up to 10 %, 20 % and so on."""
        shares = 100.0 * np.concatenate(self._shares)
        scores = []
        for low in range(0, 100, BIN):
            high = low + BIN
            chosen = self._scores((shares > low) & (shares <= high))
            place = f"over images whose hole covers more than {low} and at most {high} %"
            scores += [
                replace(score, name=f"{score.name}_{low}_{high}", meaning=f"{score.meaning}; {place}")
                for score in chosen
            ]
        return scores

    def _scores(self, chosen: slice | NDArray[np.bool_]) -> list[Score]:
        scores = []
        for name, batches in self._values.items():
            values = np.concatenate(batches)[chosen]
            values = values[~np.isnan(values)]
            if len(values):
                measure = name.removesuffix("_hole")
                meaning = MEANINGS[measure].format(where="" if measure == name else " inside the holes")
                scores.append(mean_score(name, values, meaning))
        return scores


def _compare(
    sample: NDArray[np.uint8], truth: NDArray[np.uint8], hole: NDArray[np.bool_] | None
) -> dict[str, float | np.floating]:
    """Returns the measures of one image [H, W, C], those of its hole [H, W] included, that can be computed."""
    difference = (sample.astype(np.float64) - truth) / PEAK
    row = {"l1": np.abs(difference).mean(), "psnr": _ratio(difference)}
    if hole is not None and hole.any():
        inside = difference[hole]
        row |= {"l1_hole": np.abs(inside).mean(), "psnr_hole": _ratio(inside)}
    if min(sample.shape[:2]) >= ssim.SIDE:
        maps = ssim.similarity_maps(sample, truth)
        row["ssim"] = maps.similarity.mean()
        centres = None if hole is None else hole[ssim.MARGIN : -ssim.MARGIN, ssim.MARGIN : -ssim.MARGIN]
        if centres is not None and centres.any():
            row["ssim_hole"] = maps.similarity[:, centres].mean()
        if min(sample.shape[:2]) >= ms_ssim.SMALLEST_SIDE:
            row["ms_ssim"] = ms_ssim.multi_scale_similarity(sample, truth, full_size=maps)
    return row


def _ratio(difference: NDArray[np.float64]) -> float:
    """Returns the peak signal-to-noise ratio for differences of pixels in 0..1, in dB."""
    return float(-10.0 * np.log10(max(np.square(difference).mean(), 10.0 ** (-HIGHEST / 10.0))))


def _check(
    samples: NDArray[np.uint8],
    truths: NDArray[np.uint8],
    *,
    holes: NDArray[np.bool_] | None,
    inputs: NDArray[np.uint8] | None,
) -> None:
    for name, images in {"truths": truths, "inputs": samples if inputs is None else inputs}.items():
        if images.shape != samples.shape:
            raise ValueError(f"expected {name} of shape {samples.shape}, as the samples. Received: {images.shape}")
    shape = (*samples.shape[:3], 1)
    if holes is not None and (holes.shape != shape or holes.dtype != np.bool_):
        raise ValueError(f"expected holes of shape {shape} and type bool. Received: {holes.shape}, {holes.dtype}")
