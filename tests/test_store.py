"""A local MLflow store is created atomically, by many processes, in folders of any name, over leftovers of any kind."""

import errno
import fcntl
import json
import os
import shlex
import shutil
import sqlite3
import string
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import alembic.command
import mlflow
import pytest
import sqlalchemy
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.db import commands as mlflow_db
from mlflow.store.db import utils as mlflow_database
from mlflow.store.tracking.dbmodels.initial_models import Base as FirstTables

from ganlib import storage, tracking
from ganlib.tracking import address, store

PROCESSES = Path(__file__).with_name("store_processes.py")


def processes(name, folder):
    command = [sys.executable, PROCESSES, name, folder]
    done = subprocess.run(
        command, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_thirty_two_processes_at_once_create_one_store(tmp_path):
    assert processes("race", tmp_path) == []


def test_a_process_killed_at_any_of_fifty_moments_leaves_a_working_root(tmp_path):
    assert 5 <= processes("kills", tmp_path) < 50  # some came too early, some too late


def test_a_disk_that_fills_up_at_any_of_twenty_sizes_leaves_a_working_root(tmp_path):
    output = processes("disks", tmp_path)
    if output is None:
        pytest.skip("needs the right to mount a disk")
    assert len(output) == 20
    assert output[-1] == ""
    assert sum("No space left on device. Received: path=" in text for text in output) >= 10
    assert all(text.startswith("cannot ") and "\n" not in text for text in output if text)


ODD = [
    "my%20runs",
    "a%2520?#&x",
    "q?mode=ro",
    "@:user@host",
    "two  words",
    "ünï 猫",
    "back\\slash",
    "quo'te\"$(x)`",
    "new\nline",
    "{a}[b]*;~",
    "file:x",
]


@pytest.mark.parametrize("name", ODD)
def test_a_root_is_a_path_whatever_its_characters_mean_elsewhere(tmp_path, name, monkeypatch):
    cwd, root = tmp_path / "cwd", tmp_path / "roots" / name
    for folder in (cwd, root):
        folder.mkdir(parents=True)
    monkeypatch.chdir(cwd)
    uri = tracking.create_store(root / "mlflow.db", experiment="mine")
    assert tracking.redact(uri) == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    (tmp_path / "file.txt").write_text("mine")
    tracker = tracking.Tracker(tmp_path / "tracked")
    tracker.metrics(1, {"loss": 0.5})
    shutil.copy(tmp_path / "file.txt", tracker.folder)
    tracker.artifact(tracker.folder / "file.txt", place="texts")
    tracking.deliver(tracker.folder)
    client = mlflow.MlflowClient(uri)
    run = client.get_run(tracking.run_id(tracker.folder))
    assert run.data.metrics == {"loss": 0.5}
    assert Path(client.download_artifacts(run.info.run_id, "texts/file.txt")).read_text() == "mine"
    assert len(list((root / "mlflow-artifacts").rglob("file.txt"))) == 1
    assert sorted(path.name for path in root.iterdir()) == [".lock", "mlflow-artifacts", "mlflow.db"]
    assert [path.name for path in (tmp_path / "roots").iterdir()] == [name]
    assert list(cwd.iterdir()) == []


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40))
@settings(max_examples=200)
def test_the_address_of_a_path_decodes_to_that_path(name):
    file = Path("/root", name, "mlflow.db").absolute()
    uri = tracking.store_uri(file)
    assert tracking.store_file(uri) == file
    assert tracking.redact(uri) == uri
    assert all(character in string.printable for character in uri)
    tracking.check_address(uri)


def test_a_path_that_sqlite_does_not_open_is_refused(tmp_path):
    def at(length):
        folder = tmp_path
        while len(str(folder)) < length - 110:
            folder /= "x" * 99
        folder /= "y" * (length - len(str(folder)) - 1 - len("/mlflow.db"))
        folder.mkdir(parents=True)
        assert len(str(folder / "mlflow.db")) == length
        return folder / "mlflow.db"

    tracking.create_store(at(address.MAX_PATH), experiment="mine")
    with pytest.raises(ValueError, match=r"^expected a path of at most 504 bytes, SQLite's limit\. Received: path='/"):
        tracking.create_store(at(address.MAX_PATH + 1), experiment="mine")


