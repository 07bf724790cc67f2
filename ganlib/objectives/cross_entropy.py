"""The discriminator's half of the original game, shared by both of its generator losses."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from etils import epy

from ganlib.objectives.base import Objective

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Discriminator, Terms


def mean_log_sigmoid(logits: tf.Tensor) -> tf.Tensor:
    """Returns the mean of log(sigmoid(logits)) in float32, stable for logits of any size."""
    return tf.reduce_mean(tf.math.log_sigmoid(tf.cast(logits, tf.float32)))


class CrossEntropy(Objective, ABC):
    """A discriminator that estimates the probability of being real, by cross-entropy on logits.

    `real` is -E[log D(x)] and `fake` is -E[log(1 - D(G(z)))], each log 2 for an undecided
    discriminator (Goodfellow et al. 2014, equation 1).
    """

    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `real` and `fake`; see the base class."""
        return {
            "real": -mean_log_sigmoid(discriminator(real)),
            "fake": -mean_log_sigmoid(-discriminator(fake)),
        }
