"""The step `measure_reference`."""

from kfp import dsl


def measure_reference(
    dataset: dsl.Input[dsl.Dataset], task: dict, evaluation: dict, reference: dsl.Output[dsl.Artifact]
):
    """Builds the feature extractor for the dataset and measures its real images.

    Args:
        dataset: Prepared images.
        task: Section `task` of the config; it selects the real images that samples are compared with.
        evaluation: Section `evaluation` of the config.

    Returns:
        reference: Feature extractor and statistics of the real images.
    """
    from pathlib import Path

    from ganlib import steps
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import EvaluationConfig, measure_reference
    from ganlib.schema import parse
    from ganlib.tasks import AnyTask

    with steps.step("measure_reference", reference):
        config = EvaluationConfig.model_validate(evaluation)
        real = PreparedDataset.open(dataset.path)
        measured = measure_reference(real, config, Path(reference.path), task=parse(AnyTask, task))
        steps.add_metadata(reference, measured.summary)
