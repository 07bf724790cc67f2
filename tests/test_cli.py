"""The command line is fast, imports little, and prints one line for each mistake."""

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import gan_pipelines
from ganlib import __version__
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.tasks import Generation
from ganlib.training import Adam
from pipelines import settings
from pipelines.command import preview
from pipelines.command.main import main
from pipelines.gan_training import DEFAULT_IMAGE
from pipelines.kubeflow.config import PipelineConfig
from pipelines.kubeflow.kubernetes import Kubernetes

ROOT = Path(__file__).parents[1]
HEAVY = ("tensorflow", "keras", "mlflow", "sklearn", "numpy", "PIL", "matplotlib")


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command in this process, from an empty directory."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, list(words))


@pytest.fixture
def mistake(call, tmp_path):
    """Runs a command that must fail as a mistake of the user: exit code 2, no traceback, no files left behind."""

    def fail(*words):
        before = sorted(tmp_path.rglob("*"))
        result = call(*words)
        assert result.exit_code == 2
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""
        assert sorted(tmp_path.rglob("*")) == before
        return result.stderr.splitlines()

    return fail


def command(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "gan_pipelines", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def takes_less_than(limit, *words, cwd, tries=5):
    """Whether the best of a few processes is quick enough.

    It computes all the time, so its processor time is what a user waits for; the clock's would be other tests' as well.
    """

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert command(*words, cwd=cwd).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return any(seconds() < limit for _ in range(tries))


def test_help_takes_less_than_a_second(tmp_path):
    assert takes_less_than(1.0, "--help", cwd=tmp_path)
    assert takes_less_than(1.0, "run", "--help", cwd=tmp_path)


def test_compile_takes_less_than_three_seconds(tmp_path):
    assert takes_less_than(3.0, "compile", "-o", "pipeline.yaml", cwd=tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["compile", "-o", "p.yaml"],
        ["config"],
        ["presets"],
        ["run", "--dry-run"],
        ["submit", "--host", "kfp", "--image", "image", "--dry-run"],
        ["run", "--preset", "no"],
    ],
    ids=" ".join,
)
def test_nothing_but_a_run_imports_what_a_run_needs(words, tmp_path):
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom pipelines.command.main import main\n"
        f"result = CliRunner().invoke(main, {words!r})\n"
        f"print(result.exit_code, sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{2 if words[-1] == 'no' else 0} []\n"


def test_the_console_script_is_the_module(tmp_path):
    script = Path(sys.executable).with_name("gan-pipelines")
    printed = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert printed == command("--version", cwd=tmp_path).stdout == f"gan-pipelines, version {__version__}\n"


@pytest.fixture(params=["packages, editable", "packages, wheel", "folders, editable"])
def own(request, tmp_path):
    """The repository of a user of KFP, its pipelines and components being packages or folders without `__init__`.

    It comes before what is installed on the search path, where a wheel is a copy. (Python takes what a wheel brings
    before such folders, wherever they are, so there is no fourth case.)
    """
    kind, installation = request.param.split(", ")
    place, site = tmp_path / "own", tmp_path / "site-packages"
    for name in ("components", "pipelines"):
        (place / name).mkdir(parents=True)
        (place / name / "mine.py").write_text(f"import {name}\nWHERE = list({name}.__path__)\n")
        if kind == "packages":
            (place / name / "__init__.py").touch()
    if installation == "wheel":
        for name in ("components", "ganlib", "pipelines"):
            shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "gan_pipelines.py", site)
    return place


def surrounded(*words, own):
    """Runs Python where a user's own folder comes before what is installed."""
    path = os.pathsep.join([str(own), str(own.with_name("site-packages"))])
    command = [sys.executable, *words]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=own.parent, env=environment, capture_output=True, text=True, check=False)


def test_packages_of_the_same_names_do_not_take_the_place_of_ours(own, tmp_path):
    done = surrounded("-m", "gan_pipelines", "compile", "--preset", "digits", "-o", "pipeline.yaml", own=own)
    assert (done.returncode, done.stderr) == (0, "")
    assert "train-gan" in (tmp_path / "pipeline.yaml").read_text(encoding="ascii")


