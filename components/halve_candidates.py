"""The step `halve_candidates`."""

from kfp import dsl


def halve_candidates(candidates: list, paused: dsl.Input[list[dsl.Model]]) -> list:
    """Lets the better half of the variants go on to the whole budget, and stops the others.

    Args:
        candidates: Variants and seeds, all of which pause after a part of the budget.
        paused: Outputs `trained` of try_candidate.

    Returns:
        The same candidates; those that go on do not pause.
    """
    from pathlib import Path

    from ganlib import selection, steps

    with steps.step("halve_candidates"):
        tried = [selection.Candidate.model_validate(candidate) for candidate in candidates]
        halved = selection.halve_candidates([Path(one.path) for one in paused], tried)
        return [candidate.without_defaults() for candidate in halved]
