"""A run that was stopped, raised, rolled back or killed is, bit for bit, the run that nothing of that happened to."""

import dataclasses

import numpy as np
import psutil
import pytest
import test_health
from loop import TASK, arrays, begun, stepped
from test_health import SMALL, WILD, damaged_feed, events, weights

from ganlib import storage
from ganlib.data import PreparedDataset
from ganlib.objectives import NonSaturating
from ganlib.tracking import Tracker
from ganlib.training import Adam, TrainingPaused
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.state import Best, Clock, HealthRecord
from ganlib.training.trainer import Trainer


def run(*arguments, **settings):
    return test_health.run(*arguments, **{"architecture": SMALL, **settings})


def same(whole, resumed):
    """Weights, rows, events and what is told of the best are equal; the clock's readings aside."""
    for kept in ("best", "last"):
        assert all((a == b).all() for a, b in zip(weights(whole, kept), weights(resumed, kept), strict=True)), kept
    lines = [
        [
            {name: value for name, value in line.items() if name not in ("time", "speed/steps_per_second")}
            for line in storage.read_lines(model.folder / "history.jsonl")
        ]
        for model in (whole, resumed)
    ]
    assert lines[0] == lines[1]
    for fact in ("best_step", "best_score", "last_step", "rollbacks", "stopped"):
        assert whole.facts[fact] == resumed.facts[fact], fact
    return True


def test_a_run_whose_steps_were_raised_is_the_one_that_had_them_at_once(digits, reference, tmp_path):
    """It ended between all rhythms, at a score's step, and at a checkpoint's, each time judged by strict thresholds."""
    settings = {"steps_per_loop": 5, "score_every": 4, "checkpoint_every": 6, "sample_every": 9}
    settings |= {"health": {"patience": 1, "degraded_factor": 1.0001, "degraded_scores": 1}}
    whole = run(digits, reference, tmp_path / "whole", home=str(tmp_path / "one"), steps=17, **settings)
    for steps in (7, 8, 12):
        run(digits, reference, tmp_path / f"to-{steps}", home=str(tmp_path / "two"), steps=steps, **settings)
    same(whole, run(digits, reference, tmp_path / "rest", home=str(tmp_path / "two"), steps=17, **settings))


def test_a_run_that_pauses_goes_on_as_if_it_had_not(digits, reference, tmp_path):
    """Its learning rates fall towards the last step, which is that of the whole run."""
    settings = {"steps_per_loop": 5, "score_every": 4, "checkpoint_every": 6, "sample_every": 9}
    settings |= {"steps": 17, "schedule": "linear"}
    whole = run(digits, reference, tmp_path / "whole", home=str(tmp_path / "one"), **settings)
    for again in range(2):
        with pytest.raises(TrainingPaused, match="paused at step 8"):
            run(digits, reference, tmp_path / f"{again}", home=str(tmp_path / "two"), pause_at=8, **settings)
    assert storage.read_lines(tmp_path / "two" / "history.jsonl")[-1]["step"] == 8
    same(whole, run(digits, reference, tmp_path / "rest", home=str(tmp_path / "two"), **settings))


