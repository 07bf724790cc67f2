"""The cross-entropy loss of the discriminator, shared by `Minimax` and `NonSaturating`."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etils import epy
from pydantic import Field, model_validator

from ganlib.objectives.base import Objective, mean_by_patch, zero_centred_penalty

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Terms


def mean_log_sigmoid(logits: tf.Tensor) -> tf.Tensor:
    """Returns the mean of log(sigmoid(logits)) in float32, numerically stable for logits of any size."""
    return tf.reduce_mean(tf.math.log_sigmoid(tf.cast(logits, tf.float32)))


class CrossEntropy(Objective, ABC):
    """A discriminator that is trained by cross-entropy to estimate the probability that an image is real.

    The term `real` is -E[log D(x)] and `fake` is -E[log(1 - D(G(z)))]; both are log 2 for a discriminator that cannot
    tell real from fake (Goodfellow et al. 2014, equation 1). The term `r1` is the zero-centred gradient penalty on real
    images (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406). It can be computed every `r1_every` steps only,
    with a weight that is larger by this factor (Karras et al. 2020, https://arxiv.org/abs/1912.04958, appendix B).
    """

    r1: float | None = Field(default=None, gt=0.0)
    """Weight of the R1 penalty; null means no penalty."""
    r1_every: int = Field(default=1, ge=1)
    """Steps from one R1 penalty to the next; in the steps between, the term is 0."""

    @model_validator(mode="after")
    def _check_r1(self) -> CrossEntropy:
        if self.r1 is None and self.r1_every > 1:
            raise ValueError(f"r1_every needs r1. Received: r1_every={self.r1_every}")
        return self

    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor, generated: tf.Tensor | None = None) -> Terms:
        """Returns the terms `real` and `fake`."""
        as_fake, as_real = (tf.math.log_sigmoid(tf.cast(logits, tf.float32)) for logits in (-fake, fake))
        return {"real": -mean_log_sigmoid(real), "fake": -mean_by_patch(as_fake, as_real, generated)}

    @property
    def judges_patches(self) -> bool:
        """True."""
        return True

    def penalty_points(self, real: tf.Tensor, fake: tf.Tensor, epsilon: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the real images for the term `r1`, if it has a weight."""
        del fake, epsilon
        return {} if self.r1 is None else {"r1": real}

    def penalties(self, squared_norms: Mapping[str, tf.Tensor]) -> Terms:
        """Returns the term `r1`, r1/2 E[|grad D(x)|^2], if it has a weight."""
        return {} if self.r1 is None else {"r1": zero_centred_penalty(squared_norms["r1"], weight=self.r1)}

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """`r1` if it has a weight."""
        return () if self.r1 is None else ("r1",)

    @property
    def penalty_every(self) -> int:
        """`r1_every`, or 1 without R1."""
        return self.r1_every if self.has_penalties else 1
