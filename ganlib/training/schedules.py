"""How learning rates and the average of the generator change while training goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.training.config import TrainConfig

Schedule = Literal["constant", "linear", "cosine"]
EMA_RAMP = 10.0


def learning_rate_factor(config: TrainConfig, step: tf.Tensor) -> tf.Tensor:
    """Returns what the learning rates are multiplied with, float32 in 0..1, after `step` updates (int64).

    It is one up to the share `decay_from` of the run and falls from there, to zero at the run's last step.
    """
    if config.schedule == "constant":
        return tf.ones([])
    start = config.decay_from * config.steps
    progress = tf.clip_by_value((tf.cast(step, tf.float64) - start) / (config.steps - start), 0.0, 1.0)
    factor = 1.0 - progress if config.schedule == "linear" else (1.0 + tf.cos(math.pi * progress)) / 2.0
    return tf.cast(factor, tf.float32)


def ema_decay(config: TrainConfig, step: tf.Tensor) -> tf.Tensor:
    """Returns the decay of the averaged generators, float32, after `step` updates (int64).

    Ramped up as (1 + step) / (10 + step): an average that remembers its random beginning is of no use for long.
    """
    decay = config.ema_decay
    if config.ema_half_life is not None:
        decay = 0.5 ** (config.batch_size / config.ema_half_life)
    exact = tf.cast(step, tf.float64)
    return tf.cast(tf.minimum(tf.constant(decay, tf.float64), (1.0 + exact) / (EMA_RAMP + exact)), tf.float32)
