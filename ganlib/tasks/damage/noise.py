"""Noise on every pixel."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from etils import epy
from pydantic import Field, model_validator

from ganlib.tasks.damage.base import Damage, Damaged, as_pixels, between, ends, for_each

with epy.lazy_imports():
    import tensorflow as tf

WHITE = 255.0
Distribution = Literal["gaussian", "salt_and_pepper", "poisson"]

SETTINGS: dict[str, Distribution] = {"sigma": "gaussian", "share": "salt_and_pepper", "peak": "poisson"}


class Noise(Damage):
    """Noise, drawn for each channel of each pixel by itself. The result is rounded and clipped to 0..255."""

    kind: Literal["noise"] = "noise"
    distribution: Distribution = "gaussian"
    """Gaussian noise, single values that become black or white, or the counts of a sensor in little light."""
    sigma: Annotated[float | tuple[float, float], between(0, WHITE)] = 25.0
    """Standard deviation of Gaussian noise, for values of 0..255. Two numbers: a range that each image draws from."""
    share: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of values that salt and pepper replaces, half of them by 0 and half by 255."""
    peak: float = Field(default=30.0, gt=0.0, le=1e6)
    """Mean count of Poisson noise where the image is white; the smaller it is, the more noise."""

    @model_validator(mode="after")
    def _check_settings(self) -> Noise:
        for name, distribution in SETTINGS.items():
            value = getattr(self, name)
            if distribution != self.distribution and value != Noise.model_fields[name].default:
                received = f"distribution={self.distribution}, {name}={value}"
                raise ValueError(f"{name} is of no use without distribution={distribution}. Received: {received}")
        if ends(self.sigma)[1] == 0.0:
            raise ValueError(f"expected some noise. Received: sigma={self.sigma}")
        return self

    def apply(self, images: tf.Tensor, keys: tf.Tensor) -> Damaged:
        """Adds noise to each image."""
        noisy = {"gaussian": self._gaussian, "salt_and_pepper": self._salt_and_pepper, "poisson": self._poisson}
        return Damaged(for_each(noisy[self.distribution], images, keys, dtype=tf.uint8))

    @property
    def floor(self) -> str | None:
        """PSNR of Gaussian noise: 20 log10(255 / sigma). Other noise depends on the image."""
        if self.distribution != "gaussian":
            return None
        low, high = ends(self.sigma)
        worst, best = (20.0 * math.log10(WHITE / sigma) if sigma else math.inf for sigma in (high, low))
        return f"PSNR {worst:.2f}{f' to {best:.2f}' if low < high else ''} dB, if nothing is clipped"

    def _gaussian(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        low, high = ends(self.sigma)
        sigma_key, values_key = tf.unstack(tf.random.split(key))
        sigma = low + (high - low) * tf.random.stateless_uniform([], sigma_key)
        return as_pixels(tf.cast(image, tf.float32) + sigma * tf.random.stateless_normal(image.shape, values_key))

    def _salt_and_pepper(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        number = tf.random.stateless_uniform(image.shape, key)
        black_or_white = tf.where(number < self.share / 2.0, tf.constant(0, tf.uint8), tf.constant(255, tf.uint8))
        return tf.where(number < self.share, black_or_white, image)

    def _poisson(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        mean = tf.cast(image, tf.float32) * (self.peak / WHITE)
        counts = tf.random.stateless_poisson(image.shape, key, mean, tf.float32)
        return as_pixels(counts * (WHITE / self.peak))
