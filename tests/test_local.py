"""The whole pipeline on this machine, once, with tiny settings: what it leaves behind and what it says."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from kfp import dsl
from mlflow import MlflowClient
from PIL import Image

from ganlib import tracking
from ganlib.data import Archive
from pipelines import settings
from pipelines.gan_components import COMPONENTS
from pipelines.gan_training import compile_pipeline
from pipelines.local import session

TINY = [
    "training.steps=20",
    "training.score_every=10",
    "training.sample_every=10",
    "training.checkpoint_every=10",
    "training.score_samples=50",
    "training.precision=float32",
    "evaluation.samples=50",
    "export.onnx=false",
    "evaluation.extractor.network.epochs=1",
    "model.width=8",
    "data.size=16",
    "export.registered_model=digits",
    "export.gate={max_scores: {fd: 1000000}, min_scores: {recall: 1}, max_parity: 0.001}",
]
ROOT = "my %20runs?#&ü'\""  # a path, whatever its characters mean in an address or a shell
STEPS = ["prepare_data", "measure_reference", "train_gan", "evaluate_gan", "export_model"]
UNCACHED = ["gate_model", "register_model"]
EVERY = [*STEPS, *UNCACHED]
SCORE = "fd_digits_classifier"
# Lies under the names of libraries in the current directory, and under those of our packages on PYTHONPATH: a process
# that takes it for one of them fails at once.
TRAP = "raise RuntimeError('a process imported what is not ours')\n"

# Notes which packages each step imports after its process was forked, if it was.
WATCHING = """
import atexit, json, os, sys
before = set()
os.register_at_fork(after_in_child=lambda: before.update(sys.modules))
def note():
    if "ganlib.steps" in sys.modules and "--function_to_execute" in sys.argv:
        old, new = ({name.partition(".")[0] for name in names} for names in (before, sys.modules))
        with open(os.path.join(os.path.dirname(__file__), "imported.jsonl"), "a") as file:
            file.write(json.dumps([sys.argv[-1], sorted(new - old)]) + chr(10))
atexit.register(note)
"""

LOADING = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
asked = {"seed": tf.constant(3, tf.int64), "label": tf.constant(7, tf.int64), "count": tf.constant(4)}
images, again = (model.signatures["generate"](**asked)["images"] for _ in range(2))
served = model.signatures["serving_default"](latent=tf.zeros([2, 32]), label=tf.constant([7, 8], tf.int64))["images"]
ours = sorted({"ganlib", "components", "pipelines"} & {name.partition(".")[0] for name in sys.modules})
print(json.dumps([images.dtype.name, images.shape.as_list(), bool((images == again).numpy().all()),
                  served.dtype.name, served.shape.as_list(), ours]))
"""

RUNNING = """
import sys
from kfp import components, local
file, root, cache = sys.argv[1:]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, enable_caching=True, cache_root=cache)
print("exported:", components.load_component_from_file(file)().outputs["exported"].path)
"""


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GAN_PIPELINES_"))}


class Run:
    """A finished command."""

    def __init__(self, place):
        self.place, self.root = place, place / ROOT
        self.work = place / "work"
        self.work.mkdir(exist_ok=True)
        for name in ("ganlib.py", "keras.py", "numpy.py"):
            (self.work / name).write_text(TRAP)
        for name in ("components", "pipelines"):
            (place / "own" / name).mkdir(parents=True, exist_ok=True)
            (place / "own" / name / "__init__.py").write_text(TRAP)
        (place / "own" / "sitecustomize.py").write_text(WATCHING)
        options = [word for assignment in TINY for word in ("--set", assignment)]
        self.command = [str(Path(sys.executable).with_name("gan-pipelines")), "run", "--json", "--name", "tiny"]
        self.command += ["--root", f"../{ROOT}", *options]

    def start(self):
        began = time.monotonic()
        own = {"PYTHONPATH": str(self.place / "own"), "PYTHONWARNINGS": "error"}
        done = subprocess.run(
            self.command, cwd=self.work, env=environment() | own, capture_output=True, text=True, check=False
        )
        self.seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        self.lines, self.errors = done.stdout.splitlines(), done.stderr.splitlines()
        self.said = json.loads(self.lines[-1])
        return self


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("local")).start()


