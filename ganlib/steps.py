"""The frame of a pipeline step: its time, and what people read when it fails.

A step is a process of its own, on a cluster as on a laptop. A user's mistake ends it with one line and
exit code 2, a failure with one line and exit code 1; only a fault of the program shows a traceback.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from ganlib import storage
from ganlib.schema import problems
from ganlib.training.health import TrainingDiverged

FAILURE_FILE = "GAN_PIPELINES_FAILURE_FILE"
MISTAKE, FAILURE = 2, 1


class Artifact(Protocol):
    """What of a KFP artifact a step needs."""

    metadata: dict[str, Any]


@contextlib.contextmanager
def step(name: str, artifact: Artifact) -> Iterator[None]:
    """Runs the body of a step.

    Args:
        name: Name of the step.
        artifact: Main output; its metadata gets `seconds`, the wall time since the process began.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        code = FAILURE if isinstance(error, TrainingDiverged | OSError | RuntimeError) else MISTAKE
        message = "; ".join(problems(error)) if isinstance(error, ValidationError) else str(error)
        print(f"error: {name}: {message}", file=sys.stderr, flush=True)
        report = os.environ.get(FAILURE_FILE)
        if report:
            storage.write_json(Path(report), {"step": name, "message": message, "code": code})
        raise SystemExit(code) from error
    artifact.metadata["seconds"] = round(seconds_since_start(), 2)


def seconds_since_start() -> float:
    """Returns the wall time since this process began, its imports included."""
    import psutil

    return float(time.time() - psutil.Process().create_time())
