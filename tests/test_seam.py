"""A task that no package knows: what training, evaluation and export assume of a task, they must ask.

Two generators, two discriminators, a frozen network, pairs of oblong images, noise beside them, and terms that need a
reconstruction. It is declared here alone, and goes the whole way from pairs on disk to a model in a fresh process.
"""

import json
import shutil
from typing import Annotated, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pydantic import Field

from ganlib import pixels, storage, streams, trained
from ganlib.data import PreparedDataset, tfrecord
from ganlib.evaluation import EvaluationConfig, evaluate, measure_reference
from ganlib.export import ExportConfig, export
from ganlib.export.network import save_network, signatures
from ganlib.models import Dcgan, ImageToImage
from ganlib.objectives import LeastSquares, WganGp
from ganlib.tasks import Generation, Match, Play, Sampler, Signature, Task
from ganlib.training import TrainConfig, train
from ganlib.training.state import build_state
from ganlib.training.strategy import resolve_strategy
from ganlib.training.train_step import TrainStep
from ganlib.training.trainer import Trainer

SHAPE = (48, 80, 1)


class Tiny(ImageToImage):
    """Two convolutions."""

    kind: Literal["tiny"] = "tiny"

    def check(self, image_shape):
        """Any shape will do."""

    def generator(self, *, image_shape, channels, dtype, seed):
        image = keras.Input(image_shape, name="image", dtype="float32")
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", dtype=dtype)(image)
        x = keras.layers.Conv2D(channels, 3, padding="same", activation="tanh", dtype="float32")(x)
        return keras.Model({"image": image}, x, name="generator")

    def discriminator(self, *, image_shape, classes, dtype, seed, condition_channels=0):
        images = keras.Input(image_shape, name="images", dtype="float32")
        x = keras.layers.Conv2D(8, 4, strides=2, padding="same", activation="relu", dtype=dtype)(images)
        logits = keras.layers.Conv2D(1, 4, strides=2, padding="same", dtype="float32")(x)  # one for each patch
        return keras.Model({"images": images}, logits, name="discriminator")


class There(Task):
    """Images to their targets and back: pix2pix one way, CycleGAN's cycle the other."""

    kind: Literal["there"] = "there"
    noise: float = 0.1

    def check_architecture(self, architecture):
        if not isinstance(architecture, ImageToImage):
            raise ValueError(  # noqa: TRY004  # a wrong setting, not a wrong type
                f"task=there needs networks from images to images. Received: model={architecture.kind}"
            )

    def check_data(self, *, image_shape, classes, paired):
        if not paired:
            raise ValueError("task=there needs pairs of images. Received: paired=False")

    def generators(self, architecture, *, image_shape, classes, dtype, seed):
        build = architecture.generator
        return {name: build(image_shape=image_shape, channels=1, dtype=dtype, seed=None) for name in ("there", "back")}

    def discriminators(self, architecture, *, image_shape, classes, dtype, seed):
        beside = keras.Input(image_shape, name="beside", dtype="float32")
        images = keras.Input(image_shape, name="images", dtype="float32")
        x = keras.layers.Concatenate(dtype=dtype)([images, beside])
        x = keras.layers.Conv2D(8, 4, strides=4, activation="relu", dtype=dtype)(x)
        logits = keras.layers.Dense(1, dtype="float32")(keras.layers.Flatten(dtype=dtype)(x))
        conditional = keras.Model({"images": images, "beside": beside}, logits)
        plain = architecture.discriminator(image_shape=image_shape, classes=0, dtype=dtype, seed=seed)
        return {"targets": conditional, "images": plain}

    def frozen(self, *, image_shape):
        kernel = keras.initializers.RandomNormal(seed=5)
        images = keras.Input(image_shape, dtype="float32")
        return {
            "features": keras.Model(images, keras.layers.Conv2D(4, 3, strides=2, kernel_initializer=kernel)(images))
        }

    def draw(self, batch, *, seed, number):
        key = streams.pair(streams.key("latents", seed), number)
        return {**batch, "noise": tf.random.stateless_normal(batch["images"].shape, key)}

    def play(self, networks, batch, *, training):
        images, targets = (pixels.to_model_range(batch[name]) for name in ("images", "targets"))
        there, back = networks.generators["there"], networks.generators["back"]
        fake = there({"image": images + self.noise * batch["noise"]}, training=training)
        fake_images = back({"image": targets}, training=training)

        def terms():
            cycle = back({"image": fake}, training=training)
            seen, wanted = (networks.frozen["features"](each, training=False) for each in (fake, targets))
            return {
                "cycle": 10.0 * tf.reduce_mean(tf.abs(cycle - images)),
                "features": tf.reduce_mean(tf.abs(seen - wanted)),
                "l1": 10.0 * tf.reduce_mean(tf.abs(fake - targets)),
            }

        matches = {
            "targets": Match(targets, fake, {"beside": images}),
            "images": Match(images, fake_images, weight=0.5),
        }
        return Play(matches, terms)

    def shipped(self, generators):
        return generators

    @property
    def scored(self):
        return ("there",)

    @property
    def samples_from(self):
        return "images"

    def inputs(self, count, *, seed, shares, label=None, examples=None, network=None):
        name = "targets" if network == "back" else "images"
        return {"image": pixels.to_model_range(examples[name])}

    def real(self, dataset, network=None):
        return dataset.of("targets")

    def truth(self, examples, network=None):
        return examples["targets"]

    def unchanged(self, inputs):
        return pixels.to_uint8(inputs["image"]).numpy()

    def signatures(self, networks, *, image_shape, classes):
        def translate(images):
            return {"images": pixels.to_uint8(networks["there"]({"image": pixels.to_model_range(images)}))}

        spec = tf.TensorSpec([None, *image_shape], tf.uint8, name="images")
        return {"translate": Signature(translate, {"images": spec}, {"images": np.full((2, *image_shape), 99)})}


