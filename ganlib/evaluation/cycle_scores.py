"""Scores of a translation that can be undone, for which no true translations are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ganlib import streams
from ganlib.evaluation.extremes import Extremes
from ganlib.evaluation.measures.translation import (
    absolute_differences,
    hidden_information,
    identity_error,
    luminance_correlation,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.scores import Score
    from ganlib.tasks import Sampler

MOST_IMAGES = 500  # each is translated once, and its translation back three times


def cycle_scores(
    sampler: Sampler, inverse: Sampler, *, inputs: PreparedDataset, real: PreparedDataset, seed: int
) -> tuple[list[Score], Extremes]:
    """Returns cycle error, identity error, correlation of luminance, and the test for hidden information.

    Args:
        sampler: Draws from the translator.
        inverse: Draws from the translator back.
        inputs: Data whose test images are translated.
        real: Data of the domain that they are translated to.
        seed: Seed of the evaluation.

    Returns:
        The scores; and the inputs with the best and the worst cycles.
    """
    pairs = [(images, sampler.change(images)) for images in _batches(inputs)]
    cycles = [(images, translations, inverse.change(translations)) for images, translations in pairs]
    extremes = Extremes("input, output, cycle", lower_is_better=True)
    for images, translations, returned in cycles:
        extremes.add("cycle_error", absolute_differences(images, returned), (images, translations, returned))
    noise = streams.key("hidden information", seed)
    scores = [
        *hidden_information(cycles, inverse.change, key=noise),
        identity_error((images, sampler.change(images)) for images in _batches(real)),
        *luminance_correlation(pairs),
    ]
    return scores, extremes


def _batches(dataset: PreparedDataset) -> Iterator[NDArray[np.uint8]]:
    """Yields the first test images, at most `MOST_IMAGES`."""
    count = 0
    for images, _ in dataset.read("test"):
        if count >= MOST_IMAGES:
            return
        yield images[: MOST_IMAGES - count]
        count += len(images)
