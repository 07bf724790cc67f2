"""Comparison of scores that were measured in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.evaluation.scores import MAY_DIFFER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganlib.evaluation.evaluate import Evaluation
    from ganlib.evaluation.scores import Score


def compare(first: Evaluation, second: Evaluation) -> dict[str, tuple[Score, Score]]:
    """Returns the scores that two evaluations have in common, by name.

    Raises:
        ValueError: Their protocols differ in more than the seed; the message names each difference.
    """
    _check_same_protocol(first, second)
    others = {score.name: score for score in second.scores}
    return {score.name: (score, others[score.name]) for score in first.scores if score.name in others}


def _check_same_protocol(first: Evaluation, second: Evaluation) -> None:
    names = dict.fromkeys([*first.protocol, *second.protocol])
    differences = [
        f"{name}={_recorded(first, name)} and {_recorded(second, name)}"
        for name in names
        if name not in MAY_DIFFER and first.protocol.get(name) != second.protocol.get(name)
    ]
    if differences:
        raise ValueError(f"expected scores of one protocol. Received: {'; '.join(differences)}")


def _recorded(evaluation: Evaluation, name: str) -> str:
    """Returns a fact of the protocol, which an older version may not have recorded: measure those scores again."""
    return repr(evaluation.protocol[name]) if name in evaluation.protocol else "not recorded"


def comparison(names: Sequence[str], evaluations: Sequence[Evaluation]) -> str:
    """Returns a table of scores with one column per evaluation and one for real images. A dash marks a missing score.

    Args:
        names: Titles of the columns.
        evaluations: One or more.

    Raises:
        ValueError: The protocols differ.
    """
    for other in evaluations[1:]:
        _check_same_protocol(evaluations[0], other)
    columns = [{score.name: score for score in evaluation.scores} for evaluation in evaluations]
    rows = [["score", *names, "real images"]]
    for name in dict.fromkeys(name for column in columns for name in column):
        scores = [column.get(name) for column in columns]
        floors = [score.floor_text for score in scores if score]
        rows.append([name, *(score.text if score else "-" for score in scores), floors[0]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
