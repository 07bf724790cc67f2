"""The description of a version on MLflow's page: Markdown of at most 5,000 characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.export.facts import read_challenger, read_facts

if TYPE_CHECKING:
    from pathlib import Path

    from ganlib.selection.verdict import Verdict

LONGEST = 5000  # of the column in MLflow's database; PostgreSQL refuses more
MOST_SCORES = 16


def describe(exported: Path, verdict: Verdict, *, picture: str) -> str:
    """Returns the short card of a model.

    Args:
        exported: Folder of the exported model.
        verdict: The verdict of the gate on it.
        picture: Address of the picture of samples, relative to MLflow's page.
    """
    facts, evaluation = read_facts(exported), read_challenger(exported).evaluation
    changes = any(score.baseline is not None for score in evaluation.scores)
    more = len(evaluation.scores) - MOST_SCORES
    titles = ["score", "generated", "real images", *(["doing nothing"] if changes else [])]
    table = [titles, ["---"] * len(titles)]
    table += [
        [f"`{score.name}`", score.text, score.floor_text, score.baseline_text][: len(titles)]
        for score in evaluation.scores[:MOST_SCORES]
    ]
    reasons = [f"- {reason.text}" for reason in verdict.reasons if reason.result != "not checked"]
    shape = "x".join(map(str, facts["image_shape"]))
    generator = facts["generator"]
    origin = (
        f"Run `{facts['run']}`: the {generator['which']} generator, step {generator['step']} of {facts['last_step']}, "
        f"{shape} pixels, trained on `{facts['dataset']}`. The whole card is `model_card/README.md`, and the verdict "
        "`verdict/verdict.html`, among the artifacts of the run."
    )
    lines = [
        verdict.summary,  # without Markdown, which MLflow's list of versions shows as it is
        "",
        *(line for note in verdict.notes for line in (note, "")),
        origin,
        "",
        f"![samples, not selected]({picture})",
        "",
        *(f"| {' | '.join(row)} |" for row in table),
        *(["", f"{more} more are in the card."] if more > 0 else []),
        "",
        *reasons,
    ]
    text = "\n".join(lines)
    return text if len(text) <= LONGEST else text[: LONGEST - 2].rpartition("\n")[0] + "\n…"
