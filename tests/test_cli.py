"""The command line: quick, light, and one line for every mistake."""

import json
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from ganlib import __version__
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.training import Adam
from pipelines import settings
from pipelines.cli import main
from pipelines.gan_training import DEFAULT_IMAGE
from pipelines.platform import Kubernetes, PipelineConfig

HEAVY = ("tensorflow", "keras", "mlflow", "sklearn", "numpy", "PIL", "matplotlib")


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command in this process, from an empty directory."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, list(words))


@pytest.fixture
def mistake(call, tmp_path):
    """Runs a command that must end as a user's mistake: exit code 2, no traceback, nothing left behind."""

    def told(*words):
        before = sorted(tmp_path.rglob("*"))
        result = call(*words)
        assert result.exit_code == 2
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""
        assert sorted(tmp_path.rglob("*")) == before
        return result.stderr.splitlines()

    return told


def command(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *words], cwd=cwd, capture_output=True, text=True, check=False
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
        "import sys\nfrom click.testing import CliRunner\nfrom pipelines.cli import main\n"
        f"result = CliRunner().invoke(main, {words!r})\n"
        f"print(result.exit_code, sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{2 if words[-1] == 'no' else 0} []\n"


def test_the_console_script_is_the_module(tmp_path):
    script = Path(sys.executable).with_name("gan-pipelines")
    said = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said == command("--version", cwd=tmp_path).stdout == f"gan-pipelines, version {__version__}\n"


def test_help_names_every_command(call):
    told = call("--help").stdout
    assert all(f"  {name} " in told for name in ("run", "compile", "submit", "config", "presets", "compare", "deliver"))
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
    assert {"digits", "fashion_mnist", "folder", "wgan-gp", "conditional"} <= {line.split()[1] for line in lines}
    kinds = [line.split()[0] for line in lines]
    assert kinds == sorted(kinds)
    assert set(kinds) == {"data", "game"}
    assert all(len(line.split()) > 5 for line in lines)


def test_a_game_tells_its_command_its_time_and_its_score(call):
    games = {name: text for name, text in settings.presets().items() if not settings.is_data(yaml.safe_load(text))}
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert "dcgan" in games
    for name, text in games.items():
        head = "\n".join(text.splitlines()[1:3])
        told = re.fullmatch(r"# `gan-pipelines (.+)`\n# .+: \d+ s of training, distance (.+) \(three seeds\).*", head)
        command, distance = told.groups()
        assert f"--preset {name} " in command
        assert re.search(rf"^\| `{name}` \|.*\| {distance}[ ,;]", readme, re.MULTILINE)
        shown = json.loads(call(*shlex.split(command), "--dry-run", "--json").stdout)
        objective, training = shown["objective"], shown["training"]
        seen = training["steps"] * training["batch_size"] * objective.get("discriminator_steps", 1)
        assert 59_000 < seen <= 60_000


VARIED = {
    "model": Dcgan.model_fields,
    "objective": NonSaturating.model_fields,
    "training.generator_optimizer": Adam.model_fields,
    "platform": Kubernetes.model_fields,
}


def test_config_lists_every_field_with_type_default_and_meaning(call):
    lines = call("config").stdout.splitlines()
    named = {line.split()[0]: line for line in lines}
    written = {f"{section}.{name}" for section, value in PipelineConfig() for name, _ in value if name != "kind"}
    written |= {f"training.generator_optimizer[adam].{name}" for name in Adam.model_fields if name != "kind"}
    assert len(written) > 35
    # What several variants share stands below each of them.
    assert written - set(named) <= {f"{group}.{name}" for group in VARIED for name in VARIED[group]}
    assert {"objective[minimax].discriminator_steps", "objective[non_saturating].discriminator_steps"} <= set(named)
    assert named["training.steps"].split()[1:3] == ["integer", "2000"]
    assert named["data.source[image_folder].path"].split()[1:3] == ["string", "required"]
    assert named["training.replicas"].split()[1:5] == ["integer", "|", "null", "null"]
    assert "digits | image_folder | archive | arrays" in named["data.source"]
    assert "minimax | non_saturating" in named["objective"]


