"""Uses the registry in processes of their own, which may be killed between two requests. Reads a list of orders.

Each order runs in a child that is forked from a process with all libraries and no connection. An order is
`["register", EXPORTED, VERDICT, OUTPUT, CHANGES]` or `["rollback", CHANGES]`; with CHANGES=n, the child kills itself
before its n-th change of a tag or an alias. `["meet", FILE]` before others waits until the file exists. A line for each
order says how it ended, and which aliases the database has then.
"""

import contextlib
import json
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import alembic.script  # noqa: F401  # these imports are made before the fork, because they take seconds
import mlflow  # noqa: F401
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

from ganlib import tracking
from ganlib.export import ExportConfig, promotion, register
from ganlib.export.registry import Registry
from ganlib.selection.verdict import Verdict

NAME = "digits"


def kill_at(change):
    """Makes the process kill itself before its n-th change in the registry."""
    left = [change]

    def counted(original):
        def changed(self, *arguments):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *arguments)

        return changed

    for name in ("tag", "untag", "point", "remove"):
        setattr(Registry, name, counted(getattr(Registry, name)))


def do(order):
    word, *arguments = order
    if word == "register":
        exported, verdict, output, change = arguments
        kill_at(change)
        config = ExportConfig(registered_model=NAME, gate=Verdict.open(verdict).gate)
        return register.register(Path(exported), Verdict.open(verdict), config, Path(output)).summary
    kill_at(*arguments)
    return " to ".join(promotion.rollback(Registry(NAME), reason="test"))


def aliases():
    with contextlib.closing(sqlite3.connect(tracking.store_file(os.environ["MLFLOW_TRACKING_URI"]))) as database:
        rows = database.execute("SELECT alias, version FROM registered_model_aliases")
        return {alias: str(version) for alias, version in rows}


def main():
    for order in json.loads(sys.argv[1]):
        if order[0] == "meet":
            while not Path(order[1]).exists():
                time.sleep(0.01)
            continue
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, do(order).encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as answer:
            print(json.dumps([os.waitstatus_to_exitcode(status), answer.read(), aliases()]), flush=True)


main()
