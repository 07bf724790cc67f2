"""Steps as components in files, and a pipeline of other people that takes them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from kfp import components

from ganlib.config import RunConfig
from ganlib.evaluation import EvaluationConfig, measure_reference
from pipelines.command.main import main
from pipelines.gan_components import COMPONENTS
from pipelines.gan_training import DEFAULT_IMAGE

HERE = Path(__file__).parent
IMAGE = "registry.example/gan-pipelines@sha256:" + "0" * 64
SECTIONS = {
    "check_inputs": {"data", "task"},
    "prepare_data": {"data"},
    "prepare_part": {"data"},
    "merge_parts": {"data"},
    "measure_reference": {"task", "evaluation"},
    "train_gan": {"task", "model", "objective", "training"},
    "evaluate_gan": {"evaluation"},
    "export_model": {"export"},
    "gate_model": {"export"},
    "register_model": {"export"},
}


def compiled(folder, *words, seed="1"):
    """Compiles all components into a folder, in a process of its own."""
    command = [Path(sys.executable).with_name("gan-pipelines"), "compile", "--component", "all", "-o", folder, *words]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=folder.parent)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("components") / "yaml"
    compiled(folder, "--image", IMAGE)
    return folder


@pytest.fixture(scope="module")
def with_presets(tmp_path_factory):
    """The same from settings, with what the command says."""
    place = tmp_path_factory.mktemp("presets")
    settings = ["--preset", "folder", "--preset", "r3gan", "--set", "data.source.path=/bücher"]
    return place / "yaml", compiled(place / "yaml", *settings, "--set", "platform.gpus=1", seed="2")


def spec(folder, name):
    return yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="ascii"))


def inner(folder, name):
    """Returns what a pipeline takes of a file: the component, and its container."""
    found = spec(folder, name)
    [component] = found["components"].values()
    return component, found["deploymentSpec"]["executors"][component["executorLabel"]]["container"]


def defaults(folder, name):
    parameters = inner(folder, name)[0]["inputDefinitions"].get("parameters", {})
    return {key: value["defaultValue"] for key, value in parameters.items() if "defaultValue" in value}


def test_every_component_of_ours_becomes_a_file():
    written = {path.stem for path in (HERE.parent / "components").glob("*.py")} - {"__init__"}
    # One gets its workers from the platform that a whole pipeline is compiled for; four belong to a loop.
    others = {"train_on_workers", "try_candidate", "halve_candidates", "choose_candidate", "recommend"}
    assert set(COMPONENTS) == set(SECTIONS) == written - others


@pytest.mark.parametrize("name", SECTIONS)
def test_kfp_loads_a_component_as_it_is_in_python(folder, name):
    loaded = components.load_component_from_file(str(folder / f"{name}.yaml"))
    assert loaded.name == name.replace("_", "-")
    arguments = COMPONENTS[name].__annotations__
    inputs, outputs = loaded.component_spec.inputs, loaded.component_spec.outputs
    assert {*inputs, *outputs} == set(arguments)
    assert len(list(yaml.safe_load_all((folder / f"{name}.yaml").read_text()))) == 1  # no settings of pods
    _, container = inner(folder, name)
    assert container["image"] == IMAGE
    assert "pip install" not in " ".join(container["command"])
    assert str(HERE.parent) not in (folder / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", SECTIONS)
def test_every_input_and_output_is_described_and_a_section_names_its_contents(folder, name):
    for definition in (inner(folder, name)[0], spec(folder, name)["root"]):
        for side in ("inputDefinitions", "outputDefinitions"):
            fields = [item for kind in definition[side].values() for item in kind.items()]
            assert fields
            assert all(field.get("description", "").endswith(".") for _, field in fields)
        parameters = definition["inputDefinitions"].get("parameters", {})
        for section in SECTIONS[name]:
            value = getattr(RunConfig(), section)
            assert all(word in parameters[section]["description"] for word in type(value).model_fields) or (
                value.kind in parameters[section]["description"]
            )


def test_sections_have_the_librarys_defaults_but_data_has_none(folder):
    for name, sections in SECTIONS.items():
        own = defaults(folder, name)
        assert own.pop("job", "") == ""
        assert set(own) == sections - {"data"}
        for section, value in own.items():
            assert getattr(RunConfig.model_validate({section: value}), section) == getattr(RunConfig(), section)
    assert {"part", "of"} & set(defaults(folder, "prepare_part")) == set()


def test_settings_become_defaults_and_what_is_left_out_is_said(with_presets):
    folder, done = with_presets
    assert defaults(folder, "train_gan")["model"]["kind"] == "r3gan"
    assert defaults(folder, "prepare_data")["data"]["source"]["path"] == "/bücher"
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: data.source.path is a path in the pods; no local files are uploaded. Received: path=/bücher",
        "note: a component has no settings of pods; the section `platform` is left out",
    ]
    assert done.stdout.splitlines()[-1].startswith(f"note: the image is {DEFAULT_IMAGE} of this machine;")


def test_a_release_gets_the_same_bytes_from_make(folder, tmp_path):
    command = ["make", "-C", HERE.parent, "-o", ".venv/train", "components", f"BIN={Path(sys.executable).parent}"]
    command += [f"YAML={tmp_path / 'again'}"]
    refused = subprocess.run([*command, "IMAGE=gan:latest"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "expected IMAGE=NAME@sha256:..., since tags can move. Received: IMAGE=gan:latest" in refused.stderr
    assert not (tmp_path / "again").exists()
    environment = {**os.environ, "PYTHONHASHSEED": "2"}
    subprocess.run([*command, f"IMAGE={IMAGE}"], env=environment, capture_output=True, check=True)
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(f"{name}.yaml" for name in COMPONENTS)
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


def test_other_defaults_are_another_step_for_kfps_cache(folder, with_presets):
    """Its key has the program and what is passed, as cacheutils/cache.go says, and not the defaults."""
    changed = {
        name for name in SECTIONS if inner(folder, name)[1]["command"] != inner(with_presets[0], name)[1]["command"]
    }
    assert changed == {name for name in SECTIONS if defaults(folder, name) != defaults(with_presets[0], name)}
    assert {"prepare_data", "train_gan"} <= changed
    assert "export_model" not in changed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "-o", "x.yaml"], "(did you mean train_gan?). Received: component='train'"),
        (["train_gan", "-o", "x.txt"], "expected a file name that ends in .yaml. Received: output='x.txt'"),
        (
            ["train_gan", "-o", "absent/x.yaml"],
            "expected a file in an existing folder. Received: output='absent/x.yaml'",
        ),
        (["train_gan", "-o", "folder.yaml"], "a file name that ends in .yaml. Received: output='folder.yaml'"),
        (["all", "-o", "file"], "expected a folder. Received: output='file'"),
        (["all", "-o", "absent/x"], "expected a folder in an existing one. Received: output='absent/x'"),
        (["train_gan", "-o", "x.yaml", "--set", "training.stps=3"], "training.stps: unknown option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.yaml").mkdir()
    result = CliRunner().invoke(main, ["compile", "--component", *words])
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder.yaml"}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_foreign_pipeline_evaluates_and_exports_what_was_imported(folder, tmp_path, digits, trained):
    """That of docs/components.md. What is imported has no metadata, not even the seconds of its step."""
    work, measured = tmp_path / "work", tmp_path / "measured"
    shutil.copytree(folder, work / "components")
    measure_reference(digits, EvaluationConfig(extractor="random"), measured)
    given = {"trained": trained.folder, "dataset": digits.folder, "reference": measured}
    before = list(map(contents, given.values()))
    words = [f"{name}={value}" for name, value in {**given, "measure": "fd_random", "at_most": 1e9}.items()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GAN_"))}
    command = [sys.executable, HERE / "foreign_pipeline.py", "shop_window", *words]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    [run] = (work / "root").iterdir()
    assert {path.name for path in run.iterdir()} == {"evaluate-gan", "decide", "export-model"}
    outputs = json.loads((run / "evaluate-gan" / "executor_output.json").read_text())["artifacts"]
    [scores] = outputs["scores"]["artifacts"]
    assert scores["metadata"]["fd_random"] > 0
    [classes] = outputs["classes"]["artifacts"]
    assert classes["metadata"] == json.loads((run / "evaluate-gan" / "classes").read_text()) == {}  # none was requested
    exported = run / "export-model" / "exported"
    assert {path.name for path in exported.iterdir()} >= {"saved_model", "generator.keras", "generator.onnx"}
    assert list(map(contents, given.values())) == before
    assert {path.name for path in work.iterdir()} - {"__pycache__"} == {
        "components",
        "root",
        "shop_window.py",
        "shop_window.yaml",
    }
