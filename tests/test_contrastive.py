"""Contrastive translation: PatchNCE against its definition, and heads that are trained with the generator."""

from typing import Literal

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from tiny_runs import BATCH

from ganlib import pixels
from ganlib.evaluation import EvaluationConfig, evaluate, measure_reference
from ganlib.export import ExportConfig, export
from ganlib.models import Dcgan, Fourier, ResnetTranslator, Unet
from ganlib.objectives import LeastSquares
from ganlib.tasks import ContrastiveTranslation, patch_nce
from ganlib.tasks.features import compute_features
from ganlib.training import train
from ganlib.training.train_step import TrainStep
from ganlib.training.trainer import Trainer

NETWORKS = ResnetTranslator(width=4, blocks=1, discriminator_layers=1, discriminator_width=4)
CUT = ContrastiveTranslation(patches=20, projection_width=8)
FASTCUT = ContrastiveTranslation(
    patches=20, projection_width=8, nce_weight=10.0, identity_nce_weight=0.0, flip_equivariance=True
)


class Pointwise(ResnetTranslator):
    """A generator that changes each pixel alone, so that mirroring before and after is the same."""

    kind: Literal["pointwise"] = "pointwise"
    discriminator_layers: int = 1
    discriminator_width: int = 4
    features: bool = True
    unchanged: bool = False

    def generator(self, *, image_shape, channels, dtype, seed):
        image = keras.Input((None, None, image_shape[2]), name="image", dtype="float32")
        if self.unchanged:
            x = keras.layers.Identity(name="feature_0")(image)
            return keras.Model({"image": image}, keras.layers.Rescaling(1.0)(x))
        x = keras.layers.Conv2D(6, 1, activation="tanh", name="feature_0" if self.features else "first")(image)
        x = keras.layers.Conv2D(channels, 1, activation="tanh")(x)
        return keras.Model({"image": image}, x)


@pytest.fixture(scope="module")
def reference(pairs, tmp_path_factory):
    config = EvaluationConfig(extractor={"kind": "random"})
    return measure_reference(pairs, config, tmp_path_factory.mktemp("references") / "reference", task=CUT)


settings = tiny_runs.config


def state_of(task, architecture=NETWORKS, replicas=1, image_shape=(16, 16, 1), dtype="float32", **changes):
    return tiny_runs.build(
        task, architecture, settings(**changes), image_shape=image_shape, dtype=dtype, replicas=replicas
    )


def noise_batch(task, shape=(BATCH, 16, 16, 1), number=0):
    """Images of random pixels, with what the task draws."""
    random = np.random.default_rng(number)
    batch = {name: tf.constant(random.integers(0, 256, shape), tf.uint8) for name in ("images", "targets")}
    return task.draw(batch, seed=5, number=tf.constant(number, tf.int64))


def unit_vectors(features, layers):
    """A head and the division by the norm, for one vector."""
    (first, first_bias), (second, second_bias) = layers
    projected = np.maximum(features @ first + first_bias, 0.0) @ second + second_bias
    return projected / (np.sqrt((projected**2).sum()) + 1e-7)


def loop_nce(queries, keys, temperature):
    """The loss of one image as the authors write it: the positive first, then all keys but -10 for the positive's."""
    losses = []
    for place, query in enumerate(queries):
        negatives = [-10.0 if other == place else query @ key for other, key in enumerate(keys)]
        logits = np.array([query @ keys[place], *negatives], np.float64) / temperature
        losses.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[0])
    return np.mean(losses)


# --- the loss


