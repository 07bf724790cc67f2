"""The feature space for images about which nothing else is at hand."""

import keras
import numpy as np
import pytest

from ganlib.evaluation.extractors import FittedExtractor, Random
from ganlib.evaluation.measures.frechet import frechet_distance
from ganlib.evaluation.statistics import Statistics

SHA256 = "a18015a8f9f6284ef648c71ce5a28b4a428e679018c3557cc7ce15b3ec4807c9"


@pytest.fixture(scope="module")
def space():
    return Random().load()


def features(space, images):
    return space.all_outputs([images])[0]


def test_the_weights_are_the_same_everywhere(space):
    assert space.sha256 == SHA256


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 3), (96, 60, 3), (256, 256, 1)])
def test_images_of_any_size_have_features_of_one_width(space, shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    found = features(space, images)
    assert found.shape == (3, 163)
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=0).max() > 0


def test_grey_images_have_the_features_of_equal_colours(space):
    grey = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    np.testing.assert_array_equal(features(space, grey), features(space, np.repeat(grey, 3, axis=3)))


def test_features_do_not_hang_on_what_else_is_in_the_batch(space):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    together = features(space, images)
    for row in range(5):
        np.testing.assert_allclose(features(space, images[row : row + 1])[0], together[row], rtol=1e-5, atol=1e-6)


def test_a_saved_space_is_the_same_space(space, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    space.save(tmp_path)
    again = FittedExtractor.load(tmp_path)
    assert (again.name, again.sha256) == (space.name, space.sha256)
    np.testing.assert_array_equal(features(again, images), features(space, images))


def test_noise_and_blur_are_farther_the_stronger_they_are(space, digits):
    real, others = digits.load("train")[0][:700], digits.load("test")[0]
    statistics = Statistics.of([features(space, real)])
    random = np.random.default_rng(0)

    def distance(images):
        return frechet_distance(Statistics.of([features(space, images)]), statistics)

    def noisy(deviation):
        return np.clip(np.rint(others + random.normal(0, deviation, others.shape)), 0, 255).astype(np.uint8)

    def blurred(times):
        images = others.astype(np.float64)
        for _ in range(times):
            images = (np.roll(images, 1, axis=1) + 2 * images + np.roll(images, -1, axis=1)) / 4
        return images.round().astype(np.uint8)

    for spoiled in (noisy, blurred):
        steps = [distance(others), *(distance(spoiled(strength)) for strength in (1, 4, 16))]
        assert steps == sorted(steps)
        assert steps[-1] > 2 * steps[0]


def test_features_are_float32_whatever_a_training_before_has_set(space):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        found = features(Random().load(), images)
    finally:
        keras.config.set_dtype_policy(before)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features(space, images))


def test_batches_are_joined_and_cut_to_the_size_that_the_network_takes(space, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (700, 8, 8, 1), np.uint8)
    expected, seen = features(space, images), []
    own = FittedExtractor._input
    monkeypatch.setattr(FittedExtractor, "_input", lambda self, batch: seen.append(len(batch)) or own(self, batch))
    found = np.concatenate([part for part, _ in space.outputs(np.array_split(images, [256, 512, 513]))])
    assert seen == [250, 250, 250]
    np.testing.assert_array_equal(found, expected)


def test_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected no weights"):
        Random().load(tmp_path / "weights.h5")
