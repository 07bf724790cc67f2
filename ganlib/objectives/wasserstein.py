"""The Wasserstein loss with weight clipping (Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from etils import epy
from pydantic import Field

from ganlib.objectives.earth_mover import EarthMover

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    Constraint = Callable[[tf.Tensor], tf.Tensor]


class Wasserstein(EarthMover):
    """Keeps the discriminator Lipschitz by clipping its weights. `WganGp` gives better images."""

    kind: Literal["wasserstein"] = "wasserstein"
    clip: float = Field(default=0.01, gt=0.0)
    """Largest absolute value of a weight of the discriminator."""

    @property
    def constraint(self) -> Constraint | None:
        """Clips a weight to -clip..clip."""
        return lambda weight: tf.clip_by_value(weight, -self.clip, self.clip)
