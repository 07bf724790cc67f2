"""The example manifests of the docs, as far as they can be tested without a cluster: what their pods would start."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from ganlib.training.strategy import TRAINERS
from pipelines import settings
from pipelines.command.train import train

DOCS = Path(__file__).parent.parent / "docs"
FILLED = {"$IMAGE": "image", "$BUCKET": "bucket", "$NAMESPACE": "team"}
TELLING = """#!/bin/sh
printf '%s\\n' "$TF_CONFIG" "$@"
"""


def manifests(name):
    text = (DOCS / name).read_text()
    for variable, value in FILLED.items():
        text = text.replace(variable, value)
    return {item["kind"]: item for item in yaml.safe_load_all(text)}


def assert_command_fits(words):
    assert words[0] == "train"
    with train.make_context("train", list(words[1:])) as context:
        given = context.params
    assert {given[name].partition("://")[0] for name in ("dataset", "reference", "output")} == {"gs"}
    config = settings.resolve(chosen=given["chosen"], assignments=given["assignments"])
    assert config.training.home == "gs://bucket/homes/gan"
    assert config.training.strategy == "auto"


def test_the_workers_of_a_tfjob_start_an_existing_command():
    spec = manifests("tfjob.yaml")["TFJob"]["spec"]["tfReplicaSpecs"]["Worker"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow"
    assert container["command"][0] == "gan-pipelines"
    assert_command_fits([*container["command"][1:], *container["args"]])


@pytest.mark.parametrize("index", [0, 1])
def test_the_pods_of_a_trainjob_have_distinct_indices(tmp_path, index):
    result = manifests("trainjob.yaml")
    job, runtime = result["TrainJob"], result["TrainingRuntime"]
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    trainer, name = job["spec"]["trainer"], job["metadata"]["name"]
    program = tmp_path / "gan-pipelines"
    program.write_text(TELLING)
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": str(index)}
    done = subprocess.run(
        [*trainer["command"], *trainer["args"]], env=environment, capture_output=True, text=True, check=True
    )
    cluster, *words = done.stdout.splitlines()
    assert_command_fits(words)
    message = json.loads(cluster)
    assert message["task"] == {"type": "worker", "index": index}
    assert message["task"]["type"] in TRAINERS
    pods = [f"{name}-node-0-{number}.{name}:2222" for number in range(trainer["numNodes"])]
    assert message["cluster"] == {"worker": pods}
