"""Tracking against real MLflow servers, which are killed, stopped and started again."""

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pytest
from click.testing import CliRunner
from mlflow.cli import cli as mlflow_cli
from mlflow_server import Server, client_of, wait_until
from PIL import Image

from ganlib import storage, tracking
from ganlib.tracking import Tracker, background, delivery, models, runs
from ganlib.tracking import client as mlflow_client
from ganlib.tracking import folder as folder_files
from pipelines.command.main import main

SECRET = "hunter2"
ROWS = 200


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A store with tables, whose creation takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    tracking.create_store(folder / "mlflow.db", experiment="made-before", artifacts=folder / "artifacts")
    return folder


@pytest.fixture(scope="module")
def only_server(tmp_path_factory, empty_store):
    server = Server(Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("shared") / "my%20 server")))
    yield server
    server.kill()


@pytest.fixture
def server(only_server, monkeypatch, request):
    """A running server, which a test may kill and restart, with an experiment for each test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", only_server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    if only_server.process is None:
        only_server.start()
    return only_server


@pytest.fixture
def store(tmp_path, empty_store, monkeypatch):
    """A local store without a server."""
    shutil.copytree(empty_store, tmp_path / "store")
    file, artifacts = tmp_path / "store" / "mlflow.db", tmp_path / "store" / "artifacts"
    uri = tracking.create_store(file, experiment=tracking.DEFAULT_EXPERIMENT, artifacts=artifacts)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


MODEL = {"digest": "abc", "step": 5, "params": {"model.kind": "dcgan"}}


def model_files(folder):
    """Writes what MLflow takes for a model with a signature, beside what tracking keeps."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    spec = Schema([TensorSpec(np.dtype(np.float32), (-1, 3), "latent")])
    Model(flavors={"python_function": {}}, signature=ModelSignature(spec, spec)).save(folder / "MLmodel")
    (folder / "saved_model").mkdir()
    (folder / "saved_model" / "weights").write_bytes(b"weights")


def picture(folder, step, *, colour=128):
    path = folder / "samples" / f"step-{step}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (8, 8), colour).save(path)
    return path


def record(tracker, steps, *, pictures_every=2):
    for step in steps:
        tracker.metrics(step, {"generator/loss": step / 2, "discriminator/loss": step / 4})
        if step % pictures_every == 0:
            tracker.image(picture(tracker.folder, step), key="samples", step=step)


def introduce(tracker):
    tracker.params({"training.steps": 10, "model.kind": "dcgan"})
    tracker.tags({"precision": "float32"})
    tracker.dataset(name="digits", digest="a1" * 32, source="embedded", profile={"train": 1438})


def all_runs(client):
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments)


def runs_of(client, folder):
    """Returns the runs of a tracked folder in all experiments."""
    key = storage.read_json(folder / tracking.IDENTITY)["key"]
    return [run for run in all_runs(client) if run.data.tags.get(runs.KEY_TAG) == key]


def the_run(client, folder):
    (run,) = runs_of(client, folder)
    return run


