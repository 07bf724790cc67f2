"""Translation with and without pairs: what the classics get wrong, asked of ours."""

import functools
import itertools
import os
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from tiny_runs import BATCH

from ganlib import pixels
from ganlib.config import RunConfig
from ganlib.data import DataConfig, prepare
from ganlib.evaluation import EvaluationConfig, evaluate, measure_reference
from ganlib.export import ExportConfig, export
from ganlib.inference import Inputs
from ganlib.models import Dcgan, ResnetTranslator, Unet
from ganlib.objectives import LeastSquares, NonSaturating, Relativistic
from ganlib.tasks import PairedTranslation, UnpairedTranslation, pool
from ganlib.training import train
from ganlib.training.train_step import TrainStep
from ganlib.training.trainer import Trainer

NETWORKS = ResnetTranslator(width=4, blocks=1, discriminator_layers=1, discriminator_width=4)
UNET = Unet(width=4, discriminator_layers=1, discriminator_width=4)
POOL = 10


@pytest.fixture(scope="module")
def references(pairs, tmp_path_factory):
    """References by kind of task."""
    folder, config = tmp_path_factory.mktemp("references"), EvaluationConfig(extractor={"kind": "random"})
    tasks = {"unpaired": UnpairedTranslation(), "paired": PairedTranslation()}
    return {name: measure_reference(pairs, config, folder / name, task=task) for name, task in tasks.items()}


settings = functools.partial(tiny_runs.config, steps=6, score_every=3, sample_every=6, checkpoint_every=3)


def state_of(pairs, task, architecture=NETWORKS, replicas=1, **changes):
    return tiny_runs.build(task, architecture, settings(**changes), image_shape=pairs.image_shape, replicas=replicas)


# --- the pool


def simulate(images, draws, size):
    """The pool as the paper describes it, image by image."""
    stored, shown = np.zeros((size, *images.shape[2:]), np.float32), []
    for batch, drawn in zip(images, draws, strict=True):
        row = []
        for image, slot, store, show in zip(
            batch, *(drawn[name].numpy() for name in ("slot", "store", "show_stored")), strict=True
        ):
            row.append(stored[slot].copy() if show else image)
            if store:
                stored[slot] = image
        shown.append(row)
    return np.array(shown), stored


def test_the_pool_is_the_papers_and_depends_on_the_number_of_the_batch_alone():
    images = np.random.default_rng(0).uniform(-1, 1, size=(30, BATCH, 2, 2, 1)).astype(np.float32)
    draws = [pool.draw(BATCH, POOL, key=5, number=tf.constant(number, tf.int64)) for number in range(30)]
    stored = pool.build(POOL, image_shape=(2, 2, 1), batch_size=BATCH)
    assert stored.shape == (8, 2, 2, 1)  # complete batches
    shown = np.array(
        [pool.exchange(stored, tf.constant(batch), drawn) for batch, drawn in zip(images, draws, strict=True)]
    )
    expected, content = simulate(images, draws, 8)
    np.testing.assert_array_equal(shown, expected)
    np.testing.assert_array_equal(stored.numpy(), content)
    np.testing.assert_array_equal(shown[:2], images[:2])  # while it fills up
    fresh = (shown[2:] == images[2:]).all(axis=(2, 3, 4))
    assert 0.35 < fresh.mean() < 0.65
    slots = np.array([drawn["slot"] for drawn in draws])
    assert all(len(set(row)) == BATCH for row in slots)
    np.testing.assert_array_equal(np.sort(slots[:2].ravel()), np.arange(8))
    assert len(np.unique(slots[2:])) == 8


def test_a_pool_smaller_than_a_batch_is_refused(pairs):
    with pytest.raises(ValueError, match=r"at least one batch.*Received: task.pool_size=3, training.batch_size=4"):
        state_of(pairs, UnpairedTranslation(pool_size=3))


# --- losses


def test_each_generator_is_trained_by_both_cycles_and_by_its_identity(pairs):
    """A port for Keras that many copy gives each generator one of the two."""
    for weights, expected in (
        ({"cycle_weight": 10.0, "identity_weight": 0.0}, {"cycle_source", "cycle_target"}),
        ({"cycle_weight": 10.0}, {"cycle_source", "cycle_target", "identity_source", "identity_target"}),
    ):
        task = UnpairedTranslation(pool_size=0, **weights)
        _, _, state = state_of(pairs, task)
        [batch] = task.batches(pairs, batch_size=BATCH, seed=0, start=0).take(1)
        networks = state.trained.networks
        with tf.GradientTape(persistent=True) as tape:
            terms = task.play(networks, batch, training=True).terms()
        assert terms.keys() == expected
        for name, term in terms.items():
            for direction, network in networks.generators.items():
                gradients = tape.gradient(term, network.trainable_variables)
                reaches = any(gradient is not None and np.abs(gradient).max() > 0 for gradient in gradients)
                maker = {"identity_source": "backward", "identity_target": "forward"}.get(name, direction)
                assert reaches == (maker == direction), (name, direction)