@pytest.mark.parametrize("first", ["import pipelines.mine", "import sys"], ids=["imported", "found"])
def test_a_notebook_gets_presets_and_keeps_its_own_packages(first, own):
    script = (
        f"{first}\nfrom gan_pipelines import resolve\n"
        "config = resolve(chosen=['digits', 'sngan'], assignments=['training.steps=7'])\n"
        "assert config.objective.kind == 'hinge' and config.training.steps == 7\n"
        "assert resolve(chosen=['digits']) == resolve(chosen=['digits'])\n"
        "import pipelines.mine, components.mine\nprint(*pipelines.mine.WHERE, *components.mine.WHERE)"
    )
    done = surrounded("-c", script, own=own)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(own / "pipelines"), str(own / "components")]


def test_presets_come_from_the_one_module_where_nothing_is_in_its_place():
    assert gan_pipelines.resolve(chosen=["digits"]) == settings.resolve(chosen=["digits"], assignments=[])
    assert gan_pipelines._settings() is settings


@pytest.mark.parametrize("name", ["ganlib.py", "ganlib/__init__.py", "ganlib/other.py"])
def test_a_library_of_the_same_name_is_refused_in_one_line(name, tmp_path):
    own = tmp_path / "own"
    (own / name).parent.mkdir(parents=True)
    (own / name).touch()
    done = surrounded("-m", "gan_pipelines", "presets", own=own)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: another package ganlib hides that of gan-pipelines in {ROOT}")
    assert f"Received: ganlib='{own / 'ganlib'}" in line


def test_help_names_every_command(call):
    text = call("--help").stdout
    assert all(f"  {name} " in text for name in ("run", "compile", "submit", "config", "presets", "compare", "sync"))
    options = call("run", "--help").stdout
    assert all(name in options for name in ("--preset", "--config", "--set", "--name", "--root", "--dry-run", "--json"))


@pytest.mark.parametrize("presets", [["sngan"], ["sngan", "digits"], ["digits", "sngan"]], ids="-".join)
def test_the_same_presets_give_the_same_run_in_whatever_order(call, presets):
    options = [part for preset in presets for part in ("--preset", preset)]
    name = json.loads(call("run", *options, "--dry-run", "--json").stdout)["run"]
    assert name.startswith("digits-sngan-")
    plain = call("run", "--preset", "digits", "--preset", "sngan", "--dry-run").stdout.splitlines()[0]
    assert plain == f"# run: {name}"


def test_presets_lists_each_with_its_first_lines(call):
    lines = [line for line in call("presets").stdout.splitlines() if not line.startswith(" ")]
    assert {"digits", "fashion_mnist", "folder", "wgan-gp", "conditional", "fid"} <= {line.split()[1] for line in lines}
    kinds = [line.split()[0] for line in lines]
    assert kinds == sorted(kinds)
    assert set(kinds) == {"data", "loss", "scores"}
    assert all(len(line.split()) > 5 for line in lines)


