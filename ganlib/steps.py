"""Runs the body of a pipeline step: measures its time and reports its errors.

A step is a process of its own, on a cluster as well as on a laptop. A user's mistake ends it with one line and exit
code 2, a failure with one line and exit code 1. Unexpected errors, from a library or from a bug, also show a traceback.
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
from ganlib.credentials import set_step_variables
from ganlib.environment import always_escape_output, hide_unused_libraries
from ganlib.schema import is_own_error, problems
from ganlib.tracking.plugin import choose_server

FAILURE_FILE = "GAN_PIPELINES_FAILURE_FILE"
MISTAKE, FAILURE = 2, 1
# Python's default thresholds are meant for small programs. TensorFlow and MLflow create half a million objects when
# they are imported, and garbage collection takes a good part of that time.
COLLECTION_THRESHOLDS = 50_000, 20, 20


class Artifact(Protocol):
    """The part of a KFP artifact that a step uses."""

    metadata: dict[str, Any]


@contextlib.contextmanager
def step(name: str, artifact: Artifact | None = None) -> Iterator[None]:
    """Runs the body of a step.

    Args:
        name: Name of the step.
        artifact: Main output. `seconds` in its metadata is set to the wall time since the process started. None if the
            step has no artifact.
    """
    always_escape_output()
    hide_unused_libraries()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    try:
        choose_server()
        set_step_variables()
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(_report(name, error)) from error
    finally:
        gc.freeze()  # the process ends soon, and a last collection of all those objects would take a second or two
    if artifact is not None:
        artifact.metadata["seconds"] = round(seconds_since_start(), 2)


def add_metadata(artifact: Artifact, summary: Mapping[str, Any]) -> None:
    """Adds a summary to an artifact's metadata, in a form that KFP's launcher accepts.

    The launcher would fail on null and on numbers that are not finite, after the step's work is done. Values of None
    are omitted; numbers that are not finite are omitted with a note.

    Args:
        artifact: Output of the step.
        summary: Text, numbers, lists and objects by name. NumPy scalars become Python numbers.

    Raises:
        ValueError: A value has another type.
    """
    artifact.metadata.update(_to_json(dict(summary), ""))


def _to_json(value: Any, name: str) -> Any:
    """Returns a value in JSON form; None if it must be omitted."""
    value = value.item() if hasattr(value, "item") else value  # NumPy scalars
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # names of files may contain invalid characters
    if isinstance(value, float) and not math.isfinite(value):
        print(f"note: {name} is {value}, which metadata cannot contain; it is omitted", flush=True)
        return None
    if isinstance(value, Mapping):
        items = {str(key): _to_json(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not None}
    if isinstance(value, list | tuple):
        return [item for item in (_to_json(item, name) for item in value) if item is not None]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"expected text, numbers, lists or objects as metadata. Received: {name}={value!r}")


def _report(name: str, error: Exception) -> int:
    """Prints why a step failed and returns its exit code."""
    message = "; ".join(problems(error)) if isinstance(error, ValidationError) else str(error)
    if not isinstance(error, ValidationError | OSError) and not is_own_error(error):
        traceback.print_exception(error)
        code = FAILURE
    else:
        code = MISTAKE if isinstance(error, ValueError) else FAILURE
    print(f"error: {name}: {message}", file=sys.stderr, flush=True)
    report = os.environ.get(FAILURE_FILE)
    if report:
        storage.write_json(Path(report), {"step": name, "message": message, "code": code})
    return code


def seconds_since_start() -> float:
    """Returns the wall time since this process started, including its imports."""
    import psutil

    return float(time.time() - psutil.Process().create_time())
