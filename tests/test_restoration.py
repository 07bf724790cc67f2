"""Restoration: its damage, its terms, what it ships, and each kind of damage from training to the exported model."""

import functools
import math
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from pydantic import ValidationError
from tiny_runs import BATCH

from ganlib import pixels, runtime, schema
from ganlib.config import RunConfig
from ganlib.data import DataConfig, prepare
from ganlib.evaluation import EvaluationConfig, measure_reference
from ganlib.export.network import save_network, save_signatures, signatures
from ganlib.models import Fourier, ResnetTranslator, Unet
from ganlib.objectives import Hinge, LeastSquares, NonSaturating, Relativistic
from ganlib.tasks import Match, Restoration, Sampler
from ganlib.tasks.damage import Downscale, Grey, Jpeg, Mask, Noise
from ganlib.training import augmentation, train
from ganlib.training.strategy import resolve_precision
from ganlib.training.train_step import TrainStep
from ganlib.training.trainer import Trainer

EVERY_PAIR = "GAN_PIPELINES_EVERY_PAIR" in os.environ
SMALL = {"discriminator_layers": 1, "discriminator_width": 4}
UNET = Unet(width=4, **SMALL)
DAMAGES = {
    "mask": Mask(),
    "strokes": Mask(shape="strokes"),
    "noise": Noise(),
    "downscale": Downscale(factor=2),
    "grey": Grey(),
    "jpeg": Jpeg(),
}


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Small pictures in colour, not square."""
    place = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    (place / "images").mkdir()
    for number in range(40):
        corners = random.integers(0, 256, (1, 2, 3, 3), np.uint8)
        picture = tf.image.resize(corners, (16, 24), "bicubic")
        pixels.grid(pixels.to_uint8(pixels.to_model_range(picture)).numpy(), columns=1, gap=0).save(
            place / "images" / f"{number:02d}.png"
        )
    source = {"kind": "image_folder", "path": str(place / "images"), "test_fraction": 0.25}
    dataset = prepare(DataConfig(source=source, size=(16, 24), colour="rgb"), place / "dataset")
    assert dataset.image_shape == (16, 24, 3)
    return dataset


@pytest.fixture(scope="module")
def reference(digits, tmp_path_factory):
    """The reference of the digits."""
    config = EvaluationConfig(extractor={"kind": "random"})
    return measure_reference(digits, config, tmp_path_factory.mktemp("reference") / "reference")


settings = functools.partial(tiny_runs.config, score_every=4, score_samples=8)


def state_of(dataset, task, architecture=UNET, replicas=1, **changes):
    config = settings(**changes)
    return tiny_runs.build(
        task,
        architecture,
        config,
        image_shape=dataset.batch_shape,
        classes=len(dataset.classes),
        dtype=resolve_precision(config.precision),
        replicas=replicas,
    )


def run(dataset, task, *, architecture=UNET, objective=None, replicas=1, steps=2, **changes):
    """State after some steps of the bare loop."""
    strategy, config, state = state_of(dataset, task, architecture, replicas, steps_per_loop=steps, **changes)
    objective = objective or NonSaturating()
    trainer = Trainer(state, task=task, objective=objective, strategy=strategy, config=config)
    with runtime.deterministic(enabled=True), runtime.without_remapper():
        trainer.run(lambda at: dataset.batches(batch_size=BATCH, seed=3, start=at), steps=steps, callbacks=[])
    return state


def first_batch(dataset, task, *, size=BATCH, seed=1, number=0):
    [batch] = dataset.batches(batch_size=size, seed=0, start=0).take(1)
    return task.draw(batch, seed=seed, number=tf.constant(number, tf.int64))


# --- damage of training images


@pytest.mark.parametrize("name", ["mask", "noise", "jpeg"])
def test_damage_depends_on_the_seed_and_on_the_place_in_the_training_alone(digits, name):
    task = Restoration(damage=DAMAGES[name])
    drawn = {
        key: first_batch(digits, task, size=size, seed=seed, number=number)
        for key, size, seed, number in [
            ("one", 8, 5, 3),
            ("again", 8, 5, 3),
            ("next", 8, 5, 4),
            ("other run", 8, 6, 3),
            ("half", 4, 5, 6),
        ]
    }
    images = drawn["one"]["images"].numpy()
    np.testing.assert_array_equal(images, drawn["again"]["images"])  # untouched
    damaged = {key: batch["damaged"].numpy() for key, batch in drawn.items()}
    assert all(values.dtype == np.uint8 and values.shape[1:] == images.shape[1:] for values in damaged.values())
    np.testing.assert_array_equal(damaged["one"], damaged["again"])
    assert (damaged["one"] != damaged["next"]).any()
    assert (damaged["one"] != damaged["other run"]).any()
    np.testing.assert_array_equal(damaged["one"][:4], damaged["half"])  # images 24 to 27 of the run
    compiled = tf.function(lambda number: task.draw(drawn["one"], seed=5, number=number))(tf.constant(3, tf.int64))
    np.testing.assert_array_equal(compiled["damaged"], damaged["one"])
    assert all(("mask" in batch) == (name == "mask") for batch in drawn.values())
    if name == "mask":
        mask = drawn["one"]["mask"].numpy()
        assert set(np.unique(mask)) == {0.0, 1.0}
        assert mask.shape == (*images.shape[:3], 1)
        assert len({row.tobytes() for row in mask}) == len(mask)
        np.testing.assert_array_equal(damaged["one"], np.where(mask > 0.5, 128, images))


SEVERAL = [
    (Restoration(hole_l1_weight=2.0), NonSaturating(r1=0.002)),
    (Restoration(hole_l1_weight=2.0, adversarial_weight=0.0), NonSaturating()),
]
if EVERY_PAIR:
    SEVERAL += [
        (Restoration(damage="noise"), LeastSquares()),
        (Restoration(hole_l1_weight=2.0), Hinge()),
        (Restoration(damage=DAMAGES["downscale"], adversarial_weight=0.0), NonSaturating()),
        (Restoration(damage="jpeg", adversarial_weight=0.0), NonSaturating()),
        (Restoration(damage="grey"), NonSaturating()),
    ]


@pytest.mark.parametrize(
    ("task", "objective"),
    SEVERAL,
    ids=lambda choice: choice.damage.kind if isinstance(choice, Restoration) else choice.kind,
)
def test_two_replicas_make_the_steps_that_one_makes(digits, colours, task, objective):
    """Masks differ in size, so that a mean over known pixels alone would weigh them otherwise on each replica."""
    dataset = colours if task.damage.kind == "grey" else digits
    rows = {
        replicas: run(dataset, task, objective=objective, replicas=replicas, steps=2).recent.means()
        for replicas in (1, 2)
    }
    same = {name: value for name, value in rows[1].items() if not name.startswith("gradient/")}
    terms = {"l1_known", "l1_hole"} if task.damage.has_mask else {"l1"}
    terms |= {"feature_matching", objective.kind} if task.adversarial_weight else set()
    assert {f"generator/{name}" for name in terms} <= same.keys()
    assert {name: rows[2][name] for name in same} == pytest.approx(same, rel=1e-3, abs=1e-5)


# --- held-out images


def test_held_out_images_have_the_same_damage_in_every_score_of_every_run(digits):
    """Whatever the seed, the number of samples, and the sizes of batches."""
    task = Restoration(test_damage={"kind": "mask", "shape": "thick"})
    network = task.shipped(state_of(digits, task)[2].trained.averaged)["generator"]

    def sampler(batch_size):
        made = Sampler(task, network, shares=(), image_shape=digits.image_shape, held_out=digits)
        made.batch_size = batch_size
        return made

    def holes(batch_size, count, seed):
        return np.concatenate([samples.holes for samples in sampler(batch_size).batches(count, seed=seed)])

    expected = holes(20, 30, 1)
    for batch_size, count, seed in ((20, 30, 2), (7, 25, 1)):
        np.testing.assert_array_equal(holes(batch_size, count, seed), expected[:count])
    np.testing.assert_array_equal(sampler(20).inputs(5, seed=9)["mask"] > 0.5, expected[:5])
    masks = {mask.tobytes() for mask in expected}
    assert len(masks) == 30  # a mask of its own for each image
    assert 0.0 < expected.mean() < 0.5
    examples = digits.load("test")[0][:5]
    np.testing.assert_array_equal(task.truth({"images": examples}), examples)
    trained = [first_batch(digits, task, size=30, number=number)["mask"].numpy() > 0.5 for number in range(2)]
    assert not masks & {mask.tobytes() for mask in np.concatenate(trained)}


def test_noise_of_held_out_images_is_not_that_of_the_training(digits):
    task = Restoration(damage=Noise(sigma=20))
    examples = {"images": np.full((6, 16, 16, 1), 128, np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None]}
    noise = [
        pixels.to_uint8(task.inputs(6, seed=seed, shares=(), examples=examples)["image"]).numpy() - examples["images"]
        for seed in (0, 1)
    ]
    np.testing.assert_array_equal(*noise)
    assert len({row.tobytes() for row in noise[0]}) == 6
    assert task.holes({}) is None


# --- terms


CENTRES = [2 * (index + 1) + 1 for index in range(6)]  # 16 pixels are halved once, and two convolutions cut a border


def features_of(discriminator, images):
    """Outputs of the layers that are named for it, one after the other."""
    names = [f"feature_{number}" for number in range(len(discriminator.layers))]
    present = {layer.name for layer in discriminator.layers}
    return [
        np.asarray(keras.Model(discriminator.input, discriminator.get_layer(name).output)({"images": images}))
        for name in names
        if name in present
    ]


@pytest.mark.parametrize("damage", ["mask", "jpeg"])
def test_terms_have_their_values_pixel_by_pixel(digits, damage):
    weights = {"l1_weight": 3.0, "adversarial_weight": 0.5, "feature_weight": 7.0}
    task = Restoration(damage=damage, **weights, **({"hole_l1_weight": 2.0} if damage == "mask" else {}))
    _, _, state = state_of(digits, task)
    batch, networks = first_batch(digits, task), state.trained.networks
    play = task.play(networks, batch, training=False)
    match = play.matches["discriminator"]
    images = batch["images"].numpy() / 127.5 - 1.0
    np.testing.assert_allclose(match.real, images, atol=1e-6)
    assert match.weight == 0.5
    inputs = {"image": pixels.to_model_range(batch["damaged"])} | ({"mask": batch["mask"]} if damage == "mask" else {})
    repaired = networks.generators["generator"](inputs).numpy().astype(np.float64)
    np.testing.assert_allclose(match.fake, repaired, atol=1e-6)  # all of it, before known pixels are put back
    known = hole = 0.0
    for place in np.ndindex(images.shape):
        apart = abs(repaired[place] - images[place]) / images.size
        if damage == "mask" and batch["mask"].numpy()[place[:3]][0]:
            hole += apart
        else:
            known += apart
    pairs = [features_of(networks.discriminators["discriminator"], values) for values in (match.real, match.fake)]
    layers = [np.square(real - fake).mean() for real, fake in zip(*pairs, strict=True)]
    assert len(layers) == 2
    expected = {"l1": 3 * known} if damage == "jpeg" else {"l1_known": 3 * known, "l1_hole": 2 * hole}
    expected["feature_matching"] = 7 * sum(layers) / len(layers)
    terms = {name: float(value) for name, value in play.terms().items()}
    assert terms == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}
    if damage == "mask":
        np.testing.assert_array_equal(match.generated, batch["mask"])
    else:
        assert match.generated is None


def test_only_the_generator_is_trained_by_feature_matching_and_no_gradient_is_lost(digits):
    task = Restoration(l1_weight=0.0, adversarial_weight=1e-6)
    _, _, state = state_of(digits, task)
    networks = state.trained.networks
    with tf.GradientTape() as tape:
        term = task.play(networks, first_batch(digits, task), training=True).terms()["feature_matching"]
    gradients = tape.gradient(term, networks.generators["generator"].trainable_variables)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    assert max(np.abs(gradient).max() for gradient in gradients) > 0


@pytest.mark.parametrize("objective", [NonSaturating(), LeastSquares(), Hinge()], ids=lambda o: o.kind)
def test_logits_of_known_patches_are_trained_as_real_ones(digits, objective):
    """Against a loop over the logits, with the weight of the adversarial terms."""
    task = Restoration(adversarial_weight=0.5, feature_weight=0.0)
    smooth = Unet(width=4, dropout=0.0, **SMALL)
    _, config, state = state_of(digits, task, smooth, discriminator_optimizer={"kind": "rmsprop", "learning_rate": 0.0})
    step = TrainStep(state, task=task, objective=objective, config=config, replicas=1)
    batch = first_batch(digits, task)
    networks = state.trained.networks
    match = task.play(networks, batch, training=True).matches["discriminator"]
    real, fake = (
        networks.discriminators["discriminator"]({"images": images}, training=True).numpy()
        for images in (match.real, match.fake)
    )
    assert real.shape == (BATCH, 6, 6, 1)
    losses = {
        "non_saturating": (lambda logit: math.log1p(math.exp(-logit)), lambda logit: math.log1p(math.exp(logit))),
        "least_squares": (lambda logit: (logit - 1) ** 2 / 2, lambda logit: logit**2 / 2),
        "hinge": (lambda logit: max(0.0, 1 - logit), lambda logit: max(0.0, 1 + logit)),
    }
    as_real, as_generated = losses[objective.kind]
    mask, total, correct = batch["mask"].numpy(), 0.0, 0
    for number, row, column in np.ndindex(BATCH, 6, 6):
        logit = float(fake[number, row, column, 0])
        generated = mask[number, CENTRES[row], CENTRES[column], 0] > 0.5
        total += as_generated(logit) if generated else as_real(logit)
        correct += (logit < objective.boundary) if generated else (logit > objective.boundary)
    of_real = np.mean([as_real(float(logit)) for logit in real.ravel()])
    row = {name: float(value) for name, value in step.train_step(batch, False).items()}
    assert row["discriminator/fake"] == pytest.approx(0.5 * total / fake.size, rel=1e-4)
    assert row["discriminator/real"] == pytest.approx(0.5 * of_real, rel=1e-4)
    assert row["discriminator/loss"] == pytest.approx(of_real + total / fake.size, rel=1e-4)
    expected = ((real > objective.boundary).mean() + correct / fake.size) / 2
    assert row["discriminator/accuracy"] == pytest.approx(expected, abs=1e-6)


def test_without_adversarial_terms_there_is_no_discriminator(digits):
    """Also with several updates of it in a step, and with augmentation."""
    task = Restoration(adversarial_weight=0.0, hole_l1_weight=1.0)
    objective = NonSaturating(discriminator_steps=2)
    state = run(digits, task, objective=objective, steps=1, augmentation=["translation"])
    assert not state.trained.networks.discriminators
    row = state.recent.means()
    assert {name for name in row if name.startswith("generator/")} == {"generator/l1_known", "generator/l1_hole"}
    assert not [name for name in row if "discriminator" in name and not name.startswith("learning_rate/")]
    assert row["gradient/generator"] > 0
    assert not task.has_real_patches


@pytest.mark.parametrize(
    ("changes", "measure"),
    [
        ({}, "distance"),
        ({"adversarial_weight": 0.0, "hole_l1_weight": 1.0}, "l1_hole"),
        ({"damage": "noise", "adversarial_weight": 0.0}, "l1"),
        ({"best_by": "l1"}, "l1_hole"),
        ({"adversarial_weight": 0.0, "hole_l1_weight": 1.0, "best_by": "distance"}, "distance"),
    ],
)
def test_the_task_names_the_score_of_the_best_generator(changes, measure):
    assert Restoration(**changes).best_measure == measure


@pytest.mark.parametrize(("best_by", "measure"), [("l1", "l1_hole"), ("distance", "distance")])
def test_the_score_that_the_task_names_chooses_the_best_generator(digits, reference, tmp_path, best_by, measure):
    task = Restoration(adversarial_weight=0.0, hole_l1_weight=1.0, best_by=best_by)
    config = settings(steps=8, score_every=2, score_samples=20)
    common = {"architecture": UNET, "objective": NonSaturating(), "config": config, "output": tmp_path / "model"}
    model = train(digits, reference, task=task, **common)
    assert model.facts["best_measure"] == task.best_measure == measure
    name = "training/fd_random" if measure == "distance" else f"truth/{measure}"
    scores = {row["step"]: row[name] for row in model.history if name in row}
    assert list(scores) == [2, 4, 6, 8]
    assert model.facts["best_step"] == min(scores, key=scores.get)
    assert model.facts["best_score"] == min(scores.values())
    hole = np.asarray(task.inputs_from({"images": digits.load("test")[0][:20]}, None)["mask"]) > 0.5
    drawn = next(model.sampler("last", digits).batches(20, seed=0))
    apart = np.abs(drawn.images.astype(float) - drawn.truths) / 255
    expected = np.mean([one[where].mean() for one, where in zip(apart, hole, strict=True) if where.any()])
    assert model.history[-1]["truth/l1_hole"] == pytest.approx(expected, rel=1e-6)


def test_a_residual_is_added_to_the_image_and_the_sum_is_cut_off_where_it_is_shipped(fresh, colours, tmp_path):
    task = Restoration(damage="jpeg", residual=True)
    for architecture in (
        UNET,
        ResnetTranslator(width=4, blocks=1, **SMALL),
        Fourier(width=4, halvings=2, blocks=1, **SMALL),
    ):
        first = state_of(colours, task, architecture)[2].trained.networks.generators["generator"]
        given = np.random.default_rng(1).uniform(-1.0, 1.0, (2, 16, 24, 3)).astype(np.float32)
        np.testing.assert_array_equal(first({"image": given}), given)  # it begins as one that changes nothing
    state = run(colours, task, steps=2)
    assert state.recent.means()["gradient/generator"] > 0
    network = state.trained.averaged["generator"]
    assert state.trained.networks.generators["generator"].count_params() == network.count_params()
    [inner] = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    images = np.random.default_rng(0).uniform(-1.0, 1.0, (3, 16, 24, 3)).astype(np.float32)
    images[0] = np.where(images[0] > 0, 1.0, -1.0)
    expected = images + inner({"image": images}).numpy()
    np.testing.assert_allclose(network({"image": images}), expected, atol=1e-6)
    assert np.abs(expected).max() > 1.0
    shipped = task.shipped({"generator": network})
    np.testing.assert_allclose(shipped["generator"]({"image": images}), np.clip(expected, -1.0, 1.0), atol=1e-6)
    save_network(shipped["generator"], tmp_path / "generator.keras", classes=0)
    code = "import keras, sys; keras.models.load_model(sys.argv[1]); assert 'ganlib' not in sys.modules"
    assert fresh("-c", code, tmp_path / "generator.keras").returncode == 0


# --- networks and precision


# Step by step, other networks are trained by `test_task_contract`, and other kinds of damage below.
TRAINED = [(UNET, "strokes", "bfloat16")]
if EVERY_PAIR:
    TRAINED += [
        (ResnetTranslator(width=4, blocks=1, **SMALL), "grey", "float32"),
        (Fourier(width=4, halvings=2, blocks=1, **SMALL), "mask", "float32"),
    ]


@pytest.mark.parametrize(
    ("architecture", "damage", "precision"), TRAINED, ids=lambda value: value if isinstance(value, str) else value.kind
)
def test_networks_are_trained_for_each_kind_of_damage(colours, architecture, damage, precision):
    state = run(colours, Restoration(damage=DAMAGES[damage]), architecture=architecture, precision=precision)
    row = state.recent.means()
    assert all(np.isfinite(value) for value in row.values())
    assert row["gradient/generator"] > 0
    assert row["gradient/discriminator"] > 0
    task = Restoration(damage=DAMAGES[damage])
    [network] = task.shipped(state.trained.averaged).values()
    assert network.compute_dtype == "float32"
    batch = first_batch(colours, task)
    inputs = {
        name: pixels.to_model_range(batch["damaged"]) if name == "image" else batch[name] for name in network.input
    }
    assert network(inputs).dtype == tf.float32


def test_every_other_damage_is_trained_too(colours):
    for damage in ("noise", "downscale", "grey", "jpeg"):
        task = Restoration(damage=DAMAGES[damage])
        _, config, state = state_of(colours, task)
        step = TrainStep(state, task=task, objective=NonSaturating(), config=config, replicas=1)
        rows = [step.train_step(first_batch(colours, task, number=number), False) for number in range(2)]
        assert all(np.isfinite(value) for row in rows for value in row.values())
        assert state.trained.networks.generators["generator"].input.keys() == {"image"}


def test_the_map_of_known_patches_moves_with_the_image_and_has_no_colour():
    """Where an image has 1, the map has 1: both must show the same after all that moves places."""
    mask = np.random.default_rng(0).integers(0, 2, (8, 16, 16, 1)).astype(np.float32)
    numbers = tf.random.stateless_uniform([2, 8, augmentation.NUMBERS], [1, 2])
    match = Match(
        tf.zeros([8, 16, 16, 3]), tf.repeat(tf.constant(mask), 3, axis=3), generated=tf.constant(mask), weight=2.0
    )
    moved = augmentation.augment_match(match, *tf.unstack(numbers), transforms=("translation", "cutout"))
    np.testing.assert_array_equal(moved.generated, moved.fake[..., :1])
    assert moved.weight == 2.0
    assert (moved.generated.numpy() != mask).any(axis=(1, 2, 3)).all()
    everything = augmentation.augment_match(match, *tf.unstack(numbers), transforms=("colour", "translation", "cutout"))
    np.testing.assert_array_equal(everything.generated, moved.generated)
    coloured = augmentation.augment_match(match, *tf.unstack(numbers), transforms=("colour",))
    np.testing.assert_array_equal(coloured.generated, mask)
    assert (coloured.fake.numpy() != match.fake.numpy()).any()


# --- what is shipped

FRESH = """
import sys, numpy, keras, tensorflow
folder = sys.argv[1]
restore = tensorflow.saved_model.load(folder + "/saved_model").signatures["restore"]
network = keras.models.load_model(folder + "/generator.keras", compile=False)
given = numpy.load(folder + "/given.npz")
made = {}
for name in ("trained", "other"):
    images, masks = given[name], given[name + "_masks"]
    made[name] = restore(images=tensorflow.constant(images), masks=tensorflow.constant(masks))["images"].numpy()
    inputs = {"image": images / numpy.float32(127.5) - 1, "mask": (masks > 127).astype("float32")}
    floats = numpy.asarray(network(inputs))
    numpy.testing.assert_allclose((floats + 1) * 127.5, made[name], atol=0.51)