def test_terms_have_the_values_of_the_paper(pairs):
    task = UnpairedTranslation(pool_size=0, cycle_weight=8.0, identity_weight=0.25)
    _, _, state = state_of(pairs, task)
    [batch] = task.batches(pairs, batch_size=BATCH, seed=0, start=0).take(1)
    networks = state.trained.networks
    terms = {name: float(value) for name, value in task.play(networks, batch, training=True).terms().items()}
    there, back = (networks.generators[name] for name in ("forward", "backward"))
    source, target = (pixels.to_model_range(batch[name]) for name in ("images", "targets"))

    def apart(one, other):
        return float(np.abs(np.asarray(one) - np.asarray(other)).mean())

    assert terms == {
        "cycle_source": pytest.approx(8 * apart(back({"image": there({"image": source})}), source), rel=1e-5),
        "cycle_target": pytest.approx(8 * apart(there({"image": back({"image": target})}), target), rel=1e-5),
        "identity_source": pytest.approx(2 * apart(back({"image": source}), source), rel=1e-5),
        "identity_target": pytest.approx(2 * apart(there({"image": target}), target), rel=1e-5),
    }


def test_discriminators_are_shown_the_pool_and_generators_are_trained_by_new_images(pairs):
    task = UnpairedTranslation(pool_size=BATCH)
    _, config, state = state_of(pairs, task, generator_optimizer={"kind": "rmsprop", "learning_rate": 0.0})
    step = TrainStep(state, task=task, objective=LeastSquares(), config=config, replicas=1)
    batches = list(task.batches(pairs, batch_size=BATCH, seed=0, start=0).take(6))
    memory = state.trained.networks.memory["target"]
    seen = []
    for number, batch in enumerate(batches):
        drawn = step.draw(batch, seed=1, number=tf.constant(number, tf.int64))
        before = memory.numpy()
        fake = state.trained.networks.generators["forward"]({"image": pixels.to_model_range(batch["images"])}).numpy()
        step.train_step(drawn, False)
        order = drawn["target/slot"].numpy()
        stored = drawn["target/store"].numpy()
        np.testing.assert_allclose(memory.numpy()[order][stored], fake[stored], atol=1e-6)
        np.testing.assert_array_equal(memory.numpy()[order][~stored], before[order][~stored])
        seen.append(stored.mean())
    assert seen[0] == 1.0
    assert 0.0 < np.mean(seen[1:]) < 1.0


def test_the_weight_of_pix2pixs_terms(pairs):
    task = PairedTranslation(l1_weight=7.0, adversarial_weight=0.5)
    _, _, state = state_of(pairs, task, architecture=UNET)
    [batch] = task.batches(pairs, batch_size=BATCH, seed=0, start=0).take(1)
    play = task.play(state.trained.networks, batch, training=False)
    match = play.matches["discriminator"]
    np.testing.assert_array_equal(match.condition["condition"], pixels.to_model_range(batch["images"]))
    np.testing.assert_array_equal(match.real, pixels.to_model_range(batch["targets"]))
    apart = np.abs(np.asarray(match.fake) - np.asarray(match.real)).mean()
    assert float(play.terms()["l1"]) == pytest.approx(7 * apart, rel=1e-5)
    assert match.weight == 0.5


# --- data


