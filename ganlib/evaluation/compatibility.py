"""Checks that a model, a dataset and a reference belong together: some differences are errors, others give notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.evaluation.measures.catalogue import check_shape

if TYPE_CHECKING:
    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.reference import Reference
    from ganlib.trained import TrainedModel


def check_reference(reference: Reference, dataset: PreparedDataset) -> list[str]:
    """Checks that a model that is trained on this dataset can be scored with this reference.

    Returns:
        Notes for the report: a warning if the reference was measured on other images.

    Raises:
        ValueError: The feature extractor of the reference expects images of another shape.
    """
    check_shape(dataset.image_shape, reference.extractor)
    if reference.facts["dataset_sha256"] == dataset.checksum:
        return []
    return [f"The reference was measured on other images, {reference.facts['dataset']}, than the model was trained on."]


def check_model(
    model: TrainedModel, dataset: PreparedDataset, reference: Reference, config: EvaluationConfig
) -> list[str]:
    """Checks that a trained model can be scored with this dataset, reference and config.

    Returns:
        Notes for the report.

    Raises:
        ValueError: The model was trained on other images, so that memorisation would be measured wrongly; or the
            reference does not fit, or its split is not `config.reference_split`.
    """
    if config.reference_split != reference.split:
        raise ValueError(
            f"expected {reference.split}, the split of the reference. "
            f"Received: evaluation.reference_split={config.reference_split}"
        )
    trained_on, protocol = model.facts["dataset_sha256"], model.facts["score_protocol"]
    if trained_on != dataset.checksum:
        raise ValueError(
            f"expected the images that the model was trained on, {model.facts['dataset']}. Received: "
            f"dataset={dataset.name!r} (sha256 {dataset.checksum}, not {trained_on})"
        )
    notes = [
        note
        for name in model.task.scored
        for note in check_reference(reference.of(name), model.task.real(dataset, name))
    ]
    expected = {"measure": reference.measure, "extractor_sha256": reference.extractor.sha256}
    expected["dataset_sha256"] = reference.facts["dataset_sha256"]
    by_distance = model.facts.get("best_measure", "distance") == "distance"  # older models have no other
    if by_distance and any(protocol[name] != value for name, value in expected.items()):
        other = f"{protocol['measure']} of {protocol['dataset']}"
        notes.append(f"The best generator was chosen with another reference, {other}.")
    return notes
