"""Training processes that are killed, asked to end, thrown off their machine, or spread over several of them.

The bucket is an emulator's (see `buckets.py` and `s3_buckets.py`), MLflow's store a real one, and every process a real
one.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as google_storage
from ports import free_ports

from ganlib import storage, tracking
from ganlib.evaluation import EvaluationConfig, evaluate
from ganlib.export import ExportConfig, export
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.tasks import Generation
from ganlib.tracking import Tracker
from ganlib.training import TrainConfig, TrainedModel, train
from ganlib.training.strategy import report_lost_workers, resolve_strategy
from pipelines.command.main import main

SETTINGS = {
    "steps": 48,
    "batch_size": 8,
    "steps_per_loop": 2,
    "score_every": 16,
    "sample_every": 16,
    "checkpoint_every": 6,
    "score_samples": 50,
    "precision": "float32",
}
PARTS = {"task": Generation(latent_dim=8), "architecture": Dcgan(width=4, dropout=0.3), "objective": NonSaturating()}
SCRIPT = """
import json, sys
from pathlib import Path
from ganlib import steps, storage
from ganlib.data import PreparedDataset
from ganlib.evaluation import Reference
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.tasks import Generation
from ganlib.training import TrainConfig, resolve_strategy, train
class Artifact: metadata = {}
with steps.step("train_gan", Artifact):
    dataset, reference, output, settings = sys.argv[1:]
    config = TrainConfig(**json.loads(settings))
    resolve_strategy(config.replicas, config.strategy)
    train(PreparedDataset.open(storage.fetch(dataset)), Reference.open(storage.fetch(reference)),
          task=Generation(latent_dim=8), architecture=Dcgan(width=4, dropout=0.3), objective=NonSaturating(),
          config=config, output=Path(output))
