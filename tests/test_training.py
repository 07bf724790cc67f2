"""The loop: exact repetition, exact resume, replicas that agree, and what a run leaves behind."""

import contextlib
import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from loop import MODEL, TASK, arrays, begun, stepped

from ganlib import storage
from ganlib.models import Dcgan
from ganlib.objectives import Minimax, NonSaturating
from ganlib.training import Adam, TrainConfig, TrainedModel, TrainingDiverged, train
from ganlib.training.callbacks import SaveSamples
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.interruption import Interruption
from ganlib.training.schedules import ema_decay, learning_rate_factor
from ganlib.training.strategy import resolve_strategy
from ganlib.training.trainer import Trainer

QUICK = {
    "steps": 12,
    "batch_size": 8,
    "steps_per_loop": 4,
    "score_every": 6,
    "sample_every": 6,
    "checkpoint_every": 3,
    "score_samples": 50,
    "precision": "float32",
}


def run(digits, reference, output, *, objective=NonSaturating(), **settings):  # noqa: B008  # frozen
    config = TrainConfig(**{**QUICK, **settings})
    return train(digits, reference, task=TASK, architecture=MODEL, objective=objective, config=config, output=output)


def weights(model: TrainedModel):
    return [array for kept in ("best", "last") for array in model.network(kept).get_weights()]


@pytest.fixture(scope="module")
def plain(digits, reference, tmp_path_factory):
    """A run with a home beside it, and the lines that it printed."""
    place = tmp_path_factory.mktemp("plain")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        model = run(digits, reference, place / "model", home=str(place / "home"))
    return model, printed.getvalue().splitlines()


@pytest.fixture
def home(plain, tmp_path):
    """A copy of that run's home, to go on from."""
    return Path(shutil.copytree(plain[0].folder.parent / "home", tmp_path / "home"))


@pytest.mark.parametrize("updates", ["alternating", "simultaneous"])
def test_a_step_is_the_one_that_can_be_written_down_plainly(digits, updates):
    model = MODEL.model_copy(update={"dropout": 0.0})
    state, [row] = stepped(digits, objective=NonSaturating(), steps=1, architecture=model, updates=updates)
    _, _, plain = begun(digits, architecture=model)
    images = next(iter(digits.batches(batch_size=8, seed=3)))["images"]
    latents = TASK.draw({"images": images}, seed=plain.noise_seed, number=tf.constant(0, tf.int64))["latents"]
    [generator], [discriminator] = (
        plain.trained.networks.generators.values(),
        plain.trained.networks.discriminators.values(),
    )

    with tf.GradientTape(persistent=True) as tape:
        fake = generator({"latent": latents}, training=True)
        judged = discriminator({"images": fake}, training=True)
        real_images = tf.cast(images, tf.float32) / 127.5 - 1
        real_loss = tf.reduce_mean(tf.math.softplus(-discriminator({"images": real_images}, training=True)))
        fake_loss = tf.reduce_mean(tf.math.softplus(judged))
        discriminator_loss = real_loss + fake_loss
        with tape.stop_recording():
            changes = tape.gradient(discriminator_loss, discriminator.trainable_variables)
            if updates == "alternating":
                plain.trained.discriminator_optimizer.apply(changes, discriminator.trainable_variables)
        if updates == "alternating":
            judged = discriminator({"images": fake}, training=True)
        generator_loss = tf.reduce_mean(tf.math.softplus(-judged))
    if updates == "simultaneous":
        plain.trained.discriminator_optimizer.apply(changes, discriminator.trainable_variables)
    plain.trained.generator_optimizer.apply(
        tape.gradient(generator_loss, generator.trainable_variables), generator.trainable_variables
    )
    assert row["discriminator/real"] == pytest.approx(float(real_loss), rel=1e-5)
    assert row["discriminator/fake"] == pytest.approx(float(fake_loss), rel=1e-5)
    assert row["generator/non_saturating"] == pytest.approx(float(generator_loss), rel=1e-5)
    assert row["discriminator/loss"] == pytest.approx(float(discriminator_loss), rel=1e-5)
    assert row["gradient/discriminator"] == pytest.approx(float(tf.linalg.global_norm(changes)), rel=1e-4)
    for name, array in arrays(plain).items():
        if not name.startswith("averaged/"):
            np.testing.assert_allclose(arrays(state)[name], array, rtol=1e-4, atol=2e-6, err_msg=name)


