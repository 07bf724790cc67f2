"""The pipeline step `evaluate`: scores with their protocol, and the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage, streams
from ganlib.data.decoded import DecodedDataset
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation.compatibility import check_model
from ganlib.evaluation.extractors.network import NetworkSettings
from ganlib.evaluation.galleries import save_galleries, save_sheets
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.catalogue import CLASS_SAMPLES, memorisation
from ganlib.evaluation.measures.classification_accuracy import classification_accuracy, training_count
from ganlib.evaluation.measures.memorisation import closeness_to_training
from ganlib.evaluation.measures.paired import paired_scores, pixel_differences
from ganlib.evaluation.measures.per_class import ClassScores, per_class
from ganlib.evaluation.notes import describe_run, note_better_than_real, note_fewer_samples, note_problems, note_scores
from ganlib.evaluation.report import SHEET_COLUMNS, Contents, write_report
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.scores import Score
from ganlib.runtime import without_autograph
from ganlib.tracking import Tracker, flatten

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.reference import Reference
    from ganlib.tasks import Sampler
    from ganlib.trained import TrainedModel


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
    """

    folder: Path
    scores: tuple[Score, ...]
    protocol: Mapping[str, Any]
    notes: tuple[str, ...]
    generator: Mapping[str, Any] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> Evaluation:
        """Opens a folder that `evaluate` wrote.

        Raises:
            ValueError: The folder contains no scores, or damaged ones.
        """
        saved = storage.read_json(Path(folder) / "scores.json")
        try:
            scores = tuple(Score(**item) for item in saved["scores"])
            return cls(Path(folder), scores, dict(saved["protocol"]), tuple(saved["notes"]), saved.get("generator"))
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
        """Scores, floors, errors and the counts of floors in one flat dict."""
        floors = {f"{name}_floor": floor for name, floor in self.floors.items()}
        errors = {f"{score.name}_error": score.error for score in self.scores if score.error is not None}
        counts = {f"{name}_floor_count": count for name, count in self.floor_counts.items()}
        return {**self.values, **floors, **errors, **counts}

    @property
    def summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact of these scores."""
        facts = {"protocol": self.protocol, "generator": self.generator or {}}
        flat = {f"{part}_{name}": value for part, values in facts.items() for name, value in values.items()}
        return {**self.metrics, **flat}

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
    real = DecodedDataset(model.task.real(dataset))
    sampler = model.sampler(config.generator, held_out=dataset)
    count = reference.sample_count(config.samples)
    further_notes += note_fewer_samples(count, sampler)
    count, class_count = (min(number, sampler.available or number) for number in (count, max(count, CLASS_SAMPLES)))
    limit = min(count, max(catalogue.PAIRWISE_LIMIT, len(reference.test)))
    seed = streams.key("evaluation", config.seed)
    class_sample, images, differences = _draw(sampler, class_count, reference, seed=seed, limit=limit)
    sample = class_sample.first(count)
    scores = [*reference.score(sample), *paired_scores(differences), *reference.class_scores(class_sample)]
    closeness = None
    if reference.test_closeness is not None:
        closeness = closeness_to_training(images, real)
        held_out = reference.test_closeness
        if reference.facts["dataset_sha256"] != real.checksum:  # both must be compared with the same training images
            held_out = closeness_to_training(real.load("test")[0], real)[0]
        scores.append(memorisation(closeness[0], held_out))
    if config.classification_accuracy:
        scores += _measure_accuracy(sampler, real, config)
    protocol = reference.protocol(count=count, generator=config.generator, averaged=True, seed=config.seed)
    protocol |= {"class_samples": len(class_sample)}
    by_class = per_class(class_sample, reference, real.classes)
    with storage.atomic_folder(output) as folder:
        notes = [
            *note_problems(model, dataset, reference, count),
            *note_better_than_real(scores[0], reference),
            *note_scores(scores, class_sample, reference),
            *further_notes,
        ]
        saved = {"scores": _rows(scores), "protocol": protocol, "notes": notes, "classes": _rows(by_class)}
        storage.write_json(folder / "scores.json", {"generator": model.identity(config.generator), **saved})
        sheet = sampler.sheet(seed=streams.key("evaluation sheet", config.seed))
        save_sheets(folder, sheet, dataset=real)
        contents = Contents(
            title=model.facts["config"]["training"]["run_name"],
            scores=scores,
            classes=by_class,
            protocol=protocol,
            history=model.history,
            sheets=model.sample_pictures,
            sheets_share=sheet.left_fraction(SHEET_COLUMNS),
            generated=folder / "generated.png",
            real=folder / "real.png",
            galleries=save_galleries(folder, images, sample.first(limit), closeness, dataset=real, reference=reference),
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


def _measure_accuracy(sampler: Sampler, real: PreparedDataset, config: EvaluationConfig) -> list[Score]:
    """Returns the classification accuracy scores, from images that no other score uses."""
    if not sampler.takes_label:
        raise ValueError(
            "the classification accuracy score needs a generator with classes: expected "
            "task.conditional=true. Received: evaluation.classification_accuracy=True"
        )
    seed = streams.key("classification accuracy", config.seed)
    count = training_count(real)
    count = min(count, sampler.available or count)
    images, labels = _generate(sampler, count, seed=seed)
    if labels is None:
        raise ValueError("expected samples with the requested classes. Received: none")
    network = NetworkSettings()
    return classification_accuracy(images, labels, real, network=network, seed=seed)


def _record(evaluation: Evaluation, model: TrainedModel, config: EvaluationConfig) -> None:
    """Prints the scores and adds them to the run of the model."""
    for score in evaluation.scores:
        floor = "" if score.floor is None else f"  (real images: {score.floor_text})"
        print(f"{score.name} {score.text}{floor}", flush=True)
    with Tracker(evaluation.folder, belongs_to=model.folder) as tracker:
        tracker.params(flatten({"evaluation": config.to_parameter()}))
        tracker.metrics(model.step(config.generator), evaluation.metrics)
        tracker.artifact(evaluation.report, place="report")


def _draw(
    sampler: Sampler, count: int, reference: Reference, *, seed: int, limit: int
) -> tuple[Sample, NDArray[np.uint8], list[NDArray[np.float64]]]:
    """Generates samples, and keeps at most `limit` images in memory.

    Returns:
        Features, class probabilities and labels of `count` images.
        The first `limit` images.
        Differences between the images and their true images, one array per batch; empty without true images.
    """
    first: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    differences: list[NDArray[np.float64]] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for samples in sampler.batches(count, seed=seed):
            missing = limit - sum(map(len, first))
            first.extend([samples.images[:missing]] if missing > 0 else [])
            labels.extend([] if samples.labels is None else [samples.labels])
            differences.extend([] if samples.truths is None else [pixel_differences(samples.images, samples.truths)])
            yield samples.images

    outputs = reference.extractor.all_outputs(images())
    return Sample(*outputs, np.concatenate(labels) if labels else None), np.concatenate(first), differences


def _generate(sampler: Sampler, count: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Returns images and the requested classes; None if the model takes no labels."""
    batches = list(sampler.batches(count, seed=seed))
    labels = [samples.labels for samples in batches if samples.labels is not None]
    return np.concatenate([samples.images for samples in batches]), np.concatenate(labels) if labels else None