@pytest.fixture(scope="module")
def client(finished):
    return MlflowClient(finished.said["mlflow_tracking_uri"])


@pytest.fixture(scope="module")
def tracked(finished, client):
    return client.get_run(finished.said["mlflow_run_id"])


def test_the_last_line_is_one_json_object_with_all_that_a_program_wants(finished):
    said = finished.said
    promised = {
        "run",
        "status",
        "scores",
        "floors",
        "notes",
        "training",
        "seconds",
        "model",
        "report",
        "mlflow_run_id",
        "mlflow_tracking_uri",
    }
    assert promised <= set(said)
    assert (said["run"], said["status"]) == ("tiny", "succeeded")
    assert said["scores"][SCORE] > said["floors"][SCORE] > 0
    assert list(said["seconds"]) == EVERY
    assert said["training"]["last_step"] >= said["training"]["best_step"] > 0
    assert said["training"]["rollbacks"] == 0
    assert all(seconds > 0 for seconds in said["seconds"].values())
    assert said["cached"] == []
    assert tracking.store_file(said["mlflow_tracking_uri"]) == finished.root / "mlflow.db"


def test_a_model_that_is_refused_is_no_failed_run_and_both_readers_are_told_why(finished):
    verdict, registered = finished.said["verdict"], finished.said["registered"]
    assert (verdict["decision"], registered["promoted"], registered["version"]) == ("refuse", False, "1")
    assert [reason["check"] for reason in verdict["reasons"] if reason["result"] == "failed"] == ["recall"]
    words = " ".join(" ".join(finished.lines).split())
    assert "gate: REFUSED, because of recall - recall: failed; recall_digits_classifier 0 (asked: at least 1: " in words
    assert "registry: version 1 of digits is the challenger: REFUSED, because of recall" in words
    assert "verdict.html" in words
    assert "REFUSED, because of recall" in (finished.root / "tiny" / "verdict.html").read_text()


