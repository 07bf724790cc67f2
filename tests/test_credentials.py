"""Variables that only a step has, and secrets that it reads from a fake of Google's Secret Manager."""

import base64
import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google.auth
import pytest
from background_server import running
from google.auth.credentials import AnonymousCredentials

from ganlib import credentials

NAME = "projects/p/secrets/mlflow/versions/3"


@pytest.fixture
def secret_manager(monkeypatch):
    """A double of the server: it answers as told."""
    answer = {"status": 200, "body": {"payload": {"data": base64.b64encode("pässword".encode()).decode()}}}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def do_GET(self):
            found = self.path == f"/v1/{NAME}:access"
            data = json.dumps(answer["body"]).encode()
            self.send_response(answer["status"] if found else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    monkeypatch.setattr(google.auth, "default", lambda scopes: (AnonymousCredentials(), None))
    monkeypatch.setenv("GAN_PIPELINES_SECRET_MLFLOW_TRACKING_TOKEN", NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")  # so that it is removed after the test
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        monkeypatch.setattr(credentials, "SECRET_MANAGER", f"http://127.0.0.1:{server.server_port}/v1")
        yield answer


def test_a_secret_becomes_a_variable_of_the_step(secret_manager):
    credentials.set_step_variables()
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == "pässword"


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (403, {}, ValueError, "may read .*; the server answers 403"),
        (404, {}, ValueError, "exists and .* answers 404"),
        (500, {}, OSError, "the secret cannot be read: the server answers 500 without a text"),
        (200, {"payload": {"data": "?"}}, OSError, "answers 200 without a text"),
        (200, {"payload": {"data": "/w=="}}, OSError, "answers 200 without a text"),
        (200, [], OSError, "answers 200 without a text"),
    ],
)
def test_a_secret_that_cannot_be_read_is_one_line_without_it(secret_manager, status, body, error, words):
    secret_manager.update(status=status, body=body)
    with pytest.raises(error, match=rf"{words}.*\. Received: secret='{re.escape(NAME)}'$"):
        credentials.set_step_variables()


def test_a_server_that_is_away_is_said(secret_manager, monkeypatch):
    monkeypatch.setattr(credentials, "SECRET_MANAGER", "http://127.0.0.1:9/v1")
    with pytest.raises(OSError, match=r"^Secret Manager cannot be reached: ConnectionError\. Received: "):
        credentials.set_step_variables()


def test_a_step_alone_gets_the_key_of_the_images(tmp_path):
    """The variable has another name in the pod, so that KFP's launcher does not read it."""
    script = "import os\nfrom ganlib import steps\nwith steps.step('s'):\n    print(os.environ[NAME])"
    script = script.replace("NAME", "'GOOGLE_APPLICATION_CREDENTIALS'")
    environment = {**os.environ, "GAN_PIPELINES_STEP_GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "/key.json\n"
