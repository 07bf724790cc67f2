"""MLflow servers for tests: real processes."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

from ports import free_ports

from ganlib import tracking


class Server:
    """An MLflow server process; its data outlives it."""

    def __init__(self, folder, **environment):
        self.folder, self.environment = folder, environment
        [self.port] = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        self.uri = f"http://{self.address}"
        self.process = None

    def start(self):
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            tracking.store_uri(self.folder / "mlflow.db"),
        ]
        command += ["--artifacts-destination", (self.folder / "artifacts").as_uri(), "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        # Without its job runners, six processes that are not needed here.
        quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **quick, **self.environment}, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self.answers)

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    @property
    def client(self):
        return client_of(self.uri)


def client_of(uri):
    import mlflow

    return mlflow.MlflowClient(uri)


def wait_until(condition, *, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
