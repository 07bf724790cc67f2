"""Measures that compare each sample with its true image, for tasks that have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.scores import Score

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PEAK = 255.0
HIGHEST = 100.0  # dB, for equal images: theirs would be infinite, and so would the mean


def pixel_differences(samples: NDArray[np.uint8], truths: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the mean absolute and the mean squared difference of each sample and its true image.

    Args:
        samples: uint8 [N, H, W, C].
        truths: The same shape.

    Returns:
        float64 [N, 2], in units of the largest pixel value, 255, and of its square.
    """
    difference = (samples.astype(np.float64) - truths) / PEAK
    return np.stack([np.abs(difference).mean(axis=(1, 2, 3)), np.square(difference).mean(axis=(1, 2, 3))], axis=1)


def paired_scores(batches: Sequence[NDArray[np.float64]]) -> list[Score]:
    """Returns the scores `l1` and `psnr`, means over all images, from the results of `pixel_differences`.

    The peak signal-to-noise ratio is computed for each image, with a peak of 255, and then averaged. Without true
    images, there are no scores.
    """
    if not batches:
        return []
    rows = np.concatenate(batches)
    absolute, squared = rows[:, 0], rows[:, 1]
    ratios = np.minimum(HIGHEST, -10.0 * np.log10(np.maximum(squared, 10.0 ** (-HIGHEST / 10.0))))
    meanings = {
        "l1": "mean absolute difference to the true images, of pixels in 0..1; lower is better",
        "psnr": "mean peak signal-to-noise ratio to the true images in dB; higher is better",
    }
    return [
        Score(name, float(values.mean()), None, meanings[name], _standard_error(values), count=len(values))
        for name, values in (("l1", absolute), ("psnr", ratios))
    ]


def _standard_error(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
