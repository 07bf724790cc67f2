"""Creates a local MLflow store atomically, also if many processes need it at the same time."""

from __future__ import annotations

import functools
import logging
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from etils import epy

from ganlib import storage
from ganlib.tracking.address import ARTIFACTS, store_uri
from ganlib.tracking.folder import error_summary
from ganlib.tracking.runs import find_or_create_experiment

with epy.lazy_imports():
    import alembic.script
    import alembic.util
    import mlflow
    from mlflow.store.tracking import sqlalchemy_store

LOCK_SECONDS = 120.0  # creating the store takes a second, but many processes may wait for it on few cores
SIDE_FILES = ("-journal", "-wal", "-shm")  # suffixes of the files that SQLite adds to a database
VERSION, EXPERIMENTS = "alembic_version", "experiments"  # tables


def create_store(file: Path, *, experiment: str, artifacts: Path | None = None) -> str:
    """Creates a local store and its experiment, unless they exist.

    Args:
        file: Absolute path of the database.
        experiment: Name of the experiment.
        artifacts: Folder of the experiment's artifacts. Default: `mlflow-artifacts` beside the database.

    Returns:
        The store's tracking address.

    Raises:
        ValueError: The experiment was deleted, or the path is not valid for a store.
        RuntimeError: The file exists, but is not a store that this MLflow can use, or the store cannot be created.
    """
    uri, artifacts = store_uri(file), artifacts or file.with_name(ARTIFACTS)
    create_database(file, artifacts=artifacts)
    try:
        with _mute_mlflow():
            find_or_create_experiment(mlflow.MlflowClient(uri), experiment, artifacts=artifacts)
    except mlflow.MlflowException as error:
        raise RuntimeError(
            f"cannot use the tracking store: {error_summary(error)}. Received: path={str(file)!r}"
        ) from None
    return uri


def create_database(file: Path, *, artifacts: Path) -> None:
    """Creates the database of a local store, unless it exists.

    Args:
        file: Absolute path of the database.
        artifacts: Default folder for the artifacts of experiments.

    Raises:
        RuntimeError: The file exists, but is not a store that this MLflow can use, or the store cannot be created.
    """
    try:
        if not os.path.lexists(file):
            with storage.lock_folder(file.parent, timeout=LOCK_SECONDS):
                if not os.path.lexists(file):
                    _write(file, artifacts)
    except OSError as error:
        received = f" Received: path={str(file)!r}" if error.errno else ""
        raise RuntimeError(f"cannot create the tracking store: {error.strerror or error}.{received}") from None
    _check(file)


def _write(file: Path, artifacts: Path) -> None:
    for leftover in (file.with_name(file.name + end) for end in SIDE_FILES):
        if leftover.exists():  # SQLite would apply it to the new database
            raise RuntimeError(f"{leftover} was left behind by a deleted database. {_move_advice(leftover)}")
    storage.remove_partial_files(file.parent, name=file.name)
    content = _tables(artifacts.absolute().as_uri())
    with storage.atomic_file(file) as temporary:
        temporary.write_bytes(content)


@functools.cache
def _tables(artifacts: str) -> bytes:
    """Returns the content of a new database. It is created in memory, since on disk it takes a hundred commits."""
    with _mute_mlflow():
        store = sqlalchemy_store.SqlAlchemyStore("sqlite://", artifacts)
    with closing(store.engine.raw_connection()) as connection:
        content = bytes(connection.driver_connection.serialize())
    store.engine.dispose()
    return content


@contextmanager
def _mute_mlflow() -> Iterator[None]:
    """Keeps MLflow from logging its steps, and the tracebacks of errors that it also raises."""
    logger = logging.getLogger(mlflow.__name__)  # this access imports MLflow, which sets the level
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check(file: Path) -> None:
    """Checks that a file is a store of this version of MLflow, before MLflow changes anything in it."""
    cannot = f"cannot open the tracking store {file}:"
    if not file.is_file():
        raise RuntimeError(f"{cannot} it is not a file. {_move_advice(file)}")
    if not os.access(file, os.R_OK | os.W_OK):
        raise RuntimeError(f"{cannot} read or write permission is missing")
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            versions = database.execute("SELECT * FROM alembic_version").fetchall() if VERSION in tables else []
            ready = EXPERIMENTS in tables and database.execute("SELECT 1 FROM experiments").fetchone() is not None
    except sqlite3.OperationalError as error:  # locked for too long, or the disk fails
        raise RuntimeError(f"{cannot} {error}") from None
    except sqlite3.DatabaseError as error:
        raise RuntimeError(f"{cannot} {error}. {_move_advice(file)}") from None
    version = versions[0][0] if versions else None
    scripts = alembic.script.ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if version == scripts.get_current_head():
        return
    if tables and not tables & {VERSION, EXPERIMENTS}:
        raise RuntimeError(f"{cannot} it is another program's database. {_move_advice(file)}")
    if not ready:  # MLflow creates the first experiment last
        raise RuntimeError(f"{cannot} its creation was interrupted, and it has no runs. {_move_advice(file)}")
    try:
        scripts.get_revision(version or "base")
    except alembic.util.CommandError:
        raise RuntimeError(
            f"{cannot} a newer MLflow than {mlflow.__version__} wrote it (schema {version}). Install that one, or use "
            "another root"
        ) from None
    upgrade = f"mlflow db upgrade {shlex.quote(store_uri(file))}"
    raise RuntimeError(f"{cannot} an older MLflow wrote it (schema {version}). Copy it, then upgrade it: {upgrade}")


def _move_advice(path: Path) -> str:
    return f"Move it away: mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}"
