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


def test_the_line_end_of_a_secret_is_no_part_of_it(secret_manager, monkeypatch):
    secret_manager["body"] = {"payload": {"data": base64.b64encode(b"word\r\n").decode()}}
    monkeypatch.setenv("GAN_PIPELINES_STEP_AWS_SECRET_ACCESS_KEY", "key\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    credentials.set_step_variables()
    assert (os.environ["MLFLOW_TRACKING_TOKEN"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("word", "key")


@pytest.mark.parametrize("secret", ["hunter2\n\n", "\nhunter2", "hunter2\x00", "hunter2\tx"], ids=ascii)
def test_a_secret_that_cannot_be_printed_is_refused_and_not_shown(secret_manager, secret):
    secret_manager["body"] = {"payload": {"data": base64.b64encode(secret.encode()).decode()}}
    with pytest.raises(ValueError, match=r"Received: GAN_PIPELINES_SECRET_MLFLOW_TRACKING_TOKEN with ") as error:
        credentials.set_step_variables()
    assert "hunter2" not in str(error.value)


def test_a_step_refuses_such_a_token_in_one_line_without_it():
    script = "from ganlib import steps\nwith steps.step('s'):\n    print('began')"
    environment = {**os.environ, "MLFLOW_TRACKING_TOKEN": "hunter2\n\n"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    expected = "expected one line of printable characters. Received: MLFLOW_TRACKING_TOKEN with others, not shown here"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: s: {expected}\n")


@pytest.mark.parametrize(
    ("place", "secret"),
    [
        ("MLFLOW_TRACKING_TOKEN", "hunter2-word\n"),
        ("AWS_SECRET_ACCESS_KEY", "hun'ter2\\x"),
        ("AWS_SESSION_TOKEN", "hünter2"),
    ],
)
def test_secrets_of_the_environment_are_hidden_in_all_forms(monkeypatch, place, secret):
    monkeypatch.setenv(place, secret)
    for shown in (secret, repr(secret), repr(f"Bearer {secret}".encode("latin-1"))):
        hidden = credentials.hide_secrets(f"Invalid header value {shown} here")
        assert "ter2" not in hidden
        assert hidden.startswith("Invalid header value")


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
