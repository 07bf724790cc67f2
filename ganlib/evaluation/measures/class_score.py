"""How sure and how varied a classifier's answers are: the inception score in the canonical network.

Salimans et al. 2016, https://arxiv.org/abs/1606.03498; read with Barratt and Sharma 2018,
https://arxiv.org/abs/1801.01973: it compares with no real image, so one perfect image a class is enough for it.
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
    """Returns exp(mean KL(p(y|x), p(y))), the mean over disjoint splits as published, and the standard error.

    Args:
        probabilities: Of the classes, [N, K], a row an image.
        splits: Disjoint random parts of the images, each scored by itself; fewer images in each lower the score.

    Returns:
        The score, from 1 to K, and the standard error of its mean.

    Raises:
        ValueError: There are fewer images than splits.
    """
    if len(probabilities) < splits:
        raise ValueError(f"expected at least {splits} images, one a split. Received: images={len(probabilities)}")
    scores = [_score(part.astype(np.float64)) for part in jackknife.blocks(probabilities, splits)]
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(splits))


def _score(probabilities: NDArray[np.float64]) -> float:
    tiny = np.finfo(np.float64).tiny  # 0 log 0 is 0
    logs = np.log(np.maximum(probabilities, tiny)) - np.log(np.maximum(probabilities.mean(axis=0), tiny))
    return float(np.exp((probabilities * logs).sum(axis=1).mean()))
