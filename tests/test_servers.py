"""KServe's own server, MLServer and MLflow give the images of the model, each in an environment of its own.

Making the environments takes minutes, so these tests only run with GAN_PIPELINES_EVERY_PAIR. They stay in
`.venv/servers`, or where GAN_PIPELINES_SERVERS says.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import exported_models
import mlflow.pyfunc
import numpy as np
import pytest
import served_models

import ganlib

ROOT = Path(__file__).parents[1]
SERVERS = ["mlflow", "kserve", "mlserver"] if "GAN_PIPELINES_EVERY_PAIR" in os.environ else []
ENVIRONMENTS = Path(os.environ.get("GAN_PIPELINES_SERVERS", ROOT / ".venv" / "servers"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("served")
    functions = {"translate": (exported_models.invert, exported_models.any_size())}
    return served_models.generator(place / "generator"), served_models.functions(
        place / "translator", functions, inputs={"multiple_of": 4}
    )


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_gives_the_images_of_the_model_and_refuses_wrong_requests(name, folders):
    import servers

    for folder in folders:
        for way, found in servers.try_server(name, folder, ENVIRONMENTS).items():  # it compares all answers
            expected = "INVALID_ARGUMENT" if way == "gRPC" else 400
            assert set(found["wrong"].values()) == {expected}
            assert all("expected " in message and "Received: " in message for message in found["messages"])
            assert found[16][0] > 0


@pytest.mark.parametrize("name", SERVERS[1:])
def test_every_server_in_its_image_needs_no_rights_and_no_writable_files(name, engine, folders):
    """The root file system and the model are read-only; the user is not root and has no capabilities."""
    import servers

    subprocess.run(["make", f"image-{name}"], cwd=ROOT, check=True)
    port, grpc, metrics = (servers.free_port() for _ in range(3))
    variables = {"MLSERVER_HTTP_PORT": port, "MLSERVER_GRPC_PORT": grpc, "MLSERVER_METRICS_PORT": metrics}
    options = [f"--http_port={port}", f"--grpc_port={grpc}", "--model_name=model", "--model_dir=/mnt/models"]
    container = engine.containers.run(
        f"gan-pipelines-{name}:{ganlib.__version__}",
        options if name == "kserve" else None,
        environment=variables if name == "mlserver" else None,
        detach=True,
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        volumes={str(folders[0]): {"bind": "/mnt/models", "mode": "ro"}},
    )
    try:
        deadline = time.monotonic() + 180
        while not servers.is_ready(port, f"/v2/models/{servers.NAME}/ready"):
            assert time.monotonic() < deadline, container.logs().decode()
            time.sleep(0.5)
        inputs = {"seed": np.array([7]), "label": ["dog"]}
        expected = mlflow.pyfunc.load_model(str(folders[0])).predict(inputs)
        answer = servers.by_tensors(port, inputs)
        assert answer.status == 200
        np.testing.assert_array_equal(answer.made, expected)
        for value in (7.9, 7.0, True, "7"):  # KServe would make 7 of them
            label = {"name": "label", "shape": [1], "datatype": "BYTES", "data": ["dog"]}
            seed = {"name": "seed", "shape": [1], "datatype": "INT64", "data": [value]}
            body = json.dumps({"inputs": [seed, label]})
            status, _, content = servers.request(port, f"/v2/models/{servers.NAME}/infer", body)
            assert (status, f"Received: seed={value!r}" in content.decode()) == (400, True)
        container.stop(timeout=30)
        assert container.wait()["StatusCode"] == 0  # ended by itself
    finally:
        container.remove(force=True)


@pytest.mark.parametrize("name", SERVERS[:1])
def test_every_server_of_mlflow_may_be_asked_for_the_champion(name, folders, tmp_path, monkeypatch):
    """Registered from a run's artifacts, and served by name and alias."""
    import servers

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("served", artifact_location=(tmp_path / "artifacts").as_uri()))
    client.log_artifacts(run.info.run_id, str(folders[0]), "model")
    client.create_registered_model("digits")
    version = client.create_model_version("digits", f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias("digits", "champion", version.version)
    with servers.running(name, Path(sys.executable), "models:/digits@champion") as (port, *_):
        inputs = {"seed": [1], "label": ["dog"]}
        answer = servers.by_columns("/invocations", "inputs")(port, inputs)
        assert answer.made == mlflow.pyfunc.load_model(str(folders[0])).predict(inputs).tolist()