@pytest.mark.parametrize("options", ["-We", "-Werror::DeprecationWarning"])
def test_a_warning_made_an_error_is_reported_and_ends_no_command(options, tmp_path):
    words = [sys.executable, options, "-m", "gan_pipelines", "sync", ".", "--uri", "sqlite:///runs.db"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["note", "error"]


@pytest.mark.parametrize(
    "surroundings",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp437"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
    ids=lambda given: " ".join(map("=".join, given.items())),
)
def test_a_terminal_that_lacks_letters_ends_no_command(surroundings, tmp_path):
    environment = {**os.environ, **surroundings}
    (tmp_path / "mine.yaml").write_text("data: {name: 日本 ±}\n", encoding="utf-8")
    for words, code, message in (
        (["presets"], 0, b"sngan"),
        (["compile", "--config", "mine.yaml", "-o", "p.yaml"], 2, b"error: "),
    ):
        command = [sys.executable, "-m", "gan_pipelines", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert done.returncode == code
        assert message in done.stdout + done.stderr
        assert b"Traceback" not in done.stderr


def test_a_loss_preset_names_its_command_its_time_and_its_score(call):
    losses = {
        name: text
        for name, text in settings.presets().items()
        if settings.preset_kind(yaml.safe_load(text)) == "loss" and yaml.safe_load(text)["task"]["kind"] == "generation"
    }
    page = (Path(__file__).parents[1] / "docs" / "losses.md").read_text()
    assert "dcgan" in losses
    for name, text in losses.items():
        head = "\n".join(text.splitlines()[1:3])
        match = re.fullmatch(r"# `gan-pipelines (.+)`\n# .+: \d+ s of training, distance (.+) \(three seeds\).*", head)
        command, distance = match.groups()
        assert f"--preset {name} " in command
        assert re.search(rf"^\| `{name}` \|.*\| {distance}[ ,;]", page, re.MULTILINE)
        command = command.replace("=FOLDER", "=gs://FOLDER")
        printed = json.loads(call(*shlex.split(command), "--dry-run", "--json").stdout)
        objective, training = printed["objective"], printed["training"]
        seen = training["steps"] * training["batch_size"] * objective.get("discriminator_steps", 1)
        assert 59_000 < seen <= 60_000


VARIED = {
    "task": Generation.model_fields,
    "model": Dcgan.model_fields,
    "objective": NonSaturating.model_fields,
    "training.generator_optimizer": Adam.model_fields,
    "platform": Kubernetes.model_fields,
}


def test_config_lists_every_field_with_type_default_and_description(call):
    lines = call("config").stdout.splitlines()
    named = {line.split()[0]: line for line in lines}
    written = {f"{section}.{name}" for section, value in PipelineConfig() for name, _ in value if name != "kind"}
    written |= {f"training.generator_optimizer[adam].{name}" for name in Adam.model_fields if name != "kind"}
    assert len(written) > 35
    # Fields that several variants share are listed for each of them.
    assert written - set(named) <= {f"{group}.{name}" for group in VARIED for name in VARIED[group]}
    assert {"objective[minimax].discriminator_steps", "objective[non_saturating].discriminator_steps"} <= set(named)
    assert named["training.steps"].split()[1:3] == ["integer", "2000"]
    assert named["data.source[image_folder].path"].split()[1:3] == ["string", "required"]
    assert named["training.replicas"].split()[1:5] == ["integer", "|", "null", "null"]
    assert "digits | image_folder | archive | arrays" in named["data.source"]
    assert "minimax | non_saturating" in named["objective"]


def test_config_describes_every_field(call):
    # A description is a sentence: it ends with a full stop.
    assert [line for line in call("config").stdout.splitlines() if not line.endswith(".")] == []


def test_config_prints_a_json_schema_that_names_every_section(call):
    schema = json.loads(call("config", "--schema").stdout)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(PipelineConfig.model_fields)
    text = json.dumps(schema)
    assert all(f'"#/$defs/{name}"' in text for name in schema["$defs"])  # none is left over
    references = [part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]]
    assert set(references) <= set(schema["$defs"])  # none is missing


def test_a_dry_run_prints_the_config_that_would_run_and_leaves_nothing(call, tmp_path):
    result = call("run", "--dry-run", "--set", "training.steps=12")
    assert result.exit_code == 0
    assert result.stdout.startswith("# run: digits-")
    printed = yaml.safe_load(result.stdout)
    expected = settings.resolve(chosen=["digits"], assignments=["training.steps=12"])
    assert PipelineConfig.model_validate(printed) == expected
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.yaml").write_text(result.stdout)
    assert call("run", "--dry-run", "--config", "mine.yaml").stdout.splitlines()[1:] == result.stdout.splitlines()[1:]


@pytest.fixture
def cats_and_dogs(tmp_path):
    """Six images of two classes, and a file that is none; returns the options that choose them."""
    for index in range(6):
        path = tmp_path / "images" / ("cat" if index < 4 else "dog") / str(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 10 + index)).save(path, "PNG")
    (tmp_path / "images" / "notes.txt").write_text("text")
    return ["--preset", "folder", "--set", "data.source.path=images", "--set", "training.batch_size=4"]


