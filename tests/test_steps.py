"""The frame of a step: its exit code, its one line, its time."""

import json

import pytest
from kfp import dsl

from ganlib.schema import Config, parse
from ganlib.steps import FAILURE_FILE, step
from ganlib.training import TrainConfig, TrainingDiverged


@pytest.fixture
def failure(tmp_path, monkeypatch):
    path = tmp_path / "failure.json"
    monkeypatch.setenv(FAILURE_FILE, str(path))
    return path


def raising(error):
    with step("prepare_data", dsl.Dataset()):
        raise error


def test_a_step_that_ends_well_leaves_its_time(failure):
    dataset = dsl.Dataset()
    with step("prepare_data", dataset):
        dataset.metadata["count"] = 3
    assert dataset.metadata["count"] == 3
    assert dataset.metadata["seconds"] > 0
    assert not failure.exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("expected a folder. Received: path='x'"), 2),
        (OSError("disk full"), 1),
        (RuntimeError("the exported model cannot be loaded"), 1),
        (TrainingDiverged("generator/loss became infinite"), 1),
    ],
)
def test_an_expected_end_is_one_line_with_the_steps_name_and_a_code(error, code, capsys, failure):
    with pytest.raises(SystemExit) as caught:
        raising(error)
    assert caught.value.code == code
    assert capsys.readouterr().err == f"error: prepare_data: {error}\n"
    assert json.loads(failure.read_text()) == {"step": "prepare_data", "message": str(error), "code": code}


def test_a_parameter_that_does_not_fit_is_told_field_by_field(capsys, failure):
    with pytest.raises(SystemExit) as caught, step("train_gan", dsl.Model()):
        TrainConfig.model_validate({"steps": 0.0, "colour": "red"})
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("error: train_gan: steps: Input should be greater than or equal to 1. Received: steps=0.0; ")
    assert told.endswith("colour: unknown option. Received: colour='red'\n")
    assert json.loads(failure.read_text())["step"] == "train_gan"


def test_a_fault_of_the_program_keeps_its_traceback(failure):
    with pytest.raises(KeyError):
        raising(KeyError("a fault"))
    assert not failure.exists()


def test_without_a_file_to_report_to_the_line_is_all(capsys):
    with pytest.raises(SystemExit):
        raising(ValueError("this"))
    assert capsys.readouterr().err == "error: prepare_data: this\n"


def test_a_step_reads_numbers_that_kfp_made_floats_of():
    class Section(Config):
        count: int = 0

    assert parse(Section, {"count": 100.0}).to_parameter() == {"count": 100}