def test_the_loss_is_the_papers():
    random = np.random.default_rng(0)
    maps = random.normal(size=(2, 3, 5, 7, 3)).astype(np.float32)
    head = patch_nce.head(3, 6, name="head")
    for weights in head.trainable_variables:
        weights.assign(random.normal(size=weights.shape))
    places = np.array([[0, 34, 5, 17], [1, 2, 3, 4], [30, 0, 34, 9]])
    query, key = (patch_nce.project(head, tf.constant(each), tf.constant(places)) for each in maps)
    layers = [[variable.numpy() for variable in head.trainable_variables[at : at + 2]] for at in (0, 2)]
    vectors = [
        [
            [unit_vectors(image[place // 7, place % 7], layers) for place in row]
            for image, row in zip(each, places, strict=True)
        ]
        for each in maps
    ]
    np.testing.assert_allclose(query, vectors[0], atol=1e-5)
    np.testing.assert_allclose(key, vectors[1], atol=1e-5)
    for temperature in (0.07, 1.0):
        images = [loop_nce(*pair, temperature) for pair in zip(*vectors, strict=True)]
        assert float(patch_nce.patch_nce(query, key, temperature=temperature)) == pytest.approx(
            np.mean(images), rel=1e-4
        )
        # Negatives come from the same image: another one beside it changes nothing.
        alone = [
            float(patch_nce.patch_nce(query[i : i + 1], key[i : i + 1], temperature=temperature)) for i in range(3)
        ]
        assert alone == pytest.approx(images, rel=1e-4)


def test_no_gradient_reaches_the_key():
    query, key = (tf.math.l2_normalize(tf.random.stateless_normal([2, 5, 3], [0, seed]), -1) for seed in (1, 2))
    with tf.GradientTape() as tape:
        tape.watch([query, key])
        loss = patch_nce.patch_nce(query, key, temperature=0.07)
    to_query, to_key = tape.gradient(loss, [query, key])
    assert to_key is None
    assert np.abs(to_query).max() > 0


@pytest.mark.parametrize("features", [tf.random.stateless_normal([3, 1, 1, 2], [0, 1]), tf.zeros([3, 4, 4, 2])])
def test_a_map_of_one_place_and_features_of_zero_have_finite_gradients(features):
    head = patch_nce.head(2, 4, name="head")
    places = tf.zeros([3, 1], tf.int32) if features.shape[1] == 1 else tf.tile([[0, 3, 9]], [3, 1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        query = patch_nce.project(head, features, places)
        loss = patch_nce.patch_nce(query, query, temperature=0.07)
    # One place can be mistaken for no other; among places of zeros each is as good.
    assert float(loss) == pytest.approx(0.0 if features.shape[1] == 1 else np.log(3))
    gradients = tape.gradient(loss, [features, *head.trainable_variables])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).max() < 1e3 for gradient in gradients)


# --- the places


def chosen(size, *, patches, start=0.0, count=400, number=0):
    images = tf.zeros([count, 5, 6, 1], tf.uint8)
    numbers = patch_nce.draw_numbers(images, key=3, number=tf.constant(number, tf.int64))
    return patch_nce.choose_places(numbers, size=size, patches=patches, start=start).numpy()


@pytest.mark.parametrize("size", [30, 31, 130])  # the image, and with borders
def test_places_are_different_and_equally_probable(size):
    places = chosen(size, patches=10)
    assert places.shape == (400, 10)
    assert all(len(set(row)) == 10 for row in places)
    counts = np.bincount(places.ravel(), minlength=size)
    assert len(counts) == size
    expected, deviation = 4000 / size, np.sqrt(400 * 10 / size * (1 - 10 / size))
    assert np.abs(counts - expected).max() < 5 * deviation


def test_places_of_small_maps_are_all_of_them():
    for size in (1, 9, 10):
        np.testing.assert_array_equal(np.sort(chosen(size, patches=10)), np.tile(np.arange(size), (400, 1)))


def test_places_depend_on_the_batch_the_image_and_the_layer():
    places = chosen(130, patches=10)
    np.testing.assert_array_equal(places, chosen(130, patches=10))
    others = [chosen(130, patches=10, number=1), chosen(130, patches=10, start=0.25), np.roll(places, 1, axis=0)]
    for other in others:
        shared = np.mean([len(set(one) & set(two)) for one, two in zip(places, other, strict=True)])
        assert shared == pytest.approx(10 * 10 / 130, abs=0.3)


def test_a_map_larger_than_the_image_and_its_border_is_refused():
    with pytest.raises(ValueError, match=r"at most 462 places.*Received: 463"):
        chosen(463, patches=10)


# --- the task


def test_terms_are_those_of_the_paper_at_the_same_places_of_both_images():
    """Computed again from the features of the named layers, image by image."""
    _, _, state = state_of(CUT)
    networks, batch = state.trained.networks, noise_batch(CUT)
    play = CUT.play(networks, batch, training=True)
    generator = networks.generators["generator"]
    names = [f"feature_{layer}" for layer in range(4)]
    encoder = keras.Model(generator.inputs, [generator.get_layer(name).output for name in names])
    source, target = (pixels.to_model_range(batch[name]) for name in ("images", "targets"))
    match = play.matches["discriminator"]
    np.testing.assert_array_equal(match.real, target)
    np.testing.assert_allclose(match.fake, generator({"image": source}), atol=1e-6)
    assert networks.auxiliary.keys() == {f"projection_{layer}" for layer in range(4)}
    expected = {}
    for term, images in {"nce": source, "identity_nce": target}.items():
        losses = []
        for layer, (keys, queries) in enumerate(
            zip(encoder([images]), encoder([generator({"image": images})]), strict=True)
        ):
            head = networks.auxiliary[f"projection_{layer}"]
            weights = [each.numpy() for each in head.trainable_variables]
            size = keys.shape[1] * keys.shape[2]
            places = patch_nce.choose_places(batch["patch_numbers"], size=size, patches=20, start=layer / 4).numpy()
            assert places.shape == (BATCH, min(20, size))
            for image, row in enumerate(places):
                vectors = [
                    [
                        unit_vectors(each[image].numpy().reshape(size, -1)[place], (weights[:2], weights[2:]))
                        for place in row
                    ]
                    for each in (queries, keys)
                ]
                losses.append((layer, loop_nce(*vectors, 0.07)))
        expected[term] = 0.5 * np.mean([np.mean([loss for at, loss in losses if at == layer]) for layer in range(4)])
    assert {name: float(value) for name, value in play.terms().items()} == pytest.approx(expected, rel=1e-3)


def test_a_network_that_changes_nothing_has_no_loss_where_places_differ():
    """So queries and keys are from the same places."""
    task = CUT.model_copy(update={"temperature": 1e-5})
    _, _, state = state_of(task, Pointwise(unchanged=True), image_shape=(16, 16, 3))
    batch = noise_batch(task, (BATCH, 16, 16, 3))
    terms = task.play(state.trained.networks, batch, training=True).terms()
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {"nce": 0.0, "identity_nce": 0.0}, abs=0.05
    )


def test_fastcut_mirrors_images_and_mirrors_the_features_back():
    _, _, state = state_of(FASTCUT, Pointwise())
    networks = state.trained.networks
    batch = noise_batch(FASTCUT, number=1)
    flipped = batch["flipped"].numpy()
    assert 0 < flipped.sum() < BATCH
    play = FASTCUT.play(networks, batch, training=True)
    plain = FASTCUT.play(networks, {**batch, "flipped": tf.zeros([BATCH], tf.bool)}, training=True)
    fake, unflipped = (each.matches["discriminator"].fake.numpy() for each in (play, plain))
    for image, mirrored in enumerate(flipped):
        np.testing.assert_allclose(fake[image], unflipped[image][:, ::-1] if mirrored else unflipped[image], atol=1e-6)
    np.testing.assert_array_equal(play.matches["discriminator"].real, pixels.to_model_range(batch["targets"]))
    [(name, term)], [(_, same)] = play.terms().items(), plain.terms().items()
    assert name == "nce"
    assert float(term) == pytest.approx(float(same), rel=1e-4)
    without = ContrastiveTranslation(patches=20, projection_width=8, identity_nce_weight=0.0)
    batch.pop("flipped")
    assert float(without.play(networks, batch, training=True).terms()["nce"]) == pytest.approx(
        float(same) / 10, rel=1e-4
    )
    many = [noise_batch(FASTCUT, (64, 8, 8, 1), number)["flipped"].numpy() for number in range(8)]
    assert 0.4 < np.mean(many) < 0.6
    assert len({tuple(row) for row in many}) == 8
    assert "flipped" not in noise_batch(CUT)


def test_heads_are_trained_with_the_generator_and_neither_averaged_nor_drawn_later():
    _, config, state = state_of(CUT)
    names = set(state.trained.variables())
    assert {f"auxiliary/projection_{layer}/{index:03d}" for layer in range(4) for index in range(4)} <= names
    assert not any(name.startswith("averaged/projection") for name in names)
    assert set(state.trained.averaged) == {"generator"}
    before = {name: np.array(value) for name, value in state.trained.variables().items()}
    step = TrainStep(state, task=CUT, objective=LeastSquares(), config=config, replicas=1)
    terms = step.train_step(noise_batch(CUT), True)
    assert {"generator/nce", "generator/identity_nce", "generator/least_squares"} <= set(terms)
    after = state.trained.variables()
    assert after.keys() == before.keys()
    assert all((before[name] != after[name]).any() for name in names if name.startswith("auxiliary/"))
    _, _, again = state_of(CUT)
    for name, value in again.trained.variables().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        (Unet(width=4, norm="instance", discriminator_layers=1, discriminator_width=4), 4),
        (Fourier(width=8, blocks=1, halvings=1, discriminator_layers=1, discriminator_width=4), 2),
    ],
    ids=["unet", "fourier"],
)
def test_any_generator_with_features_will_do_also_in_mixed_precision(architecture, layers):
    """Oblong images; the innermost map of the U-Net has two places."""
    _, _, state = state_of(CUT, architecture, image_shape=(16, 32, 3), dtype="mixed_bfloat16")
    networks, batch = state.trained.networks, noise_batch(CUT, (2, 16, 32, 3))
    with tf.GradientTape() as tape:
        terms = CUT.play(networks, batch, training=True).terms()
        loss = tf.add_n(list(terms.values()))
    assert {term.dtype for term in terms.values()} == {tf.float32}
    trained = [each for head in networks.auxiliary.values() for each in head.trainable_variables]
    trained += networks.generators["generator"].trainable_variables
    gradients = tape.gradient(loss, trained)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients[:2])
    assert list(networks.auxiliary) == [f"projection_{layer}" for layer in range(layers)]