def test_the_scores_of_a_run_can_be_compared(finished):
    command = [finished.command[0], "compare", str(finished.root / "tiny"), str(finished.root / "tiny")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    [line] = [line for line in done.stdout.splitlines() if line.startswith(f"{SCORE} ")]
    value, floor = (f"{finished.said[part][SCORE]:.4g} ± " for part in ("scores", "floors"))
    assert line.count(value) >= 2
    assert floor in line


def test_a_person_reads_scores_floors_times_and_places(finished):
    text = "\n".join(finished.lines[:-1])
    said = finished.said
    assert f"{said['scores'][SCORE]:.4g}" in text
    words = " ".join(text.split())
    assert all(f"note: {note}" in words for note in said["notes"])
    assert any("features" in note for note in said["notes"])  # 50 images are too few
    summary = text[text.index("tiny: done in") :]
    assert re.search(
        rf"^ +generated +real images\n  {SCORE} +{said['scores'][SCORE]:.4g} .*  {said['floors'][SCORE]:.4g}\b",
        summary,
        re.MULTILINE,
    )
    places = dict(line.split(maxsplit=1) for line in summary.splitlines() if len(line.split()) > 1)
    assert all(step in places for step in EVERY)
    assert Path(places["report"]).is_file()
    assert Path(places["log"]).is_file()
    assert (finished.root / "tiny" / "dataset" / "manifest.json").is_file()
    assert (finished.root / "tiny" / "reference" / "reference.json").is_file()
    assert (Path(places["model"]) / "saved_model").is_dir()
    with Image.open(places["pictures"]) as picture:
        assert picture.width > 100
    command = shlex.split(places["MLflow"])
    assert Path(command[0]).is_file()
    assert command[1:6] == ["-m", "mlflow", "ui", "--backend-store-uri", said["mlflow_tracking_uri"]]


def test_the_terminal_shows_progress_without_noise_and_the_log_keeps_all(finished):
    text = "\n".join(finished.lines)
    assert "train 100%" in text.replace("  ", " ")
    assert [line.partition("  ")[2] for line in finished.lines if re.match(r"\d\d:\d\d:\d\d", line)] == EVERY
    assert "executor_input" not in text
    log = (finished.root / "tiny" / "log.txt").read_text()
    assert "executor_input" in log
    assert "train" in log
    assert "\x1b" not in log


def test_warnings_of_libraries_end_nothing_though_the_user_makes_errors_of_them(finished):
    [note] = finished.errors
    assert note == "note: PYTHONWARNINGS=error is ignored: warnings of libraries do not end commands"


def test_nothing_is_read_from_or_written_to_the_current_directory(finished):
    assert sorted(path.name for path in finished.work.iterdir()) == ["ganlib.py", "keras.py", "numpy.py"]


def test_what_was_recognised_of_the_data_is_said_once_before_any_step_and_stands_in_the_report(finished):
    recognised = "1797 images: train 1437, test 360; 10 classes: 0 178, 1 182, 2 177, 3 183, 4 181, 8 174 (fewest), "
    text = "\n".join(finished.lines)
    assert text.startswith(f"data: {recognised}")
    assert text.count(recognised) == 1
    assert recognised in (finished.root / "tiny" / "report.html").read_text()


def inline_pictures(page):
    """Returns the addresses of the pictures in an HTML page, which must load nothing."""
    loaded, pictures = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            for name, value in attributes:
                if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                    (pictures if (value or "").startswith("data:image/") else loaded).append(value)
            assert tag not in ("script", "iframe", "object", "embed", "link")

    Reader().feed(page)
    assert [address for address in loaded if not address.startswith("#")] == []
    assert "url(http" not in page
    assert "@import" not in page
    return pictures


def outputs(finished, kind):
    """Returns what the steps of the run left of a type of artifacts: step and artifact."""
    found = []
    for step, component in COMPONENTS.items():
        names = [name for name, type_ in component.__annotations__.items() if type_ == dsl.Output[kind]]
        for file in finished.root.glob(f"tiny/steps/*/{step.replace('_', '-')}/executor_output.json") if names else ():
            artifacts = json.loads(file.read_text())["artifacts"]
            found += [(step, artifacts[name]["artifacts"][0]) for name in names]
    return found


def test_kfps_page_can_show_every_page_of_a_step_by_itself(finished):
    """It puts the first HTML page of a step into a frame of its own, and 400,000 characters of Markdown."""
    pages = outputs(finished, dsl.HTML)
    assert [step for step, _ in pages] == ["prepare_data", "train_gan", "evaluate_gan", *UNCACHED]  # none has two
    for step, artifact in pages:
        pictures = inline_pictures(Path(artifact["uri"]).read_text(encoding="utf-8"))
        assert bool(pictures) == (step not in UNCACHED)  # the reasons are a table
    [(step, card)] = outputs(finished, dsl.Markdown)
    assert step == "export_model"
    text = Path(card["uri"]).read_text(encoding="utf-8")
    assert len(text) < 400_000
    addresses = re.findall(r"\]\(([^)]*)\)", text)
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "https://")) for address in addresses)
    assert "]: " not in text  # taken for the address of a link wherever it stands, and not shown
    assert not re.search(r"</?[a-z]+[ >]", text)  # HTML in Markdown is shown as text


def test_kfps_page_shows_the_requested_classes_against_those_that_are_read(finished):
    [(step, classes)] = outputs(finished, dsl.ClassificationMetrics)
    assert step == "evaluate_gan"
    matrix = classes["metadata"]["confusionMatrix"]
    assert [name["displayName"] for name in matrix["annotationSpecs"]] == [str(digit) for digit in range(10)]
    counts = [row["row"] for row in matrix["rows"]]
    right = sum(counts[digit][digit] for digit in range(10)) / sum(map(sum, counts))
    assert right == pytest.approx(finished.said["scores"]["digits_classifier_agreement"])
    assert all(type(count) is int for row in counts for count in row)


def test_the_report_is_one_file_that_loads_nothing(finished):
    report = Path(finished.said["report"])
    assert report.resolve().suffix == ".html"  # a browser goes by the name at the end of all links
    page = report.read_text()
    assert len(inline_pictures(page)) >= 5  # growth at steps 0, 10 and 20, generated, real, preview
    assert SCORE in page
    assert all(step in page for step in [*STEPS[:3], "scoring, without imports"])
    assert "360 test images of digits, 16x16x1 pixels." in page
    assert "The pictures show one class per row: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in page


