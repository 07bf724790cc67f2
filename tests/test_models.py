"""Architectures build what their papers say, for the sizes that they say, and dropout knows replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganlib.models import Dcgan
from ganlib.models.layers import ReplicaDropout
from ganlib.training.strategy import resolve_strategy

MODELS = [Dcgan(width=8)]
ids = [model.kind for model in MODELS]


def test_dcgan_at_28_pixels_is_the_classic_network():
    generator = Dcgan().generator(latent_dim=100, image_shape=(28, 28, 1), dtype="float32")
    discriminator = Dcgan().discriminator(image_shape=(28, 28, 1), dtype="float32", seed=0)
    assert generator.count_params() == 2_330_944
    assert discriminator.count_params() == 212_865
    convolutions = [layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
    assert [(c.filters, c.kernel_size, c.strides) for c in convolutions] == [
        (128, (5, 5), (1, 1)),
        (64, (5, 5), (2, 2)),
        (1, (5, 5), (2, 2)),
    ]
    convolutions = [layer for layer in discriminator.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(c.filters, c.kernel_size, c.strides) for c in convolutions] == [
        (64, (5, 5), (2, 2)),
        (128, (5, 5), (2, 2)),
    ]
    weights = generator.get_layer(index=1).get_weights()[0]
    assert abs(weights.mean()) < 1e-4
    assert weights.std() == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("model", MODELS, ids=ids)
@pytest.mark.parametrize(("size", "channels"), [(16, 1), (28, 3), (32, 1), (36, 1), (48, 3), (128, 1)])
def test_networks_fit_the_image_shape(model, size, channels):
    shape = (size, size, channels)
    generator = model.generator(latent_dim=5, image_shape=shape, dtype="float32")
    discriminator = model.discriminator(image_shape=shape, dtype="float32", seed=0)
    images = generator(tf.random.stateless_normal([2, 5], [0, 0]), training=False)
    assert images.shape == (2, *shape)
    assert float(tf.reduce_max(tf.abs(images))) <= 1.0
    assert discriminator(images, training=False).shape == (2, 1)


@pytest.mark.parametrize("model", MODELS, ids=ids)
def test_every_multiple_of_four_in_range_is_reached_and_no_other_size(model):
    for size in range(8, 140):
        if 16 <= size <= 128 and size % 4 == 0:
            model.check((size, size, 1))
        else:
            with pytest.raises(ValueError, match=f"16 to 128 pixels .* steps of 4 .*Received: size={size}x{size}"):
                model.check((size, size, 1))


@pytest.mark.parametrize("model", MODELS, ids=ids)
def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(model):
    generator = model.generator(latent_dim=5, image_shape=(16, 16, 1), dtype="mixed_bfloat16")
    discriminator = model.discriminator(image_shape=(16, 16, 1), dtype="mixed_bfloat16", seed=0)
    images = generator(tf.zeros([2, 5]), training=True)
    assert images.dtype == discriminator(images, training=True).dtype == tf.float32
    assert {layer.compute_dtype for layer in generator.layers if layer.weights} == {"bfloat16"}
    assert {variable.dtype for variable in generator.weights + discriminator.weights} == {"float32"}


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = ReplicaDropout(0.3, seed=1, dtype="float32")
    kept = layer(tf.ones([50, 7, 7, 9]), training=True).numpy()
    assert (kept == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert kept.mean() == pytest.approx(1.0, abs=0.015)
    assert (layer(tf.ones([5, 3]), training=False).numpy() == 1).all()


def test_dropout_masks_change_with_every_call_and_repeat_with_the_seed():
    first, again, other = (ReplicaDropout(0.5, seed=seed, dtype="float32") for seed in (1, 1, 2))
    ones = tf.ones([8, 30])
    masks = [first(ones, training=True).numpy() for _ in range(2)]
    assert (masks[0] != masks[1]).any()
    assert (again(ones, training=True).numpy() == masks[0]).all()
    assert (other(ones, training=True).numpy() != masks[0]).any()


@pytest.mark.parametrize("features", [(7, 7, 4), (5,), (1,), (3, 3)])
def test_two_replicas_drop_what_one_would_have_dropped(features):
    batch = np.arange(1, 1 + 8 * np.prod(features), dtype=np.float32).reshape(8, *features)
    alone = ReplicaDropout(0.4, seed=3, dtype="float32")
    expected = [alone(tf.constant(batch), training=True).numpy() for _ in range(3)]
    strategy = resolve_strategy(2)
    with strategy.scope():
        shared = ReplicaDropout(0.4, seed=3, dtype="float32")
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(batch, 2)[context.replica_id_in_sync_group])
    )
    run = tf.function(lambda values: strategy.run(lambda value: shared(value, training=True), args=(values,)))
    for wanted in expected:
        got = np.concatenate([part.numpy() for part in strategy.experimental_local_results(run(halves))])
        np.testing.assert_array_equal(got, wanted)
