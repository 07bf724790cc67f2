"""The hinge loss (Lim and Ye 2017, https://arxiv.org/abs/1705.02894; as in SNGAN, https://arxiv.org/abs/1802.05957)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib.objectives.base import Objective, mean, mean_by_patch

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Terms


class Hinge(Objective):
    """Pushes logits above 1 for real images and below -1 for generated ones, but no further."""

    kind: Literal["hinge"] = "hinge"

    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor, generated: tf.Tensor | None = None) -> Terms:
        """Returns the terms `real`, E[max(0, 1 - D(x))], and `fake`, E[max(0, 1 + D(G(z)))]."""
        of_fake = mean_by_patch(tf.nn.relu(1.0 + fake), tf.nn.relu(1.0 - fake), generated)
        return {"real": mean(tf.nn.relu(1.0 - real)), "fake": of_fake}

    @property
    def judges_patches(self) -> bool:
        """True."""
        return True

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `hinge`, -E[D(G(z))]."""
        del real
        return {"hinge": -mean(fake)}