def test_two_replicas_make_the_steps_that_one_makes(digits):
    """Twenty steps of three updates on the same global batches, dropout and batch norm as they are.

    The sums over a batch are taken in another order, which moves a float32 gradient by a few units in
    its last place. Adam divides by the gradient's own size, so an entry whose gradient is close to zero
    may move by as much as its step size, 2e-4, in another direction: the bound is a tenth of that for
    all but a thousandth of the weights, and one step for each of them; terms agree to 1e-4.
    """
    objective = NonSaturating(discriminator_steps=2)
    one, one_rows = stepped(digits, objective=objective)
    two, two_rows = stepped(digits, replicas=2, objective=objective)
    for name, array in arrays(one).items():
        if name.startswith(("generator/", "discriminator/", "averaged/")) and array.dtype == np.float32:
            difference = np.abs(arrays(two)[name] - array)
            assert np.quantile(difference, 0.999) < 2e-5 * max(1.0, np.abs(array).max()), name
            assert difference.max() < 2e-4 * max(1.0, np.abs(array).max()), name
    for first, second in zip(one_rows, two_rows, strict=True):
        for name in first:
            if not name.startswith(("speed/", "gradient/")):  # each replica's gradient is that of its own batch
                assert second[name] == pytest.approx(first[name], rel=1e-4), name


def test_without_synchronised_statistics_and_masks_the_replicas_would_not_agree(digits):
    """The control of the test above: another seed for the masks moves weights far beyond its bound."""
    one, _ = stepped(digits, objective=NonSaturating())
    other, _ = stepped(digits, objective=NonSaturating(), architecture=MODEL.model_copy(update={"dropout": 0.31}))
    name = "discriminator/discriminator/000"
    assert np.quantile(np.abs(arrays(one)[name] - arrays(other)[name]), 0.5) > 2e-5


def test_equal_seeds_give_equal_bits_whatever_the_rhythms_and_others_do_not(digits, reference, tmp_path, plain):
    rhythms = {"steps_per_loop": 5, "sample_every": 4, "checkpoint_every": 7}
    equal, other = (run(digits, reference, tmp_path / str(seed), seed=seed, **rhythms) for seed in (0, 1))
    assert all((a == b).all() for a, b in zip(weights(plain[0]), weights(equal), strict=True))
    assert any((a != b).any() for a, b in zip(weights(plain[0]), weights(other), strict=True))


def test_the_kind_of_updates_is_a_setting_of_the_run(digits, reference, tmp_path, plain):
    other = run(digits, reference, tmp_path / "model", updates="simultaneous")
    assert TrainConfig().updates == "alternating"  # as in the plain run
    assert any((a != b).any() for a, b in zip(weights(plain[0]), weights(other), strict=True))


def test_what_a_run_leaves_behind(plain):
    model, _ = plain
    steps = [row["step"] for row in model.history]
    assert steps == [3, 4, 6, 8, 9, 12]
    scored = [row["step"] for row in model.history if "training/fd_digits_classifier" in row]
    assert scored == [6, 12]
    best = min(model.history, key=lambda row: row.get("training/fd_digits_classifier", np.inf))
    assert (model.step("best"), model.facts["best_score"]) == (best["step"], best["training/fd_digits_classifier"])
    assert model.step("last") == 12
    assert [path.name for path in model.sample_pictures] == [f"step-{step:09d}.png" for step in (0, 6, 12)]
    assert len(list((model.folder.parent / "home" / "checkpoints").glob("step-*.npz"))) == 2
    assert model.facts["replicas"] == 1
    assert model.facts["precision"] == "float32"
    for kept in ("best", "last"):
        inputs, images = model.witness(kept)
        np.testing.assert_allclose(model.network(kept)(inputs, training=False), images, atol=1e-6)
    journal = storage.read_lines(model.folder / "tracking.jsonl")
    assert {line["do"] for line in journal} == {"params", "tags", "dataset", "image", "status"}
    params = next(line["values"] for line in journal if line["do"] == "params")
    assert params["training.generator_optimizer.learning_rate"] == "0.0002"
    assert params["objective.kind"] == "non_saturating"


def test_progress_lines_are_short_and_tell_percent_rate_time_and_score(plain):
    lines = [line for line in plain[1] if line.startswith("train")]
    for part in ("100%", "12/12 steps", "/s", "took", "score ", "(best "):
        assert part in lines[-1]
    assert max(map(len, lines)) <= 100
    assert "train: the score is fd_digits_classifier; lower is better" in lines


def test_the_same_inputs_give_the_first_samples_whatever_the_count(plain):
    sampler = plain[0].sampler("last")
    many = sampler.images(130, seed=5)
    assert (many.shape, many.dtype) == ((130, 16, 16, 1), np.uint8)
    np.testing.assert_array_equal(sampler.images(30, seed=5), many[:30])
    assert (sampler.images(30, seed=6) != many[:30]).any()


