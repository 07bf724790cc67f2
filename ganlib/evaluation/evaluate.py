"""The verb `evaluate`: scores with their protocol, and the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage, streams
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation.compatibility import check_model, note_better_than_real
from ganlib.evaluation.extractors.network import NetworkSettings
from ganlib.evaluation.galleries import save_galleries, save_sheets
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.catalogue import CLASS_SAMPLES, memorisation
from ganlib.evaluation.measures.classification_accuracy import classification_accuracy, training_count
from ganlib.evaluation.measures.memorisation import closeness_to_training
from ganlib.evaluation.measures.paired import differences, paired_scores
from ganlib.evaluation.measures.per_class import ClassScores, per_class
from ganlib.evaluation.report import GROWTH_COLUMNS, Contents, write_report
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.scores import Score
from ganlib.runtime import without_autograph
from ganlib.tasks import sheet_side
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

NAMED = 5


@dataclass(frozen=True)
class Evaluation:
    """Scores in a folder, beside the report. Use `Evaluation.open(folder)`.

    Attributes:
        folder: Where they lie.
        scores: The measures, the main one first.
        protocol: What must be equal before two of them are compared.
        notes: Sentences to read before they are trusted, if any.
        generator: Which generator was scored: `which` (best or last), whether it is `averaged`, its `step`, and the
            `sha256` of its file; None where images were scored that no model here made.
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
            ValueError: The folder holds no scores, or no whole ones.
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
        """Floors by name, where there are any."""
        return {score.name: score.floor for score in self.scores if score.floor is not None}

    @property
    def floor_counts(self) -> dict[str, int]:
        """Real images that floors are of, by name, where these are not as many as the generated ones."""
        unlike = [score for score in self.scores if score.floor_count not in (None, score.count)]
        return {score.name: score.floor_count for score in unlike if score.floor_count is not None}

    @property
    def metrics(self) -> dict[str, float]:
        """Scores, floors, errors and floors' other counts as one flat set of numbers."""
        floors = {f"{name}_floor": floor for name, floor in self.floors.items()}
        errors = {f"{score.name}_error": score.error for score in self.scores if score.error is not None}
        counts = {f"{name}_floor_count": count for name, count in self.floor_counts.items()}
        return {**self.values, **floors, **errors, **counts}

    @property
    def summary(self) -> dict[str, Any]:
        """What a KFP artifact of these scores says of them."""
        facts = {"protocol": self.protocol, "generator": self.generator or {}}
        told = {f"{part}_{name}": value for part, values in facts.items() for name, value in values.items()}
        return {**self.metrics, **told}

    @property
    def report(self) -> Path:
        """The page that shows everything."""
        return self.folder / "report.html"

    @property
    def samples(self) -> Path:
        """The picture of generated images."""
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
        model: What `training.train` left behind.
        dataset: The prepared images that it was trained on.
        reference: Their yardstick.
        config: How many samples, from which of the kept generators.
        output: Folder to create; it appears whole or not at all.
        seconds: Wall time of earlier steps, for the report.

    Returns:
        The scores in `output`.

    Raises:
        ValueError: The model was trained on other images than those of the dataset, its images have another shape than
            the reference's, the reference is of another split than the config says, or something cannot be read.
    """
    began = time.perf_counter()
    strange = check_model(model, dataset, reference, config)
    real = model.task.real(dataset)
    sampler = model.sampler(config.generator, held_out=dataset)
    count = reference.sample_count(config.samples)
    strange += _fewer(count, sampler)
    count, class_count = (min(number, sampler.available or number) for number in (count, max(count, CLASS_SAMPLES)))
    most = min(count, max(catalogue.PAIRWISE_LIMIT, len(reference.test)))
    seed = streams.key("evaluation", config.seed)
    drawn, images, apart = _drawn(sampler, class_count, reference, seed=seed, most=most)
    sample = drawn.first(count)
    scores = [*reference.score(sample), *paired_scores(apart), *reference.class_scores(drawn)]
    near = None
    if reference.test_closeness is not None:
        near = closeness_to_training(images, real)
        held_out = reference.test_closeness
        if reference.facts["dataset_sha256"] != real.checksum:  # held-out images beside the same training images
            held_out = closeness_to_training(real.load("test")[0], real)[0]
        scores.append(memorisation(near[0], held_out))
    if config.classification_accuracy:
        scores += _accuracies(model, dataset, config)
    protocol = reference.protocol(count=count, generator=config.generator, averaged=True, seed=config.seed)
    protocol |= {"class_samples": len(drawn)}
    by_class = per_class(drawn, reference, real.classes)
    with storage.atomic_folder(output) as folder:
        notes = [*_notes(model, dataset, reference, count), *note_better_than_real(scores[0], reference), *strange]
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
            growth=model.sample_pictures,
            growth_share=sheet.left_fraction(GROWTH_COLUMNS),
            generated=folder / "generated.png",
            real=folder / "real.png",
            galleries=save_galleries(folder, images, sample.first(most), near, dataset=real, reference=reference),
            preview=dataset.folder / "preview.png",
            data=dataset.manifest.get("description", []),  # data from before that have none
            config={**model.settings, **flatten({"evaluation": config.to_parameter()})},
            seconds={**(seconds or {}), "scoring, without imports": time.perf_counter() - began},
            notes=[*_introduction(model, dataset, reference, config), *notes],
            events=model.events,
        )
        write_report(contents, folder / "report.html")
    evaluation = Evaluation.open(output)
    _record(evaluation, model, config)
    return evaluation


def _rows(scores: Sequence[Score | ClassScores]) -> list[dict[str, Any]]:
    return [asdict(score) for score in scores]


def _accuracies(model: TrainedModel, dataset: PreparedDataset, config: EvaluationConfig) -> list[Score]:
    """Returns the classification accuracy scores, of images that no other score looks at."""
    if not model.task.takes_label:
        raise ValueError(
            "the classification accuracy score needs a generator that is asked for classes, expected "
            "task.conditional=true. Received: evaluation.classification_accuracy=True"
        )
    seed = streams.key("classification accuracy", config.seed)
    images, asked = _samples(model.sampler(config.generator, dataset), training_count(dataset), seed=seed)
    if asked is None:
        raise ValueError("expected samples with the classes that were asked for. Received: none")
    network = NetworkSettings()
    return classification_accuracy(images, asked, dataset, network=network, seed=seed)


def _record(evaluation: Evaluation, model: TrainedModel, config: EvaluationConfig) -> None:
    """Prints the scores and adds them to the run of the model."""
    for score in evaluation.scores:
        floor = "" if score.floor is None else f"  (real images: {score.floor_text})"
        print(f"{score.name} {score.text}{floor}", flush=True)
    with Tracker(evaluation.folder, belongs_to=model.folder) as tracker:
        tracker.params(flatten({"evaluation": config.to_parameter()}))
        tracker.metrics(model.step(config.generator), evaluation.metrics)
        tracker.artifact(evaluation.report, place="report")


def _drawn(
    sampler: Sampler, count: int, reference: Reference, *, seed: int, most: int
) -> tuple[Sample, NDArray[np.uint8], list[NDArray[np.float64]]]:
    """Draws samples, of which no more than `most` images stay in memory.

    Returns:
        What the extractor sees in `count` images.
        The first `most` images.
        How far each image is from its true one, as `differences` has it; empty where there is none.
    """
    first: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    apart: list[NDArray[np.float64]] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for samples in sampler.batches(count, seed=seed):
            missing = most - sum(map(len, first))
            first.extend([samples.images[:missing]] if missing > 0 else [])
            labels.extend([] if samples.labels is None else [samples.labels])
            apart.extend([] if samples.truths is None else [differences(samples.images, samples.truths)])
            yield samples.images

    outputs = reference.extractor.all_outputs(images())
    return Sample(*outputs, np.concatenate(labels) if labels else None), np.concatenate(first), apart


def _fewer(count: int, sampler: Sampler) -> list[str]:
    """Returns a note where fewer samples can be made than are wanted."""
    if sampler.available is None or count <= sampler.available:
        return []
    return [f"Samples are made from held-out images: {sampler.available} are scored, not {count}."]


def _samples(sampler: Sampler, count: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Returns images and, where the model takes labels, the classes that were asked for."""
    batches = list(sampler.batches(count, seed=seed))
    labels = [samples.labels for samples in batches if samples.labels is not None]
    return np.concatenate([samples.images for samples in batches]), np.concatenate(labels) if labels else None


