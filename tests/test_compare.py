"""Scores are compared only if they were measured in the same way."""

from dataclasses import asdict

import pytest
from click.testing import CliRunner

from ganlib import storage
from ganlib.evaluation import Evaluation, compare
from ganlib.evaluation.scores import Score
from pipelines.command.main import main

PROTOCOL = {"measure": "fd_x", "extractor_sha256": "abc", "generated_count": 60, "generator": "best", "seed": 1}


def evaluation(folder, *scores, **protocol):
    folder.mkdir(parents=True)
    rows = [asdict(score) for score in scores]
    storage.write_json(folder / "scores.json", {"scores": rows, "protocol": {**PROTOCOL, **protocol}, "notes": []})
    return Evaluation.open(folder)


@pytest.mark.parametrize("saved", [[1], {}, {"scores": 3}, {"scores": [{"a": 1}], "protocol": {}, "notes": []}])
def test_a_folder_without_valid_scores_is_reported_in_one_line(saved, tmp_path):
    storage.write_json(tmp_path / "scores.json", saved)
    result = CliRunner().invoke(main, ["compare", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: expected scores, as `evaluate` saves them. Received: folder={str(tmp_path)!r}"
    ]


@pytest.mark.parametrize("name", ["value", "floor", "error", "floor_error"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failure(name, number):
    fields = {"value": 1.0, "floor": 1.0, "error": 0.1, "floor_error": 0.1, name: number}
    with pytest.raises(
        ValueError, match=rf"^the measure fd_x cannot be computed for these images\. Received: {name}={number}$"
    ):
        Score("fd_x", meaning="", **fields)


def test_scores_of_one_protocol_are_compared(tmp_path):
    first = evaluation(tmp_path / "a", Score("fd_x", 12.0, 1.0, ""), Score("only", 1.0, None, ""))
    second = evaluation(tmp_path / "b", Score("kd_x", 0.5, 0.0, "", 0.1), Score("fd_x", 9.0, 1.0, ""), seed=2)
    shared = compare(first, second)
    assert {name: (one.value, other.value) for name, (one, other) in shared.items()} == {"fd_x": (12.0, 9.0)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"extractor_sha256": "abd"}, "extractor_sha256='abc' and 'abd'"),
        ({"generated_count": 50, "generator": "last"}, "generated_count=60 and 50; generator='best' and"),
        ({"truncation": 0.7}, "truncation=not recorded and 0.7"),
    ],
    ids=["space", "counts", "further"],
)
def test_different_protocols_are_refused_and_each_difference_is_named(tmp_path, changed, message):
    first, second = evaluation(tmp_path / "a"), evaluation(tmp_path / "b", **changed)
    for pair in ((first, second), (second, first)):
        with pytest.raises(ValueError, match=r"^expected scores of one protocol\."):
            compare(*pair)
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr


def test_the_command_prints_runs_side_by_side(tmp_path):
    evaluation(tmp_path / "cats" / "scores", Score("fd_x", 12.0, 1.0, ""), Score("kd_x", 0.5, 0.0, "", 0.12))
    evaluation(tmp_path / "dogs" / "scores", Score("fd_x", 9.0, 1.0, ""), Score("cas_x", 0.25, 0.75, ""))
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "cats"), str(tmp_path / "dogs" / "scores")])
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()] == [
        ["score", "cats", "dogs", "real", "images"],
        ["fd_x", "12", "9", "1"],
        ["kd_x", "0.5", "±", "0.12", "-", "0"],
        ["cas_x", "-", "0.25", "0.75"],
    ]


def test_a_folder_without_scores_is_a_users_mistake(tmp_path):
    result = CliRunner().invoke(main, ["compare", str(tmp_path)])
    assert result.exit_code == 2
    assert "expected the file scores.json" in result.stderr


def test_a_run_that_has_not_finished_is_no_other_folder(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "log.txt").touch()
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "cats")])
    message = f"the run has no scores: it has not finished. Received: run='{tmp_path / 'cats'}'"
    assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")
