"""The MLflow server of a team: what compose.yaml says, given to a real server as far as there is no Docker Compose."""

import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from mlflow_server import Server

from ganlib import tracking

COMPOSE = yaml.safe_load((Path(__file__).parent.parent / "docker" / "compose.yaml").read_text())
GIVEN = {"POSTGRES_PASSWORD": "secret", "MLFLOW_HOST": "mlflow.example.org"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def filled(text, given=GIVEN):
    """Text with its variables, as Compose fills them in."""

    def value(found):
        name, sign, other = found.groups()
        if sign == "?" and name not in given:
            raise KeyError(name)
        return given.get(name, other or "")

    return VARIABLE.sub(value, text)


def settings(service, given=GIVEN):
    return {name: filled(text, given) for name, text in COMPOSE["services"][service]["environment"].items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    tracking.create_store(folder / "mlflow.db", experiment="team", artifacts=folder / "artifacts")
    said = {name: text for name, text in settings("mlflow").items() if name.startswith("MLFLOW_SERVER_")}
    running = Server(folder, **said)
    running.start()
    yield running
    running.kill()


def status(server, host, origin=None):
    headers = {"Host": host, "Content-Type": "application/json", **({"Origin": origin} if origin else {})}
    address = f"{server.uri}/ajax-api/2.0/mlflow/experiments/search"
    request = urllib.request.Request(address, data=b'{"max_results": 1}', headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("host", ["mlflow:5000", "localhost:5000", "mlflow.example.org", "mlflow.example.org:5000"])
def test_containers_and_browsers_reach_the_server_by_its_names(server, host):
    assert status(server, host) == 200
    scheme = "https" if host == "mlflow.example.org" else "http"
    assert status(server, host, f"{scheme}://{host}") == 200  # as the pages ask for what their charts show


def test_other_names_and_other_pages_are_refused(server):
    assert status(server, "evil.example") == 403
    assert status(server, "mlflow:5000", "http://evil.example") == 403


def test_the_password_of_the_database_is_given_and_not_written():
    assert settings("mlflow")["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mlflow:secret@postgres:5432/mlflow"
    assert settings("postgres")["POSTGRES_PASSWORD"] == "secret"
    for service in ("mlflow", "postgres"):
        with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
            settings(service, {})


def test_the_server_may_do_little_and_is_open_to_its_own_machine_only():
    mlflow = COMPOSE["services"]["mlflow"]
    assert mlflow["read_only"] is True
    assert mlflow["cap_drop"] == ["ALL"]
    assert [filled(port) for port in mlflow["ports"]] == ["127.0.0.1:5000:5000"]
    assert "ports" not in COMPOSE["services"]["postgres"]
