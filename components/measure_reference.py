"""The step `measure_reference`."""

from kfp import dsl


def measure_reference(dataset: dsl.Input[dsl.Dataset], evaluation: dict, reference: dsl.Output[dsl.Artifact]):
    """Builds the feature extractor for the dataset and measures its real images.

    Args:
        dataset: Prepared images.
        evaluation: Section `evaluation` of the config.
        reference: Feature extractor and statistics of the real images.
    """
    from pathlib import Path

    from ganlib import steps
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import EvaluationConfig, measure_reference

    with steps.step("measure_reference", reference):
        config = EvaluationConfig.model_validate(evaluation)
        measured = measure_reference(PreparedDataset.open(dataset.path), config, Path(reference.path))
        steps.add_metadata(reference, measured.summary)