def test_a_dry_run_says_what_it_recognises_in_images_that_are_here(call, cats_and_dogs):
    printed = [
        "# data: 6 images: train 4, test 2 (held out at random); 2 classes: cat 4, dog 2 (fewest)",
        (
            "# data: ignored: 1 file other than images (1 .txt), such as notes.txt; "
            "sizes 20x10 to 20x15, grey (6 checked); values 0..255"
        ),
        (
            "# data: note: the classes are used for scores only; task.conditional=true, or the preset conditional, "
            "generates by class"
        ),
    ]
    result = call("run", "--dry-run", *cats_and_dogs)
    assert result.stdout.splitlines()[-3:] == printed
    assert yaml.safe_load(result.stdout)["data"]["source"]["path"] == "images"
    as_json = call("run", "--dry-run", "--json", *cats_and_dogs)
    assert json.loads(as_json.stdout)["data"]["source"]["path"] == "images"
    assert as_json.stderr.splitlines() == printed
    by_class = call("run", "--dry-run", "--preset", "conditional", *cats_and_dogs)
    assert by_class.stdout.splitlines()[-2:] == printed[:2]


@pytest.mark.parametrize("words", [["--dry-run"], []], ids=["dry run", "run"])
def test_fewer_images_than_a_batch_are_refused_before_any_step(call, cats_and_dogs, words):
    result = call("run", *words, *cats_and_dogs, "--set", "training.batch_size=5")
    expected = "expected at least training.batch_size=5 training images; set a smaller training.batch_size"
    assert (result.exit_code, result.stderr) == (2, f"error: {expected}. Received: images=4\n")
    assert "prepare_data" not in result.stdout


@pytest.mark.parametrize("place", ["gs://bucket/images", "https://example.org/images.zip"])
def test_a_dry_run_fetches_no_images(call, place):
    result = call("run", "--dry-run", "--preset", "folder", "--set", f"data.source.path={place}")
    assert result.stdout.splitlines()[-1] == "# data: not checked: the images are not on this machine"


@pytest.mark.parametrize("kind", ["image_folder", "archive"])
def test_a_path_that_does_not_exist_is_a_mistake_in_a_dry_run_too(call, kind):
    words = ["--set", f"data.source={{kind: {kind}, path: gone}}"]
    dry, real = (call("run", *words, *more) for more in (["--dry-run"], []))
    assert (dry.exit_code, dry.stderr) == (real.exit_code, real.stderr)
    assert (dry.exit_code, dry.stderr) == (
        2,
        "error: data.source.path: no such file or folder. Received: path='gone'\n",
    )


def test_a_dry_run_does_not_unpack_what_takes_long(call, cats_and_dogs, tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "MAX_BYTES", 100)
    last = []
    for kind in ("zip", "gztar"):
        path = shutil.make_archive(str(tmp_path / "images"), kind, tmp_path / "images")
        source = f"data.source={{kind: archive, path: {path}}}"
        words = ["--set", source, "--set", "training.batch_size=4"]
        last.append(call("run", "--dry-run", *words).stdout.splitlines()[-1])
    assert last[0].startswith("# data: ignored: 1 file")
    assert last[1] == "# data: not checked: a file of more than 100 bytes that must be read completely"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/a.png", "test/b.png", "c/c.png"], "error: expected every image below test/ or train/, which are spl"),
        (["a.png"], "error: expected at least 2 images to train on and 2 to test on. Received: train=1, test=0"),
        (["a.txt"], "error: expected images, such as .png or .jpg, found none. Received: path="),
    ],
)
def test_a_dry_run_refuses_the_images_that_a_run_refuses(call, tmp_path, files, message):
    for name in files:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x")
    result = call("run", "--dry-run", "--preset", "folder", "--set", "data.source.path=images")
    assert result.exit_code == 2
    assert result.stderr.startswith(message)