SURE = {"saturated": "stop", "saturation_accuracy": 0.500001, "saturation_loss": 100.0}
LEARNS = {"generator_optimizer": Adam(learning_rate=0.0), "discriminator_optimizer": Adam(learning_rate=0.02)}
ALIKE = {"collapsed": "stop", "warmup_scores": 1, "min_variance_ratio": 0.99}
STOPS = {
    "plateau": (
        {name: Adam(learning_rate=0.0) for name in WILD},
        {"plateau": "stop", "patience": 1},
        {"plateau": "stop", "patience": 4},
    ),
    "degraded": (
        {**WILD, "architecture": test_health.MODEL, "steps": 20},
        {"degraded": "roll_back", "degraded_factor": 1.0001, "degraded_scores": 1, "max_rollbacks": 0},
        {"degraded": "roll_back", "degraded_factor": 1.0001, "degraded_scores": 1, "max_rollbacks": 9},
    ),
    "collapsed": ({}, {**ALIKE, "collapse_scores": 2}, {**ALIKE, "collapse_scores": 4}),
    "saturated": (LEARNS, {**SURE, "saturation_steps": 4}, {**SURE, "saturation_steps": 400}),
    "non_finite": ({"bad": [5]}, {"non_finite": "stop"}, {"non_finite": "roll_back"}),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_stopped_run_is_judged_again_by_the_present_settings(digits, reference, tmp_path, name):
    settings, strict, patient = (dict(part) for part in STOPS[name])
    data = damaged_feed(digits, numbers=settings.pop("bad")) if "bad" in settings else digits
    stopped = run(data, reference, tmp_path / "stopped", home=str(tmp_path / "two"), health=strict, **settings)
    assert stopped.facts["stopped"]
    if name == "plateau":  # by the same settings it stays stopped
        same(stopped, run(data, reference, tmp_path / "again", home=str(tmp_path / "two"), health=strict, **settings))
    whole = run(data, reference, tmp_path / "whole", home=str(tmp_path / "one"), health=patient, **settings)
    assert whole.facts["last_step"] > stopped.facts["last_step"]
    same(whole, run(data, reference, tmp_path / "rest", home=str(tmp_path / "two"), health=patient, **settings))


def test_a_sign_that_lasts_already_is_judged_again_by_the_present_settings(digits, reference, tmp_path):
    """A run that never gets better goes on with less patience, with the same, and told to stop and not only to note."""
    still = {name: Adam(learning_rate=0.0) for name in WILD}
    home, told = str(tmp_path / "home"), [(10, "plateau", "noted")]
    for steps, patience, expected in ((10, 20, []), (12, 3, told), (14, 3, told)):
        output, health = tmp_path / f"to-{steps}", {"patience": patience}
        assert events(run(digits, reference, output, home=home, steps=steps, health=health, **still)) == expected
    health = {"patience": 3, "plateau": "stop"}
    rest = run(digits, reference, tmp_path / "rest", home=home, steps=40, health=health, **still)
    assert events(rest) == [*told, (14, "plateau", "stopped")]
    assert rest.facts["last_step"] == 14


def test_a_run_that_reached_a_limit_goes_on_as_if_there_had_been_none(digits, reference, tmp_path):
    home = str(tmp_path / "two")
    whole = run(digits, reference, tmp_path / "whole", home=str(tmp_path / "one"), score_every=3)
    for name, limit in (("minutes", {"max_minutes": 1e-9}), ("target", {"target_score": 1e9})):
        stopped = run(digits, reference, tmp_path / name, home=home, score_every=3, **limit)
        assert limit.keys() <= {word.partition("=")[0].rpartition(".")[2] for word in stopped.facts["stopped"].split()}
    same(whole, run(digits, reference, tmp_path / "rest", home=home, score_every=3))


def test_a_run_that_is_killed_around_a_rollback_again_and_again_ends_with_the_same_bits(
    digits, reference, tmp_path, monkeypatch
):
    """It dies as it records a step: before any checkpoint, at the rollback, at a checkpoint after it, at the end."""
    damaged, record, home = damaged_feed(digits, numbers=[5]), Tracker.metrics, str(tmp_path / "two")
    whole = run(damaged, reference, tmp_path / "whole", home=str(tmp_path / "one"))
    assert whole.facts["rollbacks"] == 1
    for deadly in (2, 6, 8, 12):

        def dies(tracker, step, row):
            if step == deadly:  # noqa: B023  # called within this round
                raise OSError("killed")
            record(tracker, step, row)

        monkeypatch.setattr(Tracker, "metrics", dies)
        with pytest.raises(OSError, match="killed"):
            run(damaged, reference, tmp_path / f"to-{deadly}", home=home)
    monkeypatch.setattr(Tracker, "metrics", record)
    same(whole, run(damaged, reference, tmp_path / "rest", home=home))


def test_every_collapse_is_rolled_back(digits, reference, tmp_path, monkeypatch):
    """The distances between samples are those of a script: diverse, then alike, again and again."""
    script = iter([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    monkeypatch.setattr(type(reference), "diversity", lambda *_: (next(script, 1.0), 1.0))
    scores = iter([5.0])
    monkeypatch.setattr(type(reference), "distance_of", lambda *_: next(scores, 6.0))
    health = {"collapsed": "roll_back", "collapse_scores": 1, "min_variance_ratio": 0.1, "warmup_scores": 100}
    model = run(digits, reference, tmp_path / "model", steps=14, health={**health, "max_rollbacks": 5})
    told = [(event["step"], event["event"], event["reaction"].split(" to ")[0]) for event in model.events]
    assert told == [(step, "collapsed", "rolled back") for step in (4, 6, 10, 12)], told


def test_a_rollback_changes_what_is_trained_and_nothing_else(digits, tmp_path):
    state, _ = stepped(digits, objective=NonSaturating(), steps=2, architecture=SMALL)
    state.clock, state.best = Clock(2, 2, 1, 3.0, 4.0), Best(5.0, 2, {"generator/000": np.ones(2)})
    state.health = HealthRecord(
        diverse=True, signs={"plateau": 1}, events={"degraded": 2}, rollbacks=1, learning_rate_scale=0.5
    )
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save_best(state)
    best = arrays(state)
    for variable in state.trained.variables().values():
        variable.assign(np.array(variable) + 1)
    state.clock, state.health = Clock(9, 8, 7, 6.0, 5.0), HealthRecord(diverse=True, signs={"plateau": 4}, rollbacks=3)
    others = {part.name: getattr(state, part.name) for part in dataclasses.fields(state) if part.name != "trained"}
    before = {name: repr(part) for name, part in others.items()}
    assert checkpoints.roll_back(state) == 2
    assert all((array == best[name]).all() for name, array in arrays(state).items())
    assert all(getattr(state, name) is part and repr(part) == before[name] for name, part in others.items())


def test_a_checkpoint_of_another_version_is_refused_in_one_line(digits, tmp_path):
    state, _ = stepped(digits, objective=NonSaturating(), steps=1, architecture=SMALL)
    facts = np.frombuffer(b'{"step": 1, "diverse": true}', np.uint8)
    np.savez(tmp_path / "step-000000001.npz", **arrays(state), **{"facts.json": facts})
    with pytest.raises(ValueError, match=r"^expected a checkpoint of format .*; take another run name.*format=None$"):
        Checkpoints(tmp_path, keep=1).restore(state)


class Large(PreparedDataset):
    """Forty megabytes of grey images."""

    def __init__(self):
        splits = {"train": {"count": 160_000}}
        super().__init__(None, {"image_shape": [16, 16, 1], "classes": [], "preparation": {}, "splits": splits})

    def examples(self, split):
        del split
        yield {"images": np.full((160_000, 16, 16, 1), 7, np.uint8), "labels": np.zeros(160_000, np.int64)}


def test_ten_rollbacks_need_the_memory_of_one():
    images = Large()
    config, strategy, state = begun(images, architecture=SMALL, steps=13, steps_per_loop=1)
    trainer = Trainer(state, task=TASK, objective=NonSaturating(), strategy=strategy, config=config)
    memory = []

    class RollBack:
        every = None

        def __call__(self, step, row, state):
            state.health.rollbacks += 1
            memory.append(psutil.Process().memory_info().rss)

    trainer.run(lambda start: images.batches(batch_size=8, seed=3, start=start), steps=13, callbacks=[RollBack()])
    assert memory[-1] - memory[2] < 160_000 * 256 / 2, [round(used / 2**20) for used in memory]
