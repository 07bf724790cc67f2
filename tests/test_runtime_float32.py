"""Scores, exported models and comparisons are computed in full float32. Without a GPU, TensorFloat-32 is emulated."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganlib.evaluation.extractors import resizing
from ganlib.evaluation.extractors.network import NetworkSettings, accuracy
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.runtime import SHORTCUTS, true_float32
from ganlib.tasks import Generation
from ganlib.training import TrainConfig, train

enabled = tf.config.experimental.tensor_float_32_execution_enabled
LOST_BITS = 13  # of the 23 of float32's mantissa


def rounded(values):
    """Rounds to the 10 bits of TensorFloat-32 if it is enabled, like a GPU before it multiplies."""
    bits = tf.bitcast(tf.stop_gradient(values), tf.int32)
    half = tf.constant(1 << (LOST_BITS - 1))
    short = tf.bitcast(tf.bitwise.bitwise_and(bits + half, ~((1 << LOST_BITS) - 1)), tf.float32)
    now = tf.ensure_shape(tf.numpy_function(lambda: np.bool_(enabled()), [], tf.bool), [])
    return values + tf.stop_gradient(tf.where(now, short - values, tf.zeros_like(values)))


@contextlib.contextmanager
def emulated():
    """Makes the layers of the generator multiply like a GPU with TensorFloat-32."""
    with pytest.MonkeyPatch.context() as patch:
        for layer in (keras.layers.Conv2DTranspose, keras.layers.Dense):
            plain = layer.call
            patch.setattr(layer, "call", lambda self, inputs, plain=plain, **rest: plain(self, rounded(inputs), **rest))
            patch.setattr(layer, "supports_jit", False, raising=False)
        yield


@pytest.fixture(scope="module")
def made_on_a_gpu(digits, reference, tmp_path_factory):
    config = TrainConfig(
        steps=4, batch_size=8, score_samples=20, precision="float32", generator_optimizer={"learning_rate": 0.05}
    )
    with emulated():
        assert enabled()
        return train(
            digits,
            reference,
            task=Generation(latent_dim=8),
            architecture=Dcgan(width=8),
            objective=NonSaturating(),
            config=config,
            output=tmp_path_factory.mktemp("gpu") / "model",
        )


def test_the_emulation_rounds_as_much_as_a_gpu_does(made_on_a_gpu):
    inputs, images = made_on_a_gpu.witness("last")
    with emulated():
        short = made_on_a_gpu.network("last")(inputs, training=False)
        with true_float32():
            whole = made_on_a_gpu.network("last")(inputs, training=False)
    assert np.abs(short - images).max() > 1e-4
    np.testing.assert_array_equal(whole, images)


@pytest.mark.parametrize("kept", ["best", "last"])
def test_a_model_that_was_trained_on_a_gpu_gives_the_same_images_on_a_cpu(made_on_a_gpu, kept):
    inputs, images = made_on_a_gpu.witness(kept)
    np.testing.assert_allclose(made_on_a_gpu.network(kept)(inputs, training=False), images, atol=1e-6)
    plain = made_on_a_gpu.sampler(kept).images(20, seed=1)
    with emulated():
        np.testing.assert_array_equal(made_on_a_gpu.sampler(kept).images(20, seed=1), plain)


def test_scores_and_their_inputs_are_computed_in_full_float32(digits, reference, monkeypatch):
    result = []

    def spy(owner, name):
        plain = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *given, **named: (result.append((name, enabled())), plain(*given, **named))[1]
        )

    assert enabled()
    images, labels = digits.load("test")
    for owner, name in ((keras.Model, "__call__"), (keras.Model, "predict_on_batch"), (tf, "einsum")):
        spy(owner, name)
    settings = NetworkSettings(width=4, feature_dim=4, epochs=1)
    network = settings.train(images, labels, classes=10, seed=0, steps=2)
    accuracy(network, images, labels)
    reference.distance([images])
    resizing.resize_images(images[:2], resize_mode="clean", side=8)
    assert {name for name, _ in result} == {"__call__", "predict_on_batch", "einsum"}
    assert not any(short for _, short in result)
    assert enabled()


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_that_cannot_be_undone_is_refused(reference, digits, monkeypatch, name):
    images = digits.load("test")[0][:5]
    monkeypatch.setenv(name, "BF16")
    message = rf"^expected full float32 for scores and exported models; unset {name}\. Received: {name}='BF16'$"
    with pytest.raises(ValueError, match=message):
        reference.distance([images])
    monkeypatch.setenv(name, "")
    assert reference.distance([images]) > 0
