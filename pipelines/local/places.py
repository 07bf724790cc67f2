"""Where a run on this machine writes, looked at before anything else, since training takes long and a look does not."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ganlib import storage, tracking

# Bytes of the longest path below the root, with a run's name of 120 letters and the names of half-written files.
LONGEST_BELOW = 500
PATH_MAX = 4095  # bytes, as Linux has it


def check_places(root: Path, name: str, *, home: str | None, target: str | None) -> None:
    """Refuses places that a run could not write to. Nothing is left behind.

    Args:
        root: Folder of all runs, absolute.
        name: Name of the run.
        home: `training.home`, if it is given.
        target: `export.target`, if it is given.

    Raises:
        ValueError: One of them is a file, may not be written to, or its path is too long; or MLflow could not log to
            the address in MLFLOW_TRACKING_URI.
    """
    longest = PATH_MAX - LONGEST_BELOW
    if len(os.fsencode(root)) > longest:
        raise ValueError(f"expected a root whose path has at most {longest} bytes. Received: root={str(root)!r}")
    for folder in (root, root / ".cache", root / name, root / name / "steps"):
        _check_folder(folder, of="root", given=root)
    for file in (root / name / "log.txt", root / name / "failure.json"):
        _check_file(file, of="root", given=root)
    _check_tracking(root)
    if home is None:
        _check_folder(root / name / "training", of="root", given=root)
    elif not storage.is_remote(home):
        _check_folder(Path(home).expanduser().absolute(), of="training.home", given=home)
    if target and not storage.is_remote(target):
        place = Path(target).expanduser().absolute()
        _check_folder(place, of="export.target", given=target)
        _check_folder(place.parent, of="export.target", given=target)  # it appears there under its name at the end


def _check_tracking(root: Path) -> None:
    """Refuses an address that MLflow cannot log to, and a database file that cannot be written to."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        tracking.check_address(uri)
        file = tracking.store_file(uri)
        if file is not None:
            _check_folder(file.parent, of="MLFLOW_TRACKING_URI", given=uri)
            _check_file(file, of="MLFLOW_TRACKING_URI", given=uri)
        return
    tracking.store_uri(root / "mlflow.db")
    _check_file(root / "mlflow.db", of="root", given=root)
    _check_folder(root / "mlflow-artifacts", of="root", given=root)


def _check_folder(folder: Path, *, of: str, given: Path | str) -> None:
    """Refuses a folder that cannot be written to or made."""
    received = f"Received: {of}={str(given)!r}"
    try:
        there = folder
        while not os.path.lexists(there):
            there = there.parent
        if not there.is_dir():
            raise ValueError(f"expected a folder, or nothing, at {there}. {received}")
        limit = os.pathconf(there, "PC_NAME_MAX")
        for part in folder.relative_to(there).parts:
            if len(os.fsencode(part)) > limit:
                raise ValueError(f"expected names of at most {limit} bytes in a path. {received}")
        with tempfile.TemporaryFile(dir=there):  # rights alone do not tell: a disk may be read-only
            pass
    except OSError as error:
        raise ValueError(f"expected a place that can be written to: {there}: {error.strerror}. {received}") from None


def _check_file(file: Path, *, of: str, given: Path | str) -> None:
    if os.path.lexists(file) and not (file.is_file() and os.access(file, os.W_OK)):
        raise ValueError(f"expected a file that can be written to at {file}. Received: {of}={str(given)!r}")
