"""The pipeline step `evaluate`: scores with their protocol, and the report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganlib import storage, streams
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation.compatibility import check_model
from ganlib.evaluation.galleries import save_extremes, save_galleries, save_sheets
from ganlib.evaluation.measures.per_class import ClassScores, count_predictions, per_class
from ganlib.evaluation.notes import describe_run, note_problems
from ganlib.evaluation.report import SHEET_COLUMNS, Contents, write_report
from ganlib.evaluation.scores import Score, protocol_id
from ganlib.evaluation.task_scores import score_task
from ganlib.runtime import without_autograph
from ganlib.tracking import Tracker, flatten

if TYPE_CHECKING:
    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.reference import Reference
    from ganlib.trained import TrainedModel


CHECK = "check_"
EXTREMES = "extremes"  # folder of the pictures of the best and the worst samples
MAX_CLASSES = 100  # of a confusion matrix in the metadata of an artifact; cells of KFP's page are 15 pixels or more


@dataclass(frozen=True)
class Evaluation:
    """Scores and report in a folder. Use `Evaluation.open(folder)`.

    Attributes:
        folder: The folder.
        scores: The scores, the main one first.
        protocol: Facts that must be equal before two scores are compared.
        notes: Sentences to consider before the scores are trusted, if any.
        generator: The scored generator: `which` (best or last), whether it is `averaged`, its `step`, and the `sha256`
            of its files; None if images of unknown origin were scored.
        confusion: The `classes`, and under `counts` how many images of each requested class the classifier of the
            reference predicts to be of each class; None if no classes were requested, or there is no classifier.
        classes: Scores of each class, as `ClassScores` has them; empty without labels.
        shortcuts: Share of the samples of each network that show each sign of a shortcut, where signs have a meaning.
        prefix: What the names of the scores begin with in MLflow: `check_` for fresh samples of a model that was chosen
            by others, which has scores of those too.
    """

    folder: Path
    scores: tuple[Score, ...]
    protocol: Mapping[str, Any]
    notes: tuple[str, ...]
    generator: Mapping[str, Any] | None = None
    confusion: Mapping[str, Any] | None = None
    classes: Sequence[Mapping[str, Any]] = ()
    shortcuts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    prefix: str = ""

    @classmethod
    def open(cls, folder: str | Path) -> Evaluation:
        """Opens a folder that `evaluate` wrote.

        Raises:
            ValueError: The folder contains no scores, or damaged ones.
        """
        saved = storage.read_json(Path(folder) / "scores.json")
        try:
            scores = tuple(Score(**item) for item in saved["scores"])
            # Older files lack some of these.
            facts = saved.get("generator"), saved.get("confusion"), saved.get("classes", ()), saved.get("shortcuts", {})
            notes, prefix = tuple(saved["notes"]), saved.get("prefix", "")
            return cls(Path(folder), scores, dict(saved["protocol"]), notes, *facts, prefix)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"expected scores, as `evaluate` saves them. Received: folder={str(folder)!r}") from error

    @property
    def values(self) -> dict[str, float]:
        """Scores by name."""
        return {score.name: score.value for score in self.scores}

    @property
    def floors(self) -> dict[str, float]:
        """Floors by name, for the scores that have one."""
        return {score.name: score.floor for score in self.scores if score.floor is not None}

    @property
    def floor_counts(self) -> dict[str, int]:
        """Number of real images of each floor, by name, if it differs from the number of generated images."""
        counts = {score.name: (score.floor_count, score.count) for score in self.scores}
        return {name: floor for name, (floor, count) in counts.items() if floor is not None and floor != count}

    @property
    def metrics(self) -> dict[str, float]:
        """Scores, floors, baselines, errors and counts of floors in one flat dict."""
        errors = {f"{score.name}_error": score.error for score in self.scores if score.error is not None}
        counts = {f"{name}_floor_count": count for name, count in self.floor_counts.items()}
        return {**self._compared, **errors, **counts}

    @property
    def _compared(self) -> dict[str, float]:
        """Scores, floors and baselines in one flat dict."""
        floors = {f"{name}_floor": floor for name, floor in self.floors.items()}
        baselines = {f"{score.name}_baseline": score.baseline for score in self.scores if score.baseline is not None}
        return {**self.values, **floors, **baselines}

    @property
    def summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact of these scores, which KFP's page shows as a table.

        Only what people compare: the scores with their floors and baselines. `protocol` is equal for scores that may be
        compared. All else is in the files: errors, counts, the whole protocol.
        """
        step = {} if self.generator is None else {"generator_step": self.generator["step"]}
        return {**self._compared, "protocol": protocol_id(self.protocol), **step}

    @property
    def confusion_summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact of type `ClassificationMetrics`; empty without a confusion matrix.

        It is also empty for more than `MAX_CLASSES` classes, which no page shows and metadata should not hold.
        """
        if self.confusion is None or len(self.confusion["classes"]) > MAX_CLASSES:
            return {}
        names = [{"displayName": name} for name in self.confusion["classes"]]
        return {
            "confusionMatrix": {"annotationSpecs": names, "rows": [{"row": row} for row in self.confusion["counts"]]}
        }

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    @property
    def samples(self) -> Path:
        """The sheet of generated images."""
        return self.folder / "generated.png"


@escape_output()
@standard_keras()
@without_autograph
def evaluate(
    model: TrainedModel,
    dataset: PreparedDataset,
    reference: Reference,
    config: EvaluationConfig,
    output: Path,
    *,
    seconds: Mapping[str, float] | None = None,
) -> Evaluation:
    """Scores a trained model against real images and writes the report.

    Args:
        model: The trained model.
        dataset: The prepared images that it was trained on.
        reference: The reference to compare generated images with.
        config: Number of samples, generator and other settings.
        output: Folder to create; it is written atomically.
        seconds: Wall time of earlier steps, for the report.

    Returns:
        The scores in `output`.

    Raises:
        ValueError: The model was trained on other images than those of the dataset, its images have another shape than
            those of the reference, the reference has another split than the config, or a file cannot be read.
    """
    began = time.perf_counter()
    further_notes = check_model(model, dataset, reference, config)
    names = model.task.scored
    samplers = {name: model.sampler(config.generator, held_out=dataset, name=name) for name in names}
    scored = score_task(model.task, samplers, dataset, reference, config)
    parts, scores, protocol, extremes = scored.parts, scored.scores, scored.protocol, scored.extremes
    first = parts[names[0]]
    by_class = per_class(first.sample, reference, first.real.classes)
    with storage.atomic_folder(output) as folder:
        notes = [
            *note_problems(model, dataset, reference, first.count),
            *dict.fromkeys(note for part in parts.values() for note in part.notes),
            *further_notes,
        ]
        saved = {"scores": _rows(scores), "protocol": protocol, "notes": notes, "classes": _rows(by_class)}
        saved["prefix"] = CHECK if config.fresh_samples else ""
        saved["by_hole"] = _rows(first.by_hole)
        saved["shortcuts"] = {name: part.shortcuts for name, part in parts.items()}
        counts = count_predictions(first.sample, reference)
        if counts is not None:
            saved["confusion"] = {"classes": reference.extractor.classes, "counts": counts}
        storage.write_json(folder / "scores.json", {"generator": model.identity(config.generator), **saved})
        seed = streams.key("evaluation sheet", config.seed)
        sheets = {name: samplers[name].sheet(seed=seed, share=len(names)) for name in names}
        save_sheets(folder, sheets, {name: part.real for name, part in parts.items()})
        contents = Contents(
            title=model.facts["config"]["training"]["run_name"],
            scores=scores,
            classes=by_class,
            by_hole=first.by_hole,
            protocol=protocol,
            history=model.history,
            sheets=model.sample_pictures,
            sheets_share=sheets[names[0]].left_fraction(SHEET_COLUMNS),
            generated=folder / "generated.png",
            real=folder / "real.png",
            extremes=save_extremes(folder / EXTREMES, extremes),
            galleries=save_galleries(folder, parts, reference),
            preview=dataset.folder / "preview.png",
            data=dataset.manifest.get("description", []),  # older manifests have none
            config={**model.settings, **flatten({"evaluation": config.to_parameter()})},
            seconds={**(seconds or {}), "scoring, without imports": time.perf_counter() - began},
            notes=[*describe_run(model, dataset, reference, config), *notes],
            events=model.events,
        )
        write_report(contents, folder / "report.html")
    evaluation = Evaluation.open(output)
    _record(evaluation, model, config)
    return evaluation


def _rows(scores: Sequence[Score | ClassScores]) -> list[dict[str, Any]]:
    return [asdict(score) for score in scores]


def _record(evaluation: Evaluation, model: TrainedModel, config: EvaluationConfig) -> None:
    """Prints the scores and adds them to the run of the model."""
    for score in evaluation.scores:
        floor = "" if score.floor is None else f"  (real images: {score.floor_text})"
        baseline = "" if score.baseline is None else f"  (doing nothing: {score.baseline_text})"
        print(f"{score.name} {score.text}{floor}{baseline}", flush=True)
    with Tracker(evaluation.folder, belongs_to=model.folder) as tracker:
        tracker.params(flatten({f"{evaluation.prefix}evaluation": config.to_parameter()}))
        named = {f"{evaluation.prefix}{name}": value for name, value in evaluation.metrics.items()}
        tracker.metrics(model.step(config.generator), named)
        tracker.artifact(evaluation.report, place=f"{evaluation.prefix}report")
