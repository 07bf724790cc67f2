"""The frame of a pipeline step: its time, and what people read when it fails.

A step is a process of its own, on a cluster as on a laptop. A user's mistake ends it with one line and
exit code 2, a failure with one line and exit code 1. What was not raised for people to read, by a library or
by a fault of the program, shows a traceback too.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from ganlib import storage
from ganlib.environment import always_escape_output, hide_unused_libraries
from ganlib.schema import problems

FAILURE_FILE = "GAN_PIPELINES_FAILURE_FILE"
MISTAKE, FAILURE = 2, 1
PACKAGE = Path(__file__).parent
# Python's rhythm of garbage collection is meant for small programs: over the half million objects that TensorFlow
# and MLflow create when they are imported, it costs a good part of the import.
COLLECTION_THRESHOLDS = 50_000, 20, 20


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
    always_escape_output()
    hide_unused_libraries()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(_report(name, error)) from error
    finally:
        gc.freeze()  # the process ends now: to collect all those objects once more would take a second or two
    artifact.metadata["seconds"] = round(seconds_since_start(), 2)


def add_metadata(artifact: Artifact, summary: Mapping[str, Any]) -> None:
    """Adds a summary to an artifact's metadata, in the form that KFP's launcher takes.

    The launcher fails on null and on numbers that are not finite, after the step's work is done. What is None is not
    known, and left out; a number that is not finite is left out with a note.

    Args:
        artifact: Output of the step.
        summary: Text, numbers, lists and objects by name; those of NumPy become Python's.

    Raises:
        ValueError: A value is of another kind.
    """
    artifact.metadata.update(_plain(dict(summary), ""))


def _plain(value: Any, name: str) -> Any:
    """Returns a value as JSON has it; None where there is nothing to tell."""
    value = value.item() if hasattr(value, "item") else value  # of NumPy
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # names of files need not be text
    if isinstance(value, float) and not math.isfinite(value):
        print(f"note: {name} is {value}, which the metadata cannot hold; it is left out", flush=True)
        return None
    if isinstance(value, Mapping):
        items = {str(key): _plain(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not None}
    if isinstance(value, list | tuple):
        return [item for item in (_plain(item, name) for item in value) if item is not None]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"expected text, numbers, lists or objects as metadata. Received: {name}={value!r}")


def _report(name: str, error: Exception) -> int:
    """Tells people why a step failed and returns its exit code."""
    message = "; ".join(problems(error)) if isinstance(error, ValidationError) else str(error)
    if not isinstance(error, ValidationError | OSError) and not _raised_by_us(error):
        traceback.print_exception(error)
        code = FAILURE
    else:
        code = MISTAKE if isinstance(error, ValueError) else FAILURE
    print(f"error: {name}: {message}", file=sys.stderr, flush=True)
    report = os.environ.get(FAILURE_FILE)
    if report:
        storage.write_json(Path(report), {"step": name, "message": message, "code": code})
    return code


def _raised_by_us(error: Exception) -> bool:
    """Says whether a message was written here, for people: whether it comes from a `raise` of this package."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return PACKAGE in Path(last.filename).parents and (last.line or "").startswith("raise")


def seconds_since_start() -> float:
    """Returns the wall time since this process began, its imports included."""
    import psutil

    return float(time.time() - psutil.Process().create_time())
