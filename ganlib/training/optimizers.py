"""Optimizers as settings."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from etils import epy
from pydantic import BeforeValidator, Field

from ganlib.schema import Config, from_word

with epy.lazy_imports():
    import keras


class OptimizerConfig(Config):
    """A rule that turns gradients into updates. Concrete classes add `kind` and their settings."""

    learning_rate: float = Field(default=2e-4, ge=0.0)
    """Step size, before any schedule; 0 keeps the networks as they are."""

    @abstractmethod
    def build(self) -> keras.optimizers.Optimizer:
        """Returns the optimizer, without variables yet."""


class Adam(OptimizerConfig):
    """Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980)."""

    kind: Literal["adam"] = "adam"
    beta_1: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Decay of the first moment; 0.5 follows DCGAN."""
    beta_2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the second moment."""

    def build(self) -> keras.optimizers.Optimizer:
        """Returns Keras' Adam."""
        return keras.optimizers.Adam(self.learning_rate, beta_1=self.beta_1, beta_2=self.beta_2)


class RmsProp(OptimizerConfig):
    """RMSprop (Tieleman and Hinton 2012), which the WGAN paper asks for."""

    kind: Literal["rmsprop"] = "rmsprop"
    rho: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of the mean square."""

    def build(self) -> keras.optimizers.Optimizer:
        """Returns Keras' RMSprop."""
        return keras.optimizers.RMSprop(self.learning_rate, rho=self.rho)


def _adam_unless_named(value: object) -> object:
    """Reads settings without a kind as those of Adam, as in most papers."""
    return {"kind": "adam", **value} if isinstance(value, dict) and "kind" not in value else from_word(value)


Optimizer = Annotated[Adam | RmsProp, Field(discriminator="kind"), BeforeValidator(_adam_unless_named)]
"""Every optimizer there is."""