"""


@pytest.fixture
def objects(objects, scheme, request):
    """The bucket as its server has it, not through the proxy: faults are for the program only."""
    if scheme == "s3":
        yield objects
        return
    address = {"api_endpoint": f"http://127.0.0.1:{request.getfixturevalue('emulator')}"}
    with contextlib.closing(google_storage.Client("test", AnonymousCredentials(), client_options=address)) as client:
        yield client.bucket("bucket")


@pytest.fixture(scope="module")
def reference_folder(reference, tmp_path_factory):
    """Folder of the reference, for other processes."""
    folder = tmp_path_factory.mktemp("reference_folder") / "reference"
    reference.save(folder)
    return folder


@pytest.fixture
def start(digits, reference_folder):
    """Starts a training process; its lines go to a file beside its output."""

    def begin(output, environment, inputs=(digits.folder, reference_folder), **settings):
        output.parent.mkdir(parents=True, exist_ok=True)
        words = [*map(str, inputs), str(output), json.dumps({**SETTINGS, **settings})]
        with output.with_suffix(".log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-c", SCRIPT, *words], env={**os.environ, **environment}, stdout=log, stderr=log
            )

    return begin


def log_of(output):
    return output.with_suffix(".log").read_text()


def trained(digits, reference, output, **settings):
    """The same training in this process."""
    config = TrainConfig(**{**SETTINGS, **settings})
    return train(digits, reference, **PARTS, config=config, output=output)


def assert_equal_bits(first: TrainedModel, second: TrainedModel):
    for kept in ("best", "last"):
        pairs = zip(first.network(kept).get_weights(), second.network(kept).get_weights(), strict=True)
        assert all((one == other).all() for one, other in pairs)
    assert first.facts["best_step"] == second.facts["best_step"]
    without_time = [
        [{name: value for name, value in row.items() if name not in ("time", "speed/steps_per_second")} for row in rows]
        for rows in (first.history, second.history)
    ]
    assert without_time[0] == without_time[1]


def wait_for(condition, process, *, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process ended early"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def kept_steps(objects):
    """Steps of the checkpoints that the last snapshot in a bucket holds."""
    if objects.get_blob("runs/digits/snapshot.json") is None:
        return []
    names = json.loads(objects.blob("runs/digits/snapshot.json").download_as_bytes())["files"]
    return [int(name.partition("step-")[2].removesuffix(".npz")) for name in names if "checkpoints/step-" in name]


def disturb(traffic):
    """Lets requests of all kinds fail, arrive damaged, or lose their answer."""
    traffic.faults.clear()
    for kind, action in (
        ("status", "list"),
        ("cut", "list"),
        ("status", "find"),
        ("cut", "download"),
        ("spoil", "download"),
        ("lose", "upload"),
        ("spoil_request", "upload"),
        ("lose", "delete"),
    ):
        traffic.fail(kind, action=action, spared=".conditions-")  # the object with which S3 is tested


# Of minutes, so in Google's storage, and a third time, only with GAN_PIPELINES_EVERY_PAIR.
EVERY_PAIR = "GAN_PIPELINES_EVERY_PAIR" in os.environ


@pytest.mark.parametrize("scheme", ["s3", "gs"] if EVERY_PAIR else ["s3"])
def test_a_run_whose_machine_is_lost_again_and_again_ends_with_the_same_bits_in_one_mlflow_run(
    start, digits, reference, reference_folder, bucket, objects, traffic, tmp_path, monkeypatch
):
    """Data, home and export are in the bucket."""
    from mlflow import MlflowClient

    uri = tracking.create_store(tmp_path / "mlflow.db", experiment="gan-pipelines", artifacts=tmp_path / "artifacts")
    inputs = f"{bucket}/dataset", f"{bucket}/reference"
    for folder, address in zip((digits.folder, reference_folder), inputs, strict=True):
        storage.publish(folder, address)
    often = {"home": f"{bucket}/runs/digits", "checkpoint_minutes": 1e-6, "inputs": inputs}
    chance, reached = random.Random(), 0
    for attempt in range(3 if EVERY_PAIR else 2):
        disk = tmp_path / f"disk-{attempt}"
        environment = {"MLFLOW_TRACKING_URI": uri, "GAN_PIPELINES_CACHE": str(disk / "cache")}
        disturb(traffic)
        process = start(disk / "model", environment, **often)
        wait_for(lambda: max(kept_steps(objects), default=0) >= reached + 8, process)  # noqa: B023
        time.sleep(chance.uniform(0.0, 0.5))
        process.kill()
        process.wait()
        reached = max(kept_steps(objects))
        shutil.rmtree(disk)
    disturb(traffic)
    last = start(tmp_path / "last" / "model", environment, **often)
    whole = trained(digits, reference, tmp_path / "whole")
    assert last.wait() == 0, log_of(tmp_path / "last" / "model")
    assert f"resumes from step {reached}" in log_of(tmp_path / "last" / "model")
    model = TrainedModel.open(tmp_path / "last" / "model")
    assert_equal_bits(whole, model)
    assert [row["step"] for row in model.history] == list(range(2, 49, 2))
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("gan-pipelines").experiment_id])
    assert run.info.status == "FINISHED"
    for name in run.data.metrics:
        points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        recorded = [(row["step"], row[name]) for row in model.history if name in row]
        assert sorted(step for step, _ in points) == [step for step, _ in recorded]
        if not name.startswith("speed/"):
            assert sorted(points) == recorded
    pictures = client.list_artifacts(run.info.run_id, "images")
    full_size = [item.path for item in pictures if item.path.endswith(".png")]
    assert len(full_size) == 4, json.dumps(full_size)

    disturb(traffic)
    monkeypatch.setattr("ganlib.export.parity.FreshProcess.check", lambda *_, **__: {"saved_model": 0.0, "keras": 0.0})
    evaluation = evaluate(model, digits, reference, EvaluationConfig(samples=20), tmp_path / "scores")
    exported = export(model, evaluation, ExportConfig(onnx=False, target=f"{bucket}/served"), tmp_path / "exported")
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    served = storage.fetch(f"{bucket}/served")
    names = [path.relative_to(served) for path in served.rglob("*") if path.is_file()]
    assert Path("generator.keras") in names
    assert all((served / name).read_bytes() == (exported.folder / name).read_bytes() for name in names)


def test_two_workers_one_of_which_is_asked_to_end_give_the_weights_of_one_with_two_replicas(
    start, digits, reference, tmp_path
):
    whole = trained(digits, reference, tmp_path / "whole", replicas=2)
    home, outputs = tmp_path / "home", [tmp_path / f"worker-{index}" / "model" for index in range(2)]

    def both(homes=(home, home)):
        addresses = [f"localhost:{port}" for port in free_ports(2)]
        return [
            start(
                output,
                {
                    "TF_CONFIG": json.dumps(
                        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                    )
                },
                home=str(homes[index]),
            )
            for index, output in enumerate(outputs)
        ]

    first = both()
    wait_for(lambda: len(storage.read_lines(home / "history.jsonl")) >= 9, first[0])
    first[1].send_signal(signal.SIGTERM)  # not the chief
    assert [process.wait(60) for process in first] == [1, 1]
    assert storage.read_lines(home / "tracking.jsonl")[-1]["status"] == "KILLED"
    assert "SIGTERM received" in log_of(outputs[1])
    (reached,) = {line for output in outputs for line in log_of(output).splitlines() if "interrupted at" in line}
    step = int(reached.partition("at step ")[2].partition(";")[0])
    assert 18 <= step < 48
    assert (home / "checkpoints" / f"step-{step:09d}.npz").exists()
    apart = both((home, tmp_path / "elsewhere"))
    assert [process.wait(120) for process in apart] == [2, 2]
    assert "error: train_gan: expected a training.home that all workers can reach" in log_of(outputs[0])
    last = both()
    assert [process.wait(120) for process in last] == [0, 0], log_of(outputs[0])
    assert f"resumes from step {step}" in log_of(outputs[0])
    assert ["steps  " in log_of(output) for output in outputs] == [True, False]  # one tells of progress
    assert_equal_bits(whole, TrainedModel.open(outputs[0]))
    assert not outputs[1].exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", r"expected JSON with `cluster` and `task`"),
        ('{"cluster": {}}', r"expected JSON with `cluster` and `task`"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}, "task": {"type": "ps", "index": 0}}', "type='ps'"),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "list of addresses as worker"),
        ('{"cluster": {"worker": ["a:1", 2]}, "task": {"type": "worker", "index": 0}}', "list of addresses as worker"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "below 2.*index=2"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "zero"}}', "expected JSON with"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused(monkeypatch, text, complaint):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=complaint):
        resolve_strategy(None)
    assert isinstance(resolve_strategy(None, "mirrored"), tf.distribute.Strategy)


def test_a_worker_that_is_gone_is_told_in_one_line():
    error = tf.errors.UnavailableError(None, None, "Connection reset by peer")
    with pytest.raises(RuntimeError, match="another worker was lost"), report_lost_workers(Several()):
        raise error
    with pytest.raises(tf.errors.UnavailableError), report_lost_workers(resolve_strategy(1)):
        raise error


class Several:
    """As much of a strategy of several workers as tells that it is one."""

    cluster_resolver = object()


def test_a_cluster_of_one_is_no_cluster(monkeypatch):
    one = {"cluster": {"chief": ["localhost:1"]}, "task": {"type": "chief", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(one))
    assert resolve_strategy(None).num_replicas_in_sync == 1


def test_a_bucket_that_is_away_for_a_while_costs_the_run_nothing(
    digits, reference, bucket, objects, traffic, tmp_path, capsys, monkeypatch
):
    fault = None

    def breaks(step):
        nonlocal fault
        if step == 4:
            fault = traffic.fail("status", times=10**6, status=403)
        if step == 8:
            traffic.faults.clear()

    watched = Tracker.metrics

    def metrics(tracker, step, values):
        breaks(step)
        watched(tracker, step, values)

    monkeypatch.setattr(Tracker, "metrics", metrics)
    often = {"home": f"{bucket}/runs/digits", "checkpoint_minutes": 1e-6, "steps": 12}
    model = trained(digits, reference, tmp_path / "model", **often)
    assert fault.met >= 2
    assert capsys.readouterr().out.count("checkpoints are not uploaded for now: access is denied (403)") == 2
    assert model.facts["last_step"] == max(kept_steps(objects)) == 12


def test_a_bucket_that_may_not_be_written_to_is_told_before_training(digits, reference, bucket, traffic, tmp_path):
    traffic.fail("status", times=10**6, status=403, action="upload")
    with pytest.raises(ValueError, match=r"access is denied \(403\)"):
        trained(digits, reference, tmp_path / "model", home=f"{bucket}/runs/digits")
    assert not (tmp_path / "model.home" / "history.jsonl").exists()


def test_a_process_whose_run_another_one_took_over_ends_and_writes_no_more(start, bucket, objects, tmp_path):
    often = {"home": f"{bucket}/runs/digits", "checkpoint_minutes": 1e-6, "steps": 10_000}
    first = start(tmp_path / "first" / "model", {}, **often)
    wait_for(lambda: max(kept_steps(objects), default=0) >= 2, first)
    second = storage.Mirror(often["home"], tmp_path / "second")
    while first.poll() is None:  # which is quick, too
        with contextlib.suppress(storage.WriteConflict):
            second.pull()
            (tmp_path / "second" / "done").write_text("by the second")
            second.push()
            break
    assert first.wait(60) == 1
    [complaint] = [line for line in log_of(tmp_path / "first" / "model").splitlines() if line.startswith("error:")]
    assert complaint.startswith("error: train_gan: another process has written there meanwhile")
    assert second.pull()
    assert (tmp_path / "second" / "done").read_text() == "by the second"


def test_the_command_trains_from_a_bucket_into_a_bucket(digits, reference_folder, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    storage.publish(digits.folder, f"{bucket}/dataset")
    storage.publish(reference_folder, f"{bucket}/reference")
    settings = ["steps=2", "batch_size=8", "score_samples=20", "precision=float32", f"home={bucket}/home"]
    words = ["train", "--set", "model.width=4", *(word for text in settings for word in ("--set", f"training.{text}"))]
    places = [f"--dataset={bucket}/dataset", f"--reference={bucket}/reference", f"--output={bucket}/model"]
    done = CliRunner().invoke(main, [*words, *places], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"trained: {bucket}/model"
    model = TrainedModel.open(storage.fetch(f"{bucket}/model"))
    assert model.facts["last_step"] == 2
    assert storage.Mirror(f"{bucket}/home", tmp_path / "home").pull()
    refused = CliRunner().invoke(main, [*words, places[0], places[2], f"--reference={bucket}/nowhere"])
    assert refused.exit_code == 2
    assert "error: no such object" in refused.output