def points(client, run):
    return Counter(
        (name, point.step, point.value)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


def files(client, run, place=""):
    result = []
    for item in client.list_artifacts(run.info.run_id, place or None):
        result += files(client, run, item.path) if item.is_dir else [item.path]
    return sorted(result)


def pictured(client, run):
    """Returns the steps of the pictures and of their thumbnails, with duplicates."""
    names = [re.fullmatch(r"images/samples\+step\+(\d+)\+.*", path) for path in files(client, run, "images")]
    whole = sorted(int(name[1]) for name in names if "+compressed" not in name[0])
    small = sorted(int(name[1]) for name in names if "+compressed" in name[0])
    assert whole == small
    return whole


def everything(client, run):
    """Returns everything that a server stores of a run, in a comparable form."""
    run = client.get_run(run.info.run_id)
    histories = {
        name: sorted((p.step, p.timestamp, p.value) for p in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return {
        "info": (run.info.status, run.info.start_time, run.info.end_time, run.info.run_name),
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": histories,
        "files": files(client, run),
        "inputs": [(item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs],
        "models": [(model.model_id, str(model.status), model.last_updated_timestamp) for model in models],
    }


def expected_points(steps):
    return Counter(
        (name, step, step / part) for step in steps for name, part in (("generator/loss", 2), ("discriminator/loss", 4))
    )


def delivered(folder):
    return not tracking.has_pending(folder)


def python(code, *arguments, **environment):
    """Starts a process that runs a program with this library."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def texts(folder):
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_everything_recorded_reaches_the_server_with_its_steps_and_times(server, tmp_path):
    folder, began = tmp_path / "run", time.time()
    folder.mkdir()
    model_files(folder)
    (folder / "report.html").write_text("<p>report</p>")
    with Tracker(folder, run_name="mine") as tracker:
        introduce(tracker)
        record(tracker, range(1, 6))
        tracker.artifact(folder / "report.html", place="report")
        tracker.model(**MODEL)
        tracker.status("FINISHED")
    ended = time.time()
    client = server.client
    run = the_run(client, folder)
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert began - 0.01 <= run.info.start_time / 1000 + 0.001 <= run.info.end_time / 1000 + 0.001 <= ended
    assert run.data.params == {"training.steps": "10", "model.kind": "dcgan"}
    assert run.data.tags["precision"] == "float32"
    assert points(client, run) == expected_points(range(1, 6))
    rows = storage.read_lines(folder / tracking.HISTORY)
    history = client.get_metric_history(run.info.run_id, "generator/loss")
    assert {point.step: point.timestamp for point in history} == {row["step"]: int(row["time"] * 1000) for row in rows}
    assert pictured(client, run) == [2, 4]
    assert run.data.tags["mlflow.loggedImages"] == "True"
    assert "report/report.html" in files(client, run)
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "a1" * 16)
    assert json.loads(data.dataset.profile) == {"train": 1438}
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.name, str(model.status), model.source_run_id) == ("generator", "READY", run.info.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert delivered(folder)
    assert tracking.run_id(folder) == run.info.run_id

    import mlflow

    card = mlflow.models.get_model_info(f"models:/{model.model_id}")
    assert card.signature.inputs.inputs[0].shape == (-1, 3)
    assert client.get_logged_model(model.model_id).params == MODEL["params"]
    got = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(tmp_path / "got")))
    names = {str(path.relative_to(got)) for path in got.rglob("*") if path.is_file()}
    assert names - {"registered_model_meta"} == {
        "MLmodel",
        "report.html",
        "saved_model/weights",
        *(f"samples/step-{step}.png" for step in (2, 4)),
    }

    before = everything(client, run)
    # As if a process had been killed between creating the model and uploading it.
    tags = {models.MODEL_TAG: MODEL["digest"]}
    half = client.create_logged_model(run.info.experiment_id, "generator", run.info.run_id, tags=tags)
    client.delete_logged_model(model.model_id)
    tracking.deliver(folder)
    (again,) = client.search_logged_models([run.info.experiment_id])
    assert str(again.status) == "READY"
    assert again.model_id not in (half.model_id, model.model_id)
    after = everything(client, run)
    assert {**after, "models": ()} == {**before, "models": ()}
    tracking.deliver(folder)
    assert everything(client, run) == after


def test_pictures_keep_their_pixels_and_are_never_logged_twice(server, tmp_path):
    folder = tmp_path / "run"
    with Tracker(folder) as tracker:
        record(tracker, range(1, 5))
    client = server.client
    run = the_run(client, folder)
    name = next(path for path in files(client, run, "images") if "+step+2+" in path and path.endswith(".png"))
    with Image.open(client.download_artifacts(run.info.run_id, name, str(tmp_path))) as image:
        assert image.size == (8, 8)
        assert image.convert("L").getextrema() == (128, 128)
    before = everything(client, run)
    # As if a process had been killed between uploading the picture and its thumbnail.
    (thumbnail,) = (server.folder / "artifacts").rglob(f"{run.info.run_id}/artifacts/images/*+step+2+*.webp")
    thumbnail.unlink()
    tracking.deliver(folder)
    assert everything(client, run) == before


def test_a_missing_picture_does_not_block_the_rest(server, tmp_path, capsys):
    tracker = Tracker(tmp_path / "run")
    record(tracker, range(1, 5))
    tracker.status("FINISHED")
    (tmp_path / "run" / "samples" / "step-2.png").unlink()
    tracking.deliver(tmp_path / "run")
    run = the_run(server.client, tmp_path / "run")
    assert pictured(server.client, run) == [4]
    assert run.info.status == "FINISHED"
    assert "step-2.png no longer exists and cannot be delivered" in capsys.readouterr().out


def test_delivering_twice_changes_nothing(server, tmp_path):
    first, second = tmp_path / "run" / "first", tmp_path / "run" / "second"
    tracker = Tracker(first)
    introduce(tracker)
    record(tracker, range(1, 6))
    tracker.status("FINISHED")
    with pytest.raises(OSError, match="disk full"), Tracker(second, belongs_to=first):
        raise OSError("disk full")
    command = ["sync", str(tmp_path / "run")]
    assert CliRunner().invoke(main, command).exit_code == 0
    client = server.client
    run = the_run(client, first)
    before = everything(client, run)
    assert before["info"][0] == "FAILED"
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert re.findall(r"(\d+) records are in MLflow", result.output) == ["11", "1"]
    assert everything(client, the_run(client, first)) == before


def test_two_deliveries_at_once_leave_no_duplicates(server, tmp_path):
    folder = tmp_path / "run"
    tracker = Tracker(folder)
    introduce(tracker)
    record(tracker, range(1, 11))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(tracking.deliver, [folder, folder])) == [18, 18]
    run = the_run(server.client, folder)
    assert points(server.client, run) == expected_points(range(1, 11))
    assert pictured(server.client, run) == [2, 4, 6, 8, 10]


def test_a_delivery_of_a_folder_that_was_delivered_by_hand_meanwhile_duplicates_nothing(server, tmp_path):
    folder = tmp_path / "run"
    tracker, uploader = Tracker(folder), delivery.Delivery(folder)
    record(tracker, range(1, 4))
    uploader.upload(folder_files.read(folder))
    record(tracker, range(4, 7))
    tracking.deliver(folder)
    uploader.upload(folder_files.read(folder))  # it does not know about the other delivery
    run = the_run(server.client, folder)
    assert points(server.client, run) == expected_points(range(1, 7))
    assert pictured(server.client, run) == [2, 4, 6]


def test_many_points_and_numbers_beyond_the_finite_arrive(server, tmp_path):
    with Tracker(tmp_path / "run") as tracker:
        for step in range(1200):
            tracker.metrics(step, {"loss": float(step)})
        tracker.metrics(1200, {"loss": math.nan})
        tracker.metrics(1201, {"loss": math.inf})
    run = the_run(server.client, tmp_path / "run")
    history = server.client.get_metric_history(run.info.run_id, "loss")
    assert sorted(point.step for point in history) == list(range(1202))
    values = {point.step: point.value for point in history}
    assert math.isnan(values[1200])
    assert values[1201] > 1e308


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_tracking as t
from ganlib import tracking
folder = Path(sys.argv[1])
with tracking.Tracker(folder) as tracker:
    t.introduce(tracker)
    t.record(tracker, range(1, 7))
    t.wait_until(lambda: t.delivered(folder))
    t.record(tracker, range(7, 9))
    with (folder / tracking.HISTORY).open("a") as file:
        file.write('{"step": 9, "time": 17')
    with (folder / tracking.JOURNAL).open("a") as file:
        file.write('{"do": "ima')
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_while_recording(folder):
    process = python(KILLED, folder, Path(__file__).parent)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output


def test_a_run_killed_and_started_again_is_one_run_without_duplicates(server, tmp_path):
    folder = tmp_path / "run"
    kill_while_recording(folder)
    assert tracking.has_pending(folder)
    with Tracker(folder) as tracker:
        tracker.rewind(4)
        assert [row["step"] for row in storage.read_lines(folder / tracking.HISTORY)] == [1, 2, 3, 4]
        introduce(tracker)
        record(tracker, range(5, 11))
        tracker.status("FINISHED")
    run = the_run(server.client, folder)
    assert points(server.client, run) == expected_points(range(1, 11))
    assert pictured(server.client, run) == [2, 4, 6, 8, 10]
    assert run.info.status == "FINISHED"
    assert len(run.inputs.dataset_inputs) == 1
    assert [row["step"] for row in storage.read_lines(folder / tracking.HISTORY)] == list(range(1, 11))


def test_lines_after_a_half_written_one_are_readable_without_a_rewind(tmp_path):
    folder = tmp_path / "run"
    tracker = Tracker(folder)
    introduce(tracker)
    record(tracker, range(1, 3))
    for name in (tracking.HISTORY, tracking.JOURNAL):
        with (folder / name).open("a") as file:
            file.write('{"step": 3, "ti')
    tracker = Tracker(folder)
    record(tracker, range(3, 5))
    assert [row["step"] for row in storage.read_lines(folder / tracking.HISTORY)] == [1, 2, 3, 4]
    assert [line["do"] for line in storage.read_lines(folder / tracking.JOURNAL)][-2:] == ["image", "image"]


def test_without_an_address_everything_stays_on_disk(tmp_path, capsys):
    with Tracker(tmp_path) as tracker:
        introduce(tracker)
        record(tracker, range(1, 4))
    assert capsys.readouterr().out == ""
    assert tracking.has_pending(tmp_path)
    assert tracking.run_id(tmp_path) is None
    assert len(storage.read_lines(tmp_path / tracking.HISTORY)) == 3


def test_an_introduction_is_written_once_however_often_a_run_is_started(tmp_path):
    for _ in range(3):
        introduce(Tracker(tmp_path))
    assert [line["do"] for line in storage.read_lines(tmp_path / tracking.JOURNAL)] == ["params", "tags", "dataset"]


def seconds_to_record(tracker):
    began = time.monotonic()
    for step in range(ROWS):
        tracker.metrics(step, {"loss": float(step)})
    return time.monotonic() - began


def test_an_absent_server_takes_no_time_and_the_printed_command_delivers_all(server, tmp_path, capfd):
    server.kill()
    alone = seconds_to_record(Tracker(tmp_path / "without a server"))
    folder = tmp_path / "a run"
    folder.mkdir()
    model_files(folder)
    with Tracker(folder) as tracker:
        introduce(tracker)
        assert seconds_to_record(tracker) < max(1.0, 4 * alone)  # 1 second is for an idle machine
        tracker.image(picture(folder, 7), key="samples", step=7)
        tracker.artifact(picture(folder, 8), place="report")
        tracker.model(**MODEL)
        tracker.status("FINISHED")
        began = time.monotonic()
    assert time.monotonic() - began < 20
    text = "".join(capfd.readouterr())
    assert text.count("cannot reach MLflow; the run continues and saves its lines on disk: ") == 1
    assert text.count("\n") == 2, text
    assert len(storage.read_lines(folder / tracking.HISTORY)) == ROWS
    assert tracking.has_pending(folder)
    ended = time.time()

    server.start()
    command = shlex.split(re.search(r"Deliver it with: (.*)", text)[1])
    assert command[:3] == ["gan-pipelines", "sync", str(folder)]
    result = CliRunner().invoke(main, command[1:])
    assert result.exit_code == 0, result.output
    assert f"{folder}: {ROWS + 7} records are in MLflow" in result.output
    assert delivered(folder)
    client = server.client
    run = the_run(client, folder)
    message = everything(client, run)
    assert [(step, value) for step, _, value in message["metrics"]["loss"]] == [(n, float(n)) for n in range(ROWS)]
    assert run.data.params == {"training.steps": "10", "model.kind": "dcgan"}
    assert run.data.tags["precision"] == "float32"
    assert pictured(client, run) == [7]
    assert "report/step-8.png" in message["files"]
    assert message["inputs"] == [("digits", "a1" * 16)]
    assert [status for _, status, _ in message["models"]] == ["READY"]
    assert run.info.status == "FINISHED"
    assert run.info.end_time / 1000 <= ended


def test_a_server_that_was_killed_and_restarted_during_the_run_has_everything(server, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(background, "RETRY_SECONDS", 1.0)
    folder = tmp_path / "run"
    with Tracker(folder) as tracker:
        introduce(tracker)
        record(tracker, range(1, 6))
        wait_until(lambda: delivered(folder))
        server.kill()
        record(tracker, range(6, 11))
        wait_until(lambda: "cannot reach MLflow" in output_of(folder, capfd))
        server.start()
        record(tracker, range(11, 13))
        wait_until(lambda: "MLflow can be reached again" in output_of(folder, capfd))
        record(tracker, range(13, 15))
        tracker.status("FINISHED")
    client = server.client
    run = the_run(client, folder)
    assert points(client, run) == expected_points(range(1, 15))
    assert pictured(client, run) == [2, 4, 6, 8, 10, 12, 14]
    assert run.info.status == "FINISHED"
    assert delivered(folder)
    text = output_of(folder, capfd)
    assert text.count("cannot reach MLflow") == text.count("MLflow can be reached again") == 1
    assert "gan-pipelines sync" not in text


def output_of(folder, capfd):
    """Returns everything printed since the test began."""
    log = folder.parent / "output.txt"
    with log.open("a") as file:
        file.write("".join(capfd.readouterr()))
    return log.read_text()


def test_with_a_server_killed_for_good_the_run_ends_soon_and_can_be_delivered_later(server, tmp_path, capfd):
    folder = tmp_path / "run"
    with Tracker(folder) as tracker:
        record(tracker, range(1, 6))
        wait_until(lambda: delivered(folder))
        server.kill()
        record(tracker, range(6, 11))
        tracker.status("FINISHED")
        began = time.monotonic()
    assert time.monotonic() - began < 20
    text = "".join(capfd.readouterr())
    assert text.count("cannot reach MLflow") == 1
    assert f"gan-pipelines sync {folder} --uri {server.uri}" in text
    began = time.monotonic()
    result = CliRunner().invoke(main, ["sync", str(folder), "--uri", server.uri])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not synced: ")
    assert result.stderr.count("\n") == 1
    assert time.monotonic() - began < 10
    server.start()
    assert CliRunner().invoke(main, ["sync", str(folder), "--uri", server.uri]).exit_code == 0
    run = the_run(server.client, folder)
    assert points(server.client, run) == expected_points(range(1, 11))
    assert run.info.status == "FINISHED"


def test_a_server_that_accepts_and_never_answers_delays_the_end_for_a_limited_time(
    server, tmp_path, capfd, monkeypatch
):
    assert background.FINAL_SECONDS < 60
    patience = float(mlflow_client.CLIENT_SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"])
    assert (1 + background.FINAL_ATTEMPTS) * patience <= background.FINAL_SECONDS
    monkeypatch.setattr(background, "FINAL_SECONDS", 2.0)
    folder = tmp_path / "run"
    with Tracker(folder) as tracker:
        record(tracker, range(1, 4))
        wait_until(lambda: delivered(folder))
        server.signal(signal.SIGSTOP)
        record(tracker, range(4, 7))
        tracker.status("FINISHED")
        began = time.monotonic()
    assert 1.9 < time.monotonic() - began < 15
    assert "not everything reached MLflow" in "".join(capfd.readouterr())
    server.signal(signal.SIGCONT)  # now the abandoned thread, which is still running, succeeds
    wait_until(lambda: delivered(folder))
    run = the_run(server.client, folder)
    assert points(server.client, run) == expected_points(range(1, 7))
    assert run.info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_delivery_thread_that_dies_is_noticed_at_the_end(server, tmp_path, capsys, monkeypatch):
    def die(*_):
        raise SystemExit

    monkeypatch.setattr(delivery.Delivery, "upload", die)
    with Tracker(tmp_path / "run") as tracker:
        record(tracker, range(1, 3))
    assert "not everything reached MLflow; it is saved on disk" in capsys.readouterr().out


def test_a_chain_of_folders_is_one_run(server, tmp_path):
    train, evaluation, export = tmp_path / "train", tmp_path / "evaluation", tmp_path / "export"
    with Tracker(train) as tracker:
        record(tracker, range(1, 4))
        tracker.status("FINISHED")
    with Tracker(evaluation, belongs_to=train) as tracker:
        tracker.metrics(3, {"fd_digits": 12.5})
    with Tracker(export, belongs_to=evaluation) as tracker:
        tracker.tags({"exported": "yes"})
    run = the_run(server.client, train)
    assert {tracking.run_id(folder) for folder in (train, evaluation, export)} == {run.info.run_id}
    assert points(server.client, run) == expected_points(range(1, 4)) + Counter([("fd_digits", 3, 12.5)])
    assert run.data.tags["exported"] == "yes"
    assert run.info.status == "FINISHED"


def test_a_chain_is_one_run_even_if_its_first_folder_is_delivered_last(server, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    train, evaluation = tmp_path / "train", tmp_path / "evaluation"
    with Tracker(train, run_name="mine") as tracker:
        record(tracker, range(1, 4))
        tracker.status("FINISHED")
    with Tracker(evaluation, belongs_to=train) as tracker:
        tracker.metrics(3, {"fd_digits": 12.5})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "where the shell stands later")
    tracking.deliver(evaluation)
    assert delivered(evaluation)
    assert tracking.has_pending(train)
    tracking.deliver(train)
    run = the_run(server.client, train)
    assert tracking.run_id(train) == tracking.run_id(evaluation) == run.info.run_id
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert points(server.client, run) == expected_points(range(1, 4)) + Counter([("fd_digits", 3, 12.5)])
    experiment = server.client.get_experiment(run.info.experiment_id)
    assert experiment.name == "test_a_chain_is_one_run_even_if_its_first_folder_is_delivered_last"


def given_run(server):
    experiment = server.client.create_experiment(f"given-{time.time_ns()}")
    return experiment, server.client.create_run(experiment).info.run_id


def test_a_given_run_is_used_and_no_second_one_is_created(server, tmp_path, monkeypatch):
    experiment, given = given_run(server)
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    before = len(all_runs(server.client))
    with Tracker(tmp_path / "train") as tracker:
        introduce(tracker)
        record(tracker, range(1, 4))
        tracker.status("FINISHED")
    monkeypatch.setenv("MLFLOW_RUN_ID", given_run(server)[1])  # KFP sets one for each step
    with Tracker(tmp_path / "evaluation", belongs_to=tmp_path / "train") as tracker:
        tracker.metrics(3, {"fd_digits": 12.5})
    assert len(all_runs(server.client)) == before + 1  # the one that this test created
    (run,) = server.client.search_runs([experiment])
    assert run.info.run_id == given
    assert points(server.client, run) == expected_points(range(1, 4)) + Counter([("fd_digits", 3, 12.5)])


def test_a_given_run_is_remembered_while_its_server_cannot_be_reached(server, tmp_path, monkeypatch, capsys):
    experiment, given = given_run(server)
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with Tracker(tmp_path / "run") as tracker:
        record(tracker, range(1, 4))
    monkeypatch.delenv("MLFLOW_RUN_ID")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    before = len(all_runs(server.client))
    tracking.deliver(tmp_path / "run")
    assert len(all_runs(server.client)) == before
    (run,) = server.client.search_runs([experiment])
    assert points(server.client, run) == expected_points(range(1, 4))


def test_a_given_run_that_does_not_exist_is_an_error_and_not_a_new_run(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    before = len(all_runs(server.client))
    record(Tracker(tmp_path / "run"), range(1, 3))
    with pytest.raises(RuntimeError, match=f"Run with id={'0' * 32} not found"):
        tracking.deliver(tmp_path / "run")
    assert len(all_runs(server.client)) == before


def test_a_folder_can_be_delivered_to_another_server_too(server, store, tmp_path, monkeypatch):
    folder, experiment = tmp_path / "run", os.environ["MLFLOW_EXPERIMENT_NAME"]
    tracking.create_store(tracking.store_file(store), experiment=experiment, artifacts=tmp_path / "artifacts")
    with Tracker(folder) as tracker:  # delivers to the local store
        introduce(tracker)
        record(tracker, range(1, 4))
    assert not tracking.has_pending(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert tracking.has_pending(folder)  # so a cached run is also delivered to the current server
    result = CliRunner().invoke(main, ["sync", str(folder), "--uri", server.uri])
    assert result.exit_code == 0, result.output
    assert not tracking.has_pending(folder)
    for client in (client_of(store), server.client):
        run = the_run(client, folder)
        assert points(client, run) == expected_points(range(1, 4))
        assert pictured(client, run) == [2]


def fail_after(folder, steps, error):
    with Tracker(folder) as tracker:
        record(tracker, steps)
        raise error


def test_a_failure_marks_the_run_and_resuming_clears_it(server, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="no such shape"):
        fail_after(folder, range(1, 4), ValueError("no such shape"))
    run = the_run(server.client, folder)
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "ValueError: no such shape"
    with Tracker(folder) as tracker:
        tracker.rewind(3)
        wait_until(lambda: delivered(folder))
        run = the_run(server.client, folder)
        assert run.info.status == "RUNNING"
        assert "failure" not in run.data.tags
        record(tracker, range(4, 6))
        tracker.status("FINISHED")
    run = the_run(server.client, folder)
    assert run.info.status == "FINISHED"
    assert points(server.client, run) == expected_points(range(1, 6))


def test_a_setting_that_was_changed_does_not_block_the_run(server, tmp_path, capsys):
    with Tracker(tmp_path) as tracker:
        introduce(tracker)
    with Tracker(tmp_path) as tracker:
        tracker.params({"training.steps": 20, "model.kind": "dcgan", "new": 1})
        tracker.status("FINISHED")
    assert capsys.readouterr().out == ""
    run = the_run(server.client, tmp_path)
    assert run.data.params == {"training.steps": "10", "model.kind": "dcgan", "new": "1"}
    assert {name: value for name, value in run.data.tags.items() if name.startswith("changed.")} == {
        "changed.training.steps": "20"
    }
    assert run.info.status == "FINISHED"


def test_pending_lines_are_correct_after_a_rewind(store, tmp_path):
    folder = tmp_path / "run"
    tracker = Tracker(folder)
    assert not tracking.has_pending(folder)
    record(tracker, range(1, 7))
    assert tracking.has_pending(folder)
    tracking.deliver(folder)
    assert delivered(folder)
    tracker.rewind(4)
    record(tracker, range(5, 7))  # the same number of lines, but different ones
    assert tracking.has_pending(folder)
    tracking.deliver(folder)
    assert delivered(folder)
    run = the_run(client_of(store), folder)
    assert points(client_of(store), run) == expected_points(range(1, 7))
    assert pictured(client_of(store), run) == [2, 4, 6]


def test_two_runs_that_record_the_same_data_at_once_both_have_it(store, tmp_path, monkeypatch):
    import mlflow

    calls, log_inputs = [], mlflow.MlflowClient.log_inputs

    def counted(*given):
        calls.append(given)
        return log_inputs(*given)

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", counted)
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        tracker = Tracker(folder)
        tracking.deliver(folder)
        tracker.dataset(name="digits", digest="abc123", source="file:///data", profile={"images": 10})
    # While the store is locked, both see that it does not have the data set; then both insert it.
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN IMMEDIATE")
        deliveries = [pool.submit(tracking.deliver, folder) for folder in folders]
        wait_until(lambda: len(calls) == 2)
        time.sleep(2)
        other.rollback()
        assert [delivery.result(timeout=60) for delivery in deliveries] == [1, 1]
    assert len(calls) == 3, "nobody was late, so nothing was tested"
    for folder in folders:
        (known,) = the_run(client_of(store), folder).inputs.dataset_inputs
        assert (known.dataset.name, known.dataset.digest) == ("digits", "abc123")


RECORDS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_tracking as t
from ganlib import tracking
with tracking.Tracker(Path(sys.argv[1])) as tracker:
    t.introduce(tracker)
    t.record(tracker, range(1, 21), pictures_every=5)
    tracker.status("FINISHED")
"""


def test_a_local_store_serves_four_processes_at_once(store, tmp_path):
    folders = [tmp_path / f"run-{number}" for number in range(4)]
    processes = [python(RECORDS, folder, Path(__file__).parent) for folder in folders]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert not any("tracking:" in output for output in outputs), outputs
    client = client_of(store)
    assert len(all_runs(client)) == 4
    for folder in folders:
        run = the_run(client, folder)
        assert points(client, run) == expected_points(range(1, 21))
        assert pictured(client, run) == [5, 10, 15, 20]
        assert run.info.status == "FINISHED"


def test_a_password_in_the_address_is_neither_printed_nor_written(server, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{SECRET}@127.0.0.1:9")
    with pytest.raises(OSError, match="lost"):
        fail_after(tmp_path / "run", range(1, 3), OSError(f"lost http://someone:{SECRET}@127.0.0.1:9"))
    away = capfd.readouterr()
    assert "cannot reach MLflow" in away.out
    assert f"gan-pipelines sync {tmp_path / 'run'}\n" in away.out
    result = CliRunner().invoke(main, ["sync", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "127.0.0.1:9" in result.output

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{SECRET}@{server.address}")
    with Tracker(tmp_path / "run") as tracker:
        tracker.status("FINISHED")
    assert delivered(tmp_path / "run")
    for text in (*away, result.output, *capfd.readouterr(), texts(tmp_path)):
        assert SECRET not in text
    assert server.client.get_run(tracking.run_id(tmp_path / "run")).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:hunter2@host:5000/path", "https://host:5000/path"),
        ("postgresql://user:hun/ter2@host/db", "postgresql://host/db"),
        ("postgresql://host/db?user=u&password=hunter2", "postgresql://host/db"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dhunter2", "mssql+pyodbc:///"),
        ("is that so? see http://host:5000", "is that so? see http://host:5000"),
        ("sqlite:////home/me/runs/mlflow.db", "sqlite:////home/me/runs/mlflow.db"),
    ],
)
def test_what_may_be_secret_in_an_address_is_not_shown(address, shown):
    assert tracking.redact(address) == shown
    assert tracking.redact(f"cannot reach {address} now") == f"cannot reach {shown} now"


def test_a_token_of_the_environment_is_in_no_error(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", f"{SECRET}\n")
    with pytest.raises(OSError, match="lost"):
        fail_after(tmp_path / "run", range(1, 3), OSError(f"lost {SECRET}"))
    printed = capfd.readouterr()
    assert "cannot reach MLflow" in printed.out
    for text in (*printed, texts(tmp_path)):
        assert SECRET not in text


def test_the_secrets_of_a_long_text_are_removed_in_linear_time():
    start = time.monotonic()
    for text in ("/" * 2**16, "a://" * 2**14, "//@" * 2**14):
        tracking.redact(text)
    assert time.monotonic() - start < 2  # seconds; before, 20
    random = Random(0)
    for _ in range(3000):
        text = "".join(random.choices(("a", "//", "/", "@", "?", "://", " ", "\n"), k=16))
        expected = re.sub(r"(\w://\S*?)\?\S*", r"\1", re.sub(r"//[^@\s]*@", "//", text))
        assert tracking.redact(text) == expected


def test_tracked_folders_are_sorted_by_their_start(store, tmp_path):
    late, early = tmp_path / "root" / "a", tmp_path / "root" / "deep" / "b"
    Tracker(early)
    Tracker(late, belongs_to=early)
    shutil.copytree(late, tmp_path / "root" / ".a.x1.partial")  # left by a killed process
    assert tracking.tracked_folders(tmp_path / "root") == [early, late]
    tracking.deliver(early)
    assert tracking.tracked_folders(tmp_path / "root") == [early, late]


def test_deliver_without_an_address_or_a_run_says_what_is_missing(tmp_path, monkeypatch):
    result = CliRunner().invoke(main, ["sync", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == "error: expected --uri or the environment variable MLFLOW_TRACKING_URI\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = CliRunner().invoke(main, ["sync", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == f"error: expected the folder of a run. Received: folder={str(tmp_path)!r}\n"


def test_flat_settings_have_dotted_names():
    nested = {"model": {"kind": "dcgan", "widths": [1, 2]}, "steps": 3, "empty": {}}
    assert tracking.flatten(nested) == {"model.kind": "dcgan", "model.widths": [1, 2], "steps": 3}


def restoring(text):
    """Returns the command in a message as shell words, and the environment that it sets."""
    command = text.partition("Restore it: ")[2].partition(", or ")[0]
    variable, *words = shlex.split(command)
    name, _, uri = variable.partition("=")
    assert (name, words[0]) == ("MLFLOW_TRACKING_URI", "mlflow")
    return words[1:], {name: uri}


def restore(text):
    """Runs the command in a message."""
    words, environment = restoring(text)
    result = CliRunner().invoke(mlflow_cli, words, env=environment, catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture(params=["server", "store"])
def either(request):
    """A server or a database file, which MLflow's client handles differently."""
    request.getfixturevalue(request.param)
    return client_of(os.environ["MLFLOW_TRACKING_URI"])


@pytest.mark.parametrize("what", ["run", "experiment"])
def test_a_deleted_run_or_experiment_is_reported_with_how_to_restore_it(either, tmp_path, capfd, what):
    folder = tmp_path / "tiny"
    with Tracker(folder, run_name="tiny") as tracker:
        record(tracker, range(1, 4))
        tracker.status("FINISHED")
    run = the_run(either, folder)
    experiment = either.get_experiment(run.info.experiment_id)
    capfd.readouterr()
    if what == "run":
        either.delete_run(run.info.run_id)
    else:
        either.delete_experiment(run.info.experiment_id)
    name, command = {
        "run": ("run 'tiny'", f"runs restore --run-id {run.info.run_id}"),
        "experiment": (
            f"experiment '{experiment.name}'",
            f"experiments restore --experiment-id {run.info.experiment_id}",
        ),
    }[what]
    with Tracker(folder) as tracker:  # resumes, like a run with more steps
        record(tracker, range(4, 6))
    output = capfd.readouterr().out
    lines = [line for line in output.splitlines() if line.startswith("tracking: ")]
    assert len(lines) == 2
    message = (
        f"the MLflow {name} was deleted. Restore it: MLFLOW_TRACKING_URI={either.tracking_uri} mlflow {command}, or "
    )
    assert lines[0].startswith(f"tracking: {message}take another run name")
    assert lines[0].endswith(". The run continues and saves its lines on disk")
    assert lines[1].startswith(f"tracking: not everything reached MLflow; it is saved on disk. {message}")
    assert f". Then deliver it with: gan-pipelines sync {folder} --uri " in lines[1]
    assert "cannot reach" not in output
    result = CliRunner().invoke(main, ["sync", str(folder)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: not synced: {message}")
    restore(result.stderr)
    words = shlex.split(lines[1].partition("deliver it with: ")[2])
    assert CliRunner().invoke(main, words[1:], catch_exceptions=False).exit_code == 0
    assert points(either, the_run(either, folder)) == expected_points(range(1, 6))
    assert delivered(folder)


def test_a_run_that_was_deleted_and_restored_has_everything(either, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.2)
    with Tracker(tmp_path / "run") as tracker:
        record(tracker, range(1, 4))
        wait_until(lambda: delivered(tracker.folder))
        either.delete_run(tracking.run_id(tracker.folder))
        record(tracker, range(4, 6))
        wait_until(lambda: "was deleted" in (output := capfd.readouterr().out) and (restore(output) or True))
        wait_until(lambda: "MLflow can be reached again" in capfd.readouterr().out)
    assert delivered(tmp_path / "run")
    assert points(either, the_run(either, tmp_path / "run")) == expected_points(range(1, 6))


def test_a_run_that_was_deleted_before_its_id_was_noted_is_not_made_twice(either, tmp_path):
    folder = tmp_path / "run"
    record(Tracker(folder), range(1, 3))
    identity = storage.read_json(folder / tracking.IDENTITY)
    tracking.deliver(folder)
    either.delete_run(tracking.run_id(folder))
    storage.write_json(folder / tracking.IDENTITY, identity)  # as if killed before the id was written
    with pytest.raises(tracking.DeliveryBlocked, match="was deleted"):
        tracking.deliver(folder)


def test_a_run_that_is_permanently_deleted_is_delivered_as_a_new_one(store, tmp_path):
    folder, client = tmp_path / "run", client_of(store)
    record(Tracker(folder), range(1, 4))
    tracking.deliver(folder)
    gone = tracking.run_id(folder)
    client.delete_run(gone)
    words = ["gc", "--backend-store-uri", store, "--run-ids", gone]
    result = CliRunner().invoke(mlflow_cli, words, env={"MLFLOW_TRACKING_URI": store}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    tracking.deliver(folder)
    assert tracking.run_id(folder) != gone
    assert points(client, the_run(client, folder)) == expected_points(range(1, 4))


def test_a_run_continues_in_its_experiment_when_that_is_renamed(either, tmp_path):
    folder = tmp_path / "run"
    record(Tracker(folder), range(1, 3))
    tracking.deliver(folder)
    experiment = the_run(either, folder).info.experiment_id
    either.rename_experiment(experiment, f"renamed-{time.time_ns()}")
    record(Tracker(folder), range(3, 5))
    tracking.deliver(folder)
    assert the_run(either, folder).info.experiment_id == experiment
    assert points(either, the_run(either, folder)) == expected_points(range(1, 5))


def test_a_given_run_that_was_deleted_is_reported_and_no_new_one_is_created(server, tmp_path, monkeypatch):
    experiment, given = given_run(server)
    server.client.delete_run(given)
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    record(Tracker(tmp_path / "run"), range(1, 3))
    with pytest.raises(
        tracking.DeliveryBlocked, match=rf"runs restore --run-id {given}, or give another in MLFLOW_RUN_ID$"
    ):
        tracking.deliver(tmp_path / "run")
    assert server.client.search_runs([experiment]) == []


def test_an_experiment_that_was_deleted_ends_a_run_before_it_starts(tmp_path):
    root = tmp_path / "runs"
    root.mkdir()
    uri = tracking.create_store(root / "mlflow.db", experiment=tracking.DEFAULT_EXPERIMENT)
    client_of(uri).delete_experiment("1")
    result = CliRunner().invoke(main, ["run", "--root", str(root), "--name", "tiny"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the MLflow experiment 'gan-pipelines' was deleted. Restore it: MLFLOW_")
    assert not (root / "tiny").exists()
    restore(result.stderr)
    tracking.create_store(root / "mlflow.db", experiment=tracking.DEFAULT_EXPERIMENT)


def test_an_invalid_address_does_not_affect_a_run_and_gives_no_useless_advice(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "someone:hunter2@localhost:5000")
    with Tracker(tmp_path / "run") as tracker:
        record(tracker, range(1, 3))
    first, last = [line for line in capfd.readouterr().out.splitlines() if line.startswith("tracking: ")]
    assert "Received: MLFLOW_TRACKING_URI='localhost:5000'. The run continues and saves its lines on disk" in first
    assert last.endswith(f"Then deliver it with: gan-pipelines sync {tmp_path / 'run'} --uri ADDRESS")
    assert SECRET not in first + last
