"""A candidate of a comparison: a variant with one seed, which is trained and scored."""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ganlib import storage, tracking
from ganlib.data import PreparedDataset
from ganlib.evaluation import Evaluation, EvaluationConfig, Reference, evaluate
from ganlib.models import AnyArchitecture
from ganlib.objectives import AnyObjective
from ganlib.progress import number
from ganlib.schema import Config
from ganlib.selection.child import run_in_child
from ganlib.selection.curves import read_curves
from ganlib.selection.failures import Failure, failure_of, try_repeatedly
from ganlib.selection.halving import Halving
from ganlib.selection.outcome import SAMPLES, Outcome
from ganlib.tasks import AnyTask
from ganlib.tracking import HISTORY, RunGroup
from ganlib.trained import without_places
from ganlib.training import (
    OtherRunError,
    TrainConfig,
    TrainedModel,
    TrainingDiverged,
    TrainingInterrupted,
    TrainingPaused,
    resolve_strategy,
    train,
)
from ganlib.training.run_directory import local_folder

OUTCOME_FOLDER = "outcome"
SCORES = "scores.json"
# Fields of `training` that the comparison sets: the budget, the steps between two looks, and the places.
BUDGET, LOOKS = ("steps", "max_minutes", "target_score"), ("score_every", "sample_every", "checkpoint_every")
PLACES = ("home", "run_name")
NOT_OF_VARIANT = {f"training.{name}" for name in (*BUDGET, *LOOKS, *PLACES, "steps_per_loop", "seed")}
FAILURE = "failure.txt"  # in the place of scores


class Candidate(Config):
    """What one candidate is: the sections that the variants of a comparison may differ in, and a seed."""

    variant: str = Field(min_length=1, max_length=120)
    """Name of the variant."""
    seed: int = Field(ge=0)
    """Number of the candidate among those of its variant; `training.seed` follows from it."""
    task: AnyTask
    """What the generator generates."""
    model: AnyArchitecture
    """Architecture of the networks."""
    objective: AnyObjective
    """Losses of the networks."""
    training: TrainConfig
    """Training settings."""
    halving: Halving | None = None
    """The halving for which it pauses; None for one that uses its whole budget."""

    @property
    def images_per_step(self) -> int:
        """Real images that the discriminator sees in a step."""
        return self.objective.discriminator_steps * self.training.batch_size

    @property
    def pause(self) -> int | None:
        """Step at which it pauses."""
        if self.halving is None:
            return None
        return self.halving.pause(steps=self.training.steps, score_every=self.training.score_every)

    @property
    def name(self) -> str:
        """Name of the candidate."""
        return f"{self.variant}-seed{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the variant by dotted name, without those of the budget and of one candidate alone."""
        sections = {"task": self.task, "model": self.model, "objective": self.objective, "training": self.training}
        flat = without_places(tracking.flatten({name: one.to_parameter() for name, one in sections.items()}))
        return {name: value for name, value in flat.items() if name not in NOT_OF_VARIANT}


@dataclass(frozen=True)
class Places:
    """Folders of one candidate.

    Attributes:
        dataset: Prepared images, to read.
        reference: Output of `measure_reference`, to read.
        trained: The trained model, to write, with the folder `outcome` in it, which the recommendation reads.
        scores: Its scores, to write. They stay absent after a failure that another attempt may not meet, so that the
            local cache does not keep it.
    """

    dataset: Path
    reference: Path
    trained: Path
    scores: Path

    @property
    def outcome(self) -> Path:
        """Folder of the outcome."""
        return self.trained / OUTCOME_FOLDER