def test_domains_of_unequal_size_are_gone_through_at_their_own_pace(tmp_path):
    """The tutorials' zip cuts the larger domain to the smaller one."""
    images = tmp_path / "images"
    sizes = {"few": 12, "many": 40}
    for name, count in sizes.items():
        for number in range(count):
            path = images / name / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            value = number + (100 if name == "many" else 0)
            pixels.save_picture(pixels.grid(np.full((1, 16, 16, 1), value, np.uint8), columns=1), path)
    source = {"kind": "image_folder", "path": str(images), "test_fraction": 0.2}
    dataset = prepare(DataConfig(source=source, size=16), tmp_path / "dataset")
    task = UnpairedTranslation()
    counts = {name: domain.count("train") for name, domain in task.domains(dataset).items()}
    assert counts["target"] > 2 * counts["source"]
    batches = list(task.batches(dataset, batch_size=2, seed=3, start=0).take(counts["target"] // 2))
    seen = {name: np.concatenate([batch[name][:, 0, 0, 0] for batch in batches]) for name in ("images", "targets")}
    assert set(seen["images"]) <= set(range(12))
    assert len(set(seen["targets"])) == counts["target"] // 2 * 2 == len(seen["targets"])  # each once
    assert np.bincount(seen["images"]).max() >= 2  # several times
    assert task.passes(dataset, images=len(seen["targets"])) == {
        "source": len(seen["targets"]) / counts["source"],
        "target": len(seen["targets"]) / counts["target"],
    }
    later = list(task.batches(dataset, batch_size=2, seed=3, start=5).take(2))
    for one, other in zip(later, batches[5:7], strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
        np.testing.assert_array_equal(one["targets"], other["targets"])
    swapped = UnpairedTranslation(source="many", target="few")
    assert swapped.domains(dataset)["source"].count("train") == counts["target"]
    assert task.real(dataset, "forward").checksum == swapped.real(dataset, "backward").checksum


def test_pairs_are_drawn_independently_for_unpaired_translation(pairs):
    [batch] = UnpairedTranslation().batches(pairs, batch_size=64, seed=0, start=0).take(1)
    [paired] = PairedTranslation().batches(pairs, batch_size=64, seed=0, start=0).take(1)

    def matching(batch):
        """Share of pairs whose brightest column in the image is darkest in the target, roughly."""
        ink = 255.0 - batch["images"].numpy().reshape(64, -1)
        apart = np.abs(ink - batch["targets"].numpy().reshape(64, -1)).mean(axis=1)
        return np.median(apart)

    assert matching(batch) > 1.3 * matching(paired)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"source": "3"}, "two different classes as task.source and task.target"),
        ({"source": "3", "target": "3"}, "two different classes"),
    ],
)
def test_half_a_choice_of_domains_is_refused(task, message):
    with pytest.raises(ValueError, match=message):
        UnpairedTranslation(**task)


def test_data_that_do_not_suit_are_refused_before_anything_runs(digits, pairs, references, tmp_path):
    common = {"config": settings(), "output": tmp_path / "x", "objective": LeastSquares()}
    unpaired, paired = UnpairedTranslation(), PairedTranslation()
    for dataset, task, architecture, message in (
        (digits, unpaired, NETWORKS, r"needs two classes as domains.*Received: classes=10"),
        (
            digits,
            UnpairedTranslation(source="1", target="x"),
            NETWORKS,
            r"a class of the data as a domain.*Received: x",
        ),
        (digits, paired, UNET, "needs pairs of images"),
        (pairs, paired, Dcgan(), r"needs networks from images to images.*Received: model=dcgan"),
    ):
        with pytest.raises(ValueError, match=message):
            train(dataset, references["paired"], task=task, architecture=architecture, **common)


# --- whole runs


@pytest.fixture(scope="module")
def runs(pairs, references, tmp_path_factory):
    """Trains by name; runs of one name share their home."""
    place = tmp_path_factory.mktemp("runs")

    def train_named(name, output, *, task, architecture, objective, **changes):
        config = settings(home=str(place / name), **changes)
        kind = "unpaired" if isinstance(task, UnpairedTranslation) else "paired"
        return train(
            pairs,
            references[kind],
            task=task,
            architecture=architecture,
            objective=objective,
            config=config,
            output=place / output,
        )

    train_named.place = place
    return train_named


CYCLEGAN = {"task": UnpairedTranslation(pool_size=POOL), "architecture": NETWORKS, "objective": LeastSquares()}
PIX2PIX = {"task": PairedTranslation(), "architecture": UNET, "objective": NonSaturating()}


@pytest.fixture(scope="module")
def cyclegan(runs):
    return runs("whole", "whole output", **CYCLEGAN)


