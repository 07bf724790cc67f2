"""Scores beside each other, if they were measured alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganlib.evaluation.evaluate import Evaluation
    from ganlib.evaluation.scores import Score

FREE = ("seed",)  # another draw of samples is not another measure


def compare(first: Evaluation, second: Evaluation) -> dict[str, tuple[Score, Score]]:
    """Returns the scores that two evaluations have in common, by name.

    Raises:
        ValueError: Their protocols differ in more than the seed; the message names each difference.
    """
    names = dict.fromkeys([*first.protocol, *second.protocol])
    unlike = [
        f"{name}={first.protocol.get(name)!r} and {second.protocol.get(name)!r}"
        for name in names
        if name not in FREE and first.protocol.get(name) != second.protocol.get(name)
    ]
    if unlike:
        raise ValueError(f"expected scores of one protocol, for others do not compare. Received: {'; '.join(unlike)}")
    others = {score.name: score for score in second.scores}
    return {score.name: (score, others[score.name]) for score in first.scores if score.name in others}


def comparison(names: Sequence[str], evaluations: Sequence[Evaluation]) -> str:
    """Returns a table of the scores that all evaluations have in common, a column for each, and of the floors.

    Args:
        names: Titles of the columns.
        evaluations: At least one.

    Raises:
        ValueError: Two protocols differ.
    """
    first, *others = evaluations
    shared = [compare(first, other) for other in others]
    rows = [["score", *names, "real images"]]
    for score in first.scores:
        if all(score.name in scores for scores in shared):
            others_text = [scores[score.name][1].text for scores in shared]
            rows.append([score.name, score.text, *others_text, score.floor_text])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
