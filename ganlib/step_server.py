"""A process that imports the heavy libraries once, and forks a process of its own for each step on this machine.

    python -m ganlib.step_server SOCKET PROGRAM MODULE...

SOCKET is the number of an inherited socket, PROGRAM the module that a step runs, and each MODULE is imported first.
A request is the path of a JSON file with the `arguments` and the `environment` of a step, and comes with a file
descriptor for its output. The answers are `STARTED` and, at the end of the step, its exit code. The process ends when
the other side closes the socket.

The modules must start no threads of Python, because a fork copies only the thread that calls it. TensorFlow starts its
threads and opens its devices when it is first used, which is after the fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

from ganlib.environment import hide_unused_libraries
from ganlib.steps import COLLECTION_THRESHOLDS

STARTED = b"+"
PATH_BYTES = 4096
INTERRUPTED = 128 + signal.SIGINT  # exit code, as of a shell


def main() -> None:
    """Forks a process for each request. It returns in the process of a step, whose program it has run by then."""
    number, program, *modules = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner and the step
    hide_unused_libraries()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    _import(modules)
    gc.freeze()  # otherwise each collection in a step would copy the memory that it shares with this process
    with socket.socket(fileno=int(number)) as connection:
        while True:
            path, outputs, *_ = socket.recv_fds(connection, PATH_BYTES, 1)
            if not path:
                return
            child = os.fork()
            if child == 0:
                break
            os.close(outputs[0])
            connection.send(STARTED)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.send(code.to_bytes(4, signed=True))
    _run(program, Path(os.fsdecode(path)), outputs[0])


def _import(modules: list[str]) -> None:
    """Imports modules as a step would, whose program has set up logging: TensorFlow then adds no handler of its own."""
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    for module in modules:
        importlib.import_module(module)
    logging.root.removeHandler(handler)


def _run(program: str, request: Path, output: int) -> None:
    """Runs a step in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    step = json.loads(request.read_text(encoding="utf-8"))
    os.environ.update(step["environment"])
    sys.argv = [program, *step["arguments"]]
    try:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # the runner says so
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