numpy.savez(folder + "/made.npz", **made)
assert not [name for name in sys.modules if name.startswith("ganlib")]
"""


def test_known_pixels_are_shipped_untouched_at_any_size_in_a_fresh_process(fresh, colours, tmp_path):
    task = Restoration()
    network = task.shipped(state_of(colours, task)[2].trained.averaged)
    save_network(network["generator"], tmp_path / "generator.keras", classes=0)
    functions = signatures(network, task, image_shape=colours.image_shape, classes=0)
    assert functions.keys() == {"serving_default", "restore"}
    save_signatures(network, functions, tmp_path / "saved_model")
    random, given = np.random.default_rng(0), {}
    for name, size in (("trained", (16, 24)), ("other", (40, 32))):
        given[name] = random.integers(0, 256, (3, *size, 3), np.uint8)
        given[name][0, :16, :16] = np.arange(256).reshape(16, 16, 1)  # every value is known
        given[f"{name}_masks"] = random.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (3, *size, 1))
        given[f"{name}_masks"][0, :16, :16] = 1
    np.savez(tmp_path / "given.npz", **given)
    done = fresh("-c", FRESH, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    made = np.load(tmp_path / "made.npz")
    for name in ("trained", "other"):
        hole = given[f"{name}_masks"] >= 128
        assert made[name].dtype == np.uint8
        np.testing.assert_array_equal(np.where(hole, 0, made[name]), np.where(hole, 0, given[name]))
        assert (np.where(hole, made[name], 0) != np.where(hole, given[name], 0)).any()
    # What lies under a mask has no say.
    [restored, again] = [
        network["generator"]({"image": pixels.to_model_range(images), "mask": tf.cast(hole, tf.float32)}).numpy()
        for hole in [given["other_masks"] >= 128]
        for images in (given["other"], np.where(hole, 255 - given["other"], given["other"]))
    ]
    np.testing.assert_array_equal(restored, again)


@pytest.mark.parametrize("shape", ["strokes", "box"])
def test_known_pixels_of_samples_are_those_of_the_image(colours, shape):
    task = Restoration(damage=Mask(shape=shape))
    network = task.shipped(state_of(colours, task)[2].trained.averaged)["generator"]
    sampler = Sampler(task, network, shares=(), image_shape=colours.image_shape, held_out=colours)
    [samples] = sampler.batches(8, seed=1)
    assert samples.holes.any()
    np.testing.assert_array_equal(
        np.where(samples.holes, 0, samples.images), np.where(samples.holes, 0, samples.truths)
    )
    np.testing.assert_array_equal(np.where(samples.holes, 128, samples.truths), samples.unchanged)


# --- mistakes


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"test_damage": "noise"},
            "expected a mask in both damage and test_damage, or in neither. Received: damage=mask, test_damage=noise",
        ),
        ({"damage": "grey", "test_damage": "mask"}, "Received: damage=grey, test_damage=mask"),
        (
            {"residual": True},
            "residual is of no use with damage=mask: holes have nothing to add to. Received: residual",
        ),
        ({"damage": "jpeg", "hole_l1_weight": 1}, "hole_l1_weight is of no use without damage=mask"),
        ({"adversarial_weight": 0}, "expected hole_l1_weight above 0, since nothing else trains repairs"),
        ({"damage": "noise", "adversarial_weight": 0, "l1_weight": 0}, "expected l1_weight above 0"),
        ({"l1_weight": -1}, "l1_weight"),
        ({"feature_weight": math.nan}, "feature_weight"),
        ({"damage": "blur"}, "damage"),
        ({"perceptual_weight": 30}, "perceptual_weight"),
    ],
)
def test_each_mistake_is_one_clear_line(task, message):
    with pytest.raises(ValidationError) as caught:
        schema.parse(RunConfig, {"task": {"kind": "restoration", **task}, "model": "unet", "data": {"size": 32}})
    [line] = schema.problems(caught.value)
    assert message in line
    assert "\n" not in line


def test_parts_that_do_not_suit_are_refused_by_the_config():
    suiting = {"task": "restoration", "model": "unet", "data": {"size": 32}}
    schema.parse(RunConfig, suiting)
    for change, message in (
        ({"objective": "relativistic"}, "expected objective=non_saturating, minimax, least_squares or hinge"),
        ({"objective": "wgan_gp"}, "Received: objective=wgan_gp"),
        ({"model": "dcgan"}, "task=restoration needs networks from images to images"),
        ({"data": {"size": 30}}, "unet takes images whose sides are multiples of 4"),
    ):
        with pytest.raises(ValidationError) as caught:
            schema.parse(RunConfig, suiting | change)
        [line] = schema.problems(caught.value)
        assert message in line
    schema.parse(RunConfig, suiting | {"objective": "wgan_gp", "task": {"kind": "restoration", "damage": "noise"}})


def test_data_that_do_not_suit_are_refused_before_anything_runs(digits, reference, tmp_path):
    cropped = prepare(DataConfig(size=16, crop=12), tmp_path / "cropped")
    common = {"architecture": UNET, "config": settings(), "output": tmp_path / "x"}
    for dataset, damage, objective, message in (
        (digits, Grey(), NonSaturating(), "expected images in colour"),
        (digits, Mask(), Relativistic(), "Received: objective=relativistic"),
        (digits, Mask(shape="file", masks=str(tmp_path / "absent")), NonSaturating(), "absent"),
        (cropped, Downscale(factor=8), NonSaturating(), r"multiples of 8 .*Received: image_shape=\(12, 12, 1\)"),
    ):
        with pytest.raises((ValueError, OSError), match=message) as caught:
            train(dataset, reference, task=Restoration(damage=damage), objective=objective, **common)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


# --- whole runs


@pytest.mark.skipif(not EVERY_PAIR, reason="it has no state of its own, as the tasks of other files: make every-pair")
def test_a_run_that_resumes_ends_with_the_same_bits(digits, reference, tmp_path):
    def trained(home, output, steps):
        return train(
            digits,
            reference,
            task=Restoration(),
            architecture=UNET,
            objective=NonSaturating(r1=0.002),
            config=settings(home=str(tmp_path / home), steps=steps),
            output=tmp_path / output,
        )

    whole = trained("whole", "whole output", 4)
    trained("rest", "half", 2)
    rest = trained("rest", "rest output", 4)
    for which in ("best", "last"):
        weights = [model.network(which).get_weights() for model in (whole, rest)]
        assert all((one == other).all() for one, other in zip(*weights, strict=True)), which
        assert weights[0]