def test_a_run_is_named_after_its_settings_unless_it_gets_a_name(call, tmp_path):
    def name(*words):
        return json.loads(call("run", "--dry-run", "--json", *words).stdout)["run"]

    (tmp_path / "my settings.yaml").write_text("training: {steps: 3}")
    assert name() == name()
    assert name() != name("--set", "training.seed=1")
    assert name("--preset", "folder", "--set", "data.source.path=gs://x").startswith("folder-")
    assert name("--config", "my settings.yaml").startswith("my-settings-")
    assert name("--name", "A.b_c-1") == "A.b_c-1"


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "two words", "-x", "x" * 121, "new\nline"])
def test_a_name_that_cannot_be_a_folder_is_refused(mistake, name):
    [line] = mistake("run", f"--name={name}")
    assert line.startswith("error: expected a name of at most 120 letters, digits")
    assert line.endswith(f"Received: name={name!r}")


@pytest.mark.parametrize("verb", [["run"], ["run", "--dry-run"], ["compile", "-o", "pipeline.yaml"]], ids=" ".join)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--preset", "cats"],
            "expected one of the presets conditional, cut, cyclegan, dcgan, denoise, digits, digits-denoise, ",
        ),
        (["--set", "training.colour=red"], "training.colour: unknown option. Received: colour='red'"),
        (["--set", "training.steps=many"], "training.steps: Input should be a valid integer"),
        (["--set", "training.steps"], "expected section.field=value. Received: --set 'training.steps'"),
        (["--set", "training.steps=["], "the value is not YAML. Received: --set 'training.steps=['"),
        (["--set", "data.size=30"], "data.size: dcgan serves images of 16 to 1024 pixels a side in steps of 4"),
        (
            ["--set", "training.replicas=3"],
            "training: expected a batch size that the replicas share evenly. Received: ",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_in_the_settings_is_one_line_before_anything_happens(mistake, verb, words, message):
    [line] = mistake(*verb, *words)
    assert line.startswith(f"error: {message}")
    assert "Received: " in line


def test_many_mistakes_are_reported_at_once_a_line_each(tmp_path):
    words = ["--set", "objective=x", "--set", "training.steps=0", "--set", "model.width=w", "--set", "foo=1"]
    done = command("run", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in sorted(lines)] == ["foo:", "model.width:", "objective:", "training.steps:"]
    assert all(line.startswith("error: ") and "Received: " in line for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "path", "name"),
    [
        (["--preset", "sngam"], "expected", "sngan"),
        (["--set", "trainig.steps=5"], "trainig:", "training"),
        (["--set", "training.step=5"], "training.step:", "steps"),
        (["--set", "training.health.patiense=5"], "training.health.patiense:", "patience"),
        (["--set", "model.widht=5"], "model.widht:", "width"),
        (["--set", "training.generator_optimizer.beta1=0.5"], "training.generator_optimizer.beta1:", "beta_1"),
        (["--set", "objective=hing"], "objective:", "hinge"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_misspelt_name_is_answered_with_the_one_that_it_resembles(mistake, words, path, name):
    [line] = mistake("run", *words)
    assert line.startswith(f"error: {path} ")
    assert f" (did you mean {name}?). Received: " in line


def test_mistakes_between_sections_are_reported_at_once(mistake):
    words = ["--set", "data.size=33", "--set", "data.train_images=20", "--set", "task.conditional=false"]
    lines = mistake("run", *words, "--set", "evaluation.classification_accuracy=true")
    assert [line.split()[1] for line in lines] == ["data.size:", "expected", "the"]
    assert all("Received: " in line for line in lines)


def test_a_config_file_that_is_absent_or_broken_is_reported_by_its_name(mistake, tmp_path):
    assert "File 'absent.yaml' does not exist" in mistake("run", "--config", "absent.yaml")[-1]
    (tmp_path / "broken.yaml").write_text("training: [")
    [line] = mistake("run", "--config", "broken.yaml")
    assert line.startswith("error: broken.yaml is not YAML: ")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    [line] = mistake("run", "--config", "binary.yaml")
    assert line.startswith("error: expected YAML text in UTF-8")


def test_a_dry_run_looks_for_masks_as_well_as_images(mistake, tmp_path):
    (tmp_path / "images").mkdir()
    words = ["run", "--dry-run", "--preset", "folder", "--preset", "inpaint", "--set", "data.source.path=images"]
    [line] = mistake(*words, "--set", "task.damage={kind: mask, shape: file, masks: gone}")
    assert line == "error: task.damage.masks: no such file or folder. Received: masks='gone'"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--preset", "folder", "--set", "data.source.path=mine"],
            "data.source.path: no such file or folder. Received: path='mine'",
        ),
        (
            ["--set", "data.source={kind: image_folder, path: /nowhere}"],
            "data.source.path: no such file or folder. Received: path='/nowhere'",
        ),
        (["--set", "data.source={kind: image_folder, path: empty}"], "expected images, such as "),
        (["--set", "data.source={kind: arrays, path: text.npz}"], "expected "),
        (
            ["--set", "data.source={kind: image_folder, path: 'https://host/x'}"],
            "expected a local folder or a folder of a bucket, gs://",
        ),
    ],
    ids=["preset", "missing", "empty", "no arrays", "remote"],
)
def test_a_source_without_images_ends_the_run_before_any_step_starts(call, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("these are no arrays")
    before = sorted(tmp_path.iterdir())
    result = call("run", *words)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    [line] = result.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert "Received: " in line
    assert sorted(tmp_path.iterdir()) == before  # no run, no store, no log
    assert result.stdout == ""


def test_with_json_a_run_that_cannot_start_says_so_as_json_too(call):
    result = call("run", "--json", "--name", "mine", "--preset", "folder")
    assert result.exit_code == 2
    printed = json.loads(result.stdout.splitlines()[-1])
    error = "data.source.path: this option is required. Received: nothing"
    assert printed == {"run": "mine", "status": "failed", "error": error}


def test_with_json_a_mistake_in_the_settings_is_reported_as_json_too(call):
    result = call("run", "--json", "--set", "training.steps=0")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: training.steps: ")
    printed = json.loads(result.stdout.splitlines()[-1])
    assert printed == {"run": None, "status": "failed", "error": result.stderr.removeprefix("error: ").rstrip()}


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-journal", "mlflow-artifacts"])
def test_a_run_cannot_take_the_place_of_the_store(mistake, name):
    [line] = mistake("run", "--name", name)
    assert line.endswith(f"and not with mlflow.db or mlflow-artifacts. Received: name={name!r}")


def test_a_damaged_store_is_one_line_and_as_json(call, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_text("this is no database, whatever its name says" * 10)
    result = call("run", "--json", "--name", "mine")
    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: cannot open the tracking store {tmp_path}/runs/mlflow.db: file is not a database. ")
    assert json.loads(result.stdout.splitlines()[-1])["status"] == "failed"


def as_a_user(*words, cwd):
    """Runs a command without the right to overrule permissions; returns its exit code, its error and its seconds."""
    words = [sys.executable, "-m", "pipelines", *words]
    if os.geteuid() == 0:
        words = ["setpriv", "--bounding-set=-dac_override", *words]
    began = time.monotonic()
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, time.monotonic() - began


@pytest.mark.parametrize("place", ["runs", "runs/mine", "runs/.cache", "runs/mlflow-artifacts", "runs/mine/training"])
def test_a_place_that_cannot_be_written_to_is_one_line_at_once(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    before = sorted(tmp_path.rglob("*"))
    code, error, seconds = as_a_user("run", "--name", "mine", cwd=tmp_path)
    message = f"expected a writable folder: {folder}: Permission denied. Received: root='{tmp_path}/runs'"
    assert (code, error) == (2, f"error: {message}\n")
    assert seconds < 20  # it takes one; this is for machines with much else to do
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_may_not_be_written_is_one_line_at_once(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch(0o444)
    code, error, _ = as_a_user("run", "--name", "mine", cwd=tmp_path)
    message = f"expected a writable file at {tmp_path}/runs/mlflow.db. Received: root='{tmp_path}/runs'"
    assert (code, error) == (2, f"error: {message}\n")


@pytest.mark.parametrize("name", ["runs", "runs/mine", "runs/mine/steps", "runs/.cache", "runs/mlflow-artifacts"])
def test_a_file_in_the_place_of_a_folder_is_reported_before_anything_happens(mistake, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if name == "runs":
        assert mistake("run")[-1] == "Error: Invalid value for '--root': Directory 'runs' is a file."
        path = tmp_path / "runs"
        name = "runs/deeper"
    [line] = mistake("run", "--name", "mine", *(["--root", name] if name == "runs/deeper" else []))
    assert line.startswith(f"error: expected a folder at {path}. Received: root=")


@pytest.mark.parametrize("name", ["mlflow.db", "mine/log.txt"])
def test_a_folder_in_the_place_of_a_file_is_reported_before_anything_happens(mistake, tmp_path, name):
    (tmp_path / "runs" / name).mkdir(parents=True)
    [line] = mistake("run", "--name", "mine")
    message = f"expected a writable file at {tmp_path}/runs/{name}. Received: root='{tmp_path}/runs'"
    assert line == f"error: {message}"


@pytest.mark.parametrize("option", ["training.home", "export.target"])
def test_where_checkpoints_and_the_model_go_is_looked_at_first(mistake, tmp_path, option):
    (tmp_path / "file").touch()
    [line] = mistake("run", "--set", f"{option}=file/below")
    assert line == f"error: expected a folder at {tmp_path}/file. Received: {option}='file/below'"


def test_a_disk_that_cannot_be_written_to_is_reported(mistake, tmp_path):
    where = "expected a writable folder: /proc: "
    assert mistake("run", "--root", "/proc/runs")[0].startswith(f"error: {where}")


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("x" * 300, "expected names of at most 255 bytes in a path. Received: root="),
        ("/".join(["x" * 99] * 6), "expected a path of at most 504 bytes, SQLite's limit. Received: path="),
        ("/".join(["x" * 99] * 39), "expected a path of at most 3595 bytes for root. Received: root="),
    ],
)
def test_a_root_that_is_too_long_is_reported(mistake, root, message):
    [line] = mistake("run", "--root", root)
    assert line.startswith(f"error: {message}")


def test_an_address_that_mlflow_cannot_log_to_ends_a_run_before_it_starts(mistake, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "localhost:5000")
    (tmp_path / "here").mkdir()
    for words in (["run"], ["sync", "here"]):
        [line] = mistake(*words)
        assert line.startswith("error: expected http://HOST, https://HOST, sqlite:////PATH or another")
        assert line.endswith(". Received: MLFLOW_TRACKING_URI='localhost:5000'")


def test_a_config_file_whose_name_has_no_plain_letter_gives_a_plain_name_to_its_run(call, tmp_path):
    (tmp_path / "猫.yaml").write_text("training: {steps: 5}")
    printed = json.loads(call("run", "--dry-run", "--json", "--config", "猫.yaml").stdout)
    assert re.fullmatch(r"run-[0-9a-f]{6}", printed["run"])


def test_compile_says_when_no_cluster_can_pull_the_image(call):
    assert call("compile", "-o", "p.yaml").output.splitlines()[1:] == [
        f"note: the image is {DEFAULT_IMAGE} of this machine; for a cluster, set --image to one that it can pull"
    ]
    assert call("compile", "-o", "p.yaml", "--image", "example/gan").output == "wrote p.yaml\n"


@pytest.mark.parametrize("image", ["gan@sha256:...", "gan@sha256:12ab", "", "my image"])
def test_an_image_that_no_cluster_can_pull_is_refused(mistake, image):
    for words in (["compile", "-o", "p.yaml"], ["submit", "--host", "http://kfp"]):
        [line] = mistake(*words, "--image", image)
        assert line.startswith("error: expected ")
        assert line.endswith(f"Received: --image {image!r}")


def test_a_file_for_vertex_is_not_submitted_to_kubeflow(mistake, call):
    words = ["compile", "-o", "v.yaml", "--image", "gan", "--set", "platform=vertex"]
    assert call(*words).exit_code == 0
    [line] = mistake("submit", "--host", "http://kfp", "--pipeline", "v.yaml")
    assert line.startswith("error: submit does not support Vertex AI.")


def test_compile_says_that_a_local_path_is_one_in_the_pods(call):
    words = ["compile", "-o", "p.yaml", "--image", "example/gan", "--preset", "folder"]
    note = "note: data.source.path is a path in the pods; no local files are uploaded. Received: path=/data\n"
    assert call(*words, "--set", "data.source.path=/data").stderr == note
    assert call(*words, "--set", "data.source.path=gs://bucket/data").stderr == ""
    words += ["--preset", "inpaint", "--set", "data.source.path=gs://bucket/data"]
    masks = call(*words, "--set", "task.damage={kind: mask, shape: file, masks: holes}").stderr
    assert masks == note.replace("data.source.path", "task.damage.masks").replace("path=/data", "masks=holes")
    weights = call(*words, "--set", "evaluation.extractor={kind: squeezenet, weights: w.h5}").stderr
    assert weights.startswith("note: evaluation.extractor.weights is a path in the pods")


@pytest.mark.parametrize("kind", ["kubernetes", "vertex"])
def test_more_tasks_than_a_cluster_can_run_are_refused_with_the_reason(mistake, kind):
    for words in (["compile", "-o", "p.yaml"], ["submit", "--host", "http://kfp", "--image", "example/gan"]):
        [line] = mistake(*words, "--set", f"platform={kind}", "--set", "platform.prepare_tasks=200")
        assert line.startswith("error: platform: expected at most 100 tasks, because the next step gets the list")
        assert line.endswith("data.shards may be more. Received: prepare_tasks=200")


def test_compile_refuses_a_file_that_kfp_cannot_write(mistake, call):
    [line] = mistake("compile", "-o", "pipeline.txt")
    assert line == "error: expected a file name that ends in .yaml. Received: output='pipeline.txt'"
    [line] = mistake("compile", "-o", "no/such/folder/p.yaml")
    assert line == "error: expected a file in an existing folder. Received: output='no/such/folder/p.yaml'"
    result = call("compile", "-o", "/proc/p.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot write /proc/p.yaml: ")


def test_sync_needs_a_server_and_a_folder_of_a_run(mistake, tmp_path):
    (tmp_path / "here").mkdir()
    [line] = mistake("sync", "here")
    assert line == "error: expected --uri or the environment variable MLFLOW_TRACKING_URI"
    (tmp_path / "mlflow.db").touch()
    for folder in ("here", "."):
        [line] = mistake("sync", folder)
        assert line.endswith(f"MLFLOW_TRACKING_URI, such as --uri sqlite:///{tmp_path}/mlflow.db")
    assert mistake("sync", "nowhere")[-1] == "Error: Invalid value for 'FOLDER': Directory 'nowhere' does not exist."


def test_a_folder_with_a_broken_identity_is_one_line(call, tmp_path, monkeypatch):
    (tmp_path / "tracking.json").write_text("{")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")  # an option would outlive this test
    result = call("sync", ".")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not synced: not a JSON file: ")
    assert result.stderr.count("\n") == 1


def test_a_step_that_fails_ends_the_run_with_its_name_and_its_reason(tmp_path):
    """Every image is damaged: the listing is fine, so that only the step can find out."""
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    for index in range(12):
        path = images / f"{index}.jpg"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:300])
    words = ["--json", "--name", "broken", "--set", "data.source={kind: image_folder, path: images}"]
    words += ["--set", "task.conditional=false", "--set", "training.batch_size=4"]
    done = command("run", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "error" not in "".join(done.stdout.splitlines()[:-1]).lower()
    assert line.startswith("error: prepare_data: 12 of 12 images cannot be used: ")
    assert ".jpg (" in line
    place = line.partition("Received: max_unusable=0.05, share=1.000, all=")[2].strip("'")
    assert sorted(item["name"] for item in json.loads(Path(place).read_text())) == sorted(f"{i}.jpg" for i in range(12))
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed == {"run": "broken", "status": "failed", "error": line.removeprefix("error: ")}
    assert "measure_reference" not in done.stdout
