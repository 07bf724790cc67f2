"""Layers under spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).

Keras' own `SpectralNormalization` overwrites the kernel with its normalised value in every forward pass, so no gradient
flows through W / sigma(W), and it is not the method of the paper. Here the kernel W stays as it is trained, and its
largest singular value sigma is a part of the graph. Imports TensorFlow: architectures import this only when they build.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def weight_layers(*, spectral: bool) -> tuple[Any, Any]:
    """Returns the classes of convolutions and of dense layers, Keras' own or the normalised ones."""
    return (SpectralConv2D, SpectralDense) if spectral else (keras.layers.Conv2D, keras.layers.Dense)


class _Spectral(keras.layers.Layer):
    """A kernel that is divided by its largest singular value wherever it is used.

    Each pass makes one power iteration from the stored vector `u`, and stores the result in training. Replicas have
    equal kernels, so their iterations are equal. All of this is computed in float32.
    """

    def __init__(self, units: int, *, use_bias: bool, kernel_initializer: Any, dtype: Any) -> None:
        super().__init__(dtype=dtype)
        self.units, self.bias = units, None
        self._use_bias, self._initializer = use_bias, kernel_initializer

    def _add_weights(self, *before: int | None) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(*before, self.units), initializer=self._initializer, autocast=False
        )
        self.u = self.add_weight(
            name="u",
            shape=(self.units, 1),
            initializer="random_normal",
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )
        if self._use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def normalised_kernel(self, *, training: bool) -> tf.Tensor:
        """Returns W / sigma(W) in the compute dtype of the layer."""
        kernel = tf.convert_to_tensor(self.kernel)
        matrix = tf.reshape(kernel, [-1, self.units])
        constant = tf.stop_gradient(matrix)
        v = tf.math.l2_normalize(constant @ tf.convert_to_tensor(self.u))
        u = tf.math.l2_normalize(tf.matmul(constant, v, transpose_a=True))
        if training:
            self.u.assign(u)
        # d sigma = v' dW u: the singular vectors are constants, and only W has a gradient.
        sigma = tf.reduce_sum(v * (matrix @ u))
        return tf.cast(kernel / sigma, self.compute_dtype)

    def _add_bias(self, outputs: tf.Tensor) -> tf.Tensor:
        return outputs if self.bias is None else tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))


class SpectralDense(_Spectral):
    """Keras' `Dense` on [N, C] with a kernel whose largest singular value is one.

    Args:
        units: Number of outputs.
        use_bias: Whether a bias is added to them.
        kernel_initializer: How the kernel starts.
        dtype: Keras dtype policy.
    """

    def __init__(
        self, units: int, *, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", dtype: Any = None
    ) -> None:
        super().__init__(units, use_bias=use_bias, kernel_initializer=kernel_initializer, dtype=dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Adds the weights."""
        self._add_weights(input_shape[-1])

    def call(self, inputs: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """Maps [N, C] to [N, units]."""
        return self._add_bias(inputs @ self.normalised_kernel(training=training))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[N, C] becomes [N, units]."""
        return (*input_shape[:-1], self.units)


class SpectralConv2D(_Spectral):
    """Keras' `Conv2D` with a kernel that, as a matrix [height * width * in, out], has the largest singular value one.

    Args:
        filters: Number of channels that come out.
        kernel_size: Side of the kernel.
        strides: Step of the kernel.
        padding: `same` or `valid`.
        use_bias: Whether a bias is added to the channels.
        kernel_initializer: How the kernel starts.
        dtype: Keras dtype policy.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: str = "valid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        dtype: Any = None,
    ) -> None:
        super().__init__(filters, use_bias=use_bias, kernel_initializer=kernel_initializer, dtype=dtype)
        self._kernel_size, self._strides, self._padding = kernel_size, strides, padding.upper()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Adds the weights."""
        self._add_weights(self._kernel_size, self._kernel_size, input_shape[-1])

    def call(self, inputs: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """Maps [N, H, W, C] to [N, H', W', filters]."""
        kernel = self.normalised_kernel(training=training)
        return self._add_bias(tf.nn.conv2d(inputs, kernel, strides=self._strides, padding=self._padding))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The sides shrink by the stride, and without padding by the kernel."""
        reach = self._kernel_size - 1 if self._padding == "VALID" else 0
        sides = (None if side is None else -(-(side - reach) // self._strides) for side in input_shape[1:-1])
        return (input_shape[0], *sides, self.units)