def _introduction(
    model: TrainedModel, dataset: PreparedDataset, reference: Reference, config: EvaluationConfig
) -> list[str]:
    """Sentences about the data and the run."""
    facts, which = model.facts, config.generator
    told = reference.extractor.facts.get("test_accuracy")
    counts = f"{dataset.count('train')} training and {dataset.count('test')} test images"
    shape = "x".join(map(str, dataset.image_shape))
    steps = f"of step {model.step(which)} of {facts['last_step']}"
    said = [
        f"{counts} of {dataset.name}, {shape} pixels.",
        f"The {which} generator, {steps}, in {facts['precision']} on {facts['replicas']} replica(s).",
    ]
    if told is not None:
        name, chance = reference.extractor.name, reference.extractor.facts["chance"]
        said.append(f"The feature space, {name}, is right on {told:.1%} of test images (chance {chance:.1%}).")
    if model.task.takes_label:
        whole = len(model.sheet_classes) == sheet_side(model.image_shape)  # the number of rows
        rows = "one class a row" if whole else "the classes from the top"
        said.append(f"Pictures show {rows}: {', '.join(model.sheet_classes)}.")
    return said


def _notes(model: TrainedModel, dataset: PreparedDataset, reference: Reference, count: int) -> list[str]:
    """What to know before the scores are trusted."""
    notes, skipped = reference.remarks(count), dataset.manifest["skipped"]
    met = [event for event in model.events if not event["reaction"].startswith("stopped")]  # told below
    if met:
        told = [f"{event['event']} at step {event['step']} ({event['reaction']})" for event in met]
        rest = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
        notes.append(f"Problems during training: {'; '.join(told[:NAMED])}{rest}; see history.jsonl.")
    if model.facts["stopped"]:
        notes.append(f"Training stopped at {model.facts['stopped']}.")
    for split, told in dataset.manifest["splits"].items():
        without = [name for name, images in told["classes"].items() if not images]
        if without:
            classes = f"{len(without)} of {len(dataset.classes)}, such as {without[0]}"
            notes.append(f"Classes without {split} images: {classes}.")
    notes += dataset.notes
    if skipped:
        named = "; ".join(f"{item['name']} ({item['reason']})" for item in skipped[:NAMED])
        rest = "; manifest.json of the data set names the others" if len(skipped) > NAMED else ""
        notes.append(f"Unusable and skipped: {len(skipped)} images, {named}{rest}.")
    return notes
