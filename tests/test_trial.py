"""Trials of models in real processes of `mlflow models serve`: one that serves, and those that must not be shipped."""

import json
import os
import shutil
import subprocess
import time

import exported_models
import pytest
import served_models

from ganlib.export import trial
from ganlib.export.server import PORT, Server, ServerError

# A program instead of `served.py` that does what the file `does` says. Without TensorFlow, so that it starts quickly.
OTHER = """
import base64, io, os, pathlib, time
import mlflow, numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from PIL import Image

does = pathlib.Path(__file__).with_name("does")

def as_file(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()

class Program:
    def load_context(self, context):
        if does.read_text() == "dies at once":
            raise RuntimeError("no such weights")
        while does.read_text() == "is never ready":
            time.sleep(0.1)

    def predict(self, context, model_input, params=None):
        now = does.read_text()
        if now == "dies":
            os._exit(3)
        if "image" in model_input:
            texts = np.atleast_1d(model_input["image"])
            return [as_file(255 - np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))) for text in texts]
        if "images" not in model_input:
            if now == "takes all":
                return []
            if now == "shows a traceback":
                raise KeyError("images")
            raise MlflowException("expected images", INVALID_PARAMETER_VALUE)
        if now in ("fails", "fails without a word"):
            raise MlflowException("no memory" if now == "fails" else "")
        images = (255 - model_input["images"]).astype(np.uint8)
        return images + 2 if now == "gives other images" else images[:1] if now == "gives fewer" else images

class Model(Program, mlflow.pyfunc.PythonModel):
    pass

mlflow.models.set_model(Model())
"""
FAULTS = {
    "gives other images": "gives other images than this process for images, .* at most 1 of 255. Received: \\d+$",
    "gives fewer": r"gives images of shape \(1, 32, 32, 3\), expected \(2, 32, 32, 3\)$",
    "fails": r"refused images, function with status 500: .*no memory$",
    "fails without a word": r"refused images, function with status 500: no reason given$",
    "takes all": r"answered a wrong request with status 200, expected 400 and one line$",
    "shows a traceback": r"answered a wrong request with status 400 and a traceback, expected 400 and one line$",
    "dies": r"(died|did not answer): ",  # the last one, since nothing answers after it
}


@pytest.fixture
def program(tmp_path):
    """Exports a model, puts another program behind its server, and returns the folder and the file that it obeys."""
    functions = {"translate": (exported_models.invert, exported_models.any_size())}
    folder = served_models.functions(tmp_path / "model", functions)
    (folder / "served.py").write_text(OTHER)
    (folder / "does").write_text("nothing wrong")
    return folder, folder / "does"


def processes_of(folder):
    """Returns the arguments and the environment of each process that serves a folder."""
    shown = subprocess.run(["ps", "axeww", "-o", "args"], capture_output=True, check=True).stdout
    return [line for line in shown.decode(errors="replace").splitlines() if str(folder) in line]


def test_a_model_that_serves_passes_and_the_server_has_no_credentials(tmp_path, monkeypatch, capsys):
    folder = served_models.generator(tmp_path / "model")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "precious")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid")
    seen, real = [], Server.wait_until_ready

    def wait(server, limit):
        seconds = real(server, limit)
        seen.extend(processes_of(folder))
        return seconds

    monkeypatch.setattr(Server, "wait_until_ready", wait)
    tried = trial.try_server(folder)
    assert tried.passed, tried.reason
    assert any("uvicorn" in line for line in seen)
    assert not [line for line in seen if "precious" in line or "nowhere.invalid" in line]
    assert not processes_of(folder)
    assert tried.difference <= 1
    assert 0 < tried.ready_seconds < 180
    saved = json.loads(json.dumps(tried.to_dict()))
    assert saved["passed"] is True
    assert set(saved["milliseconds"]) == {"1", "16"}
    printed = capsys.readouterr().out
    assert "trial: starting mlflow models serve\n" in printed
    assert "trial: passed, largest difference " in printed


def ask(server, questions):
    trial._compare(server, questions, 1)
    trial._send_wrong_request(server)


def test_what_a_server_does_wrong_is_the_reason(program):
    folder, does = program
    questions, batch = trial._questions(folder)
    with Server(folder) as server:
        server.wait_until_ready(120)
        line = PORT.search(server._log.read_text())[0]
        assert not any(PORT.search(line[:end]) for end in range(len(line)))  # read while it is written
        assert " --port 0 --env-manager local" in " ".join(processes_of(folder))
        ask(server, questions)
        assert trial._time(server, batch, 16) > 0
        for fault, reason in FAULTS.items():
            does.write_text(fault)
            with pytest.raises(ServerError, match=f"^the server {reason}") as raised:
                ask(server, questions)
            assert "\n" not in str(raised.value)
    assert not processes_of(folder)


def test_a_model_that_cannot_be_loaded_fails_with_its_reason(program):
    folder, does = program
    does.write_text("dies at once")
    tried = trial.try_server(folder)
    assert not tried.passed
    assert tried.reason.startswith("the server died: ")
    assert "no such weights" in tried.reason
    assert "\n" not in tried.reason


def test_a_server_that_is_never_ready_is_ended(program, capsys):
    folder, does = program
    does.write_text("is never ready")
    start = time.monotonic()
    tried = trial.try_server(folder, ready_within=2.5)
    assert tried.to_dict() == {
        "passed": False,
        "server": tried.server,
        "reason": "the server was not ready within 2.5 s",
        "ready_seconds": None,
        "difference": None,
        "milliseconds": {},
    }
    assert time.monotonic() - start < 30
    assert not processes_of(folder)
    assert "trial: failed: the server was not ready within 2.5 s\n" in capsys.readouterr().out


def test_the_server_ends_with_its_block_whatever_happens(program):
    folder, _ = program

    def interrupt():
        assert processes_of(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Server(folder):
        interrupt()
    assert not processes_of(folder)
    with Server(folder) as server:
        os.killpg(server._process.pid, 9)
        with pytest.raises(ServerError, match=r"^the server died: exit code -9$"):
            server.ask({})


def test_a_model_that_no_server_takes_is_told(program):
    folder, _ = program
    shutil.rmtree(folder)
    exported_models.save(folder, {"count": (lambda numbers: {"sum": numbers}, {"numbers": [None]})}, inputs={})
    assert trial.try_server(folder).reason == "expected functions that can be served. Received: count"
