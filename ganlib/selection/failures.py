"""Why a candidate failed, whether another attempt may succeed, and these attempts.

KFP ends a pipeline with the first item of a loop that fails, and does not retry in loops (kubeflow/pipelines #12389).
So a candidate that fails is no failed step: the step itself tries again, and its last failure is an outcome.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from pydantic import ValidationError

from ganlib import storage
from ganlib.schema import is_own_error, problems
from ganlib.tracking import error_summary

RETRIES, RETRY_SECONDS = "GAN_PIPELINES_RETRIES", "GAN_PIPELINES_RETRY_SECONDS"  # environment variables


class Failure(NamedTuple):
    """Why a candidate failed.

    Attributes:
        text: The reason, in one line.
        may_pass: Whether another attempt may succeed: a connection or memory was missing, or something unexpected
            happened. Settings that cannot work, and a training that diverges, fail again; and one that another process
            goes on with must be left to that.
        paused: Whether it only came to the step at which a halving looks at it.
    """

    text: str
    may_pass: bool
    paused: bool = False


def failure_of(error: Exception) -> Failure:
    """Returns the failure of an error, and prints the traceback of one that this package did not foresee."""
    if isinstance(error, ValidationError):
        return Failure("; ".join(problems(error)), may_pass=False)
    if not is_own_error(error):
        traceback.print_exception(error)
    return Failure(error_summary(error), may_pass=not isinstance(error, ValueError | storage.WriteConflict))


def try_repeatedly(attempt: Callable[[], Failure | None], *, name: str) -> Failure | None:
    """Calls a function until it succeeds, or fails in a way that another attempt would meet again.

    Environment variables say how often it is called again, 0 by default, and how many seconds pass before the first of
    these calls; the seconds are doubled for each further one.

    Args:
        attempt: Returns a failure, or None for success.
        name: What is tried, for the log.

    Returns:
        The last failure; None for success.
    """
    retries, seconds = int(os.environ.get(RETRIES, "0")), float(os.environ.get(RETRY_SECONDS, "0"))
    for number in range(retries):
        failure = attempt()
        if failure is None or not failure.may_pass:
            return failure
        print(f"candidate: {name} failed: {failure.text}; attempt {number + 2} of {retries + 1} follows", flush=True)
        time.sleep(seconds * 2**number)
    failure = attempt()
    if failure is None or not failure.may_pass or not retries:
        return failure
    return failure._replace(text=f"{failure.text} (in {retries + 1} attempts)")
