"""Features of an untrained network, for images without labels or a suitable pretrained network.

Random features favour no kind of images (Naeem et al. 2020, https://arxiv.org/abs/2002.09797, use them for images
unlike those of ImageNet). But brightness dominates them and hides blur and noise. Therefore the first kernels sum to
zero, and the mean colour is a feature of its own with a small weight.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib import pixels
from ganlib.environment import standard_keras
from ganlib.evaluation.extractors.base import FittedExtractor, FixedExtractor

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 64
WIDTHS = (8, 16, 24, 32)
SEED = 0
COLOUR_WEIGHT = 0.3
EPSILON = 1e-4  # the derivative of the square root is infinite at zero


class Random(FixedExtractor):
    """Mean and standard deviation, over the image, of each layer of a fixed random network, and the mean colour."""

    kind: Literal["random"] = "random"

    @standard_keras()
    def load(self, weights: Path | None = None) -> FittedExtractor:
        """Builds the network with random weights, which are the same everywhere."""
        if weights is not None:
            raise ValueError(f"expected no weights for random features. Received: weights={str(weights)!r}")
        return FittedExtractor("random", _network(), (), {"seed": SEED}, resize_mode="clean")


def _network() -> keras.Model:
    """Returns a network from images [N, SIDE, SIDE, 3] in 0..255 to (features, unused logits)."""
    random = np.random.default_rng(SEED)
    images = keras.Input((SIDE, SIDE, 3), name="images")
    x = keras.layers.Rescaling(1 / pixels.HALF_RANGE, offset=-1.0)(images)
    features = [COLOUR_WEIGHT * keras.ops.mean(x, axis=(1, 2))]
    for number, width in enumerate(WIDTHS):
        if number:
            x = keras.layers.AveragePooling2D(2)(x)
        layer = keras.layers.Conv2D(width, 3, padding="same", activation="relu")
        kernel, bias = _weights(random, x.shape[-1], width)
        if not number:
            kernel, bias = kernel - kernel.mean(axis=(0, 1), keepdims=True), np.zeros_like(bias)
        x = layer(x)
        layer.set_weights([kernel, bias])
        statistics = keras.ops.mean(x, axis=(1, 2)), keras.ops.std(x, axis=(1, 2))
        # The square root keeps strong channels from hiding weak ones.
        features += [keras.ops.sqrt(value + EPSILON) for value in statistics]
    output = keras.ops.concatenate(features, axis=1)
    return keras.Model(images, [output, output[:, :1]], name="random")


def _weights(random: np.random.Generator, depth: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns a kernel that keeps the scale of its input (He et al. 2015), and a random bias."""
    kernel = random.normal(0.0, np.sqrt(2.0 / (9 * depth)), (3, 3, depth, width))
    return kernel.astype(np.float32), random.normal(0.0, 0.3, width).astype(np.float32)
