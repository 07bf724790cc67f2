"""Confidence and variety of a classifier's predictions; with the canonical network, this is the inception score.

Salimans et al. 2016, https://arxiv.org/abs/1606.03498. See also the criticism of Barratt and Sharma 2018,
https://arxiv.org/abs/1801.01973: no real image is involved, so one perfect image per class gets the best score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures import jackknife

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLITS = 10


def class_score(probabilities: NDArray[np.floating], *, splits: int = SPLITS) -> tuple[float, float]:
    """Returns exp(mean KL(p(y|x), p(y))), the mean over disjoint splits as in the paper, and its standard error.

    Args:
        probabilities: Class probabilities [N, K], one row per image.
        splits: Number of disjoint random parts of the images, each scored separately; smaller parts lower the score.

    Returns:
        The score, from 1 to K, and the standard error of its mean.

    Raises:
        ValueError: There are fewer images than splits.
    """
    if len(probabilities) < splits:
        raise ValueError(f"expected at least {splits} images, one per split. Received: images={len(probabilities)}")
    scores = [_score(part.astype(np.float64)) for part in jackknife.blocks(probabilities, splits)]
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(splits))


def _score(probabilities: NDArray[np.float64]) -> float:
    tiny = np.finfo(np.float64).tiny  # 0 log 0 is 0
    logs = np.log(np.maximum(probabilities, tiny)) - np.log(np.maximum(probabilities.mean(axis=0), tiny))
    return float(np.exp((probabilities * logs).sum(axis=1).mean()))