TASK, NETWORKS = There(), Tiny()


@pytest.fixture(scope="module", autouse=True)
def known():
    """The one word that a task needs in the union."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "AnyTask", Annotated[Generation | There, Field(discriminator="kind")])
        yield


@pytest.fixture(scope="module")
def pairs(digits, tmp_path_factory) -> PreparedDataset:
    """Digits on an oblong sheet, and the same in negative and half as bright."""
    folder = tmp_path_factory.mktemp("pairs")
    manifest = json.loads(json.dumps(digits.manifest))
    for split in ("train", "test"):
        images, labels = digits.load(split)
        sheets = np.zeros((len(images), *SHAPE), np.uint8)
        sheets[:, 16:32, 32:48] = images
        path = folder / f"{split}.tfrecord"
        with path.open("wb") as file:
            for sheet, label in zip(sheets, labels, strict=True):
                target = (255 - sheet) // 2
                file.write(tfrecord.frame(tfrecord.example(sheet.tobytes(), int(label), target.tobytes())))
        manifest["splits"][split]["shards"] = [
            {
                "file": path.name,
                "count": len(images),
                "bytes": path.stat().st_size,
                "sha256": storage.sha256(path),
            }
        ]
    manifest |= {"paired": True, "image_shape": list(SHAPE), "sha256": "0" * 64, "name": "digit_pairs"}
    storage.write_json(folder / "manifest.json", manifest)
    shutil.copy(digits.folder / "preview.png", folder)
    return PreparedDataset.open(folder)


@pytest.fixture(scope="module")
def reference(pairs, tmp_path_factory):
    config = EvaluationConfig(extractor={"kind": "random"})
    return measure_reference(pairs, config, tmp_path_factory.mktemp("reference") / "reference", task=TASK)


@pytest.fixture(scope="module")
def run(pairs, reference, tmp_path_factory):
    """Trains by name; runs of one name share their home."""
    place = tmp_path_factory.mktemp("runs")

    def train_named(name, output, steps=4, **settings):
        config = TrainConfig(
            **{
                "steps": steps,
                "batch_size": 4,
                "steps_per_loop": 1,
                "score_every": 2,
                "sample_every": 2,
                "checkpoint_every": 2,
                "score_samples": 30,
                "precision": "float32",
                "home": str(place / name),
                "augmentation": ("translation", "cutout"),
                "generator_optimizer": {"kind": "adam", "learning_rate": 0.01},
                **settings,
            }
        )
        return train(
            pairs,
            reference,
            task=TASK,
            architecture=NETWORKS,
            objective=LeastSquares(),
            config=config,
            output=place / output,
        )

    return train_named


@pytest.fixture(scope="module")
def model(run):
    return run("whole", "whole output")


@pytest.fixture(scope="module")
def evaluation(model, pairs, reference, tmp_path_factory):
    config = EvaluationConfig(extractor={"kind": "random"}, samples=500)
    return evaluate(model, pairs, reference, config, tmp_path_factory.mktemp("evaluation") / "scores")


def test_pairs_are_read_batched_and_mirrored_together(pairs):
    for split in ("train", "test"):
        for examples in pairs.examples(split):
            np.testing.assert_array_equal(examples["targets"], (255 - examples["images"]) // 2)
    np.testing.assert_array_equal(pairs.of("targets").load("test")[0], (255 - pairs.load("test")[0]) // 2)
    assert pairs.of("targets").checksum != pairs.checksum
    mirrored = PreparedDataset(pairs.folder, {**pairs.manifest, "preparation": {"flip": True}})
    for dataset in (pairs, mirrored):
        for memory in ({}, {"in_memory_bytes": 0}):
            [batch] = dataset.batches(batch_size=16, seed=1, **memory).take(1)
            np.testing.assert_array_equal(batch["targets"], (255 - batch["images"].numpy()) // 2)
    assert [batch["images"].shape for batch in mirrored.batches(batch_size=16, seed=1).take(1)] == [(16, *SHAPE)]


def test_data_without_targets_have_none(digits):
    assert not digits.paired
    with pytest.raises(ValueError, match="expected pairs of images"):
        digits.of("targets")


def test_a_run_that_resumes_ends_with_the_same_bits(model, run):
    run("rest", "half", steps=2)
    rest = run("rest", "rest output")
    for which in ("best", "last"):
        for name in ("there", "back"):
            arrays = zip(model.network(which, name).get_weights(), rest.network(which, name).get_weights(), strict=True)
            assert all((a == b).all() for a, b in arrays), (which, name)


def test_every_term_of_both_matches_is_in_the_history(model):
    row = [row for row in model.history if "generator/cycle" in row][-1]
    names = {
        *(f"{match}/{term}" for match in ("targets", "images") for term in ("real", "fake")),
        *(f"generator/{term}" for term in ("cycle", "features", "l1", "targets/least_squares", "images/least_squares")),
        "discriminator/accuracy",
        "training/fd_random",
    }
    assert names <= row.keys()
    first = next(row for row in model.history if "generator/l1" in row)
    assert row["generator/l1"] < first["generator/l1"]


def test_a_weight_of_a_match_scales_its_terms_alone(pairs):
    strategy = resolve_strategy(1)
    still = {"kind": "rmsprop", "learning_rate": 0.0}  # so that the generators' terms are of equal discriminators
    config = TrainConfig(batch_size=4, precision="float32", discriminator_optimizer=still)

    def terms(weight):
        class Weighted(There):
            def play(self, networks, batch, *, training):
                play = super().play(networks, batch, training=training)
                match = play.matches["images"]
                changed = Match(match.real, match.fake, match.condition, weight)
                return Play({**play.matches, "images": changed}, play.terms)

        task = Weighted()
        state = build_state(
            strategy, task=task, architecture=NETWORKS, config=config, image_shape=SHAPE, classes=0, dtype="float32"
        )
        step = TrainStep(state, task=task, objective=WganGp(), config=config, replicas=1)
        [batch] = pairs.batches(batch_size=4, seed=0).take(1)
        drawn = step.draw(batch, seed=1, number=tf.constant(0, tf.int64))
        frozen = [variable.numpy() for variable in state.trained.networks.frozen["features"].variables]
        found = {name: float(value) for name, value in step.train_step(drawn, True).items()}
        after = [variable.numpy() for variable in state.trained.networks.frozen["features"].variables]
        assert all((a == b).all() for a, b in zip(frozen, after, strict=True))
        assert not [name for name in state.trained.variables() if "features" in name]
        return found

    whole, half = terms(1.0), terms(0.5)
    for name in ("images/wasserstein", "images/gradient_penalty", "generator/images/wasserstein"):
        assert half[name] == pytest.approx(whole[name] / 2)
    assert half["targets/gradient_penalty"] == whole["targets/gradient_penalty"] != whole["images/gradient_penalty"]


def test_an_augmentation_moves_a_condition_with_its_images_and_draws_for_each_match(pairs):
    strategy, config = resolve_strategy(1), TrainConfig(batch_size=4, augmentation=("translation",))
    state = build_state(
        strategy, task=TASK, architecture=NETWORKS, config=config, image_shape=SHAPE, classes=0, dtype="float32"
    )
    step = TrainStep(state, task=TASK, objective=LeastSquares(), config=config, replicas=1)
    [batch] = pairs.batches(batch_size=4, seed=0).take(1)
    drawn = step.draw(batch, seed=1, number=tf.constant(0, tf.int64))
    images = pixels.to_model_range(batch["images"])
    same = {"targets": Match(images, images, {"beside": images}), "images": Match(images, images)}
    changed = step._augment(same, drawn)
    np.testing.assert_array_equal(changed["targets"].real, changed["targets"].condition["beside"])
    np.testing.assert_array_equal(changed["targets"].fake, changed["targets"].condition["beside"])
    moved = [changed["targets"].real, changed["images"].real, changed["images"].fake]
    assert len(np.unique(np.stack(moved).reshape(3, -1), axis=0)) == 3


def test_samples_are_held_out_images_translated_each_beside_its_truth(model, pairs):
    sampler = model.sampler("last", pairs)
    assert sampler.available == pairs.count("test") == 360
    samples = list(sampler.batches(150, seed=1))
    images, targets = (
        np.concatenate([each[name] for each in pairs.examples("test")]) for name in ("images", "targets")
    )
    np.testing.assert_array_equal(np.concatenate([each.truths for each in samples]), targets[:150])
    network = model.network("last")
    expected = pixels.to_uint8(network({"image": pixels.to_model_range(images[:150])})).numpy().astype(int)
    assert np.abs(np.concatenate([each.images for each in samples]) - expected).max() <= 1
    with pytest.raises(ValueError, match=r"at most one sample of each of 360 images\. Received: count=361"):
        sampler.images(361, seed=1)
    with pytest.raises(ValueError, match="makes samples from images"):
        model.sampler("last")


def test_it_is_scored_against_its_targets_and_each_sample_against_its_own(evaluation, model, pairs, reference):
    values = evaluation.values
    assert evaluation.protocol["generated_count"] == 360
    assert any("360 are scored, not 500" in note for note in evaluation.notes)
    assert reference.facts["dataset_sha256"] == pairs.of("targets").checksum
    samples = np.concatenate([each.images for each in model.sampler("best", pairs).batches(360, seed=1)])
    truths = pairs.of("targets").load("test")[0]
    apart = (samples.astype(float) - truths) / 255
    assert values["l1"] == pytest.approx(np.abs(apart).mean())
    assert values["psnr"] == pytest.approx(np.mean(-10 * np.log10(np.square(apart).mean(axis=(1, 2, 3)))))
    assert values["fd_random"] > reference.floor(360)
    assert "memorised_pixels" in values


def test_sheets_show_input_output_and_truth(evaluation, model):
    for path in (evaluation.samples, model.sample_pictures[-1]):
        with Image.open(path) as picture:
            assert picture.size == (9 * (SHAPE[1] + 2) - 2, 10 * (SHAPE[0] + 2) - 2)
            first = np.asarray(picture)[: SHAPE[0]]
        source, truth = first[:, : SHAPE[1]].astype(int), first[:, 2 * (SHAPE[1] + 2) : 3 * SHAPE[1] + 4]
        np.testing.assert_array_equal(truth, (255 - source) // 2)


def test_both_directions_are_shipped_and_a_fresh_process_translates(fresh, evaluation, model, tmp_path):
    exported = export(model, evaluation, ExportConfig(onnx=False), tmp_path / "exported")
    assert {"there.keras", "back.keras", "saved_model"} <= {path.name for path in exported.folder.iterdir()}
    assert exported.parity["saved_model"] <= 1e-4
    assert exported.parity["signatures"]
    card = exported.card.read_text()
    assert 'translate = model.signatures["translate"]\nimages = translate(images=images)["images"]' in card
    assert "- `translate` takes `images` uint8 [N, 48, 80, 1]." in card
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "print(sorted(model.signatures), model.signatures['translate'](images=tf.zeros([3, 48, 80, 1], tf.uint8))"
        "['images'].shape, model.signatures['back'](image=tf.zeros([1, 48, 80, 1]))['images'].shape)"
    )
    done = fresh("-c", script, exported.folder / "saved_model")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['back', 'serving_default', 'translate'] (3, 48, 80, 1) (1, 48, 80, 1)"


def test_an_exported_function_that_gives_something_else_is_refused(evaluation, model, tmp_path, monkeypatch):
    def signatures(self, networks, *, image_shape, classes):
        def translate(images):
            noise = tf.random.uniform(tf.shape(images), maxval=256, dtype=tf.int32)  # another one at each call
            return {"images": tf.cast(noise, tf.uint8)}

        spec = tf.TensorSpec([None, *image_shape], tf.uint8, name="images")
        return {"translate": Signature(translate, {"images": spec}, {"images": np.full((2, *image_shape), 99)})}

    monkeypatch.setattr(There, "signatures", signatures)
    with pytest.raises(RuntimeError, match="failed its check"):
        export(model, evaluation, ExportConfig(onnx=False), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_what_cannot_serve_is_said_before_anything_runs(digits, reference, pairs, tmp_path):
    config = TrainConfig(batch_size=4, steps=1)
    common = {"objective": LeastSquares(), "config": config, "output": tmp_path / "x"}
    with pytest.raises(ValueError, match=r"needs networks from images to images\. Received: model=dcgan"):
        train(pairs, reference, task=TASK, architecture=Dcgan(), **common)
    with pytest.raises(ValueError, match="needs pairs of images"):
        train(digits, reference, task=TASK, architecture=NETWORKS, **common)
    with pytest.raises(
        ValueError, match=r"task=generation needs networks from latents to images.*Received: model=tiny"
    ):
        train(pairs, reference, task=Generation(), architecture=NETWORKS, **common)


def test_two_replicas_make_the_steps_that_one_makes(pairs):
    """The frozen network, both matches, noise and augmentation are those of the global batch."""
    rows = {}
    for replicas in (1, 2):
        config = TrainConfig(batch_size=4, precision="float32", steps_per_loop=3, augmentation=("translation",))
        strategy = resolve_strategy(replicas)
        state = build_state(
            strategy, task=TASK, architecture=NETWORKS, config=config, image_shape=SHAPE, classes=0, dtype="float32"
        )
        trainer = Trainer(state, task=TASK, objective=LeastSquares(), strategy=strategy, config=config)
        trainer.run(lambda at: TASK.batches(pairs, batch_size=4, seed=3, start=at), steps=3, callbacks=[])
        rows[replicas] = state.recent.means()
    same = {name: value for name, value in rows[1].items() if not name.startswith("gradient/")}
    assert {name: rows[2][name] for name in same} == pytest.approx(same, rel=1e-4, abs=1e-6)


class Colliding(There):
    """Calls a term of its own as one of the objective's."""

    def play(self, networks, batch, *, training):
        play = super().play(networks, batch, training=training)
        return Play(play.matches, lambda: {"targets/least_squares": tf.constant(1000.0)})


