"""Copies of training images are detected; blurred images, and real images not used for training, are no copies."""

import keras
import numpy as np
import pytest
from PIL import Image, ImageFilter

from ganlib import pixels, storage
from ganlib.data import PreparedDataset
from ganlib.evaluation import EvaluationConfig, evaluate
from ganlib.evaluation.measures import memorisation
from ganlib.evaluation.measures.catalogue import memorisation as memorisation_score
from ganlib.evaluation.measures.memorisation import closeness, closeness_to_training, memorised_share
from ganlib.training import TrainedModel


@pytest.fixture(scope="module")
def held_out(digits, reference):
    return digits.load("test")[0], reference.test_closeness


def blurred(images, radius):
    return np.stack(
        [np.asarray(Image.fromarray(image[..., 0]).filter(ImageFilter.GaussianBlur(radius))) for image in images]
    )[..., None]


def noisy(images, spread):
    return np.clip(images + np.random.default_rng(0).normal(0, spread, images.shape), 0, 255).astype(np.uint8)


def test_a_generator_that_copies_is_detected_even_with_noise(digits, held_out):
    copies = digits.load("train")[0][:200]
    for images in (copies, noisy(copies, 10), noisy(copies, 25)):
        near, places = closeness_to_training(images, digits)
        share, error = memorised_share(near, held_out[1])
        assert share - 0.05 > 10 * error
        np.testing.assert_array_equal(places, np.arange(200))


def test_a_generator_that_copies_a_tenth_of_the_time_is_detected(digits, held_out):
    near = held_out[1]
    mixed = np.concatenate([near[:270], closeness_to_training(digits.load("train")[0][:30], digits)[0]])
    share, error = memorised_share(mixed, near)
    assert share - 0.05 > 3 * error


def test_held_out_and_blurred_images_are_no_copies(digits, held_out):
    images, near = held_out
    share, error = memorised_share(near[:180], near[180:])
    assert abs(share - 0.05) < 3 * error
    assert memorised_share(closeness_to_training(blurred(images, 1.0), digits)[0], near)[0] <= 0.05


def test_a_run_with_a_memorising_generator_is_detected(trained, digits, reference, copy, tmp_path):
    model = TrainedModel.open(copy(trained.folder))
    known = pixels.to_model_range(digits.load("train")[0][:200]).numpy()
    latent = keras.Input((8,), name="latent")
    choice, pictures = (keras.layers.Dense(size, use_bias=False) for size in (200, known[0].size))
    images = keras.layers.Reshape(digits.image_shape)(pictures(keras.layers.Softmax()(1000 * choice(latent))))
    choice.set_weights([np.random.default_rng(0).normal(size=(8, 200))])
    pictures.set_weights([known.reshape(200, -1)])
    keras.Model({"latent": latent}, images).save(model.file("last"))
    for generator, copied in (("last", True), ("best", False)):
        evaluation = evaluate(model, digits, reference, EvaluationConfig(generator=generator), tmp_path / generator)
        score = next(score for score in evaluation.scores if score.name == "memorised_pixels")
        assert (score.value > 0.95) is copied
        assert (score.value < score.floor + 3 * score.floor_error) is not copied


def test_copies_are_detected_where_real_images_occur_more_than_once():
    random = np.random.default_rng(0)
    once, often = random.normal(size=(300, 60)).astype("f4"), random.normal(size=(1, 60)).astype("f4")
    training = np.concatenate([once, np.repeat(often, 40, axis=0)])
    held_out = closeness(np.concatenate([random.normal(size=(180, 60)), once[:20]]).astype("f4"), [training])[0]
    assert np.quantile(held_out, 0.05) == 0.0  # a tenth of these are training images
    copies = closeness(np.concatenate([once[100:150], np.repeat(often, 50, axis=0)]), [training])[0]
    assert memorised_share(copies, held_out)[0] == 1.0


def test_mirrored_copies_are_copies_where_training_mirrors(digits, copy):
    images = digits.load("train")[0][:50]
    folder = copy(digits.folder)
    manifest = storage.read_json(folder / "manifest.json")
    manifest["preparation"]["flip"] = True
    storage.write_json(folder / "manifest.json", manifest)
    near, places = closeness_to_training(images[:, :, ::-1], PreparedDataset.open(folder))
    assert near.max() < 0.01
    np.testing.assert_array_equal(places, np.arange(50))
    assert np.median(closeness_to_training(images[:, :, ::-1], digits)[0]) > 0.3


def test_the_floor_uses_other_images_than_the_threshold(held_out):
    score = memorisation_score(held_out[1], held_out[1])
    assert score.floor != 0.05
    assert abs(score.floor - 0.05) < 3 * score.floor_error


def test_closeness_is_that_of_plain_loops_whatever_the_blocks(monkeypatch):
    random = np.random.default_rng(1)
    images, training = random.normal(size=(7, 5)).astype("f4"), random.normal(size=(40, 5)).astype("f4")
    distances = np.sort(np.linalg.norm(images[:, None] - training, axis=2), axis=1)
    nearest = np.linalg.norm(images[:, None] - training, axis=2).argmin(axis=1)
    for rows, block in ((2048, 4096), (2, 5), (3, 1)):
        monkeypatch.setattr(memorisation, "ROWS", rows)
        monkeypatch.setattr(memorisation, "TRAINING_BLOCK", block)
        ratios, places = closeness(images, np.array_split(training, 9))
        np.testing.assert_allclose(ratios, distances[:, 0] / distances[:, 1:11].mean(axis=1), rtol=1e-4)
        np.testing.assert_array_equal(places, nearest)


def test_images_of_another_shape_than_the_training_images_are_refused(digits):
    with pytest.raises(ValueError, match=r"^expected images of 16x16x1, as those of digits\. Received: 8x16x1$"):
        closeness_to_training(np.zeros((2, 8, 16, 1), np.uint8), digits)


def test_large_images_are_reduced_and_copies_stay_copies(monkeypatch, digits, held_out):
    monkeypatch.setattr(memorisation, "SIDE", 8)
    near, places = closeness_to_training(digits.load("train")[0][:20], digits)
    assert near.max() < 0.01
    np.testing.assert_array_equal(places, np.arange(20))


def test_too_few_training_images_are_refused():
    with pytest.raises(ValueError, match=r"more than 10 training images\. Received: 10"):
        closeness(np.zeros((3, 2), "f4"), [np.ones((10, 2), "f4")])