def test_a_map_of_a_single_place_is_left_out():
    """There is no other place that it could be mistaken for, so it would lower the mean and train nothing."""
    unet = Unet(width=4, discriminator_layers=1, discriminator_width=4)
    for shape, layers in (((16, 16, 1), 3), ((16, 32, 1), 4)):  # the innermost map has one place, and two
        networks = state_of(CUT, unet, image_shape=shape)[2].trained.networks
        assert list(networks.auxiliary) == [f"projection_{layer}" for layer in range(layers)]
        batch = noise_batch(CUT, (BATCH, *shape))
        source = pixels.to_model_range(batch["images"])
        play = CUT.play(networks, batch, training=False)
        keys, queries = (
            compute_features(networks.generators["generator"], images, training=False)
            for images in (source, play.matches["discriminator"].fake)
        )
        losses = []
        for layer, head in enumerate(networks.auxiliary.values()):
            size = keys[layer].shape[1] * keys[layer].shape[2]
            places = patch_nce.choose_places(batch["patch_numbers"], size=size, patches=20, start=layer / layers)
            query, key = (patch_nce.project(head, each[layer], places) for each in (queries, keys))
            losses.append(float(patch_nce.patch_nce(query, key, temperature=0.07)))
        assert min(losses) > 0.0
        assert float(play.terms()["nce"]) == pytest.approx(np.mean(losses) / 2, rel=1e-4)


