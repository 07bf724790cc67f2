"""The pipeline as KFP reads it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ganlib.config import RunConfig
from ganlib.data import DataConfig, prepare
from pipelines import gan_training
from pipelines.gan_training import MAX_PARTS, build_pipeline, compile_pipeline
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.vertex import Vertex

IMAGE = "example/gan-pipelines-python@sha256:" + "0" * 64
FEEDS = {
    "prepare-data": {"data"},
    "measure-reference": {"task", "evaluation"},
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
    assert parameters["training"]["description"] == "Training settings."
    ends = [spec["root"], *spec["components"].values()]
    sides = [end.get(side, {}) for end in ends for side in ("inputDefinitions", "outputDefinitions")]
    fields = [field for side in sides for kind in side.values() for field in kind.values()]
    assert len(fields) > 30
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


# The preparation in parts.


@pytest.fixture(scope="module")
def in_parts(compiled):
    return yaml.safe_load(compiled(RunConfig.model_validate({"data": {"shards": 3}})))


def test_several_shards_are_prepared_side_by_side_and_merged(in_parts):
    tasks = in_parts["root"]["dag"]["tasks"]
    [loop] = [task for task in tasks.values() if "parameterIterator" in task]
    assert json.loads(loop["parameterIterator"]["items"]["raw"]) == [0, 1, 2]
    assert loop["iteratorPolicy"]["parallelismLimit"] == gan_training.MAX_PARALLEL_PARTS
    [part] = in_parts["components"][loop["componentRef"]["name"]]["dag"]["tasks"].values()
    given = part["inputs"]["parameters"]
    assert given["of"]["runtimeValue"]["constant"] == 3
    assert set(given) == {"data", "part", "of"}  # all that the key of its cache depends on
    assert tasks["merge-parts"]["dependentTasks"] == [loop["taskInfo"]["name"]]
    assert "prepare-data" not in tasks


def test_in_parts_or_not_the_pipeline_takes_and_gives_the_same(in_parts, spec):
    assert in_parts["root"]["outputDefinitions"] == spec["root"]["outputDefinitions"]
    types = {name: value["parameterType"] for name, value in in_parts["root"]["inputDefinitions"]["parameters"].items()}
    assert types == dict.fromkeys(spec["root"]["inputDefinitions"]["parameters"], "STRUCT")
    later = {name: NEEDS[name] for name in ("measure-reference", "train-gan", "evaluate-gan", "export-model")}
    for name, needed in later.items():
        expected = {"merge-parts" if task == "prepare-data" else task for task in needed}
        assert set(in_parts["root"]["dag"]["tasks"][name]["dependentTasks"]) == expected


def test_one_task_may_write_several_shards():
    pipeline = build_pipeline(RunConfig.model_validate({"data": {"shards": 3}}), parts=1)
    assert "prepare-data" in pipeline.pipeline_spec.root.dag.tasks


@pytest.mark.parametrize(("platform", "limit"), [(Kubernetes(), 150), (Vertex(), 100)], ids=["kubernetes", "vertex"])
def test_no_more_parts_are_compiled_than_can_run(tmp_path, platform, limit):
    for parts in (limit + 1, 10_000):
        config = RunConfig.model_validate({"data": {"shards": parts}})
        message = rf"^data\.shards: expected at most {limit} on platform={platform.kind}, .*Received: shards={parts}$"
        with pytest.raises(ValueError, match=message):
            compile_pipeline(config, tmp_path / "refused.yaml", platform=platform)
    assert not (tmp_path / "refused.yaml").exists()
    compile_pipeline(
        RunConfig.model_validate({"data": {"shards": limit}}), tmp_path / "pipeline.yaml", platform=platform
    )
    assert (tmp_path / "pipeline.yaml").stat().st_size < 1_000_000


def test_the_list_of_all_parts_fits_into_one_argument():
    """As KFP's driver writes it for the launcher's --executor_input, with an address of 300 characters."""
    summary = {"part": 9999, "train": 1_000_000, "test": 100_000, "skipped": 1000, "seconds": 10000.01}
    artifact = {
        "name": "projects/local/locations/us-central1/metadataStores/default/artifacts/123456789",
        "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
        "uri": "minio://" + "x" * 292,
        "metadata": {"display_name": "images", "store_session_info": "", **summary},
    }
    settings = {"data": RunConfig().to_parameters()["data"]}

    def argument(parts):
        artifacts = {"parts": {"artifacts": [artifact] * parts}}
        return json.dumps({"inputs": {"parameterValues": settings, "artifacts": artifacts}})

    limit = MAX_PARTS["kubernetes"]
    assert len(argument(limit)) < 128 * 1024 < len(argument(2 * limit))


PREPARING = """
import sys
from kfp import dsl, local
from ganlib.data import DataConfig
from pipelines.gan_training import _prepare_in_parts
prepare = _prepare_in_parts(2, "python", None)
@dsl.pipeline
def preparation(data: dict) -> dsl.Dataset:
    return prepare(data=data).outputs["dataset"]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
made = preparation(data=DataConfig(size=8, shards=2).to_parameter()).output
print("made", made.metadata["sha256"], made.metadata["seconds"] > 0, made.path)
try:
    preparation(data=DataConfig(size=8, shards=4).to_parameter())
except RuntimeError:
    print("refused")
"""


def test_parts_that_kfp_runs_become_the_dataset_that_one_task_makes(tmp_path):
    """In a process of its own: KFP's local loop may leave `print` changed behind it."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARING, str(tmp_path / "steps")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    [line] = [line for line in done.stdout.splitlines() if line.split()[:1] == ["made"]]
    _, checksum, timed, path = line.split()
    whole = prepare(DataConfig(size=8, shards=2), tmp_path / "whole")
    assert (checksum, timed) == (whole.checksum, "True")
    for file in whole.folder.iterdir():
        assert (Path(path) / file.name).read_bytes() == file.read_bytes()
    assert done.stdout.splitlines()[-1].strip() == "refused"
    message = "error: prepare_part: expected data.shards=2, one for each task of the pipeline. Received: shards=4"
    assert message in done.stdout