def test_the_average_ramps_up_and_holds_batch_norm_statistics(digits):
    state, _ = stepped(digits, objective=NonSaturating(), steps=1)
    # After one step the decay is (1 + 0) / (10 + 0) = 0.1, so the average is 0.1 of the start and 0.9 of the present.
    _, _, fresh = begun(digits)
    generators = (fresh.trained.networks.generators, state.trained.networks.generators, state.trained.averaged)
    for start, present, average in zip(*(models["generator"].weights for models in generators), strict=True):
        expected = 0.1 * np.array(start) + 0.9 * np.array(present)
        np.testing.assert_allclose(np.array(average), expected, rtol=1e-5, atol=1e-7)
    assert any("moving_mean" in weight.path for weight in state.trained.averaged["generator"].weights)


def test_a_divergence_is_told_with_its_steps_and_saves_nothing(digits, reference, tmp_path):
    wild = Adam(learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match=r"infinite or NaN somewhere within steps \[\d+, \d+\]\. Try a lower"):
        run(
            digits,
            reference,
            tmp_path / "model",
            home=str(tmp_path / "home"),
            generator_optimizer=wild,
            discriminator_optimizer=wild,
            checkpoint_every=100,
        )
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "home" / "checkpoints").glob("step-*.npz"))
    assert any(line.get("status") == "FAILED" for line in storage.read_lines(tmp_path / "home" / "tracking.jsonl"))


def test_a_home_of_another_run_is_refused(digits, reference, tmp_path, home):
    with pytest.raises(ValueError, match=r"other settings: objective\.kind was 'non_saturating'.*kind='minimax'"):
        run(digits, reference, tmp_path / "b", home=str(home), objective=Minimax())
    other = dataclasses.replace(reference, facts={**reference.facts, "reference_split": "test"})
    with pytest.raises(ValueError, match=r"evaluation\.reference_split was 'train'\. Take another run name"):
        run(digits, other, tmp_path / "b", home=str(home))


def test_a_home_without_a_checkpoint_is_no_other_run(digits, reference, tmp_path, home, capsys):
    """What the other run recorded must not appear in the new one, nor in its MLflow run."""
    for path in (home / "checkpoints").glob("step-*.npz"):
        path.unlink()
    before = storage.read_json(home / "tracking.json")["key"]
    model = run(digits, reference, tmp_path / "b", home=str(home), steps=6, objective=Minimax())
    assert "left no checkpoint; this one replaces it" in capsys.readouterr().out
    assert model.facts["last_step"] == 6
    assert [row["step"] for row in storage.read_lines(home / "history.jsonl")] == [3, 4, 6]
    assert storage.read_json(home / "tracking.json")["key"] != before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_an_interrupted_run_saves_a_checkpoint_before_any_is_due(
    digits, reference, tmp_path, plain, monkeypatch, number, capsys
):
    settings = {"home": str(tmp_path / "home"), "checkpoint_every": 100}
    save = SaveSamples.__call__

    def interrupt(self, step, row, state):
        save(self, step, row, state)
        if step == 0:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    monkeypatch.setattr(SaveSamples, "__call__", interrupt)
    with pytest.raises(RuntimeError, match=r"^interrupted at step 4; the same command resumes from there$"):
        run(digits, reference, tmp_path / "a", **settings)
    assert signal.getsignal(number) is handler
    assert "received; training ends after a checkpoint" in capsys.readouterr().out
    monkeypatch.setattr(SaveSamples, "__call__", save)
    resumed = run(digits, reference, tmp_path / "b", **settings)
    assert "train: resumes from step 4" in capsys.readouterr().out
    assert all((a == b).all() for a, b in zip(weights(plain[0]), weights(resumed), strict=True))


def test_a_second_ctrl_c_ends_at_once(capsys):
    with Interruption() as interruption:
        assert not interruption
        for number in (signal.SIGINT, signal.SIGTERM):  # as a terminal and the runner send them
            signal.raise_signal(number)
        assert interruption
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().out.count("received") == 1


def test_a_damaged_checkpoint_gives_way_to_the_one_before(digits, reference, tmp_path, plain, home, capsys):
    def damage(path):
        path.write_bytes(path.read_bytes()[:1000])

    damage(home / "checkpoints" / "step-000000012.npz")
    resumed = run(digits, reference, tmp_path / "b", home=str(home))
    printed = capsys.readouterr().out
    assert "damaged checkpoint" in printed
    assert "resumes from step 9" in printed
    assert all((a == b).all() for a, b in zip(weights(plain[0]), weights(resumed), strict=True))
    for path in (home / "checkpoints").glob("*.npz"):
        damage(path)
    with pytest.raises(ValueError, match="every checkpoint is damaged"):
        run(digits, reference, tmp_path / "c", home=str(home))


def test_a_run_that_is_further_than_asked_is_told(digits, reference, tmp_path, home):
    with pytest.raises(ValueError, match=r"already made 12 steps.*Received: training\.steps=6"):
        run(digits, reference, tmp_path / "b", steps=6, home=str(home))


