"""The plain install, without TensorFlow: enough to compile, to check settings, and to print help."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PARTS = ("ganlib", "components", "pipelines", "gan_pipelines.py", "pyproject.toml", "README.md", "LICENSE")
BUILDING = "setuptools>=77"


def call(*command, cwd):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW_"))}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the project and nothing beside what it asks for; returns its command."""
    place = tmp_path_factory.mktemp("plain")
    call(sys.executable, "-m", "venv", "venv", cwd=place)
    pip = [place / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    reached = call(*pip, "download", "--no-deps", "--dest", place / "wheels", BUILDING, cwd=place)
    if reached.returncode:
        pytest.skip(f"needs a package index that pip can reach: {reached.stderr.strip().splitlines()[-1:]}")
    # From a copy, since building leaves files beside the source.
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, place / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / "source" / part)
    pins = ROOT / "requirements" / "base.txt"
    constraints = ["--constraint", pins] if pins.exists() else []
    done = call(*pip, "install", *constraints, place / "source", cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "venv/bin/gan-pipelines"


def test_it_brings_nothing_heavy(installed, tmp_path):
    script = "import importlib.util as u, json; print(json.dumps([n for n in %r if u.find_spec(n)]))"
    heavy = ("tensorflow", "keras", "mlflow", "sklearn", "matplotlib", "numpy")
    done = call(installed.with_name("python"), "-c", script % (heavy,), cwd=tmp_path)
    assert json.loads(done.stdout) == []


def test_it_compiles_every_preset(installed, tmp_path):
    presets = [path.stem for path in (Path(__file__).parent.parent / "pipelines" / "presets").glob("*.yaml")]
    assert len(presets) == 22
    needs = {"pix2pix": "pairs"} | dict.fromkeys(("cut", "cyclegan", "denoise", "fastcut", "inpaint"), "folder")
    calls = {}
    for preset in presets:
        chosen = [preset, needs[preset]] if preset in needs else [preset]
        words = [word for name in chosen for word in ("--preset", name)]
        if {"fashion_mnist", "folder", "pairs"} & set(chosen):
            words += ["--set", "data.source.path=gs://data/images"]
        calls[preset] = ["compile", *words, "-o", f"{preset}.yaml"]
    script = "import sys, json\nfrom pipelines.command.main import main\n"
    script += "for words in json.loads(sys.argv[1]):\n    main(words, standalone_mode=False)"
    done = call(installed.with_name("python"), "-c", script, json.dumps(list(calls.values())), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for preset, words in calls.items():
        spec = yaml.safe_load((tmp_path / f"{preset}.yaml").read_text(encoding="ascii"))
        prepared_in_parts = "folder" in words or "pairs" in words
        assert len(spec["root"]["dag"]["tasks"]) == 6 + prepared_in_parts


def test_it_prints_help_config_and_presets(installed, tmp_path):
    for words, message in (
        (["--help"], "Commands:"),
        (["run", "--help"], "--dry-run"),
        (["config"], "training.steps"),
        (["config", "--schema"], '"$defs"'),
        (["presets"], "fashion_mnist"),
        (["run", "--dry-run"], "kind: dcgan"),
    ):
        done = call(installed, *words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert message in done.stdout


def test_it_checks_settings(installed, tmp_path):
    done = call(installed, "run", "--set", "training.steps=0", cwd=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: training.steps: ")


def test_a_run_says_in_one_line_which_extra_is_missing(installed, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        (images / f"{index}.png").write_bytes(b"not looked at")
    for words in ([], ["--set", "data.source={kind: image_folder, path: images}"]):
        done = call(installed, "run", *words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert line.endswith(" is not installed; install the extra [train]: pip install -r requirements/train.txt")
    assert sorted(path.name for path in (tmp_path / "runs").rglob("*") if path.is_file()) == []


def test_deliver_says_so_too(installed, tmp_path):
    done = call(installed, "sync", tmp_path, "--uri", "sqlite:///x.db", cwd=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "[train]" in line or "expected a folder of a run" in line
