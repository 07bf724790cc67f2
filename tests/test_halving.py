"""Halvings: after which comparison they are allowed, who goes on, and what is said of those that stop."""

import json
import os
import subprocess

import pytest
import test_comparison
import yaml
from click.testing import CliRunner
from outcomes import IMAGES, MEASURE, STEPS, candidate, write_scores

from ganlib import selection, storage
from ganlib.evaluation import EvaluationConfig
from ganlib.selection import Halving, Outcome, halve_candidates, read_former, recommend, try_candidate
from ganlib.selection.candidate import Places
from ganlib.selection.failures import Failure
from ganlib.tracking import RunGroup
from pipelines.budgets import Budget
from pipelines.candidates import comparison_group, make_candidates, resolve_variants
from pipelines.command.main import main
from pipelines.gan_comparison import compile_comparison
from pipelines.variants import parse_variant

FOUR = ("dcgan", "sngan", "lsgan", "gan")
DATA = "a" * 64
HALVING = Halving(
    fraction=0.25, former="cats", candidates=8, correlation=0.83, low=0.41, high=0.96, kept=0.97, data=DATA
)


@pytest.fixture(scope="module")
def former(tmp_path_factory):
    """A finished comparison whose early scores tell the final ones."""
    folder = tmp_path_factory.mktemp("former") / "cats"
    values = {name: 10.0 * place for place, name in enumerate(FOUR, start=1)}
    found = [candidate(folder, name, seed, value + seed) for name, value in values.items() for seed in (0, 1)]
    recommend(found, output=folder / "recommendation")
    write_scores(folder / "scores", 10.0, dataset_sha256=DATA)
    return folder


def rewritten(former, folder, **early):
    """Returns a copy of a comparison in which something else was measured; without anything, nothing was."""
    for part in ("recommendation", "scores"):
        storage.publish(former / part, folder / part)
    facts = storage.read_json(former / "recommendation" / "recommendation.json")
    facts["early"] = [{**one, **early} for one in facts["early"] if early]
    storage.write_json(folder / "recommendation" / "recommendation.json", facts)
    return folder


def test_a_halving_comes_as_early_as_scores_tell_the_final_ones(former, tmp_path):
    found = read_former(former)
    assert (found.former, found.candidates, found.data, found.fraction) == ("cats", 8, DATA, 0.25)
    assert 0.0 < found.low < found.correlation <= found.high
    facts = storage.read_json(former / "recommendation" / "recommendation.json")
    facts["early"][0]["low"] = -0.1
    storage.publish(former / "scores", tmp_path / "scores")
    storage.write_json(tmp_path / "recommendation" / "recommendation.json", facts)
    assert read_former(tmp_path).fraction == 0.5


@pytest.mark.parametrize(
    ("early", "message"),
    [
        (
            {"correlation": 0.31, "low": -0.2, "high": 0.7},
            r"clearly above zero.*at 25 % of.* was 0\.31 \(95 % interval -0\.20 to 0\.70",
        ),
        ({"correlation": None, "low": None, "high": None}, "early and final scores were compared"),
        ({}, "early and final scores were compared"),
    ],
)
def test_without_early_scores_that_tell_the_final_ones_there_is_no_halving(former, tmp_path, early, message):
    with pytest.raises(ValueError, match=message):
        read_former(rewritten(former, tmp_path / "other", **early))


def made(*texts, halving=HALVING, budget=Budget("steps", STEPS), seeds=1):  # noqa: B008  # frozen
    found = [parse_variant(text) for text in texts]
    base, configs = resolve_variants(found, chosen=["digits"], files=(), assignments=(), budget=budget)
    return base, make_candidates(configs, seeds=seeds, comparison="c", home="gs://bucket/c", halving=halving)