def test_config_leaves_no_field_without_a_meaning(call):
    # A meaning is a sentence: it ends with a full stop.
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


def test_a_run_is_named_after_its_settings_unless_it_gets_a_name(call, tmp_path):
    def name(*words):
        return json.loads(call("run", "--dry-run", "--json", *words).stdout)["run"]

    (tmp_path / "my settings.yaml").write_text("training: {steps: 3}")
    assert name() == name()
    assert name() != name("--set", "training.seed=1")
    assert name("--preset", "folder", "--set", "data.source.path=x").startswith("folder-")
    assert name("--config", "my settings.yaml").startswith("my-settings-")
    assert name("--name", "A.b_c-1") == "A.b_c-1"


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "two words", "-x", "x" * 121, "new\nline"])
def test_a_name_that_cannot_be_a_folder_is_refused(mistake, name):
    [line] = mistake("run", f"--name={name}")
    assert line.startswith("error: expected a name of at most 120 letters, digits")
    assert line.endswith(f"Received: name={name!r}")


@pytest.mark.parametrize("verb", [["run"], ["run", "--dry-run"], ["compile", "-o", "pipeline.yaml"]], ids=" ".join)
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--preset", "cats"], "expected one of the presets conditional, dcgan, digits, fashion_mnist, folder, gan, "),
        (["--set", "training.colour=red"], "training.colour: unknown option. Received: colour='red'"),
        (["--set", "training.steps=many"], "training.steps: Input should be a valid integer"),
        (["--set", "training.steps"], "expected section.field=value. Received: --set 'training.steps'"),
        (["--set", "training.steps=["], "the value is not YAML. Received: --set 'training.steps=['"),
        (["--set", "data.size=30"], "dcgan serves square images of 16 to 128 pixels a side in steps of 4"),
        (
            ["--set", "training.replicas=3"],
            "training: expected a batch size that the replicas share evenly. Received: ",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_in_the_settings_is_one_line_before_anything_happens(mistake, verb, words, told):
    [line] = mistake(*verb, *words)
    assert line.startswith(f"error: {told}")
    assert "Received: " in line


def test_many_mistakes_are_told_at_once_a_line_each(tmp_path):
    words = ["--set", "objective=x", "--set", "training.steps=0", "--set", "model.width=w", "--set", "foo=1"]
    done = command("run", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in sorted(lines)] == ["foo:", "model.width:", "objective:", "training.steps:"]
    assert all(line.startswith("error: ") and "Received: " in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_that_is_absent_or_broken_is_told_by_its_name(mistake, tmp_path):
    assert "File 'absent.yaml' does not exist" in mistake("run", "--config", "absent.yaml")[-1]
    (tmp_path / "broken.yaml").write_text("training: [")
    [line] = mistake("run", "--config", "broken.yaml")
    assert line.startswith("error: broken.yaml is not YAML: ")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    [line] = mistake("run", "--config", "binary.yaml")
    assert line.startswith("error: expected YAML text in UTF-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--preset", "folder", "--set", "data.source.path=mine"],
            "data.source.path: no such file or folder. Received: path='mine'",
        ),
        (
            ["--set", "data.source={kind: image_folder, path: /nowhere}"],
            "data.source.path: no such file or folder. Received: path='/nowhere'",
        ),
        (["--set", "data.source={kind: image_folder, path: empty}"], "expected images ("),
        (["--set", "data.source={kind: arrays, path: text.npz}"], "expected "),
        (
            ["--set", "data.source={kind: image_folder, path: 'https://host/x'}"],
            "expected a folder of this machine or of a bucket, gs://",
        ),
    ],
    ids=["preset", "missing", "empty", "no arrays", "remote"],
)
def test_a_source_without_images_ends_the_run_before_any_step_starts(call, tmp_path, words, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("these are no arrays")
    before = sorted(tmp_path.iterdir())
    result = call("run", *words)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    [line] = result.stderr.splitlines()
    assert line.startswith(f"error: {told}")
    assert "Received: " in line
    assert sorted(tmp_path.iterdir()) == before  # no run, no store, no log
    assert result.stdout == ""


def test_with_json_a_run_that_cannot_start_says_so_as_json_too(call):
    result = call("run", "--json", "--name", "mine", "--preset", "folder")
    assert result.exit_code == 2
    said = json.loads(result.stdout.splitlines()[-1])
    error = "data.source.path: this option must be given. Received: nothing"
    assert said == {"run": "mine", "status": "failed", "error": error}


def test_with_json_a_mistake_in_the_settings_is_told_as_json_too(call):
    result = call("run", "--json", "--set", "training.steps=0")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: training.steps: ")
    said = json.loads(result.stdout.splitlines()[-1])
    assert said == {"run": None, "status": "failed", "error": result.stderr.removeprefix("error: ").rstrip()}


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-journal", "mlflow-artifacts"])
def test_a_run_cannot_take_the_place_of_the_store(mistake, name):
    [line] = mistake("run", "--name", name)
    assert line.endswith(f"nor with mlflow.db or mlflow-artifacts. Received: name={name!r}")


def test_a_damaged_store_is_told_in_one_line_and_as_json(call, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_text("this is no database, whatever its name says" * 10)
    result = call("run", "--json", "--name", "mine")
    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: cannot open the tracking store: ")
    assert json.loads(result.stdout.splitlines()[-1])["status"] == "failed"


def test_a_config_file_whose_name_has_no_plain_letter_gives_a_plain_name_to_its_run(call, tmp_path):
    (tmp_path / "猫.yaml").write_text("training: {steps: 5}")
    said = json.loads(call("run", "--dry-run", "--json", "--config", "猫.yaml").stdout)
    assert re.fullmatch(r"run-[0-9a-f]{6}", said["run"])


def test_compile_says_when_no_cluster_can_fetch_the_image(call):
    assert call("compile", "-o", "p.yaml").output.splitlines()[1:] == [
        f"note: its image is this machine's {DEFAULT_IMAGE}; a cluster needs --image, one that it can fetch"
    ]
    assert call("compile", "-o", "p.yaml", "--image", "example/gan").output == "wrote p.yaml\n"


def test_compile_refuses_a_file_that_kfp_cannot_write(mistake, call):
    [line] = mistake("compile", "-o", "pipeline.txt")
    assert line == "error: expected a file name that ends in .yaml. Received: output='pipeline.txt'"
    result = call("compile", "-o", "no/such/folder/p.yaml")
    assert result.exit_code == 1
    assert result.stderr == "error: cannot write no/such/folder/p.yaml: No such file or directory\n"


def test_deliver_wants_a_server_and_a_folder_of_a_run(mistake, tmp_path):
    (tmp_path / "here").mkdir()
    [line] = mistake("deliver", "here")
    assert line == "error: expected --uri or the environment variable MLFLOW_TRACKING_URI"
    (tmp_path / "mlflow.db").touch()
    for folder in ("here", "."):
        [line] = mistake("deliver", folder)
        assert line.endswith(f"MLFLOW_TRACKING_URI, such as --uri sqlite:///{tmp_path}/mlflow.db")
    assert mistake("deliver", "nowhere")[-1] == "Error: Invalid value for 'FOLDER': Directory 'nowhere' does not exist."


def test_a_folder_with_a_broken_identity_is_told_in_one_line(call, tmp_path, monkeypatch):
    (tmp_path / "tracking.json").write_text("{")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")  # an option would outlive this test
    result = call("deliver", ".")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not delivered: not a JSON file: ")
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
    words += ["--set", "task.conditional=false"]
    done = command("run", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: prepare_data: 12 of 12 images cannot be used: ")
    assert ".jpg (" in line
    assert line.endswith("Received: max_unusable=0.05, share=1.000")
    said = json.loads(done.stdout.splitlines()[-1])
    assert said == {"run": "broken", "status": "failed", "error": line.removeprefix("error: ")}
    assert "measure-reference" not in done.stdout