def test_batch_norm_of_images_and_translations_has_a_note():
    task = ContrastiveTranslation()
    [note] = task.notes(Unet(), classes=2)
    assert note.startswith("with task=contrastive_translation, the batch norm of unet averages over images and their")
    assert task.notes(Unet(norm="instance"), classes=2) == task.notes(ResnetTranslator(), classes=2) == []


def test_what_it_cannot_use_is_refused(digits, pairs, reference, tmp_path):
    common = {"config": settings(), "output": tmp_path / "x", "objective": LeastSquares()}
    for dataset, architecture, message in (
        (digits, NETWORKS, r"task=contrastive_translation needs two classes as domains.*Received: classes=10"),
        (pairs, Dcgan(), r"needs networks from images to images.*Received: model=dcgan"),
        (pairs, Pointwise(features=False), r"layers named feature_0, feature_1, .*Received: model=pointwise"),
    ):
        with pytest.raises(ValueError, match=message):
            train(dataset, reference, task=CUT, architecture=architecture, **common)
    with pytest.raises(ValueError, match="two different classes"):
        ContrastiveTranslation(source="3")


# --- whole runs


def test_two_replicas_make_the_steps_that_one_makes(pairs):
    task, rows, heads = CUT.model_copy(update={"flip_equivariance": True}), {}, {}
    for replicas in (1, 2):
        strategy, config, state = state_of(task, replicas=replicas, steps_per_loop=3)
        trainer = Trainer(state, task=task, objective=LeastSquares(), strategy=strategy, config=config)
        trainer.run(lambda at: task.batches(pairs, batch_size=BATCH, seed=3, start=at), steps=3, callbacks=[])
        rows[replicas] = state.recent.means()
        heads[replicas] = [each.get_weights() for each in state.trained.networks.auxiliary.values()]
    same = {name: value for name, value in rows[1].items() if not name.startswith("gradient/")}
    assert {name: rows[2][name] for name in same} == pytest.approx(same, rel=1e-3, abs=1e-5)
    for one, two in zip(heads[1], heads[2], strict=True):
        for first, second in zip(one, two, strict=True):
            np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.fixture(scope="module")
