"""The step `choose_candidate`."""

from kfp import dsl


def choose_candidate(
    candidates: dsl.Input[list[dsl.Model]],
    evaluation: dict,
    winner: dsl.Output[dsl.Model],
    outcomes: dsl.Output[dsl.Artifact],
    fresh_evaluation: dsl.OutputPath(dict),  # type: ignore[valid-type]  # KFP's form of an output parameter
):
    """Chooses the candidate whose scores are measured again, and collects the outcomes of all.

    Args:
        candidates: Outputs `trained` of try_candidate.
        evaluation: Section `evaluation` of the config.

    Returns:
        winner: Its trained model.
        outcomes: Scores, history, cost and sample images of each candidate, or why it failed.
        fresh_evaluation: Section `evaluation` with another seed, for samples that nobody chose by.
    """
    from pathlib import Path

    from ganlib import selection, steps, storage
    from ganlib.evaluation import EvaluationConfig

    with steps.step("choose_candidate", winner):
        folders = [Path(candidate.path) for candidate in candidates]
        selection.choose_candidate(folders, winner=Path(winner.path), outcomes=Path(outcomes.path))
        fresh = EvaluationConfig.model_validate(evaluation).with_fresh_samples()
        storage.write_json(Path(fresh_evaluation), fresh.to_parameter())
