"""Processes that create a store at once, are killed, or have no disk space: forked from this one, which loads MLflow.

Run as `python store_processes.py FUNCTION FOLDER`; it prints one JSON value.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
from alembic import script  # noqa: F401  # imported here, so that no child has to
from mlflow.store.tracking import sqlalchemy_store

from ganlib import files, tracking
from ganlib.tracking import runs, store

OURS = {module.__file__ for module in (files, runs, store)}


def make(root, artifacts):
    uri = tracking.create_store(root / "mlflow.db", experiment="mine", artifacts=artifacts)
    result = mlflow.MlflowClient(uri).search_experiments()
    assert sorted(item.name for item in result) == ["Default", "mine"], result
    left = sorted(path.name for path in root.iterdir())
    assert left == [".lock", "mlflow.db"], left
    # Children must not inherit connections of their parent.
    sqlalchemy_store.SqlAlchemyStore._engine_map.pop(uri).dispose()


def fork(work, *arguments):
    """Starts a process; returns its id and the pipe with its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        work(*arguments)
    except BaseException as error:  # noqa: BLE001  # reported to the parent
        os.write(writing, str(error).encode()[:4000])
    finally:
        os._exit(0)


def ended(child):
    pid, reading = child
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as file:
        return file.read().decode()


def race(folder):
    """Returns the errors of 32 processes that create one store at once."""
    start, starting = os.pipe()

    def wait_and_make():
        os.close(starting)
        os.read(start, 1)
        make(folder, folder / "artifacts")

    children = [fork(wait_and_make) for _ in range(32)]
    os.close(starting)
    return [output for child in children if (output := ended(child))]


def kills(folder):
    """Kills fifty processes at random moments, each in a root of its own; returns how many had no store by then."""
    chance, early = random.Random(20), 0
    store._tables(artifacts := (folder / "artifacts").as_uri())
    lines = int(ended(fork(count_lines, folder / "counted")))
    began = time.monotonic()
    assert ended(fork(make, folder / "timed", folder / "artifacts")) == ""
    seconds = time.monotonic() - began
    for number in range(50):
        root = folder / str(number)
        if number < 3:
            store._tables.cache_clear()  # some processes are also killed while the tables are created
        if number % 2:
            child = fork(die_at_line, chance.randrange(lines), root, folder / "artifacts")
        else:
            child = fork(make, root, folder / "artifacts")
            time.sleep(chance.uniform(0, seconds))
            os.kill(child[0], signal.SIGKILL)
        assert ended(child) == ""
        early += not (root / "mlflow.db").exists()
        store._tables(artifacts)
        make(root, folder / "artifacts")
    return early


def count_lines(root):
    counted = [0]
    trace(lambda: counted.__setitem__(0, counted[0] + 1))
    make(root, root.parent / "artifacts")
    sys.settrace(None)
    raise SystemExit(counted[0])


def die_at_line(number, *arguments):
    left = [number]

    def count():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    trace(count)
    make(*arguments)


def trace(each_line):
    """Calls a function at each line of the modules that create a store."""

    def local(frame, event, argument):
        if event == "line":
            each_line()
        return local

    sys.settrace(lambda frame, event, argument: local if frame.f_code.co_filename in OURS else None)


def disks(folder):
    """Returns the errors on disks of twenty sizes, up to slightly more than a store. Then the disks get space."""
    whole, output = len(store._tables((folder / "disk" / "artifacts").as_uri())), []
    for size in [*range(4096, whole, whole // 14), whole, *(whole + 8192 * n for n in range(1, 6))]:
        disk = folder / "disk"
        disk.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False).returncode:
            return None
        try:
            output.append(ended(fork(make, disk / "runs", disk / "artifacts")))
            subprocess.run(["mount", "-o", "remount,size=60m", disk], check=True)
            assert (again := ended(fork(make, disk / "runs", disk / "artifacts"))) == "", (size, again)
        finally:
            subprocess.run(["umount", disk], check=True)
    return output


if __name__ == "__main__":
    name, place = sys.argv[1:]
    print(json.dumps(globals()[name](Path(place))))
