"""The discriminator's half of the original game, shared by both of its generator losses."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from etils import epy
from pydantic import Field, model_validator

from ganlib.objectives.base import Objective
from ganlib.objectives.slopes import zero_centred

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
    discriminator (Goodfellow et al. 2014, equation 1). `r1` is the zero-centred penalty on real images
    (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406), lazy as in StyleGAN2 (Karras et al. 2020,
    https://arxiv.org/abs/1912.04958, appendix B): with `r1_every` above one its weight grows by as much.
    """

    r1: float | None = Field(default=None, gt=0.0)
    """Weight of the R1 penalty; absent means none."""
    r1_every: int = Field(default=1, ge=1)
    """Steps from one R1 penalty to the next; between them its term is 0."""

    @model_validator(mode="after")
    def _check_r1(self) -> CrossEntropy:
        if self.r1 is None and self.r1_every > 1:
            raise ValueError(f"r1_every is of no use without r1. Received: r1_every={self.r1_every}")
        return self

    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `real` and `fake`; see the base class."""
        return {
            "real": -mean_log_sigmoid(discriminator(real)),
            "fake": -mean_log_sigmoid(-discriminator(fake)),
        }

    def penalties(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor, chance: tf.Tensor) -> Terms:
        """Returns `r1` if it has a weight; see the base class."""
        del fake, chance
        return {} if self.r1 is None else {"r1": zero_centred(discriminator, real, weight=self.r1)}

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """`r1` if it has a weight."""
        return () if self.r1 is None else ("r1",)

    @property
    def penalty_every(self) -> int:
        """See the base class."""
        return self.r1_every if self.penalised else 1
