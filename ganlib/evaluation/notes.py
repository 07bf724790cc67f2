"""Sentences of the report: what was scored, and what to consider before the scores are trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures.catalogue import FARTHEST_NEIGHBOUR, NEIGHBOUR_MEASURES
from ganlib.evaluation.measures.discriminative import most_separable
from ganlib.evaluation.measures.shortcuts import MEANINGS
from ganlib.tasks import sheet_side

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.reference import Reference
    from ganlib.evaluation.sample import Sample
    from ganlib.evaluation.scores import Score
    from ganlib.tasks import Sampler
    from ganlib.trained import TrainedModel

CHOSEN_BY = {
    "distance": "distance to real images",
    "l1": "difference to the true images (l1)",
    "l1_hole": "difference to the true images in the holes (l1_hole)",
}
REFERENCES = {"test": "the test images", "all": "all real images"}
CHANCE = 0.01  # probability that as many real images have none of a class, below which its absence is noted
SURE_ERRORS = 2.0  # standard errors between two shares whose difference is noted
FEW_SHORTCUTS = 0.1  # share of samples below which shortcuts are not noted; honest networks have some
EXAMPLES = 5  # maximum number of events or skipped images in a sentence


def describe_run(
    model: TrainedModel, dataset: PreparedDataset, reference: Reference, config: EvaluationConfig
) -> list[str]:
    """Describes the data, the generator and the feature space."""
    facts, generator = model.facts, config.generator
    shape = "x".join(map(str, dataset.image_shape))
    steps = f"from step {model.step(generator)} of {facts['last_step']}"
    if generator == "best" and "best_measure" in facts:  # older models have none
        steps += f", chosen by the {CHOSEN_BY[facts['best_measure']]}"
    sentences = [
        f"{dataset.count('train')} training and {dataset.count('test')} test images of {dataset.name}, {shape} pixels.",
        f"The {generator} generator, {steps}, in {facts['precision']} on {facts['replicas']} replica(s).",
    ]
    extractor = reference.extractor
    if "test_accuracy" in extractor.facts:
        accuracy, chance = extractor.facts["test_accuracy"], extractor.facts["chance"]
        sentences.append(
            f"The feature extractor, {extractor.name}, classifies {accuracy:.1%} of test images correctly "
            f"(chance {chance:.1%})."
        )
    if model.task.takes_label:
        all_classes = len(model.sheet_classes) == sheet_side(model.image_shape)  # the number of rows
        rows = "one class per row" if all_classes else "these classes from the top"
        sentences.append(f"The pictures show {rows}: {', '.join(model.sheet_classes)}.")
    return sentences


def note_problems(model: TrainedModel, dataset: PreparedDataset, reference: Reference, count: int) -> list[str]:
    """Notes problems of the reference, the training and the data.

    Args:
        model: The trained model.
        dataset: The images it was trained on.
        reference: The real images it is compared with.
        count: Number of generated images.
    """
    notes, skipped = note_reference(reference, count), dataset.manifest["skipped"]
    events = [event for event in model.events if not event["reaction"].startswith("stopped")]
    if events:
        texts = [f"{event['event']} at step {event['step']} ({event['reaction']})" for event in events]
        rest = f" and {len(texts) - EXAMPLES} more" if len(texts) > EXAMPLES else ""
        notes.append(f"Problems during training: {'; '.join(texts[:EXAMPLES])}{rest}. See history.jsonl for details.")
    if model.facts["stopped"]:
        notes.append(f"Training stopped at {model.facts['stopped']}.")
    for split, counts in dataset.manifest["splits"].items():
        empty = [name for name, images in counts["classes"].items() if not images]
        if empty:
            classes = f"{len(empty)} of {len(dataset.classes)}, such as {empty[0]}"
            notes.append(f"Classes without {split} images: {classes}.")
    notes += dataset.notes
    if skipped:
        examples = "; ".join(f"{item['name']} ({item['reason']})" for item in skipped[:EXAMPLES])
        rest = "; for the others, see manifest.json of the dataset" if len(skipped) > EXAMPLES else ""
        notes.append(f"Skipped because unusable: {len(skipped)} images, {examples}{rest}.")
    return notes


def note_reference(reference: Reference, count: int) -> list[str]:
    """Returns sentences to consider before a score of `count` images is trusted, if any."""
    notes, floor_count = [], reference.floor_count(count)
    width = reference.test.features.shape[1]
    if reference.split != "train":
        pair = "training images with test" if reference.split == "test" else "test images with training"
        notes.append(f"The reference consists of {REFERENCES[reference.split]}. The floors compare {pair} images.")
    if floor_count < count:
        notes.append(
            f"The floors use {floor_count} real images, all that the reference has, but the scores use {count} "
            "generated ones. With the same number of real images, the floor of the distance would be lower."
        )
    if count < width:
        notes.append(
            f"With {count} images and {width} features, the distance and its floor are mostly bias, so compare "
            "them only at equal counts."
        )
    elif (few := min(floor_count, reference.statistics.count or floor_count)) < width:
        notes.append(
            f"With only {few} real images and {width} features, the distance or its floor is mostly bias, so "
            "compare them only at equal counts."
        )
    return notes + reference.extractor.notes


def note_fewer_samples(count: int, sampler: Sampler) -> list[str]:
    """Notes that fewer than `count` samples can be generated, if that is so."""
    if sampler.available is None or count <= sampler.available:
        return []
    return [f"Samples are generated from the held-out images: {sampler.available} are scored, not {count}."]


def note_few_pairs(count: int | None, reference: Reference) -> list[str]:
    """Notes that there are too few samples with a true image for the scores of a classifier of both.

    Args:
        count: Number of samples; None if their true images are not known.
        reference: The reference of their feature space.
    """
    width = reference.test.features.shape[1]
    if count is None or count > most_separable(width):
        return []
    few = f"{count} samples are too few for {width} features"
    reason = f"a plane often tells up to {most_separable(width)} from their true images, whatever they show"
    return [f"Without pds, uds: {few}; {reason}."]


def note_shortcuts(shares: Mapping[str, float], *, label: str) -> list[str]:
    """Notes how many samples are a shortcut of the network, if there are enough of them to matter.

    Args:
        shares: Share of the samples that show a sign, by its name; see `Shortcuts`.
        label: Name of the network if the task scores several; otherwise empty.
    """
    where = f"{label}: " if label else ""
    return [
        f"{where}{share:.0%} of the samples are {MEANINGS[name]} ({name})."
        for name, share in shares.items()
        if share >= FEW_SHORTCUTS
    ]


def note_better_than_real(distance: Score, reference: Reference) -> list[str]:
    """Notes that generated images score better than real ones, if the extractor was trained on the training images."""
    if distance.floor is None or distance.value >= distance.floor or "test_accuracy" not in reference.extractor.facts:
        return []
    reason = "the feature space was trained on the training images and favours images like them"
    advice = "See recall and coverage for what is missing"
    return [f"Generated images score better than held-out real ones: {reason}. {advice}."]


def note_worse_than_nothing(scores: Sequence[Score], *, label: str = "") -> list[str]:
    """Notes that results are further from the truth, or from real images, than the inputs are.

    Args:
        scores: All scores of the results, those of the inputs as baselines.
        label: Name of the network, for tasks that score several.
    """
    worse = [
        f"{score.name} {score.value:.4g} against {score.baseline:.4g}"
        for score in scores
        if score.baseline is not None and _is_worse(score, score.baseline)
    ]
    if not worse:
        return []
    where = f"{label}: worse" if label else "Worse"
    return [f"{where} than doing nothing: {', '.join(worse)}. More steps may help; see the documents of the task."]


def _is_worse(score: Score, baseline: float) -> bool:
    """Returns whether a distance is larger, or a signal-to-noise ratio smaller, than that of doing nothing."""
    if score.name.startswith("psnr"):
        return score.value < baseline
    return score.name.startswith("fd_") and score.value > baseline


def note_scores(scores: Sequence[Score], sample: Sample, reference: Reference) -> list[str]:
    """Notes which measures are missing and why, and what the scores say about copies and missing classes.

    Args:
        scores: All scores of the generated images.
        sample: The images that the class scores are computed from.
        reference: The real images they were compared with.
    """
    notes, by_name, name = [], {score.name: score for score in scores}, reference.extractor.measure
    missing = [word for word in NEIGHBOUR_MEASURES if name(word) not in by_name]
    if missing:
        notes.append(
            f"Without {', '.join(missing)}: they need {FARTHEST_NEIGHBOUR + 1} generated and as many real images. "
            "More held-out images, or evaluation.samples, give them."
        )
    copies = by_name.get("memorised_pixels")
    if copies is not None and copies.floor is not None:
        errors = (copies.error or 0.0) + (copies.floor_error or 0.0)
        if copies.value > copies.floor + SURE_ERRORS * errors:
            notes.append(
                f"memorised_pixels is {copies.text}, that of real images {copies.floor_text}: generated images repeat "
                "training images, or are flat or blurred."
            )
    return notes + _note_unseen_classes(sample, reference)


def _note_unseen_classes(sample: Sample, reference: Reference) -> list[str]:
    """Notes classes that the classifier predicts for real images, but for too few generated ones to be chance."""
    classes, real = reference.extractor.classes, reference.test.probabilities
    if not classes or sample.probabilities is None or real is None:
        return []
    shares = np.bincount(real.argmax(axis=1), minlength=len(classes)) / len(real)
    seen = np.bincount(sample.probabilities.argmax(axis=1), minlength=len(classes)) > 0
    unseen = np.flatnonzero(~seen & ((1.0 - shares) ** len(sample) < CHANCE))
    if not len(unseen):
        return []
    some = f"{len(unseen)} of {len(classes)}, such as {classes[unseen[0]]}"
    where = f"in real images but in none of {len(sample)} generated ones"
    return [f"Classes that the classifier finds {where}: {some}. The generator may have collapsed."]
