"""The hinge loss (Lim and Ye 2017, https://arxiv.org/abs/1705.02894; as in SNGAN, https://arxiv.org/abs/1802.05957)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib.objectives.base import Objective, mean

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Terms


class Hinge(Objective):
    """Pushes logits above 1 for real images and below -1 for generated ones, but no further."""

    kind: Literal["hinge"] = "hinge"

    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the terms `real`, E[max(0, 1 - D(x))], and `fake`, E[max(0, 1 + D(G(z)))]."""
        return {"real": mean(tf.nn.relu(1.0 - real)), "fake": mean(tf.nn.relu(1.0 + fake))}

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `hinge`, -E[D(G(z))]."""
        del real
        return {"hinge": -mean(fake)}