@pytest.mark.parametrize(("name", "choice"), [("cyclegan", CYCLEGAN), ("pix2pix", PIX2PIX)])
def test_a_run_that_resumes_ends_with_the_same_bits(runs, cyclegan, name, choice):
    """With the pool, dropout, falling learning rates, and batches of a single image."""
    falling = {} if name == "cyclegan" else {"schedule": "linear", "decay_start_fraction": 0.5, "batch_size": 1}
    whole = cyclegan if name == "cyclegan" else runs(f"{name} whole", f"{name} whole output", **choice, **falling)
    if falling:
        with pytest.raises(RuntimeError, match="interrupted"):
            stop_at(runs, f"{name} rest", f"{name} half", choice, falling)
    else:
        runs("rest", "half", steps=3, **choice)
    rest = runs(f"{name} rest" if falling else "rest", f"{name} rest output", **choice, **falling)
    for which, network in itertools.product(("best", "last"), whole.networks):
        arrays = zip(
            whole.network(which, network).get_weights(), rest.network(which, network).get_weights(), strict=True
        )
        assert all((one == other).all() for one, other in arrays), (which, network)
    states = []
    for home in ("whole" if name == "cyclegan" else f"{name} whole", f"{name} rest" if falling else "rest"):
        with np.load(max((runs.place / home).rglob("step-*.npz"))) as arrays:
            states.append({key: arrays[key] for key in arrays.files if key != "facts.json"})
    assert states[0].keys() == states[1].keys()
    if name == "cyclegan":
        assert {"memory/source", "memory/target"} <= states[0].keys()  # the pools
    for key, value in states[0].items():  # optimizers and pools too
        np.testing.assert_array_equal(states[1][key], value, err_msg=key)


class Interrupted:
    """An interruption that comes after three loops."""

    def __enter__(self):
        self.looks = 0
        return self

    def __exit__(self, *_):
        return None

    def __bool__(self):
        self.looks += 1
        return self.looks >= 3


def stop_at(runs, name, output, choice, changes):
    """Trains until step 3 and is interrupted there, since a falling rate depends on the number of steps."""
    with pytest.MonkeyPatch.context() as patch:
        # The module, which the function of the same name hides.
        patch.setattr(sys.modules["ganlib.training.train"], "Interruption", Interrupted)
        runs(name, output, **choice, **changes)


SEVERAL = {
    "cyclegan": (CYCLEGAN["task"], NETWORKS, LeastSquares()),
    "pix2pix": (PIX2PIX["task"], UNET, NonSaturating(r1=1.0)),
}
if "GAN_PIPELINES_EVERY_PAIR" in os.environ:
    SEVERAL["relativistic"] = (CYCLEGAN["task"], NETWORKS, Relativistic())


@pytest.mark.parametrize(("task", "architecture", "objective"), SEVERAL.values(), ids=SEVERAL)
def test_two_replicas_make_the_steps_that_one_makes(pairs, task, architecture, objective):
    """Pools too: they hold the same images in the same places, and batch norm and dropout are those of the batch."""
    rows, pools = {}, {}
    for replicas in (1, 2):
        strategy, config, state = state_of(pairs, task, architecture, replicas, steps_per_loop=6)
        trainer = Trainer(state, task=task, objective=objective, strategy=strategy, config=config)
        trainer.run(lambda at: task.batches(pairs, batch_size=BATCH, seed=3, start=at), steps=6, callbacks=[])
        rows[replicas] = state.recent.means()
        pools[replicas] = {name: variable.numpy() for name, variable in state.trained.networks.memory.items()}
    same = {name: value for name, value in rows[1].items() if not name.startswith("gradient/")}
    assert {name: rows[2][name] for name in same} == pytest.approx(same, rel=1e-3, abs=1e-5)
    for name, content in pools[1].items():
        np.testing.assert_allclose(pools[2][name], content, atol=1e-3)
        assert np.abs(content).max() > 0


