"""Training notices problem, does what it was told to, says so everywhere, and knows when to end."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from loop import MODEL, TASK

from ganlib import storage
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.statistics import Statistics
from ganlib.models import Dcgan, Mlp
from ganlib.objectives import NonSaturating
from ganlib.tracking import Tracker
from ganlib.training import Adam, HealthConfig, RmsProp, TrainConfig, TrainedModel, TrainingDiverged, health, train
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.guard import CheckScores, Guard, time_limit_message
from ganlib.training.health import Finding
from ganlib.training.state import Best, Clock, HealthRecord, Trained, TrainState

QUICK = {
    "steps": 12,
    "batch_size": 8,
    "steps_per_loop": 2,
    "score_every": 2,
    "sample_every": 100,
    "checkpoint_every": 4,
    "score_samples": 60,
    "precision": "float32",
}
MEASURE = "training/fd_digits_classifier"
SMALL = Mlp(generator_width=4, discriminator_width=2, maxout_pieces=2)


def run(dataset, reference, output, *, architecture=MODEL, objective=None, health=None, pause_at=None, **settings):
    # Nets that made a few steps draw images all alike: that is looked at where a test is about it.
    watched = {"health": HealthConfig(**{"min_variance_ratio": 0.0, "min_distance_ratio": 0.0, **(health or {})})}
    config = TrainConfig(**{**QUICK, **watched, **settings})
    return train(
        dataset,
        reference,
        task=TASK,
        architecture=architecture,
        objective=objective or NonSaturating(),
        config=config,
        output=output,
        pause_at=pause_at,
    )


def events(model: TrainedModel):
    return [(event["step"], event["event"], event["reaction"].partition(" to ")[0]) for event in model.events]


def weights(model, kept="last"):
    return model.network(kept).get_weights()


class Fed:
    """Prepared images that are changed on their way to training.

    `change` maps the number of a batch and its images to what training gets.
    """

    def __init__(self, dataset, change):
        self._dataset, self._change = dataset, change

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def batches(self, *, batch_size, seed, start=0):
        plain = self._dataset.batches(batch_size=batch_size, seed=seed, start=start)
        return plain.enumerate(start).map(
            lambda number, batch: {**batch, "images": self._change(number, batch["images"])}
        )


def damaged_feed(dataset, *, numbers):
    """Some batches hold NaN, as a broken decoder or a bad disk would give them."""

    def damage(number, images):
        bad = tf.reduce_any(tf.equal(number, tf.constant(numbers, tf.int64)))
        images = tf.cast(images, tf.float32)
        return tf.where(bad, images * float("nan"), images)

    return Fed(dataset, damage)


def stuck_feed(dataset, *, number):
    """One image only from some batch on: whoever learns from it collapses."""
    return Fed(dataset, lambda index, images: tf.where(index < number, images, tf.repeat(images[:1], 16, axis=0) * 0))


def test_nan_in_the_data_takes_the_run_back_and_lets_it_go_on_gentler(digits, reference, tmp_path):
    model = run(damaged_feed(digits, numbers=[7]), reference, tmp_path / "model")
    assert events(model) == [(8, "non_finite", "rolled back")]
    [event] = model.events
    assert "within steps [7, 8]" in event["text"]
    assert "discriminator/real" in event["text"]
    assert model.facts["rollbacks"] == 1
    assert all(np.isfinite(array).all() for array in weights(model))
    lines = (model.folder / "history.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]  # any program reads it: there is no NaN
    rates = {row["step"]: row["learning_rate/generator"] for row in rows if "learning_rate/generator" in row}
    assert rates[6] == pytest.approx(2e-4)
    assert rates[10] == rates[12] == pytest.approx(1e-4)
    assert all(np.isfinite(value) for row in model.history for value in row.values())
    assert next(row for row in model.history if row["step"] == 8)["health/non_finite"] == 1.0


def test_the_state_that_a_rollback_takes_back_is_the_best_one(digits, reference, tmp_path):
    """With learning rates of zero from there on, the last generator is the one of the best score."""
    model = run(
        damaged_feed(digits, numbers=[7]),
        reference,
        tmp_path / "model",
        health={"rollback_learning_rate_factor": 1e-30},
        steps=8,
    )
    best = model.step("best")
    plain = run(digits, reference, tmp_path / "plain", steps=best)
    assert best < 8
    assert all((a == b).all() for a, b in zip(weights(model), weights(plain), strict=True))


def test_nan_that_comes_again_and_again_ends_in_a_failure_that_says_what_to_try(digits, reference, tmp_path):
    damaged = damaged_feed(digits, numbers=list(range(5, 100)))
    with pytest.raises(TrainingDiverged, match=r"infinite or NaN somewhere within steps \[9, 10\]\. Try a lower"):
        run(damaged, reference, tmp_path / "model", health={"max_rollbacks": 2}, home=str(tmp_path / "home"))
    assert not (tmp_path / "model").exists()
    told = [
        row["reaction"].split()[0] for row in storage.read_lines(tmp_path / "home" / "history.jsonl") if "event" in row
    ]
    assert told == ["rolled", "rolled", "failed"]
    rows = [row for row in storage.read_lines(tmp_path / "home" / "history.jsonl") if "event" not in row]
    assert [row["health/non_finite"] for row in rows if "health/non_finite" in row] == [1.0, 2.0, 3.0]
    assert any(line.get("status") == "FAILED" for line in storage.read_lines(tmp_path / "home" / "tracking.jsonl"))


def test_a_run_told_to_stop_at_nan_ends_with_its_best_generator(digits, reference, tmp_path):
    damaged = damaged_feed(digits, numbers=[7])
    model = run(damaged, reference, tmp_path / "model", health={"non_finite": "stop"})
    assert events(model) == [(8, "non_finite", "stopped")]
    assert model.facts["last_step"] == 8
    assert model.facts["stopped"].startswith("step 8: non_finite: ")
    assert all((a == b).all() for a, b in zip(weights(model), weights(model, "best"), strict=True))


WILD = {name: Adam(learning_rate=0.05) for name in ("generator_optimizer", "discriminator_optimizer")}


def test_rates_a_hundred_times_too_high_are_noticed_and_lowered(digits, reference, tmp_path, capsys):
    model = run(
        digits,
        reference,
        tmp_path / "model",
        architecture=Dcgan(width=8, dropout=0.0),
        **WILD,
        seed=2,
        steps=120,
        score_every=5,
        steps_per_loop=5,
        health={"max_rollbacks": 1, "degraded": "roll_back", "degraded_factor": 1.05, "degraded_scores": 1},
    )
    first, *_ = events(model)
    assert first[1] in ("degraded", "collapsed", "non_finite")
    assert first[2] == "rolled back"
    assert f"health: step {first[0]}: {first[1]}, rolled back to the state of step" in capsys.readouterr().out
    rates = {row["step"]: row["learning_rate/generator"] for row in model.history}
    assert rates[first[0]] == pytest.approx(0.05)
    assert all(rate == pytest.approx(0.025) for step, rate in rates.items() if step > first[0])


def test_a_discriminator_without_a_generator_becomes_saturated(digits, reference, tmp_path):
    model = run(
        digits,
        reference,
        tmp_path / "model",
        architecture=Dcgan(width=8, dropout=0.0),
        generator_optimizer=Adam(learning_rate=0.0),
        discriminator_optimizer=Adam(learning_rate=2e-3),
        steps=200,
        score_every=100,
        health={"saturated": "stop", "saturation_steps": 20},
    )
    [(step, problem, reaction)] = events(model)
    assert (problem, reaction) == ("saturated", "stopped")
    assert 20 <= step < 200
    assert model.facts["last_step"] == step
    last = model.history[-1]
    assert last["discriminator/accuracy"] >= 0.99
    assert last["discriminator/loss"] < 0.05
    assert "for 20 steps. Try a penalty" in model.events[0]["text"]


ALIKE = {"min_variance_ratio": 0.1, "min_distance_ratio": 0.1}


class Single(Dcgan):
    """A generator that knows one image only."""

    def generator(self, **arguments):
        network = super().generator(**arguments)
        network.layers[1].trainable = False
        network.layers[1].kernel.assign(tf.zeros_like(network.layers[1].kernel.value))
        return network


def test_a_generator_that_emits_one_image_has_collapsed(digits, reference, tmp_path):
    model = run(
        digits,
        reference,
        tmp_path / "model",
        architecture=Single(width=4),
        health={"collapsed": "stop", "warmup_scores": 1, "collapse_scores": 2, **ALIKE},
    )
    assert events(model) == [(6, "collapsed", "stopped")]
    scored = [row for row in model.history if MEASURE in row]
    assert all(row["diversity/variance"] < 1e-6 for row in scored)
    assert all(row["diversity/nearest"] < 1e-3 for row in scored)


def test_collapse_is_measured_against_real_images(digits, reference):
    images = digits.load("test")[0]
    features = reference.features([images])
    variance, nearest = reference.diversity(features)
    assert variance == pytest.approx(1.0, abs=0.2)
    assert nearest == pytest.approx(1.0)
    modes = np.concatenate([images[:5]] * 72)  # five images over and over: much variance, no neighbours apart
    variance, nearest = reference.diversity(reference.features([modes]))
    assert variance > 0.3
    assert nearest < 1e-6


def test_a_late_collapse_of_dcgan_leaves_the_best_generator_and_says_so(digits, reference, tmp_path, capsys):
    model = run(
        stuck_feed(digits, number=100),
        reference,
        tmp_path / "model",
        architecture=Dcgan(width=8, dropout=0.0),
        generator_optimizer=Adam(learning_rate=5e-3),
        discriminator_optimizer=Adam(learning_rate=2e-3),
        batch_size=16,
        steps=400,
        steps_per_loop=20,
        score_every=20,
        score_samples=100,
        health={"collapsed": "stop", "degraded": "note", "degraded_scores": 2, **ALIKE},
    )
    scores = {row["step"]: row[MEASURE] for row in model.history if MEASURE in row}
    best = min(scores, key=scores.get)
    assert model.step("best") == best
    noticed = {problem for _, problem, _ in events(model)}
    assert noticed <= {"degraded", "collapsed"}
    assert noticed
    assert events(model)[-1][0] > 100
    assert scores[model.facts["last_step"]] > 1.5 * scores[best]
    assert any((a != b).any() for a, b in zip(weights(model, "best"), weights(model, "last"), strict=True))
    told = capsys.readouterr().out
    assert f"times the best, {scores[best]:.4g} of step {best}" in told or "collapsed, stopped" in told


def test_every_trouble_of_a_measurement_gets_its_reaction(digits, reference, tmp_path):
    """One that is only noted does not hide another that ends the run."""
    checkpoints, tracker = Checkpoints(tmp_path / "checkpoints", keep=1), Tracker(tmp_path)
    config = HealthConfig(collapsed="note", degraded="stop", collapse_scores=1, degraded_scores=1)
    alive = state(step=9, best=Best(1.0, 3), diverse=True)
    judge = CheckScores(Guard(config, checkpoints, tracker), measure=MEASURE, every=1)
    judge(9, {MEASURE: 5.0, health.VARIANCE: 0.0, health.NEAREST: 0.0}, alive)
    assert alive.health.events == {"collapsed": 1, "degraded": 1}
    assert alive.ending.reason == "degraded"


@pytest.mark.parametrize("known", [{"diverse": False}, {"diverse": True, "step": 10}], ids=["never better", "the end"])
def test_a_rollback_that_would_change_nothing_is_not_made(tmp_path, known):
    guard = Guard(HealthConfig(), Checkpoints(tmp_path / "none", keep=1), Tracker(tmp_path), last_step=10)
    alive = state(**{"step": 9, "best": Best(1.0, 3), **known})
    guard.react(Finding("collapsed", "alike"), {}, alive)
    assert (alive.health.rollbacks, alive.health.events) == (0, {"collapsed": 1})


def test_the_best_state_is_not_rolled_back_to_itself(tmp_path):
    guard = Guard(HealthConfig(collapse_scores=1), Checkpoints(tmp_path / "none", keep=1), Tracker(tmp_path))
    alive = state(step=9, best=Best(5.0, 9), diverse=True)
    CheckScores(guard, measure=MEASURE, every=1)(9, {MEASURE: 5.0, health.VARIANCE: 0.0, health.NEAREST: 0.0}, alive)
    assert alive.health.rollbacks == 0
    assert alive.health.learning_rate_scale == 1.0
    assert alive.health.events == {"collapsed": 1}


def test_a_failure_says_when_and_what(tmp_path):
    guard = Guard(HealthConfig(degraded="fail"), Checkpoints(tmp_path, keep=1), Tracker(tmp_path))
    with pytest.raises(TrainingDiverged, match=r"step 9, after 2 rollbacks: degraded: much; earlier checkpoints"):
        guard.react(Finding("degraded", "much"), {MEASURE: 7.0}, state(step=9, rollbacks=2))
    [event, row] = storage.read_lines(tmp_path / "history.jsonl")
    assert (event["event"], event["reaction"]) == ("degraded", "failed")
    assert (row["step"], row[MEASURE], row["health/degraded"]) == (9, 7.0, 1.0)


def test_diversity_says_nothing_where_real_images_are_all_alike(reference):
    few = dataclasses.replace(reference, test=Sample(np.zeros_like(reference.test.features)))
    features = reference.test.features
    assert few.diversity(features)[1] == 1.0
    flat = dataclasses.replace(reference, statistics=Statistics.of([np.zeros_like(features)]))
    assert flat.diversity(features)[0] == 1.0


def state(*, best=Best(), step=0, scores=0, rollbacks=0, diverse=False) -> TrainState:  # noqa: B008  # frozen
    """A state without networks."""
    record, clock = HealthRecord(diverse=diverse, rollbacks=rollbacks), Clock(step=step, scores=scores)
    return TrainState(0, Trained(None, {}, None, None), best=best, health=record, clock=clock)


def test_signs_must_last_and_are_told_once_while_they_do():
    config, row = HealthConfig(saturation_steps=100), {health.ACCURACY: 1.0, health.LOSS: 0.001}
    alive = state()
    told = [bool(health.saturated(row, alive, config, steps=40)) for _ in range(5)]
    assert told == [False, False, True, False, False]
    assert not health.saturated({**row, health.ACCURACY: 0.5}, alive, config, steps=40)
    assert [bool(health.saturated(row, alive, config, steps=40)) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("accuracy", "loss", "expected"),
    [(1.0, 0.01, True), (1.0, 0.3, False), (0.9, 0.01, False), (1.0, -40.0, False)],
    ids=["yes", "lossy", "unsure", "critic"],
)
def test_only_a_sure_discriminator_whose_loss_is_near_its_bound_is_saturated(accuracy, loss, expected):
    row = {health.ACCURACY: accuracy, health.LOSS: loss}
    assert bool(health.saturated(row, state(), HealthConfig(saturation_steps=1), steps=1)) == expected


def test_samples_that_were_never_diverse_have_collapsed_only_after_their_grace():
    config, alike = HealthConfig(warmup_scores=3, collapse_scores=2), {health.VARIANCE: 0.01, health.NEAREST: 0.5}
    diverse = {health.VARIANCE: 0.5, health.NEAREST: 0.5}

    def told(rows):
        alive = state()
        for row in rows:
            alive.clock.scores += 1
            yield bool(health.collapsed(row, alive, config))

    assert list(told([alike] * 6)) == [False, False, False, False, True, False]
    assert list(told([diverse, alike, alike])) == [False, False, True]
    assert list(told([diverse, alike, diverse, alike])) == [False] * 4
    assert list(told([diverse, {**diverse, health.NEAREST: 0.01}, alike])) == [False, False, True]


def test_scores_count_as_worse_only_in_a_row_and_far_above_the_best():
    config = HealthConfig(degraded_scores=3)
    alive = state(best=Best(10.0, 4))
    told = [bool(health.degraded(score, alive, config)) for score in (16, 16, 14, 16, 16, 16, 16)]
    assert told == [False, False, False, False, False, True, False]


def test_patience_ends_a_run_without_progress(digits, reference, tmp_path):
    health = {"plateau": "stop", "patience": 2}
    model = run(digits, reference, tmp_path / "model", **WILD, steps=100, health=health)
    [(step, _, reaction)] = [event for event in events(model) if event[1] == "plateau"]
    assert reaction == "stopped"
    assert step == model.step("best") + 2 * 2 == model.facts["last_step"] < 100


def test_a_target_ends_a_run_and_the_same_one_ends_it_again(digits, reference, tmp_path):
    home = str(tmp_path / "home")
    first = run(digits, reference, tmp_path / "a", home=home, target_score=1e9)
    assert first.facts["last_step"] == 2
    assert "target_score=1e+09" in first.facts["stopped"]
    again = run(digits, reference, tmp_path / "b", home=home, target_score=1e9)
    assert again.facts["last_step"] == 2
    assert all((a == b).all() for a, b in zip(weights(first), weights(again), strict=True))


def test_time_ends_a_run_with_a_score(digits, reference, tmp_path):
    model = run(digits, reference, tmp_path / "model", max_minutes=1e-9, score_every=5, steps_per_loop=2)
    assert model.facts["last_step"] == 2
    assert model.facts["stopped"] == "step 2: training.max_minutes=1e-09 is over"
    assert MEASURE in model.history[-1]
    assert model.facts["best_score"] == model.history[-1][MEASURE]


def test_a_time_limit_says_how_far_the_learning_rates_have_fallen():
    state = SimpleNamespace(clock=SimpleNamespace(seconds=60.0, step=30))
    config = TrainConfig(max_minutes=1.0, steps=40, schedule="linear", decay_start_fraction=0.5)
    message = time_limit_message(config, state)
    assert message == (
        "training.max_minutes=1 is over, with learning rates at 50% of their first value: "
        "training.schedule=linear ends at training.steps=40"
    )
    assert time_limit_message(config.model_copy(update={"max_minutes": 1.1}), state) is None


def test_a_rollback_under_two_replicas_goes_on_with_equal_bits_after_an_interruption(digits, reference, tmp_path):
    damaged, settings = damaged_feed(digits, numbers=[6]), {"replicas": 2, "architecture": SMALL}
    whole = run(damaged, reference, tmp_path / "whole", home=str(tmp_path / "one"), **settings)
    run(damaged, reference, tmp_path / "half", home=str(tmp_path / "two"), steps=8, **settings)
    rest = run(damaged, reference, tmp_path / "rest", home=str(tmp_path / "two"), **settings)
    assert events(rest) == events(whole) == [(8, "non_finite", "rolled back")]
    assert all((a == b).all() for a, b in zip(weights(whole), weights(rest), strict=True))


def test_only_the_best_states_that_may_be_needed_are_kept(digits, reference, tmp_path):
    run(digits, reference, tmp_path / "model", home=str(tmp_path / "home"), keep_checkpoints=1)
    model = TrainedModel.open(tmp_path / "model")
    names = sorted(path.name for path in (tmp_path / "home" / "checkpoints").glob("*.npz"))
    *bests, last = names
    assert last == "step-000000012.npz"
    assert bests[-1] == f"best-{model.step('best'):09d}.npz"
    assert len(bests) <= 2  # that of the checkpoint, which is of the moment before its step was scored


def test_events_stand_in_mlflow_as_tag_and_metric_and_in_the_report(digits, reference, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    from ganlib import tracking
    from ganlib.evaluation import EvaluationConfig, evaluate

    uri = tracking.create_store(tmp_path / "mlflow.db", experiment="gan-pipelines", artifacts=tmp_path / "artifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    model = run(damaged_feed(digits, numbers=[7]), reference, tmp_path / "model")
    client = MlflowClient(uri)
    [found] = client.search_runs([client.get_experiment_by_name("gan-pipelines").experiment_id])
    assert found.data.tags["health.non_finite"].startswith("step 8, rolled back to the state of step ")
    assert found.data.metrics["health/non_finite"] == 1.0
    assert found.data.metrics["learning_rate/generator"] == pytest.approx(1e-4)
    assert 0.0 < found.data.metrics["ema/decay"] < 1.0
    scores = evaluate(model, digits, reference, EvaluationConfig(samples=60), tmp_path / "scores")
    page = scores.report.read_text()
    assert "<h2>Health events</h2>" in page
    assert "rolled back to the state of step" in page
    assert page.count("Diversity of the samples") == 1


def test_a_run_without_trouble_has_no_events(digits, reference, tmp_path):
    model = run(digits, reference, tmp_path / "model")
    assert model.events == []
    assert model.facts["rollbacks"] == 0
    assert not [name for row in model.history for name in row if name.startswith("health/")]


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        ("constant", 0.0, [1.0, 1.0, 1.0, 1.0]),
        ("linear", 0.0, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 0.5, [1.0, 1.0, 1.0, 0.5]),
        ("cosine", 0.0, [1.0, 0.85355, 0.5, 0.14645]),
    ],
)
def test_learning_rates_follow_their_schedule_whatever_the_optimizer(
    digits, reference, tmp_path, schedule, start, expected
):
    model = run(
        digits,
        reference,
        tmp_path / "model",
        architecture=SMALL,
        schedule=schedule,
        decay_start_fraction=start,
        steps=4,
        steps_per_loop=1,
        generator_optimizer=RmsProp(learning_rate=3e-3),
        discriminator_optimizer=Adam(learning_rate=1e-3),
    )
    for name, base in (("generator", 3e-3), ("discriminator", 1e-3)):
        rates = [row[f"learning_rate/{name}"] / base for row in model.history]
        assert rates == pytest.approx(expected, abs=1e-4)


def test_the_number_of_steps_belongs_to_a_run_whose_rates_fall(digits, reference, tmp_path):
    run(digits, reference, tmp_path / "a", home=str(tmp_path / "home"), schedule="linear", steps=4)
    with pytest.raises(ValueError, match=r"other settings: training\.steps was 4"):
        run(digits, reference, tmp_path / "b", home=str(tmp_path / "home"), schedule="linear", steps=8)


def test_a_half_life_in_images_takes_the_place_of_the_decay(digits, reference, tmp_path):
    model = run(digits, reference, tmp_path / "model", architecture=SMALL, ema_half_life=8, steps_per_loop=1, steps=12)
    decays = [row["ema/decay"] for row in model.history]
    ramp = [(1 + step) / (10 + step) for step in range(len(decays))]
    assert decays == pytest.approx([min(0.5, value) for value in ramp], rel=1e-5)
