"""Checks, before a long run starts, that all folders and files that it writes to are writable."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ganlib import storage, tracking

# Bytes of the longest path below the root, with a run name of 120 letters and the names of temporary files.
MAX_BELOW_ROOT = 500
PATH_MAX = 4095  # bytes, on Linux


def check_writable(root: Path, name: str, *, home: str | None, target: str | None) -> None:
    """Checks that a run can write to all its folders and files. No file is left behind.

    Args:
        root: Folder of all runs, absolute.
        name: Name of the run.
        home: `training.home`, if set.
        target: `export.target`, if set.

    Raises:
        ValueError: A folder is a file, is not writable, or has a path that is too long; or MLFLOW_TRACKING_URI is an
            address that MLflow cannot log to.
    """
    longest = PATH_MAX - MAX_BELOW_ROOT
    if len(os.fsencode(root)) > longest:
        raise ValueError(f"expected a path of at most {longest} bytes for root. Received: root={str(root)!r}")
    for folder in (root, root / ".cache", root / name, root / name / "steps"):
        _check_folder(folder, option="root", value=root)
    for file in (root / name / "log.txt", root / name / "failure.json"):
        _check_file(file, option="root", value=root)
    _check_tracking(root)
    if home is None:
        _check_folder(root / name / "training", option="root", value=root)
    elif not storage.is_remote(home):
        _check_folder(Path(home).expanduser().absolute(), option="training.home", value=home)
    if target and not storage.is_remote(target):
        folder = Path(target).expanduser().absolute()
        _check_folder(folder, option="export.target", value=target)
        _check_folder(folder.parent, option="export.target", value=target)  # it is renamed to its final name there


def _check_tracking(root: Path) -> None:
    """Refuses an address that MLflow cannot log to, and a database file that is not writable."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        tracking.check_address(uri)
        file = tracking.store_file(uri)
        if file is not None:
            _check_folder(file.parent, option="MLFLOW_TRACKING_URI", value=uri)
            _check_file(file, option="MLFLOW_TRACKING_URI", value=uri)
        return
    tracking.store_uri(root / "mlflow.db")
    _check_file(root / "mlflow.db", option="root", value=root)
    _check_folder(root / "mlflow-artifacts", option="root", value=root)


def _check_folder(folder: Path, *, option: str, value: Path | str) -> None:
    """Refuses a folder that is not writable or cannot be created."""
    received = f"Received: {option}={str(value)!r}"
    try:
        existing = folder
        while not os.path.lexists(existing):
            existing = existing.parent
        if not existing.is_dir():
            raise ValueError(f"expected a folder at {existing}. {received}")
        limit = os.pathconf(existing, "PC_NAME_MAX")
        for part in folder.relative_to(existing).parts:
            if len(os.fsencode(part)) > limit:
                raise ValueError(f"expected names of at most {limit} bytes in a path. {received}")
        with tempfile.TemporaryFile(dir=existing):  # permissions are not enough: the disk may be read-only
            pass
    except OSError as error:
        raise ValueError(f"expected a writable folder: {existing}: {error.strerror}. {received}") from None


def _check_file(file: Path, *, option: str, value: Path | str) -> None:
    if os.path.lexists(file) and not (file.is_file() and os.access(file, os.W_OK)):
        raise ValueError(f"expected a writable file at {file}. Received: {option}={str(value)!r}")
