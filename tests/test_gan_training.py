"""The pipeline as KFP reads it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cluster_limits import ARGUMENT, ETCD, PACK_ABOVE, comparison_sizes, sizes
from PIL import Image

from ganlib.config import RunConfig
from ganlib.data import DataConfig, ImageFolder, prepare
from pipelines.gan_training import build_pipeline, compile_pipeline
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.vertex import Vertex

IMAGE = "example/gan-pipelines-python@sha256:" + "0" * 64
FEEDS = {
    "check-inputs": {"data", "task"},
    "prepare-data": set(),
    "measure-reference": {"evaluation"},
    "train-gan": {"model", "objective", "training"},
    "evaluate-gan": {"evaluation"},
    "export-model": {"export_settings"},
}
NEEDS = {
    "check-inputs": set(),
    "prepare-data": {"check-inputs"},
    "measure-reference": {"check-inputs", "prepare-data"},
    "train-gan": {"check-inputs", "prepare-data", "measure-reference"},
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


def test_the_gate_and_the_registration_are_there_where_they_are_set_and_are_never_cached(compiled, spec):
    gated = yaml.safe_load(compiled(RunConfig.model_validate({"export": {"gate": {"max_parity": 1e-4}}})))
    registered = yaml.safe_load(compiled(RunConfig.model_validate({"export": {"registered_model": "digits"}})))
    plain, with_gate, with_both = (one["root"]["dag"]["tasks"] for one in (spec, gated, registered))
    assert set(with_gate) - set(plain) == {"gate-model"}
    assert set(with_both) - set(plain) == {"gate-model", "register-model"}
    for name in ("gate-model", "register-model"):
        assert not with_both[name]["cachingOptions"].get("enableCache")
    assert set(with_both["gate-model"]["dependentTasks"]) == {"prepare-data", "measure-reference", "train-gan"} | {
        "export-model"
    }
    assert set(with_both["register-model"]["dependentTasks"]) == {"export-model", "gate-model"}
    outputs = registered["root"]["outputDefinitions"]
    assert set(outputs["parameters"]) == {"decision", "version"}
    assert {"verdict", "registered"} <= set(outputs["artifacts"])
    fields = [*outputs["parameters"].values(), *outputs["artifacts"].values()]
    assert all(field["description"].endswith(".") for field in fields)
    assert "parameters" not in spec["root"]["outputDefinitions"]


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


def test_the_next_steps_get_the_settings_with_the_checksums_of_what_is_there(tasks):
    assert tasks["check-inputs"]["cachingOptions"] == {}
    for name, section in (
        ("prepare-data", "data"),
        ("measure-reference", "task"),
        ("train-gan", "task"),
    ):
        given = tasks[name]["inputs"]["parameters"][section]["taskOutputParameter"]
        assert given == {"producerTask": "check-inputs", "outputParameterKey": f"checked_{section}"}
    others = [task for name, task in tasks.items() if name != "check-inputs"]
    assert all(task["cachingOptions"] == {"enableCache": True} for task in others)


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
    assert loop["iteratorPolicy"]["parallelismLimit"] == 3
    [part] = in_parts["components"][loop["componentRef"]["name"]]["dag"]["tasks"].values()
    given = part["inputs"]["parameters"]
    assert given["of"]["runtimeValue"]["constant"] == 3
    assert {name.removeprefix("pipelinechannel--") for name in given} == {
        "data",
        "part",
        "of",
    }  # all that the key of its cache depends on
    assert tasks["merge-parts"]["dependentTasks"] == ["check-inputs", loop["taskInfo"]["name"]]
    assert "prepare-data" not in tasks


def test_in_parts_or_not_the_pipeline_takes_and_gives_the_same(in_parts, spec):
    assert in_parts["root"]["outputDefinitions"] == spec["root"]["outputDefinitions"]
    types = {name: value["parameterType"] for name, value in in_parts["root"]["inputDefinitions"]["parameters"].items()}
    assert types == dict.fromkeys(spec["root"]["inputDefinitions"]["parameters"], "STRUCT")
    later = {name: NEEDS[name] for name in ("measure-reference", "train-gan", "evaluate-gan", "export-model")}
    for name, needed in later.items():
        expected = {"merge-parts" if task == "prepare-data" else task for task in needed}
        assert set(in_parts["root"]["dag"]["tasks"][name]["dependentTasks"]) == expected


CHECKING = """
import json, shutil, sys
from kfp import dsl, local
from components.check_inputs import check_inputs
from components.prepare_data import prepare_data
from pipelines.gan_training import component_of
place, data, task = sys.argv[1], *map(json.loads, sys.argv[2:4])
check, prepare = (component_of(step, "python", None) for step in (check_inputs, prepare_data))
@dsl.pipeline
def preparation(data: dict, task: dict) -> dsl.Dataset:
    checked = check(data=data, task=task).set_caching_options(enable_caching=False)
    return prepare(data=checked.outputs["checked_data"]).outputs["dataset"]
