"""Whether a model, images and a reference suit each other: what must not differ is refused, the rest is noted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.evaluation.measures.catalogue import check_shape

if TYPE_CHECKING:
    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.reference import Reference
    from ganlib.evaluation.scores import Score
    from ganlib.trained import TrainedModel


def check_reference(reference: Reference, dataset: PreparedDataset) -> list[str]:
    """Looks whether a model that is trained on some images can be scored by a reference.

    Returns:
        What to know before the scores are trusted: that the reference is of other images, if it is.

    Raises:
        ValueError: The reference's feature space takes images of another shape.
    """
    check_shape(dataset.image_shape, reference.extractor)
    if reference.facts["dataset_sha256"] == dataset.checksum:
        return []
    return [f"The reference is of other images, {reference.facts['dataset']}, than the model was trained on."]


def check_model(
    model: TrainedModel, dataset: PreparedDataset, reference: Reference, config: EvaluationConfig
) -> list[str]:
    """Looks whether a trained model can be scored with these images, by this reference and these settings.

    Returns:
        What to know before the scores are trusted, if anything.

    Raises:
        ValueError: The model was trained on other images, beside which memorisation would be measured; or the
            reference does not fit, or is of another split than the settings say.
    """
    if config.reference_split != reference.split:
        raise ValueError(
            f"expected the split that the reference is of, {reference.split}. "
            f"Received: evaluation.reference_split={config.reference_split}"
        )
    trained, chosen = model.facts["dataset_sha256"], model.facts["score_protocol"]
    if trained != dataset.checksum:
        raise ValueError(
            f"expected the images that the model was trained on, {model.facts['dataset']}. Received: "
            f"dataset={dataset.name!r} (sha256 {dataset.checksum}, not {trained})"
        )
    real = model.task.real(dataset)
    notes = check_reference(reference, real)
    own = {"measure": reference.measure, "extractor_sha256": reference.extractor.sha256}
    own["dataset_sha256"] = reference.facts["dataset_sha256"]
    if any(chosen[name] != value for name, value in own.items()):
        other = f"{chosen['measure']} of {chosen['dataset']}"
        notes.append(f"The best generator was chosen by another reference, {other}.")
    return notes


def flattered(distance: Score, reference: Reference) -> list[str]:
    """Looks whether generated images score better than real ones, where the feature space explains it.

    Returns:
        What to know before the scores are trusted, if anything.
    """
    if distance.floor is None or distance.value >= distance.floor or "test_accuracy" not in reference.extractor.facts:
        return []
    why = "the feature space was trained on the training images and favours what is like them"
    return [f"Generated images score better than held-out real ones: {why}. Recall and coverage say what is missing."]