def test_the_exported_model_loads_where_nothing_of_this_project_is(finished, tmp_path):
    folder = Path(finished.said["model"]) / "saved_model"
    command = [sys.executable, "-I", "-c", LOADING, str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == ["uint8", [4, 16, 16, 1], True, "float32", [2, 16, 16, 1], []]


def test_mlflow_has_one_run_with_params_metrics_tags_and_data(finished, client, tracked):
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert [run.info.run_id for run in client.search_runs(experiments)] == [finished.said["mlflow_run_id"]]
    assert tracked.info.status == "FINISHED"
    assert tracked.info.run_name == "tiny"
    expected = {
        "training.steps": "20",
        "model.width": "8",
        "objective.kind": "hinge",
        "task.latent_dim": "32",
    }
    assert expected.items() <= tracked.data.params.items()
    assert tracked.data.metrics[SCORE] == pytest.approx(finished.said["scores"][SCORE])
    [data] = tracked.inputs.dataset_inputs
    assert data.dataset.name == "digits"
    assert json.loads(data.dataset.profile)["train"] == 1437


def test_every_metric_has_its_steps_once_and_in_mlflow_as_on_disk(finished, client, tracked):
    rows = [json.loads(line) for line in (finished.root / "tiny/training/history.jsonl").read_text().splitlines()]
    names = {name for row in rows for name in row} - {"step", "time"}
    assert any(name.startswith("discriminator/") for name in names)
    assert any(name.startswith("generator/") for name in names)
    for name in names:
        on_disk = [(row["step"], row[name]) for row in rows if name in row]
        in_mlflow = [(point.step, point.value) for point in client.get_metric_history(tracked.info.run_id, name)]
        assert sorted(in_mlflow) == on_disk
        assert on_disk[-1][0] == 20


def test_mlflow_shows_samples_by_step_the_report_and_the_generator(client, tracked):
    run_id = tracked.info.run_id
    pictures = [item.path for item in client.list_artifacts(run_id, "images")]
    steps = {name.replace("+", "%").split("%step%")[1].split("%")[0] for name in pictures}
    assert steps == {"0", "10", "20"}
    assert "report/report.html" in [item.path for item in client.list_artifacts(run_id, "report")]
    assert "model_card/README.md" in [item.path for item in client.list_artifacts(run_id, "model_card")]
    [model] = client.search_logged_models([tracked.info.experiment_id])
    assert model.name == "generator"
    assert model.source_run_id == run_id


def test_no_step_imports_again_what_another_process_has(finished):
    lines = (finished.place / "own" / "imported.jsonl").read_text().splitlines()
    imported = dict(json.loads(line) for line in lines)
    assert list(imported) == EVERY
    heavy = {"tensorflow", "keras", "mlflow", "matplotlib", "sqlalchemy", "alembic"}
    assert heavy.isdisjoint(imported.pop("prepare_data"))
    heavy |= {"numpy", "scipy", "pandas", "sklearn", "kfp", "ganlib", "pydantic", "google"}
    assert not [step for step, packages in imported.items() if heavy.intersection(packages)], imported


def test_the_same_command_again_takes_every_step_from_the_cache(finished):
    first = finished.said
    again = Run(finished.place).start()
    assert again.said["cached"] == STEPS
    assert again.seconds < 0.8 * finished.seconds  # the gate, which is never cached, needs the imports
    assert {step: again.said["seconds"][step] for step in STEPS} == {step: first["seconds"][step] for step in STEPS}
    assert {**again.said, "cached": [], "seconds": {}} == {**first, "seconds": {}}  # registered once, too
    assert sum("(from the cache)" in line for line in again.lines) == len(STEPS)


def test_the_compiled_file_loaded_back_runs_too(finished, tmp_path):
    """Training is new here; what comes before it is taken from the cache of the first run.

    The file is one for a cluster, whose settings of pods mean nothing here. A pod would get the job as a variable, and
    its image may bring settings for other programs, or output that is ASCII only.
    """
    pods = ["gpus=1", "memory=4Gi", "spot=true", "shared_memory=1Gi", "checkpoints_volume=claim"]
    assignments = [
        *TINY,
        "export.registered_model=null",
        "training.steps=2",
        "training.score_every=2",
        "training.sample_every=2",
    ]
    assignments += [f"platform.{assignment}" for assignment in [*pods, f"checkpoints={tmp_path / 'home'}"]]
    config = settings.resolve(chosen=["digits"], assignments=assignments)
    config = config.model_copy(update={"data": session.complete_config(config, name="x", home=tmp_path).data})
    compile_pipeline(config, tmp_path / "pipeline.yaml", platform=config.platform)
    [cache] = (finished.root / ".cache").iterdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-c", RUNNING, str(tmp_path / "pipeline.yaml"), str(tmp_path / "steps"), str(cache)]
    (tmp_path / "keras.json").write_text(
        '{"backend": "torch", "floatx": "float16", "image_data_format": "channels_first"}'
    )
    foreign = {"KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path), "TF_USE_LEGACY_KERAS": "1"}
    pod = {**environment(), **foreign, "PYTHONIOENCODING": "ascii", "GAN_PIPELINES_JOB": "job-1"}
    done = subprocess.run(command, cwd=empty, env=pod, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("exported: ")]
    exported = Path(line.removeprefix("exported: "))
    assert (exported / "saved_model").is_dir()
    assert exported.is_relative_to(tmp_path)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["job-1"]
    assert (tmp_path / "home" / "job-1" / "checkpoints").is_dir()
    assert list(empty.iterdir()) == []


def test_a_run_keeps_its_settings_out_of_this_process(finished, tmp_path, monkeypatch):
    """A notebook that starts two runs gets two stores."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with session._environment(session._step_environment(tmp_path / "failure.json", "sqlite:///there.db")):
        assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///there.db"
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert dict(os.environ) == before


@contextlib.contextmanager
def small_disk(place):
    """A folder on a disk of 300 KB, where mounting is allowed."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("kind", ["full", "absent"])
def test_temporary_files_that_have_no_room_are_told_before_anything_is_written(kind, tmp_path):
    place = tmp_path / "small"
    with small_disk(place) if kind == "full" else contextlib.nullcontext():
        command = [Path(sys.executable).with_name("gan-pipelines"), "run", "--root", tmp_path / "runs"]
        own = {**environment(), "TMPDIR": str(place)}
        done = subprocess.run(command, env=own, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.splitlines()[-1]
    reason = {"full": "No space left on device", "absent": "No such file or directory"}[kind]
    told = f"expected 1 MiB of free space for temporary files: {reason}. Received: TMPDIR='{place}'"
    assert line == f"error: {told}"
    assert not (tmp_path / "runs").exists()


def test_the_cache_knows_the_library_that_the_steps_call(finished):
    assert [folder.name for folder in (finished.root / ".cache").iterdir()] == [session._code_digest()]


def test_paths_of_a_source_become_absolute_and_a_changed_folder_another_fingerprint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(4):
        Image.new("L", (16, 16), index).save(folder / f"{index}.png")
    config = settings.resolve(
        chosen=[],
        assignments=[
            "data.source={kind: image_folder, path: images, test_fraction: 0.5}",
            "data.size=16",
            "training.batch_size=2",
        ],
    )
    first = session.complete_config(config, name="first", home=tmp_path / "home")
    assert first.data.source.path == str(folder.resolve())
    assert first.data.source.test_fraction == 0.5
    assert (first.training.run_name, first.training.home) == ("first", str(tmp_path / "home"))
    assert session.complete_config(config, name="second", home=tmp_path).data == first.data
    Image.new("L", (16, 16), 9).save(folder / "4.png")
    assert session.complete_config(config, name="first", home=tmp_path).data.fingerprint != first.data.fingerprint


def test_a_home_that_was_given_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))

    def home(given):
        config = settings.resolve(chosen=["digits"], assignments=[f"training.home={given}"])
        return session.complete_config(config, name="tiny", home=tmp_path / "runs" / "tiny" / "training").training.home

    assert home("kept/here") == str(tmp_path / "kept" / "here")
    assert home("~/kept") == str(tmp_path / "user" / "kept")
    assert home("gs://bucket/kept") == "gs://bucket/kept"
    assert home("null") == str(tmp_path / "runs" / "tiny" / "training")


@pytest.mark.parametrize("address", ["gs://bucket/data.zip", "https://localhost/data.zip"])
def test_an_address_of_a_source_stays_as_it_is(address):
    source = Archive(path=address)
    assert source.pinned() == source