def test_a_term_that_would_take_the_place_of_another_is_refused(pairs):
    config, task = TrainConfig(batch_size=4, precision="float32"), Colliding()
    state = build_state(
        resolve_strategy(1),
        task=task,
        architecture=NETWORKS,
        config=config,
        image_shape=SHAPE,
        classes=0,
        dtype="float32",
    )
    step = TrainStep(state, task=task, objective=LeastSquares(), config=config, replicas=1)
    [batch] = pairs.batches(batch_size=4, seed=0).take(1)
    with pytest.raises(ValueError, match=r"a name of its own.*Received: terms=\['targets/least_squares'\]"):
        step.train_step(step.draw(batch, seed=1, number=tf.constant(0, tf.int64)), True)


class Asked(There):
    """Takes a class beside its image."""

    @property
    def takes_label(self):
        return True

    def inputs(self, count, *, seed, shares, label=None, examples=None, network=None):
        labels = examples["labels"] if label is None else label
        return {"image": pixels.to_model_range(examples["images"]), "label": tf.constant(labels, tf.int64)}


def test_a_class_can_be_asked_for_where_samples_come_from_images(pairs):
    shares = [0.1] * 10
    sampler = Sampler(
        Asked(), lambda inputs, training: inputs["image"], shares=shares, image_shape=SHAPE, held_out=pairs
    )
    asked = np.arange(150) % 10
    drawn = list(sampler.batches(150, seed=1, labels=asked))
    np.testing.assert_array_equal(np.concatenate([samples.labels for samples in drawn]), asked)
    sheet = sampler.sheet(seed=1)
    assert (len(sheet.images), sheet.columns) == (90, 9)
    np.testing.assert_array_equal(sheet.labels, np.repeat(np.arange(10), 3))  # three samples, one class a row


def test_a_network_without_labels_is_exported_beside_classes(tmp_path):
    network = Tiny().generator(image_shape=SHAPE, channels=1, dtype="float32", seed=None)
    save_network(network, tmp_path / "plain.keras", classes=10)
    assert keras.models.load_model(tmp_path / "plain.keras").input["image"].shape == (None, *SHAPE)
    served = signatures({"there": network}, TASK, image_shape=SHAPE, classes=10)
    assert list(served["serving_default"].inputs) == ["image"]
