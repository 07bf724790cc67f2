"""A process of `mlflow models serve` that serves an exported model on this machine until its block ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
REQUEST_SECONDS = 300
REPORT_SECONDS = 15.0  # between lines that say that the server is not ready yet
END_SECONDS = 5.0  # after SIGTERM, before SIGKILL
# The server takes any free port, and says which. One that was chosen here could be another process's by the time that
# the server has loaded the model, and that process would be asked. The bracket behind the port shows that the port is
# whole, since a log may be read while a line is written.
PORT = re.compile(rf"running on http://{re.escape(HOST)}:(\d+) \(")
# All that the server gets of this process's environment. So it has no credentials, and meets no other MLflow server.
KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PYTHONPATH", "TF_ENABLE_ONEDNN_OPTS", "TMPDIR", "TZ")
MLFLOW_ENDED = "returned non zero return code"  # what MLflow adds to the log after the server's own error


class ServerError(RuntimeError):
    """The server died, or did not answer as it should. The message is one line."""


class Server:
    """A server of an exported model: a group of processes that ends with the block.

    Args:
        folder: The exported model.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> Self:
        scratch = Path(self._ending.enter_context(tempfile.TemporaryDirectory()))
        self._log = scratch / "log.txt"
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(self._folder), "--host", HOST]
        command += ["--port", "0", "--env-manager", "local", "--timeout", str(REQUEST_SECONDS)]
        self._started, self._port = time.monotonic(), 0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                command, env=_environment(scratch), cwd=scratch, stdout=log, stderr=log, start_new_session=True
            )
        self._ending.callback(self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    def wait_until_ready(self, limit: float) -> float:
        """Waits until the server answers, and returns the seconds since its start.

        Args:
            limit: Most seconds.

        Raises:
            ServerError: It died, or was not ready in time.
        """
        reported = 0.0
        while (seconds := time.monotonic() - self._started) < limit:
            self._check_alive()
            self._port = self._port or self._read_port()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._port and self._request("GET", "/ping", None, timeout=5.0)[0] == 200:
                    return time.monotonic() - self._started
            if seconds - reported > REPORT_SECONDS:
                reported = seconds
                print(f"trial: waiting for the server, {seconds:.0f} s of at most {limit:g} s", flush=True)
            time.sleep(0.1)
        raise ServerError(f"the server was not ready within {limit:g} s")

    def ask(self, inputs: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Sends inputs by name, and returns the status and the answer.

        Raises:
            ServerError: The server died, or its answer is no JSON.
        """
        body = json.dumps({"inputs": inputs})
        try:
            status, content = self._request("POST", "/invocations", body, timeout=REQUEST_SECONDS)
            answer = json.loads(content)
        except (OSError, http.client.HTTPException) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # its log is complete then
            self._check_alive()
            raise ServerError(f"the server did not answer: {str(error) or type(error).__name__}") from error
        except ValueError as error:
            raise ServerError("expected an answer in JSON from the server. Received: another") from error
        return status, answer if isinstance(answer, dict) else {}

    def _request(self, method: str, path: str, body: str | None, *, timeout: float) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection(HOST, self._port, timeout=timeout)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()

    def _read_port(self) -> int:
        """Returns the port that the log names, 0 if it names none yet."""
        found = PORT.search(self._log.read_text(encoding="utf-8", errors="replace"))
        return int(found[1]) if found else 0

    def _check_alive(self) -> None:
        if self._process.poll() is not None:
            raise ServerError(f"the server died: {self._last_error()}")

    def _last_error(self) -> str:
        """Returns the last line of the log in which an error is named, or the last one."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip() and MLFLOW_ENDED not in line]
        errors = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
        return (errors or lines or [f"exit code {self._process.returncode}"])[-1]

    def _end(self) -> None:
        """Ends the whole group, also where its first process has ended before the others."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _environment(home: Path) -> dict[str, str]:
    """Returns the environment of the server: on the CPU, with the programs of this interpreter, such as uvicorn."""
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "PATH": os.pathsep.join(paths),
        "HOME": str(home),
        "CUDA_VISIBLE_DEVICES": "-1",  # this process may hold all memory of the GPU
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "UVICORN_PORT": "0",  # MLflow leaves out `--port 0`, and uvicorn would take 8000
    }
