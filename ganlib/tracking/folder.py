"""The files of a tracked folder, and functions to remove secrets from texts."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganlib import storage
from ganlib.credentials import hide_secrets

Line = dict[str, Any]

HISTORY = "history.jsonl"
JOURNAL = "tracking.jsonl"
IDENTITY = "tracking.json"
EVENT_TAG = "health."  # prefix of the tags of events
DEFAULT_EXPERIMENT = "gan-pipelines"


@dataclass(frozen=True)
class RunGroup:
    """A run of MLflow that other runs are nested in, such as that of a comparison.

    Attributes:
        name: Name of the run.
        key: Identifies it, so that whoever comes first creates it.
    """

    name: str
    key: str


def new_identity(run_name: str, *, group: RunGroup | None = None, leads: bool = False) -> dict[str, Any]:
    """Returns the identity of a new folder's run, stored from the start, so that any machine can deliver it.

    Args:
        run_name: Name of the run.
        group: The run that it is nested in, if any.
        leads: Whether it is the run of the group itself.
    """
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
    given = os.environ.get("MLFLOW_RUN_ID")
    nested = group is not None and not leads and not given  # a run that is given has its place already
    return {
        "key": group.key if group is not None and leads else uuid.uuid4().hex,
        "run_name": run_name,
        "experiment": experiment,
        **({"group": asdict(group)} if group is not None and nested else {}),
        **({"run_id": given} if given else {}),
    }


def read(folder: Path) -> list[Line]:
    """Returns all lines of a folder: the journal without status lines, the history, then the last status."""
    journal = storage.read_lines(folder / JOURNAL)
    endings = [line for line in journal if line["do"] == "status"]
    others = [line for line in journal if line["do"] != "status"]
    return [*others, *storage.read_lines(folder / HISTORY), *endings[-1:]]


def has_pending(folder: Path) -> bool:
    """Returns whether some lines of a tracked folder are undelivered, or were delivered to another server."""
    lines, identity = read(folder), storage.read_json(folder / IDENTITY)
    elsewhere = server_key() is not None and identity.get("server") != server_key()
    return bool(lines) and (elsewhere or identity["delivered"] != digest_lines(lines))


def forget(folder: Path) -> None:
    """Removes all lines of a tracked folder, whose next run is another one. MLflow keeps what was delivered."""
    for name in (HISTORY, JOURNAL, IDENTITY):
        (folder / name).unlink(missing_ok=True)


def server_key() -> str | None:
    """Returns a hash that identifies the current tracking server, if any, since its address may contain a secret."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return hashlib.sha256(uri.encode()).hexdigest()[:16] if uri else None


def run_id(folder: Path) -> str | None:
    """Returns the id of the MLflow run that a tracked folder belongs to, if it is known."""
    identity = storage.read_json(folder / IDENTITY)
    return identity.get("run_id")


def tracked_folders(root: Path) -> list[Path]:
    """Returns the tracked folders at or below a folder, oldest first. Hidden folders are incomplete and ignored."""
    paths = sorted(path.relative_to(root).parent for path in root.rglob(IDENTITY))
    folders = [root / path for path in paths if not any(part.startswith(".") for part in path.parts)]
    return sorted(folders, key=lambda folder: float(storage.read_json(folder / IDENTITY)["began"]))


def flatten(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        flat.update(flatten(value, prefix=f"{path}.") if isinstance(value, Mapping) else {path: value})
    return flat


def line_key(line: Line) -> str:
    """Returns a text that identifies a line."""
    return storage.canonical_json(line)


def digest_lines(lines: list[Line]) -> str:
    """Returns a hash of a folder's lines, which changes whenever they do."""
    return hashlib.sha256(storage.canonical_json(lines).encode()).hexdigest()


def error_summary(error: Exception) -> str:
    """Returns the first line of an error without secrets."""
    return redact((hide_secrets(str(error)).splitlines() or [""])[0] or type(error).__name__)[:300]


def redact(text: str, *, keep_query: bool = False) -> str:
    """Removes user, password and query, which may be secret, from every address in a text.

    Args:
        text: Any text. The time is linear in its length, since it may be a log of somebody else.
        keep_query: Whether queries stay.
    """
    return re.sub(r"\S+", lambda word: _redact_word(word[0], keep_query=keep_query), text)


def _redact_word(word: str, *, keep_query: bool) -> str:
    end = word.rfind("@") + 1  # up to there, each search for a @ succeeds
    word = re.sub(r"//[^@]*@", "//", word[:end]) + word[end:]
    address = None if keep_query else re.search(r"\w://", word)
    query = word.find("?", address.end()) if address else -1
    return word if query < 0 else word[:query]