def test_a_path_that_is_not_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^expected a path that can be written as an address\. Received: path="):
        tracking.create_store(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff/mlflow.db")), experiment="mine")


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch):
    def refuse(*given):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)  # all file systems here support locks
    with pytest.raises(
        RuntimeError, match=r"^cannot create the tracking store: expected a file system that supports locks"
    ):
        tracking.create_store(tmp_path / "mlflow.db", experiment="mine")


def database(file, *statements):
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def first_tables(file):
    """A database of an MLflow that was killed after its first tables."""
    FirstTables.metadata.create_all(engine := sqlalchemy.create_engine(f"sqlite:///{file}"))
    engine.dispose()


def half_way(file):
    """A database of an MLflow that was killed during the migrations to its current tables."""
    first_tables(file)
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    config = mlflow_database._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "bd07f7e963c5")
    engine.dispose()


def older(file):
    """A store of an older MLflow, with an experiment."""
    half_way(file)
    database(file, "INSERT INTO experiments VALUES (1, 'theirs', 'file:///a', 'active')")


def newer(file):
    tracking.create_store(file, experiment="theirs")
    database(file, "UPDATE alembic_version SET version_num = 'abcdefabcdef'")


MOVED = "Move it away: mv "
HALF = "its creation was interrupted, and it has no runs. " + MOVED


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda file: file.touch(), HALF),
        (first_tables, HALF),
        (half_way, HALF),
        (older, "an older MLflow wrote it (schema bd07f7e963c5). Copy it, then upgrade it: mlflow db upgrade 'sqlite"),
        (newer, f"a newer MLflow than {mlflow.__version__} wrote it (schema abcdefabcdef). Install that one, or "),
        (lambda file: database(file, "CREATE TABLE notes (text)"), "it is another program's database. " + MOVED),
        (lambda file: file.write_bytes(b"no database" * 100), "file is not a database. " + MOVED),
        (lambda file: file.mkdir(), "it is not a file. " + MOVED),
        (lambda file: file.symlink_to("nowhere"), "it is not a file. " + MOVED),
    ],
    ids=["empty", "first tables", "half-way", "older", "newer", "foreign", "text", "folder", "link"],
)
def test_a_store_of_another_version_is_reported_with_advice_and_stays(tmp_path, make, told):
    file = tmp_path / "my runs" / "mlflow.db"
    file.parent.mkdir()
    make(file)
    before = file.is_file() and file.read_bytes()
    with pytest.raises(RuntimeError) as caught:
        tracking.create_store(file, experiment="mine")
    message = str(caught.value)
    assert message.startswith(f"cannot open the tracking store {file}: {told}")
    assert "\n" not in message
    assert (file.is_file() and file.read_bytes()) == before
    if MOVED in message:
        subprocess.run(["sh", "-c", message.partition("away: ")[2]], check=True)
        assert os.path.lexists(f"{file}.old")
    elif "upgrade it: " in message:
        words = shlex.split(message.partition("upgrade it: mlflow db ")[2])
        assert CliRunner().invoke(mlflow_db, words).exit_code == 0
    else:
        return
    assert tracking.create_store(file, experiment="mine") == tracking.store_uri(file)


@pytest.mark.parametrize("end", store.SIDE_FILES)
def test_the_journal_of_a_deleted_database_is_not_applied_to_a_new_one(tmp_path, end):
    remains = tmp_path / f"mlflow.db{end}"
    remains.write_bytes(b"left")
    with pytest.raises(RuntimeError, match=f"^{remains} was left behind by a deleted database. Move it away: mv"):
        tracking.create_store(tmp_path / "mlflow.db", experiment="mine")
    assert remains.read_bytes() == b"left"
    assert not (tmp_path / "mlflow.db").exists()