@dataclass(frozen=True)
class Attempt:
    """What became of a candidate.

    Attributes:
        failure: Why it failed, or where it paused, in one line; empty if it finished.
        evaluation: Its scores; None if it has not finished.
        paused: Whether it paused for a halving.
    """

    failure: str
    evaluation: Evaluation | None
    paused: bool = False

    @property
    def summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact."""
        return {"failure": self.failure} if self.evaluation is None else self.evaluation.summary

    @property
    def page(self) -> str:
        """HTML page: the report, or why there is none."""
        if self.evaluation is None:
            word = "paused" if self.paused else "failed"
            return f"<!doctype html><title>{word}</title><p>This candidate {word}: {html.escape(self.failure)}</p>\n"
        return self.evaluation.report.read_text(encoding="utf-8")


def try_candidate(candidate: Candidate, evaluation: EvaluationConfig, places: Places, *, group: RunGroup) -> Attempt:
    """Trains and scores a candidate. If that fails, the outcome says why.

    The work is done in a child process, so that even its end by a signal, as for want of memory, is an outcome. A
    failure that may pass is tried again, see `try_repeatedly`; the training resumes from its last checkpoint.

    Args:
        candidate: What to train.
        evaluation: How to score it.
        places: Folders to read and to write.
        group: The MLflow run of the comparison.

    Raises:
        TrainingInterrupted: SIGTERM or Ctrl-C was received. The same call resumes.
        OtherRunError: `training.home` holds a run with other settings, such as those of another budget.
    """
    print(f"candidate: {candidate.variant}, seed {candidate.seed}", flush=True)
    failed = try_repeatedly(
        lambda: run_in_child(lambda: _failure(candidate, evaluation, places, group)), name=candidate.name
    )
    failure = failed.text if failed else ""
    if failed:
        print(f"candidate: {candidate.name} {'paused' if failed.paused else 'failed'}: {failure}", flush=True)
    with storage.atomic_folder(places.outcome) as folder:
        facts = _paused_facts(candidate) if failed and failed.paused else {} if failed else _facts(candidate, places)
        if not failure:
            shutil.copy(places.scores / SCORES, folder / SCORES)
            shutil.copy(Evaluation.open(places.scores).samples, folder / SAMPLES)
        history = _history(candidate, places)
        if history is not None:
            shutil.copy(history, folder / HISTORY)
        outcome = Outcome(
            variant=candidate.variant, seed=candidate.seed, changes=candidate.settings, failure=failure, **facts
        )
        if failed and failed.paused:
            failure = _early_score(outcome.model_copy(update={"folder": folder}))
            outcome = outcome.model_copy(update={"failure": failure})
        outcome.write(folder)
    paused = failed is not None and failed.paused
    return Attempt(failure, None if failure else Evaluation.open(places.scores), paused)


def _failure(candidate: Candidate, evaluation: EvaluationConfig, places: Places, group: RunGroup) -> Failure | None:
    """Trains and scores, and returns why that failed, if it did."""
    try:
        _train_and_score(candidate, evaluation, places, group)
    except (TrainingInterrupted, OtherRunError):
        raise
    except (TrainingDiverged, TrainingPaused) as error:
        with storage.atomic_folder(places.scores) as folder:  # it would do so again, so caches may keep it
            (folder / FAILURE).write_text(f"{error}\n", encoding="utf-8")
        return Failure(str(error), may_pass=False, paused=isinstance(error, TrainingPaused))
    except Exception as error:  # noqa: BLE001  # whatever ends one candidate must not end the others
        return failure_of(error)
    return None


def _train_and_score(candidate: Candidate, evaluation: EvaluationConfig, places: Places, group: RunGroup) -> None:
    config = candidate.training
    resolve_strategy(config.replicas, config.strategy)  # before anything uses TensorFlow
    dataset, reference = PreparedDataset.open(places.dataset), Reference.open(places.reference)
    _check_images(candidate, reference)
    trained = train(
        dataset,
        reference,
        task=candidate.task,
        architecture=candidate.model,
        objective=candidate.objective,
        config=config,
        output=places.trained,
        group=group,
        tags={"variant": candidate.variant, "seed": str(candidate.seed)},
        pause_at=candidate.pause,
    )
    with _interruptible():
        evaluate(trained, dataset, reference, evaluation, places.scores)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turns Ctrl-C after the training into the same exception as during it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise TrainingInterrupted("interrupted while the model was scored; the same command resumes") from error


def _facts(candidate: Candidate, places: Places) -> dict[str, Any]:
    """Returns what the outcome says of a candidate that finished."""
    trained, scored = TrainedModel.open(places.trained), Evaluation.open(places.scores)
    steps = int(trained.facts["last_step"])
    run = tracking.run_id(places.trained)
    return {
        "measure": scored.scores[0].name,
        "seconds": trained.facts["seconds"],
        "images": steps * candidate.images_per_step,
        "steps": steps,
        "best_step": trained.step("best"),
        "parameters": trained.facts["parameters"],
        **({} if run is None else {"mlflow_run_id": run}),
    }


def _check_images(candidate: Candidate, reference: Reference) -> None:
    """Refuses a halving after a comparison of other images."""
    halving = candidate.halving
    known = {reference.of(name).facts["dataset_sha256"] for name in candidate.task.scored}
    if halving is not None and halving.data not in known:
        own = ", ".join(checksum[:8] for checksum in sorted(known))
        raise ValueError(
            f"expected a halving after a full comparison of the same images, {own}. Received: {halving.former}, of "
            f"{halving.data[:8]}"
        )


def _paused_facts(candidate: Candidate) -> dict[str, Any]:
    """Returns what the outcome says of a candidate that paused."""
    steps, halving = candidate.pause or 0, candidate.halving
    paused = None if halving is None else halving.model_copy(update={"paused": steps / candidate.training.steps})
    return {"halving": paused, "steps": steps, "images": steps * candidate.images_per_step}


def _early_score(outcome: Outcome) -> str:
    """Returns the row of a candidate that a halving stops, unless it goes on."""
    name, curves = read_curves([outcome])
    part = f"stopped at {100 * outcome.halving.part:.0f} % of the budget by a halving" if outcome.halving else ""
    best = curves[0].best_until(outcome.images or 0) if curves else None
    return part if best is None else f"{part}, with {name.rpartition('/')[2]} {number(best)} at best"


def _history(candidate: Candidate, places: Places) -> Path | None:
    """Returns the file with the history of the training, also of one that failed."""
    folders = [places.trained, local_folder(candidate.training.home, places.trained)]
    return next((folder / HISTORY for folder in folders if (folder / HISTORY).is_file()), None)
