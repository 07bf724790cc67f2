"""The step `recommend`."""

from kfp import dsl


def recommend(
    outcomes: dsl.Input[dsl.Artifact],
    scores: dsl.Input[dsl.Metrics],
    comparison: dict,
    recommendation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
):
    """Ranks the variants of a comparison, and says which one to take and how sure that is.

    Args:
        outcomes: Output of choose_candidate.
        scores: Scores of the chosen candidate with fresh samples, output of evaluate_gan.
        comparison: Name and key of the comparison in MLflow.

    Returns:
        recommendation: The variant to take, the ranking with its uncertainty, and the report.
        report: HTML page with the ranking, curves, sample images and cost.
    """
    from pathlib import Path

    from ganlib import selection, steps, storage
    from ganlib.tracking import RunGroup

    with steps.step("recommend", recommendation):
        result = selection.recommend_variant(
            Path(outcomes.path), Path(scores.path), Path(recommendation.path), group=RunGroup(**comparison)
        )
        steps.add_metadata(recommendation, result.summary)
        storage.publish(result.report, Path(report.path))
