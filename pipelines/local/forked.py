"""Steps in subprocesses that need not import TensorFlow and MLflow again.

KFP starts a step with a new interpreter, which imports these libraries for three to five seconds. Here, one process
imports them while the runner starts and the images are prepared; the other steps are forked from it.
"""

from __future__ import annotations

import functools
import json
import locale
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kfp.local import subprocess_task_handler

from ganlib import storage
from ganlib.environment import OUTPUT_ERRORS

PROGRAM = "kfp.dsl.executor_main"
MODULES = (
    "tensorflow",
    "keras",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "alembic.script",
    "kfp.dsl.executor",
    "ganlib.data",
    "ganlib.training",
    "ganlib.evaluation",
    "ganlib.export",
    "matplotlib.figure",
)
LIGHT_STEPS = ("prepare_data",)  # they need none of these libraries, so they do not wait for them
Run = Callable[..., int]


def python_environment() -> dict[str, str]:
    """Returns environment variables for Python in all steps."""
    environment = {"PYTHONUNBUFFERED": "1"}
    # KFP starts a step with `python -m`, which imports from the current directory first. Files there must not
    # replace a library, unless the command itself was imported from there.
    if Path.cwd() != Path(storage.__file__).parent.parent:
        environment["PYTHONSAFEPATH"] = "1"
    return environment


def subprocess_environment() -> dict[str, str]:
    """Returns environment variables for steps in subprocesses, which share the home of the user."""
    return {
        # KFP decodes the output of steps with this encoding, and fails on invalid bytes.
        "PYTHONIOENCODING": f"{locale.getpreferredencoding(do_setlocale=False)}:{OUTPUT_ERRORS}",
        "KERAS_HOME": os.devnull,  # Keras neither reads nor writes settings
    }


@contextmanager
def forked_steps(environment: Mapping[str, str], *, at_once: bool) -> Iterator[None]:
    """Makes KFP's subprocess runner fork the steps. Where forking is not safe, it runs them as usual.

    Args:
        environment: Variables that Python and the libraries read when they start. The others are passed to each step
            as they are when it starts.
        at_once: Whether to import the libraries right away, or only when the first step runs, because all steps may
            be in the cache.
    """
    if sys.platform != "linux":  # the system libraries of macOS fail in a forked process
        yield
        return
    server = _Server({**os.environ, **environment, "_KFP_RUNTIME": "true"})
    try:
        if at_once:
            server.start()
        original = subprocess_task_handler.run_local_subprocess
        subprocess_task_handler.run_local_subprocess = functools.partial(_run_step, server, original)
        try:
            yield
        finally:
            subprocess_task_handler.run_local_subprocess = original
    finally:
        server.stop()


class _Server:
    """The process that imports the libraries."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.connection, self._other = socket.socketpair()

    def start(self) -> None:
        """Starts the process, unless it was started before."""
        if self._process is not None:
            return
        command = [sys.executable, "-m", "ganlib.step_server", str(self._other.fileno()), PROGRAM, *MODULES]
        # If it cannot import a library, the first step that needs it fails for the same reason and reports that.
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            command,
            pass_fds=[self._other.fileno()],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # a pipe as in the steps, because Python treats files differently
            stderr=subprocess.DEVNULL,
        )
        self._other.close()

    def end_step(self) -> None:
        """Sends SIGTERM to the step that runs, if any."""
        import psutil

        steps: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            steps = psutil.Process(self._process.pid).children(recursive=True) if self._process else []
        for step in steps:
            with suppress(psutil.NoSuchProcess):
                step.terminate()

    def stop(self) -> None:
        """Ends the process, but not a step that still runs after an interruption."""
        self.connection.close()
        self._other.close()
        if self._process is not None:
            with self._process:
                self._process.kill()


def _run_step(
    server: _Server, original: Run, full_command: list[str], env_vars: Mapping[str, str] | None = None
) -> int:
    """Runs a step, prints its output, and returns its exit code, like the function of KFP that it replaces."""
    server.start()
    _, _, script, source, *arguments = full_command
    if PROGRAM not in script or arguments[-1] in LIGHT_STEPS:
        return original(full_command=full_command, env_vars=env_vars)
    with tempfile.TemporaryDirectory() as folder:
        component, request = Path(folder, "ephemeral_component.py"), Path(folder, "request.json")
        component.write_text(source, encoding="utf-8")
        arguments = ["--component_module_path", str(component), *arguments]
        environment = {**os.environ, **(env_vars or {})}
        request.write_text(json.dumps({"arguments": arguments, "environment": environment}), encoding="utf-8")
        reader, writer = os.pipe()
        with os.fdopen(reader, encoding="locale", errors="backslashreplace") as output:
            started = _request(server.connection, request, writer)
            if not started:  # the process has ended
                return original(full_command=full_command, env_vars=env_vars)
            try:
                _print(output)
            except KeyboardInterrupt:
                server.end_step()
                _print(output)  # until the step ends: training writes a checkpoint first
                raise
            print("\n")
            code = server.connection.recv(4)
    return int.from_bytes(code, signed=True) if code else 1


def _print(output: Iterable[str]) -> None:
    for line in output:
        print(line, end="")


def _request(connection: socket.socket, request: Path, output: int) -> bool:
    """Asks for a step, whose process gets the file descriptor `output`. Returns whether it has started."""
    try:
        socket.send_fds(connection, [os.fsencode(request)], [output])
    except ConnectionError:
        return False
    finally:
        os.close(output)
    try:
        return bool(connection.recv(1))
    except ConnectionError:
        return False
