"""How learning rates and the average of the generator change while training goes on."""

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
    """Returns what the learning rates are multiplied with, float32 in 0..1.

    It is one up to the share `decay_start_fraction` of the run and falls from there, to zero at the run's last step.

    Args:
        step: Updates that were made, int64.
        schedule: How it falls.
        steps: Those of the whole run.
        decay_start_fraction: Share of them after which it begins to fall.
    """
    if schedule == "constant":
        return tf.ones([])
    start = decay_start_fraction * steps
    progress = tf.clip_by_value((tf.cast(step, tf.float64) - start) / (steps - start), 0.0, 1.0)
    factor = 1.0 - progress if schedule == "linear" else (1.0 + tf.cos(math.pi * progress)) / 2.0
    return tf.cast(factor, tf.float32)


def ema_decay(step: tf.Tensor, *, decay: float) -> tf.Tensor:
    """Returns the decay of the averaged generators, float32.

    Ramped up as (1 + step) / (10 + step): an average that remembers its random beginning is of no use for long.

    Args:
        step: Updates that were made, int64.
        decay: What it is in the end.
    """
    exact = tf.cast(step, tf.float64)
    return tf.cast(tf.minimum(tf.constant(decay, tf.float64), (1.0 + exact) / (EMA_RAMP + exact)), tf.float32)