def paused(root, scores):
    """Writes what candidates leave that paused with the given scores; a text is the reason of a failure."""
    folders = []
    for name, seeds in scores.items():
        for seed, score in enumerate(seeds):
            folder, failed = root / f"{name}-{seed}", isinstance(score, str)
            facts = {"failure": score} if failed else {"failure": "stopped", "halving": HALVING, "images": IMAGES // 4}
            one = candidate(root / "made", name, seed, history=False, steps=STEPS // 4, **facts)
            if not failed and score is not None:
                rows = [{"step": step, f"training/{MEASURE}": score + (step - 200) ** 2} for step in (100, 200, 300)]
                storage.write_lines(one.folder / "history.jsonl", rows)
            storage.publish(one.folder, folder / "outcome")
            folders.append(folder)
    return folders


def test_the_better_half_of_the_variants_goes_on_by_all_its_seeds(tmp_path):
    """dcgan has the best seed of all, but is second by both; sngan would be first, but a seed of it failed."""
    scores = {"dcgan": [1.0, 9.0], "sngan": [2.0, "out of memory"], "lsgan": [3.0, 4.0], "gan": [20.0, 21.0]}
    _, tried = made(*FOUR, seeds=2)
    assert {one.pause for one in tried} == {200}  # the last score before a quarter of 1,000 steps
    folders = paused(tmp_path, scores)
    for order in (folders, folders[::-1]):
        rest = halve_candidates(order, tried)
        assert [one.name for one in rest] == [one.name for one in tried]
        assert {one.variant for one in rest if one.halving is None} == {"dcgan", "lsgan"}
    assert [one for one in rest if one.halving] == [one for one in tried if one.variant in ("sngan", "gan")]
    without = {"dcgan": [2.0, 3.5], "sngan": [3.0, 4.0], "lsgan": [1.0, None], "gan": [5.0, 6.0]}
    rest = halve_candidates(paused(tmp_path / "without", without), tried)
    assert {one.variant for one in rest if one.halving is None} == {"dcgan", "sngan"}  # a seed without a score is last
    three = {name: scores for name, scores in without.items() if name != "gan"}
    rest = halve_candidates(paused(tmp_path / "three", three), [one for one in tried if one.variant != "gan"])
    assert len({one.variant for one in rest if one.halving is None}) == 2  # at least two, which can be compared
    with pytest.raises(ValueError, match="all candidates failed: dcgan, seed 0 and 1 more: full"):
        halve_candidates(paused(tmp_path / "all", {name: ["full"] for name in ("dcgan", "sngan")}), tried)


def test_a_halving_is_not_called_a_comparison_and_does_not_rank_what_it_stopped(tmp_path):
    found = [
        candidate(tmp_path, name, seed, value + seed) for name, value in (("a", 10.0), ("b", 90.0)) for seed in (0, 1)
    ]
    for name in ("c", "d"):
        text = "stopped at 25 % of the budget by a halving, with fd 140 at best"
        found.append(candidate(tmp_path, name, 0, failure=text, halving=HALVING, steps=250, images=IMAGES // 4))
    told = recommend(found, output=tmp_path / "out")
    begin = "A halving, not a comparison at an equal budget: after 25 % of the budget, c and d stopped. Take a."
    assert told.answer.startswith(begin)
    assert (told.halving, told.early) == (HALVING, ())
    assert [one.probability for one in told.results][2:] == [None, None]
    [said] = [reason for reason in told.reasons if "rank correlation" in reason]
    assert "in cats, the rank correlation of scores at 25 % of the budget with the final ones was 0.83" in said
    assert "This halving used 75 % of the budget of a full comparison." in said
    assert not any("a seed failed" in reason for reason in told.reasons)
    page = told.report.read_text()
    assert "with fd 140 at best" in page
    assert "a square one that the halving stopped" in page
    assert "Early scores against final ones" not in page


def test_a_candidate_that_paused_says_where(digits, reference, tmp_path, monkeypatch):
    pause = Failure("paused at step 200", may_pass=False, paused=True)
    monkeypatch.setattr(selection.candidate, "run_in_child", lambda _: pause)
    _, [one, *_] = made(*FOUR)
    reference.save(tmp_path / "reference")
    places = Places(digits.folder, tmp_path / "reference", tmp_path / "trained", tmp_path / "scores")
    tried = try_candidate(one, EvaluationConfig(), places, group=RunGroup("c", "0" * 32))
    assert tried.page.startswith("<!doctype html><title>paused</title>")
    outcome = Outcome.open(places.outcome)
    assert outcome.failure == tried.failure == "stopped at 20 % of the budget by a halving"
    assert (outcome.steps, outcome.images) == (200, 200 * one.images_per_step)
    assert outcome.halving == HALVING.model_copy(update={"paused": 0.2})


def test_a_halving_after_a_comparison_of_other_images_is_refused(digits, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(selection.candidate, "run_in_child", lambda work: work())  # TensorFlow was used in this process
    _, [one, *_] = made(*FOUR)
    reference.save(tmp_path / "reference")
    places = Places(digits.folder, tmp_path / "reference", tmp_path / "trained", tmp_path / "scores")
    failed = try_candidate(one, EvaluationConfig(), places, group=RunGroup("c", "0" * 32))
    assert "expected a halving after a full comparison of the same images" in failed.failure


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "3"], "expected a budget of images or steps with --halving"),
        (["--steps", "100", "--set", "training.score_every=50"], "expected a score at about 25 % of the steps"),
        (["--steps", "1000", "--set", "training.score_every=143"], "the last one before is at 14 %"),
        (["--name", "cats", "--root", "FORMER"], "expected another --name"),
        (["-o", "x.yaml"], "a halving goes on from checkpoints; expected platform.checkpoints"),
    ],
)
def test_what_cannot_be_halved_is_refused_in_one_line(former, tmp_path, words, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [word for name in FOUR for word in ("--variant", name)]
    words = [str(former.parent) if word == "FORMER" else word for word in words]
    done = CliRunner().invoke(main, ["compare-variants", "--halving", str(former), *texts, *words])
    assert done.exit_code == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert message in line
    two = CliRunner().invoke(main, ["compare-variants", "--halving", str(former), *texts[:4], "--dry-run"])
    assert "expected 3 variants or more with --halving" in two.stderr


def test_a_cluster_tries_all_and_then_those_that_go_on(tmp_path):
    base, tried = made(*FOUR, seeds=2)
    group = comparison_group("c", base, place="")
    for halved in (False, True):
        given = tried if halved else [one.model_copy(update={"halving": None}) for one in tried]
        compile_comparison(base, given, group, tmp_path / "c.yaml")
        tasks = yaml.safe_load((tmp_path / "c.yaml").read_text())["root"]["dag"]["tasks"]
        loops = [task for task in tasks.values() if "parameterIterator" in task]
        assert (len(loops), "halve-candidates" in tasks) == ((2, True) if halved else (1, False))
    assert {task["parameterIterator"]["items"]["inputParameter"] for task in loops} == {
        "pipelinechannel--candidates",
        "pipelinechannel--halve-candidates-Output",
    }
    [chosen] = tasks["choose-candidate"]["inputs"]["artifacts"].values()
    assert chosen["taskOutputArtifact"]["producerTask"] == "for-loop-2"


@pytest.mark.skipif("GAN_PIPELINES_EVERY_PAIR" not in os.environ, reason="takes minutes")
def test_a_halving_runs_after_a_comparison_and_trains_nothing_twice(tmp_path):
    root, variants = tmp_path / "runs", [word for name in FOUR[:3] for word in ("--variant", name)]
    size = ["--steps", "8", "--set", "training.score_every=2", "--set", "training.checkpoint_every=4"]
    full = test_comparison.command(root, *variants, *size)
    settings = test_comparison.environment()
    assert subprocess.run(full, env=settings, check=False).returncode == 0
    again = rewritten(root / "c", tmp_path / "full", correlation=0.9, low=0.5, high=0.95)
    command = ["h" if word == "c" else word for word in full] + ["--halving", str(again)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])["recommendation"]
    assert said["answer"].startswith("A halving, not a comparison at an equal budget: after 25 % of the budget, ")
    assert [len(result["scores"]) for result in said["results"]] == [1, 1, 0]
    assert done.stdout.count("train: resumes from step 2") == 3  # two that go on, and one to its pause
    assert done.stdout.count(" paused: ") == 4
    repeated = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert repeated.returncode == 0
    assert "candidate: " not in repeated.stdout
