"""The step `evaluate_gan`."""

from kfp import dsl


def evaluate_gan(
    trained: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Artifact],
    evaluation: dict,
    scores: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    classes: dsl.Output[dsl.ClassificationMetrics],
):
    """Scores the generator against real images and writes a report.

    Args:
        trained: Output of train_gan.
        dataset: Prepared images.
        reference: Output of measure_reference.
        evaluation: Section `evaluation` of the config.

    Returns:
        scores: Scores of generated and of real images; its file has their errors and their protocol.
        report: HTML page with images, curves, scores and config.
        classes: Requested classes (true) and those that a classifier of real images predicts; empty without classes.
    """
    from pathlib import Path

    from ganlib import steps, storage
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import EvaluationConfig, Reference, evaluate
    from ganlib.training import TrainedModel

    with steps.step("evaluate_gan", scores):
        inputs = {"prepare_data": dataset, "measure_reference": reference, "train_gan": trained}
        result = evaluate(
            TrainedModel.open(trained.path),
            PreparedDataset.open(dataset.path),
            Reference.open(reference.path),
            EvaluationConfig.model_validate(evaluation),
            Path(scores.path),
            seconds={
                step: artifact.metadata["seconds"]
                for step, artifact in inputs.items()
                if "seconds" in artifact.metadata
            },
        )
        steps.add_metadata(scores, result.summary)
        steps.add_metadata(classes, result.confusion_summary)
        storage.write_json(Path(classes.path), classes.metadata)  # without a file, local runs would not cache the step
        storage.publish(result.report, Path(report.path))
