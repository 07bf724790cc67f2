"""The step `try_candidate`."""

from kfp import dsl


def try_candidate(
    dataset: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Artifact],
    candidate: dict,
    evaluation: dict,
    comparison: dict,
    trained: dsl.Output[dsl.Model],
    scores: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
):
    """Trains and scores one candidate of a comparison. If that fails, the outcome says why, and the step succeeds.

    Args:
        dataset: Prepared images.
        reference: Output of measure_reference.
        candidate: Variant and seed, with the sections `task`, `model`, `objective` and `training`.
        evaluation: Section `evaluation` of the config.
        comparison: Name and key of the comparison in MLflow.

    Returns:
        trained: Both generators and the history, with what the recommendation reads: scores, cost and sample images, or
            why the candidate failed.
        scores: Scores of generated and of real images.
        report: HTML page with images, curves, scores and config.
    """
    from pathlib import Path

    from ganlib import selection, steps
    from ganlib.evaluation import EvaluationConfig
    from ganlib.tracking import RunGroup

    with steps.step("try_candidate", trained):
        result = selection.try_candidate(
            selection.Candidate.model_validate(candidate),
            EvaluationConfig.model_validate(evaluation),
            selection.Places(
                dataset=Path(dataset.path),
                reference=Path(reference.path),
                trained=Path(trained.path),
                scores=Path(scores.path),
            ),
            group=RunGroup(**comparison),
        )
        steps.add_metadata(scores, result.summary)
        Path(report.path).write_text(result.page, encoding="utf-8")