def runs(pairs, reference, tmp_path_factory):
    """Trains in a home; its checkpoints are beside the model."""
    place = tmp_path_factory.mktemp("runs")

    def train_in(home, output, **changes):
        config = settings(home=str(place / home), **changes)
        common = {"task": FASTCUT, "architecture": NETWORKS, "objective": LeastSquares()}
        model = train(pairs, reference, config=config, output=place / output, **common)
        checkpoint = max((place / home).rglob("step-*.npz"))
        with np.load(checkpoint) as arrays:
            return model, {name: arrays[name] for name in arrays.files if name != "facts.json"}

    return train_in


@pytest.fixture(scope="module")
def whole(runs):
    return runs("whole", "whole output")


def test_a_run_that_resumes_ends_with_the_same_bits(runs, whole):
    """The networks, their heads and both optimizers."""
    _, half = runs("rest", "half", steps=2)
    _, rest = runs("rest", "rest output")
    _, expected = whole
    assert rest.keys() == expected.keys()
    heads = [name for name in rest if name.startswith("auxiliary/")]
    assert len(heads) == 16
    assert any((half[name] != rest[name]).any() for name in heads)
    for name, value in rest.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_the_generator_alone_is_shipped_and_scored_beside_doing_nothing(whole, pairs, reference, tmp_path):
    model, _ = whole
    assert list(model.networks) == ["generator"]
    config = EvaluationConfig(extractor={"kind": "random"})
    evaluation = evaluate(model, pairs, reference, config, tmp_path / "scores")
    scores = {score.name: score for score in evaluation.scores}
    images, targets = (pairs.of(name).load("test")[0].astype(float) for name in ("images", "targets"))
    assert scores["l1"].baseline == pytest.approx(np.abs(images - targets).mean() / 255)
    assert reference.facts["dataset_sha256"] == pairs.of("targets").checksum
    exported = export(model, evaluation, ExportConfig(onnx=False), tmp_path / "exported")
    assert [path.name for path in exported.folder.glob("*.keras")] == ["generator.keras"]
    loaded = tf.saved_model.load(str(exported.folder / "saved_model"))
    assert set(loaded.signatures) == {"serving_default", "translate"}
    given = np.random.default_rng(0).integers(0, 256, (2, 24, 40, 1), np.uint8)  # it was trained on 16x16
    made = loaded.signatures["translate"](images=tf.constant(given))["images"].numpy()
    network = keras.models.load_model(exported.folder / "generator.keras")
    assert network.count_params() == model.network("best").count_params()
    expected = pixels.to_uint8(network({"image": pixels.to_model_range(given)})).numpy()
    assert np.abs(made.astype(int) - expected).max() <= 1
