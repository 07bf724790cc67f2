"""The body of a step: its exit code, its one-line error, its time."""

import gc
import json
import pathlib

import numpy as np
import pytest
from kfp import dsl

from ganlib import pixels, storage
from ganlib.schema import Config, parse
from ganlib.steps import FAILURE_FILE, add_metadata, step
from ganlib.tasks import Networks
from ganlib.tracking import Tracker
from ganlib.training import HealthConfig, TrainConfig
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.guard import Guard
from ganlib.training.health import non_finite
from ganlib.training.state import Trained, TrainState


@pytest.fixture(autouse=True)
def collection_as_before():
    """Restores Python's garbage collection, which a step changes for the rest of its process."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
def failure(tmp_path, monkeypatch):
    path = tmp_path / "failure.json"
    monkeypatch.setenv(FAILURE_FILE, str(path))
    return path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("long " * 20_000, "long " * 20_000),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(False), False),
        ((28, 28, np.int32(1)), [28, 28, 1]),
        ({"a": [1, {"b": "c"}]}, {"a": [1, {"b": "c"}]}),
        ("caf\udce9", "caf?"),
        (None, "omitted"),
        ({"a": None, "b": 1}, {"b": 1}),
    ],
    ids=str,
)
def test_metadata_is_accepted_by_the_launcher(value, expected):
    """KFP's launcher fails on null and numbers that are not finite, and json on NumPy's, after the work is done."""
    artifact = dsl.Model()
    add_metadata(artifact, {"name": value, "other": 1})
    assert artifact.metadata == {"other": 1} | ({} if expected == "omitted" else {"name": expected})
    assert json.loads(json.dumps(artifact.metadata, allow_nan=False).encode()) == artifact.metadata
    assert all(type(result) in (str, bool, int, float, list, dict) for result in artifact.metadata.values())


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float32("-inf"), [1.0, float("nan")], {"a": float("nan")}]
)
def test_a_number_that_metadata_cannot_contain_is_omitted_with_a_note(value, capsys):
    artifact = dsl.Metrics()
    add_metadata(artifact, {"fd": value, "other": 1})
    assert artifact.metadata["other"] == 1
    json.dumps(artifact.metadata, allow_nan=False)
    assert "nan" not in str(artifact.metadata).lower()
    assert capsys.readouterr().out.startswith("note: fd")


def test_metadata_of_an_unknown_kind_is_refused():
    with pytest.raises(
        ValueError, match=r"^expected text, numbers, lists or objects as metadata\. Received: path=PosixPath"
    ):
        add_metadata(dsl.Dataset(), {"path": pathlib.Path("x")})


def test_the_metadata_of_each_artifact_is_accepted_by_the_launcher(digits, reference, trained):
    for kind in (digits, reference, trained):
        artifact = dsl.Artifact()
        add_metadata(artifact, kind.summary)
        assert json.loads(json.dumps(artifact.metadata, allow_nan=False)) == artifact.metadata == kind.summary


def test_a_successful_step_records_its_time(failure):
    dataset = dsl.Dataset()
    with step("prepare_data", dataset):
        dataset.metadata["count"] = 3
    assert dataset.metadata["count"] == 3
    assert dataset.metadata["seconds"] > 0
    assert not failure.exists()


@pytest.mark.parametrize(
    ("work", "error", "code"),
    [
        (lambda folder: storage.fetch("/nowhere"), "no such file or folder. Received: path='/nowhere'", 2),
        (lambda folder: storage.publish(folder / "none", folder / "there"), "No such file or directory", 1),
        (
            lambda folder: Guard(HealthConfig(max_rollbacks=0), Checkpoints(folder, keep=1), Tracker(folder)).react(
                non_finite(["loss"], first_step=1, last_step=2),
                {},
                TrainState(0, Trained(Networks({}, {}), {}, None, None)),
            ),
            "loss became infinite or NaN",
            1,
        ),
    ],
)
def test_an_expected_end_is_one_line_with_the_steps_name_and_a_code(work, error, code, capsys, failure, tmp_path):
    with pytest.raises(SystemExit) as caught, step("prepare_data", dsl.Dataset()):
        work(tmp_path)
    assert caught.value.code == code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: prepare_data: ")
    assert error in line
    message = json.loads(failure.read_text())
    assert message == {"step": "prepare_data", "message": line.removeprefix("error: prepare_data: "), "code": code}


@pytest.mark.parametrize("fault", [ValueError, RuntimeError])
def test_what_a_library_raises_is_no_mistake_of_the_user_and_keeps_its_traceback(fault, capsys, failure):
    def library():
        raise fault("shapes (3,) and (4,) not aligned")

    with pytest.raises(SystemExit) as caught, step("train_gan", dsl.Model()):
        library()
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: train_gan: shapes (3,) and (4,) not aligned"
    assert json.loads(failure.read_text())["code"] == 1


def test_what_is_raised_below_python_in_our_own_lines_is_no_mistake_either(capsys, failure):
    batch = np.zeros((2, 16, 16), np.uint8)  # without channels
    with pytest.raises(SystemExit) as caught, step("evaluate_gan", dsl.Metrics()):
        pixels.grid(batch, columns=2)
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: evaluate_gan: not enough values to unpack")


def test_an_invalid_parameter_is_reported_field_by_field(capsys, failure):
    with pytest.raises(SystemExit) as caught, step("train_gan", dsl.Model()):
        TrainConfig.model_validate({"steps": 0.0, "colour": "red"})
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(
        "error: train_gan: steps: Input should be greater than or equal to 1. Received: steps=0.0; "
    )
    assert message.endswith("colour: unknown option. Received: colour='red'\n")
    assert json.loads(failure.read_text())["step"] == "train_gan"


def test_a_fault_of_the_program_keeps_its_traceback(failure):
    with pytest.raises(KeyError), step("prepare_data", dsl.Dataset()):
        raise KeyError("a fault")
    assert not failure.exists()


def test_without_a_file_to_report_to_the_line_is_all(capsys, monkeypatch):
    monkeypatch.delenv(FAILURE_FILE, raising=False)
    with pytest.raises(SystemExit), step("prepare_data", dsl.Dataset()):
        storage.fetch("/nowhere")
    assert capsys.readouterr().err == "error: prepare_data: no such file or folder. Received: path='/nowhere'\n"


def test_a_step_reads_numbers_that_kfp_made_floats_of():
    class Section(Config):
        count: int = 0

    assert parse(Section, {"count": 100.0}).to_parameter() == {"count": 100}