runner = local.SubprocessRunner(use_venv=False)
local.init(runner, pipeline_root=place, enable_caching=True, cache_root=place + "/cache")
def run():
    print("made", preparation(data=data, task=task).output.path)
run(), run()
shutil.copy(data["source"]["path"] + "/00.png", data["source"]["path"] + "/new.png")
run()
"""


def test_a_run_notices_new_images_and_takes_the_cache_while_there_are_none(tmp_path):
    (tmp_path / "images").mkdir()
    for index in range(6):
        Image.new("L", (9, 9), index).save(tmp_path / "images" / f"{index:02d}.png")
    data = DataConfig(source=ImageFolder(path=str(tmp_path / "images")), size=8).to_parameter()
    words = [str(tmp_path / "steps"), json.dumps(data), json.dumps(RunConfig().to_parameters()["task"])]
    done = subprocess.run([sys.executable, "-c", CHECKING, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    first, again, changed = [line for line in done.stdout.splitlines() if line.startswith("made ")]
    assert first == again != changed
    assert done.stdout.count("train 4, test 2") == 2  # by the check of each run, and not again by the preparation
    assert done.stdout.count("train 5, test 2") == 1


def test_one_task_may_write_several_shards():
    pipeline = build_pipeline(RunConfig.model_validate({"data": {"shards": 3}}))
    assert "prepare-data" in pipeline.pipeline_spec.root.dag.tasks


@pytest.mark.parametrize("shards", [1, 2, 33, 150, 10_000])
def test_nothing_is_compiled_that_a_cluster_cannot_run(shards):
    """By the model of `benchmarks/cluster_limits.py`, with addresses of 300 characters."""
    size = sizes(shards, platform=Kubernetes())
    assert size["parts"] == min(shards, 32)
    assert size["argument"] < ARGUMENT
    assert size["packed"] < PACK_ABOVE
    assert size["workflow"] < ETCD  # so the Retry button of KFP's page works
    most = sizes(shards, platform=Kubernetes(prepare_tasks=100))
    assert most["argument"] < 0.8 * ARGUMENT
    assert most["packed"] < PACK_ABOVE


def test_a_comparison_of_eight_variants_and_five_seeds_is_within_the_limits_of_a_cluster():
    size = comparison_sizes(8, 5, platform=Kubernetes())
    assert size["candidates"] == 40
    assert size["argument"] < 0.5 * ARGUMENT
    assert size["packed"] < 0.5 * PACK_ABOVE


@pytest.mark.parametrize(("platform", "tasks"), [(Kubernetes(prepare_tasks=5), 5), (Vertex(), 32), (Vertex(), 7)])
def test_no_more_tasks_prepare_images_than_there_are_shards_and_the_platform_allows(tmp_path, platform, tasks):
    config = RunConfig.model_validate({"data": {"shards": tasks if tasks == 7 else 9999}})
    compile_pipeline(config, tmp_path / "pipeline.yaml", platform=platform)
    spec = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    [loop] = [task for name, task in spec["root"]["dag"]["tasks"].items() if name.startswith("for-loop")]
    assert json.loads(loop["parameterIterator"]["items"]["raw"]) == list(range(tasks))
    assert loop["iteratorPolicy"]["parallelismLimit"] == tasks


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
made = preparation(data=DataConfig(size=8, shards=3).to_parameter()).output
print("made", made.metadata["sha256"], made.metadata["seconds"] > 0, made.path)
try:
    preparation(data=DataConfig(size=8, shards=1).to_parameter())
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
    whole = prepare(DataConfig(size=8, shards=3), tmp_path / "whole")
    assert (checksum, timed) == (whole.checksum, "True")
    for file in whole.folder.iterdir():
        assert (Path(path) / file.name).read_bytes() == file.read_bytes()
    assert done.stdout.splitlines()[-1].strip() == "refused"
    message = "error: prepare_part: expected data.shards of at least 2, so that each task of the pipeline has one."
    assert message in done.stdout