def test_both_directions_are_scored_beside_what_doing_nothing_scores(cyclegan, pairs, references, tmp_path):
    rows = [row for row in cyclegan.history if "training/mean_fd_random" in row]
    for row in rows:
        both = [row[f"training/{name}/fd_random"] for name in ("forward", "backward")]
        assert row["training/mean_fd_random"] == pytest.approx(np.mean(both))
    config = EvaluationConfig(extractor={"kind": "random"})
    evaluation = evaluate(cyclegan, pairs, references["unpaired"], config, tmp_path / "scores")
    scores = {score.name: score for score in evaluation.scores}
    images, targets = (pairs.of(name).load("test")[0] for name in ("images", "targets"))
    apart = (images.astype(float) - targets) / 255
    for direction, reference in (
        ("forward", references["unpaired"]),
        ("backward", references["unpaired"].of("backward")),
    ):
        assert scores[f"{direction}/l1"].baseline == pytest.approx(np.abs(apart).mean())
        assert scores[f"{direction}/psnr"].baseline == pytest.approx(
            np.mean(-10 * np.log10(np.square(apart).mean(axis=(1, 2, 3))))
        )
        unchanged = images if direction == "forward" else targets
        assert scores[f"{direction}/fd_random"].baseline == pytest.approx(reference.distance([unchanged]), rel=1e-5)
        assert scores[f"{direction}/fd_random"].floor == pytest.approx(reference.floor(360), rel=1e-5)
    assert references["unpaired"].facts["dataset_sha256"] == pairs.of("targets").checksum
    there, back = (cyclegan.sampler("best", pairs, name) for name in ("forward", "backward"))
    cycle = np.abs(back.change(there.change(images)).astype(float) - images) / 255
    assert scores["forward/cycle_error"].value == pytest.approx(cycle.mean(), rel=1e-6)
    identity = np.abs(there.change(targets).astype(float) - targets) / 255
    assert scores["forward/identity_error"].value == pytest.approx(identity.mean(), rel=1e-6)
    assert {"backward/hidden_information_noise", "backward/luminance_correlation"} <= scores.keys()
    assert evaluation.protocol["backward/dataset_sha256"] == pairs.checksum
    page = evaluation.report.read_text()
    assert "doing nothing" in page
    exported = export(cyclegan, evaluation, ExportConfig(onnx=False), tmp_path / "exported")
    assert Inputs.read(exported.folder) == Inputs(multiple_of=4, minimum=8, overlap=256)
    assert "H and W are multiples of 4 and at least 8" in exported.card.read_text()
    loaded = tf.saved_model.load(str(exported.folder / "saved_model"))
    assert {"translate", "translate_backward"} <= set(loaded.signatures)
    for height, width in ((16, 16), (24, 40)):  # it was trained on 16x16
        given = np.random.default_rng(0).integers(0, 256, (3, height, width, 1), np.uint8)
        for signature, name in (("translate", "forward"), ("translate_backward", "backward")):
            made = loaded.signatures[signature](images=tf.constant(given))["images"].numpy()
            network = keras.models.load_model(exported.folder / f"{name}.keras")
            expected = pixels.to_uint8(network({"image": pixels.to_model_range(given)})).numpy()
            assert np.abs(made.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("measure", ["distance", "l1"])
def test_pairs_name_the_score_that_chooses_the_best(pairs, references, tmp_path, measure):
    assert PairedTranslation().best_measure == "distance"
    assert PairedTranslation(adversarial_weight=0.0).best_measure == "l1"
    task = PairedTranslation(adversarial_weight=0.0, best_by=measure)
    config = settings(steps=4, score_every=2)
    model = train(pairs, references["paired"], config=config, output=tmp_path / "x", **{**PIX2PIX, "task": task})
    name = "training/fd_random" if measure == "distance" else "truth/l1"
    assert model.facts["best_score"] == min(row[name] for row in model.history if name in row)
    assert model.summary["best_measure"] == measure


def test_networks_train_on_crops_and_are_scored_on_whole_images(tmp_path):
    """With jitter, mirrored images and oblong sizes."""
    source = {"kind": "digits", "target": "striped_negative"}
    data = DataConfig(source=source, size=(24, 32), crop=(16, 20), jitter=1.2, flip=True)
    dataset = prepare(data, tmp_path / "dataset")
    config = EvaluationConfig(extractor={"kind": "random"})
    reference = measure_reference(dataset, config, tmp_path / "reference", task=CYCLEGAN["task"])
    model = train(dataset, reference, config=settings(steps=2), output=tmp_path / "model", **CYCLEGAN)
    [batch] = CYCLEGAN["task"].batches(dataset, batch_size=BATCH, seed=0, start=0).take(1)
    assert batch["images"].shape == batch["targets"].shape == (BATCH, 16, 20, 1)
    assert next(model.sampler("last", dataset).batches(3, seed=0)).images.shape == (3, 24, 32, 1)
    assert model.history[-1]["training/mean_fd_random"] > 0


def test_crops_are_refused_where_they_cannot_be_used():
    with pytest.raises(ValueError, match=r"data.crop needs a task that makes images from images.*task=generation"):
        RunConfig(data=DataConfig(size=32, crop=16))
    with pytest.raises(ValueError, match=r"data.crop: resnet_translator takes images whose sides"):
        RunConfig(data=DataConfig(size=32, crop=18), task=UnpairedTranslation(), model=NETWORKS)
