"""The pipeline as KFP reads it."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from ganlib.config import RunConfig
from pipelines.gan_training import build_pipeline, compile_pipeline

IMAGE = "example/gan-pipelines-python@sha256:" + "0" * 64
FEEDS = {
    "prepare-data": {"data"},
    "measure-reference": {"evaluation"},
    "train-gan": {"task", "model", "objective", "training"},
    "evaluate-gan": {"evaluation"},
    "export-model": {"export_settings"},
}
NEEDS = {
    "prepare-data": set(),
    "measure-reference": {"prepare-data"},
    "train-gan": {"prepare-data", "measure-reference"},
    "evaluate-gan": {"prepare-data", "measure-reference", "train-gan"},
    "export-model": {"train-gan", "evaluate-gan"},
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a config and returns its text."""

    def text(config=None):
        path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
        compile_pipeline(config or RunConfig(), path, image=IMAGE)
        return path.read_text(encoding="ascii")

    return text


@pytest.fixture(scope="module")
def spec(compiled):
    return yaml.safe_load(compiled())


@pytest.fixture(scope="module")
def tasks(spec):
    return spec["root"]["dag"]["tasks"]


def test_the_file_is_one_document_with_a_name_that_the_server_takes(compiled, spec):
    assert len(list(yaml.safe_load_all(compiled()))) == 1
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", spec["pipelineInfo"]["name"])


def test_every_process_compiles_the_same_bytes(tmp_path):
    texts = set()
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.yaml"
        command = [sys.executable, "-m", "pipelines", "compile", "--preset", "digits", "-o", str(output)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment)
        texts.add(output.read_bytes())
    assert len(texts) == 1


def test_the_text_is_ascii_even_where_the_settings_are_not(compiled):
    source = {"kind": "image_folder", "path": "/bücher/写真"}
    text = compiled(RunConfig.model_validate({"data": {"source": source}}))
    assert text.isascii()
    default = yaml.safe_load(text)["root"]["inputDefinitions"]["parameters"]["data"]["defaultValue"]
    assert default["source"]["path"] == "/bücher/写真"


def test_there_is_one_dict_parameter_a_section_with_the_config_as_its_default(spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: value["parameterType"] for name, value in parameters.items()} == dict.fromkeys(
        ["data", "task", "model", "objective", "training", "evaluation", "export_settings"], "STRUCT"
    )
    defaults = {name.removesuffix("_settings"): value["defaultValue"] for name, value in parameters.items()}
    assert RunConfig.model_validate(defaults) == RunConfig()


def test_docstrings_became_descriptions(spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["training"]["description"] == "How they are trained."
    inputs = [spec["root"]["inputDefinitions"], *(c.get("inputDefinitions", {}) for c in spec["components"].values())]
    fields = [field for item in inputs for kind in item.values() for field in kind.values()]
    assert len(fields) > 15
    assert all(field.get("description", "").endswith(".") for field in fields)
    assert spec["pipelineInfo"]["description"]


def test_a_component_has_no_defaults_of_its_own(spec):
    for component in spec["components"].values():
        for field in component["inputDefinitions"].get("parameters", {}).values():
            assert "defaultValue" not in field
            assert not field.get("isOptional")


def test_each_step_gets_its_sections_and_waits_for_what_it_needs(tasks):
    given = {
        name: {
            value["componentInputParameter"]
            for value in task.get("inputs", {}).get("parameters", {}).values()
            if "componentInputParameter" in value
        }
        for name, task in tasks.items()
    }
    assert given == FEEDS
    assert {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()} == NEEDS


def test_another_learning_rate_changes_nothing_but_the_training_parameter(compiled, spec):
    changed = RunConfig.model_validate({"training": {"generator_optimizer": {"learning_rate": 0.5}}})
    other = yaml.safe_load(compiled(changed))
    default = other["root"]["inputDefinitions"]["parameters"]["training"]
    assert default["defaultValue"]["generator_optimizer"]["learning_rate"] == 0.5
    default["defaultValue"] = spec["root"]["inputDefinitions"]["parameters"]["training"]["defaultValue"]
    assert other == spec


def test_the_artifacts_bear_their_types(spec):
    types = {
        name: value["artifactType"]["schemaTitle"]
        for name, value in spec["root"]["outputDefinitions"]["artifacts"].items()
    }
    assert types == {
        "dataset": "system.Dataset",
        "reference": "system.Artifact",
        "trained": "system.Model",
        "scores": "system.Metrics",
        "report": "system.HTML",
        "exported": "system.Model",
    }
    card = spec["components"]["comp-export-model"]["outputDefinitions"]["artifacts"]["card"]
    assert card["artifactType"]["schemaTitle"] == "system.Markdown"


def test_every_step_runs_in_the_given_image_and_installs_nothing(spec):
    executors = spec["deploymentSpec"]["executors"]
    assert len(executors) == len(FEEDS)
    for executor in executors.values():
        container = executor["container"]
        assert container["image"] == IMAGE
        assert "pip install" not in " ".join(container["command"])
        assert all(len(word.encode()) < 128 * 1024 for word in container["command"] + container["args"])


def test_a_step_is_named_as_its_function(spec, tasks):
    for name, task in tasks.items():
        component = spec["components"][task["componentRef"]["name"]]
        arguments = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]["args"]
        assert arguments[-1] == name.replace("-", "_")


def test_two_pipelines_of_one_process_keep_their_own_defaults():
    pipelines = {size: build_pipeline(RunConfig.model_validate({"data": {"size": size}})) for size in (16, 32)}
    for size, pipeline in pipelines.items():
        default = pipeline.pipeline_spec.root.input_definitions.parameters["data"].default_value
        assert default.struct_value["size"] == size