def test_a_store_is_used_as_it_is_and_what_a_killed_process_left_is_removed_before_one_is_made(tmp_path):
    stale, foreign = tmp_path / ".mlflow.db.x1.partial", tmp_path / ".film.partial"
    for file in (stale, foreign):
        file.write_text("half")
    uri = tracking.create_store(tmp_path / "mlflow.db", experiment="mine")
    assert (stale.exists(), foreign.exists()) == (False, True)
    before = (tmp_path / "mlflow.db").stat().st_ino
    assert tracking.create_store(tmp_path / "mlflow.db", experiment="another") == uri
    assert (tmp_path / "mlflow.db").stat().st_ino == before
    result = {item.name: item.artifact_location for item in mlflow.MlflowClient(uri).search_experiments()}
    artifacts = (tmp_path / "mlflow-artifacts").as_uri()
    assert result == {"Default": f"{artifacts}/0", "mine": artifacts, "another": artifacts}


def test_a_database_from_the_environment_is_created_atomically_too(tmp_path, monkeypatch):
    """By the first process that delivers."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/theirs.db")
    monkeypatch.setattr(store, "LOCK_SECONDS", 0)
    tracking.Tracker(tmp_path / "run").metrics(1, {"loss": 0.5})
    with storage.lock_folder(tmp_path, timeout=0), pytest.raises(RuntimeError, match="another process works in this f"):
        tracking.deliver(tmp_path / "run")
    assert not (tmp_path / "theirs.db").exists()
    tracking.deliver(tmp_path / "run")
    assert (tmp_path / "theirs.db").exists()


FOLDER = ": without a scheme, or with file:, it is a folder, which MLflow cannot use. Received"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("localhost:5000", ". Received: MLFLOW_TRACKING_URI='localhost:5000'"),
        ("127.0.0.1:5000", FOLDER),
        ("user:hunter2@host:5000", ". Received: MLFLOW_TRACKING_URI='host:5000'"),
        ("tracking.example", FOLDER),
        ("./mlruns", FOLDER),
        ("file:///tmp/mlruns", FOLDER),
        ("htp://host:5000", ". Received"),
        ("http:/host", ". Received"),
        ("http:host", ". Received"),
        ("http//host", FOLDER),
        ("https://", ". Received"),
        ("http://host:port", ": Port could not be cast to integer value"),
        ("http://[::1", ": Invalid IPv6 URL"),
        ("databricks-uc", FOLDER),
        ("uc:http://host", ". Received"),
        ("sqlite://", ": a database in memory is lost at the end of each step"),
        ("sqlite:///:memory:", ": a database in memory is lost at the end of each step"),
        ("sqlite:/tmp/mlflow.db", ". Received"),
        ("sqlite+nodriver:////tmp/mlflow.db", ". Received"),
        ("postgresql+psycopg3://host/db", ". Received"),
        ("oracle://host/db", ". Received"),
        ("gs://bucket/mlruns", ". Received"),
    ],
)
def test_an_address_that_mlflow_cannot_log_to_is_refused(uri, message, monkeypatch):
    with pytest.raises(tracking.DeliveryBlocked) as caught:
        tracking.check_address(uri)
    assert str(caught.value).startswith(address.EXPECTED + message)
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking.sync_command(Path("/runs/a")) == "gan-pipelines sync /runs/a --uri ADDRESS"


@pytest.mark.parametrize(
    "uri",
    ["http://host:5000/path", "https://user:hunter2@host", "http://[::1]:5000", "databricks", "databricks://profile"],
)
def test_an_address_where_a_server_may_answer_is_accepted(uri):
    tracking.check_address(uri)


def test_a_folder_is_accepted_if_mlflow_accepts_it(monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tracking.check_address("file:///tmp/mlruns")


def test_a_missing_database_driver_is_reported_by_its_name():
    with pytest.raises(
        tracking.DeliveryBlocked, match=r"^this database needs the module pymysql, which is missing\. Received: "
    ):
        tracking.check_address("mysql+pymysql://user:hunter2@host/db")
