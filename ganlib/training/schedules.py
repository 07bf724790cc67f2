"""Schedules of the learning rates and of the averaged generators."""

from __future__ import annotations

import math
from typing import Literal

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

Schedule = Literal["constant", "linear", "cosine"]
EMA_RAMP = 10.0


def learning_rate_factor(
    step: tf.Tensor, *, schedule: Schedule, steps: int, decay_start_fraction: float = 0.0
) -> tf.Tensor:
    """Returns the factor on the learning rates, float32 in 0..1.

    It is 1 until the fraction `decay_start_fraction` of the run, and then falls to 0 at the last step.

    Args:
        step: Number of updates so far, int64.
        schedule: How it falls.
        steps: Updates of the whole run.
        decay_start_fraction: Fraction of the steps after which it begins to fall.
    """
    if schedule == "constant":
        return tf.ones([])
    start = decay_start_fraction * steps
    progress = tf.clip_by_value((tf.cast(step, tf.float64) - start) / (steps - start), 0.0, 1.0)
    factor = 1.0 - progress if schedule == "linear" else (1.0 + tf.cos(math.pi * progress)) / 2.0
    return tf.cast(factor, tf.float32)


def ema_decay(step: tf.Tensor, *, decay: float) -> tf.Tensor:
    """Returns the decay of the averaged generators, float32.

    Early on it is (1 + step) / (10 + step), so that the average forgets its random start.

    Args:
        step: Number of updates so far, int64.
        decay: Its final value.
    """
    exact = tf.cast(step, tf.float64)
    return tf.cast(tf.minimum(tf.constant(decay, tf.float64), (1.0 + exact) / (EMA_RAMP + exact)), tf.float32)