def test_a_checkpoint_of_other_networks_changes_nothing(digits, tmp_path):
    small, _ = stepped(digits, objective=NonSaturating(), steps=1)
    large, _ = stepped(digits, objective=NonSaturating(), steps=1, architecture=Dcgan(width=8))
    Checkpoints(tmp_path, keep=1).save(small)
    before = arrays(large)
    with pytest.raises(ValueError, match=r"other networks: \d+ variables differ, such as .*Received: path="):
        Checkpoints(tmp_path, keep=1).restore(large)
    assert all((array == before[name]).all() for name, array in arrays(large).items())


def test_more_replicas_than_set_up_are_refused():
    tf.constant(0)  # TensorFlow is running now
    with pytest.raises(ValueError, match=r"fixed once TensorFlow runs.*Received: training\.replicas=5"):
        resolve_strategy(5)


COMPONENT = """
import sys
from types import SimpleNamespace
from components.train_gan import train_gan
dataset, reference, output = (SimpleNamespace(path=path, metadata={}) for path in sys.argv[1:])
page = SimpleNamespace(path=sys.argv[3] + ".html", metadata={})
quick = {"steps": 2.0, "batch_size": 8.0, "replicas": 2.0, "score_samples": 20.0, "precision": "bfloat16"}
train_gan(dataset, reference, {"kind": "generation", "latent_dim": 4.0}, {"kind": "dcgan", "width": 4.0},
                      {"kind": "non_saturating"}, quick, "", output, page)
print(output.metadata["replicas"], output.metadata["precision"])
"""


def test_the_step_sets_its_replicas_up_before_anything_touches_tensorflow(digits, reference, tmp_path):
    reference.save(tmp_path / "reference")
    command = [
        sys.executable,
        "-c",
        COMPONENT,
        str(digits.folder),
        str(tmp_path / "reference"),
        str(tmp_path / "model"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 mixed_bfloat16"
    model = TrainedModel.open(tmp_path / "model")
    assert {layer.compute_dtype for layer in model.network("best").layers} == {"float32"}  # shipped in float32
    inputs, images = model.witness("best")
    np.testing.assert_allclose(model.network("best")(inputs, training=False), images, atol=1e-6)


FAR = 2**24  # from here on, float32 knows even numbers only


def test_steps_are_counted_exactly_however_many_there_are(digits):
    objective = NonSaturating(r1=1.0, r1_every=2)
    config, strategy, state = begun(digits, steps=FAR + 4, steps_per_loop=1)
    state.clock.step = state.clock.looked = FAR
    trainer = Trainer(state, task=TASK, objective=objective, strategy=strategy, config=config)
    rows = {}

    class Keep:
        every = None

        def __call__(self, step, row, state):
            rows[step] = row["discriminator/r1"]

    trainer.run(lambda start: digits.batches(batch_size=8, seed=3, start=start), steps=FAR + 4, callbacks=[Keep()])
    assert [rows[step] > 0.0 for step in sorted(rows)] == [True, False, True, False]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_rates_fall_with_every_step_of_a_long_run(schedule):
    counts = tf.constant([0, FAR, FAR + 1, 2 * FAR - 1, 2 * FAR], tf.int64)
    falls = learning_rate_factor(counts, schedule=schedule, steps=2 * FAR).numpy()
    assert falls[[0, 1, 4]] == pytest.approx([1.0, 0.5, 0.0], abs=1e-7)
    assert falls[1] > falls[2] or schedule == "cosine"  # a fall of 2 ** -25 a step
    assert falls[3] > 0.0 or schedule == "cosine"
    assert float(ema_decay(tf.constant(FAR + 1, tf.int64), decay=0.999999)) == np.float32(0.999999)


def test_whether_a_penalty_is_due_is_known_without_asking_the_device(digits):
    config, strategy, state = begun(digits, steps=1)
    objective = NonSaturating(r1=1.0, r1_every=2)
    trainer = Trainer(state, task=TASK, objective=objective, strategy=strategy, config=config)
    iterator = iter(trainer._batches(lambda start: digits.batches(batch_size=8, seed=3, start=start)))
    numbers = tf.constant(1), tf.constant(0, tf.int64), tf.constant(1.0)
    graph = trainer._run_graph.get_concrete_function(iterator, *numbers).graph.as_graph_def()
    found = 0
    for function in graph.library.function:
        nodes = {node.name: node for node in function.node_def}
        for node in nodes.values():
            if node.op in ("If", "StatelessIf"):
                predicate = nodes[node.input[0].partition(":")[0]]
                assert predicate.device.endswith("CPU:0"), predicate
                found += 1
    assert found
