"""The Fourier transform of matrix products, and the convolution around it, against NumPy's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganlib.models import Fourier
from ganlib.models.fourier import _spectral_transform
from ganlib.models.spectrum import Waves, from_spectrum, spectrum

SIZES = [(1, 1), (1, 4), (5, 1), (2, 2), (3, 3), (4, 6), (7, 10), (9, 16), (16, 5), (64, 48), (33, 128)]


@pytest.fixture(scope="module")
def transforms():
    """Both transforms as networks of any size; the second takes the maps too, whose size it has to know."""
    maps, values = keras.Input((None, None, 2)), keras.Input((None, None, 4))
    waves = Waves.of(maps)
    back = from_spectrum(values, waves)
    return keras.Model(maps, spectrum(maps, waves)), keras.Model([maps, values], back)


def normal(*shape, number=0):
    return np.random.default_rng(number).normal(size=shape).astype(np.float32)


def layout(complex_values):
    """NumPy's [N, H, K, C] as [N, K, H, 2C]."""
    return np.concatenate([complex_values.real, complex_values.imag], axis=-1).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_both_transforms_are_numpys(transforms, size):
    there, back = transforms
    x = normal(3, *size, 2)
    wanted = np.fft.rfft2(x.astype(np.float64), axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(there(x), layout(wanted), atol=1e-5)
    np.testing.assert_allclose(back([tf.constant(x), there(x)]), x, atol=1e-5)
    # Any values, not only those of a real map: what NumPy ignores of them must be ignored.
    z = normal(3, size[0], size[1] // 2 + 1, 2, number=1) + 1j * normal(3, size[0], size[1] // 2 + 1, 2, number=2)
    wanted = np.fft.irfft2(z.astype(np.complex128), s=size, axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(back([tf.constant(x), tf.constant(layout(z))]), wanted, atol=1e-5)


def test_a_map_of_512_pixels_is_as_exact_as_the_fast_transform(transforms):
    x = normal(1, 512, 512, 2)
    wanted = np.fft.rfft2(x.astype(np.float64), axes=(1, 2), norm="ortho")
    exact = layout(wanted)
    ours = np.abs(transforms[0](x) - exact).max()
    fast = tf.transpose(tf.signal.rfft2d(tf.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1)).numpy() / 512
    assert ours < 20 * np.abs(layout(fast) - exact).max() < 1e-4


def test_gradients_are_those_of_the_fast_transform(transforms):
    x, cost = tf.constant(normal(2, 6, 9, 2)), normal(2, 5, 6, 4, number=3)
    gradients = []
    for transform in (
        transforms[0],
        lambda x: (
            tf.transpose(
                tf.concat(
                    [f(tf.signal.rfft2d(tf.transpose(x, (0, 3, 1, 2)))) for f in (tf.math.real, tf.math.imag)], 1
                ),
                (0, 3, 2, 1),
            )
            / np.sqrt(54)
        ),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(transform(x) * cost)
        gradients.append(tape.gradient(loss, x))
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-5)


def test_the_transforms_are_float32_also_on_bfloat16_maps():
    maps = keras.Input((None, None, 2), dtype="bfloat16")
    network = keras.Model(maps, spectrum(maps, Waves.of(maps)))
    x = tf.cast(normal(1, 300, 6, 2), tf.bfloat16)  # bfloat16 cannot count to 300
    wanted = np.fft.rfft2(tf.cast(x, tf.float64).numpy(), axes=(1, 2), norm="ortho")
    values = network(x)
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, layout(wanted), atol=1e-5)


def relu_norm(x, gain, bias, mean, variance):
    return np.maximum((x - mean) / np.sqrt(variance + 1e-3) * gain + bias, 0.0)


def test_the_spectral_transform_is_that_of_numpy():
    maps = keras.Input((None, None, 6))
    network = keras.Model(maps, _spectral_transform(maps, Waves.of(maps), "float32"))
    for index, variable in enumerate(network.weights):
        variable.assign(np.abs(normal(*variable.shape, number=index)) if "var" in variable.name else variable + 0.3)
    first, last = network.layers[1], network.layers[-1]
    assert isinstance(first, keras.layers.Conv2D)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert convolutions[-1] is last
    kernels = [layer.get_weights()[0][0, 0] for layer in convolutions]
    x = normal(2, 4, 7, 6)
    inner = relu_norm(x @ kernels[0], *norms[0].get_weights())
    values = np.fft.rfft2(inner, axes=(1, 2), norm="ortho")
    values = np.concatenate([values.real, values.imag], axis=-1) @ kernels[1]
    values = relu_norm(values, *norms[1].get_weights())
    back = np.fft.irfft2(values[..., :3] + 1j * values[..., 3:], s=(4, 7), axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(network(x), (inner + back) @ kernels[2], atol=1e-4)


def test_one_block_sees_the_whole_image():
    """A pixel in a corner changes the other corner, which no 3x3 convolution of one block could reach."""
    network = Fourier(width=4, halvings=1, blocks=1, discriminator_layers=0).generator(
        image_shape=(64, 64, 1), channels=1, dtype="float32", seed=None
    )
    image = tf.constant(normal(1, 64, 64, 1))
    with tf.GradientTape() as tape:
        tape.watch(image)
        corner = network({"image": image})[0, 60, 60, 0]
    assert (tape.gradient(corner, image).numpy()[0, :32, :32, 0] != 0.0).mean() > 0.9


def test_a_gate_is_a_sigmoid_of_half_the_channels():
    model = Fourier(width=4, halvings=1, blocks=1, gated=True, discriminator_layers=0)
    network = model.generator(image_shape=(8, 8, 2), channels=1, dtype="float32", seed=None)
    convolution = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    norm = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    product = next(layer for layer in network.layers if isinstance(layer, keras.layers.Multiply))
    assert convolution.filters == 2 * 4
    inner = keras.Model(network.input, [convolution.output, product.output])
    values, gated = (value.numpy() for value in inner({"image": normal(1, 8, 8, 2)}))
    wanted = relu_norm(values[..., :4], *norm.get_weights()) / (1.0 + np.exp(-values[..., 4:]))
    np.testing.assert_allclose(gated, wanted, atol=1e-5)
