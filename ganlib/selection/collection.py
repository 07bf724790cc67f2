"""What becomes of the candidates of a comparison: one is chosen, and a variant is recommended."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ganlib import storage
from ganlib.evaluation import Evaluation
from ganlib.selection.candidate import OUTCOME_FOLDER, Candidate
from ganlib.selection.comparison import list_failures
from ganlib.selection.curves import read_curves
from ganlib.selection.outcome import Outcome
from ganlib.selection.recommend import choose, recommend
from ganlib.selection.recommendation import Recommendation
from ganlib.tracking import RunGroup, Tracker

ABSENT = object()


def choose_candidate(folders: Sequence[Path], *, winner: Path, outcomes: Path) -> Outcome:
    """Copies the trained model to ship, and the outcomes of all candidates.

    Args:
        folders: Trained models with their outcomes, see `try_candidate`.
        winner: Folder to create for the model.
        outcomes: Folder to create, with one for each candidate.

    Returns:
        The outcome of the winner.

    Raises:
        ValueError: All candidates failed, or they cannot be compared.
    """
    found = _open([folder / OUTCOME_FOLDER for folder in folders])
    chosen = choose(found)
    with storage.atomic_folder(winner) as folder:
        ignored = shutil.ignore_patterns(OUTCOME_FOLDER)
        shutil.copytree(chosen.folder.parent, folder, dirs_exist_ok=True, ignore=ignored)
    with storage.atomic_folder(outcomes) as folder:
        for outcome in found:
            shutil.copytree(outcome.folder, folder / f"{outcome.variant}-seed{outcome.seed}")
    return chosen


def halve_candidates(folders: Sequence[Path], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Lets the better half of the variants go on, by the mean rank of the scores that their seeds have so far.

    Args:
        folders: What `try_candidate` left of each candidate, in any order.
        candidates: The candidates, which all pause.

    Returns:
        The same candidates; those of the better half do not pause. A variant of which a seed failed comes after the
        others.

    Raises:
        ValueError: All candidates failed.
    """
    outcomes = _open([folder / OUTCOME_FOLDER for folder in folders])
    failed = {one.variant for one in outcomes if one.failure and one.halving is None}
    if all(one.failure and one.halving is None for one in outcomes):
        raise ValueError(f"all candidates failed: {list_failures(outcomes)}")
    pauses = {one.variant: (one.pause or 0) * one.images_per_step for one in candidates}
    curves = read_curves(outcomes)[1]
    early = {one.outcome.name: one.best_until(pauses[one.outcome.variant]) for one in curves}
    known = {one.name: math.inf if (best := early.get(one.name)) is None else best for one in outcomes}
    order = [one.variant for one in sorted(outcomes, key=lambda one: known[one.name])]  # without a score, the last ones
    ranks = {name: fmean(place for place, other in enumerate(order) if other == name) for name in order}
    variants = sorted(pauses, key=lambda name: (name in failed, ranks[name]))
    kept = variants[: math.ceil(len(variants) / 2)]
    print(f"halving: {', '.join(kept)} go on; {', '.join(variants[len(kept) :])} stop", flush=True)
    return [one.model_copy(update={"halving": None}) if one.variant in kept else one for one in candidates]


def recommend_variant(outcomes: Path, scores: Path, output: Path, *, group: RunGroup) -> Recommendation:
    """Recommends a variant, and records it in the MLflow run of the comparison.

    Args:
        outcomes: The outcomes, from `choose_candidate`.
        scores: Scores of the chosen candidate with fresh samples.
        output: Folder to create.
        group: The MLflow run of the comparison.

    Raises:
        ValueError: The candidates cannot be compared, or the scores are not of the chosen one.
    """
    found = _open(list(outcomes.iterdir()))
    recommendation = recommend(found, output=output, check=Evaluation.open(scores))
    with Tracker(output, run_name=group.name, group=group, leads=True) as tracker:
        tracker.metrics(0, recommendation.metrics)
        note = "\n\n".join([recommendation.answer, *recommendation.reasons])
        tags = {"recommended": recommendation.variant, "verdict": recommendation.verdict}
        tracker.tags({**tags, "mlflow.note.content": note})
        tracker.artifact(recommendation.report, place="comparison")
        tracker.status("FINISHED")
    print(f"recommend: {recommendation.answer}", flush=True)
    return recommendation


def _open(folders: Sequence[Path]) -> list[Outcome]:
    """Returns outcomes in an order that does not depend on that of the folders, which decides between equal ones."""
    found = [Outcome.open(folder) for folder in folders]
    return distinguish(sorted(found, key=lambda outcome: (outcome.variant, outcome.seed)))


def distinguish(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns outcomes whose `changes` are only those settings that are not the same in all of them."""
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.changes)
    differing = [name for name in names if len({repr(one.changes.get(name, ABSENT)) for one in outcomes}) > 1]
    return [
        one.model_copy(update={"changes": {name: one.changes[name] for name in differing if name in one.changes}})
        for one in outcomes
    ]
