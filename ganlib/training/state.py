"""Everything that decides how training goes on, in parts that are named for what happens to them."""

from __future__ import annotations

import copy
import dataclasses
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import runtime, streams
from ganlib.tasks import Networks

with epy.lazy_imports():
    import keras
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ganlib.models import Architecture
    from ganlib.tasks import Task
    from ganlib.training.config import TrainConfig
    from ganlib.training.optimizers import OptimizerConfig


@dataclass
class Trained:
    """What is trained, and what a rollback restores: this part and no other.

    Attributes:
        networks: The networks.
        averaged: Exponential moving averages of the generators, by name.
        generator_optimizer: Optimizer with its moments.
        discriminator_optimizer: The same for the discriminators.
    """

    networks: Networks
    averaged: dict[str, keras.Model]
    generator_optimizer: keras.optimizers.Optimizer
    discriminator_optimizer: keras.optimizers.Optimizer

    def variables(self) -> dict[str, keras.Variable]:
        """Returns every variable by a name that tells its owner."""
        named: dict[str, keras.Variable] = {}
        groups = {
            "generator": self.networks.generators,
            "discriminator": self.networks.discriminators,
            "averaged": self.averaged,
        }
        for group, models in groups.items():
            named.update({f"{group}/{name}": variable for name, variable in _named(models)})
        for group, optimizer in (
            ("generator_optimizer", self.generator_optimizer),
            ("discriminator_optimizer", self.discriminator_optimizer),
        ):
            named.update({f"{group}/{i:03d}": variable for i, variable in enumerate(optimizer.variables)})
        return named

    def checksum(self) -> int:
        """Returns the CRC-32 of all variables."""
        total = 0
        for variable in self.variables().values():
            total = zlib.crc32(np.ascontiguousarray(variable).tobytes(), total)
        return total


@dataclass(frozen=True)
class Best:
    """The best score so far.

    Attributes:
        score: Lowest distance, or None before any.
        step: Step at which it was measured.
        weights: Of the averaged generators at that step, by variable name.
    """

    score: float | None = None
    step: int | None = None
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass
class HealthRecord:
    """What was noticed so far, and what was done about it.

    Attributes:
        diverse: Whether samples ever were unlike each other.
        signs: How long each sign of problem has lasted.
        told: By which settings one that still lasts was found to be problem.
        events: How often each problem was reacted to.
        rollbacks: How often the run went back to its best; chooses the noise.
        learning_rate_scale: What rollbacks made of the learning rates, a factor.
    """

    diverse: bool = False
    signs: dict[str, int] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    rollbacks: int = 0
    learning_rate_scale: float = 1.0


@dataclass
class Clock:
    """How far the run is.

    Attributes:
        step: Generator updates that were made.
        looked: Step at which Python last looked at the terms.
        scores: Measurements so far.
        seconds: Time spent in the loop so far.
        speed: Steps a second since the last look.
    """

    step: int = 0
    looked: int = 0
    scores: int = 0
    seconds: float = 0.0
    speed: float = 0.0


@dataclass(frozen=True)
class Recent:
    """The terms of the last steps, from which rows are made.

    Attributes:
        names: Of the terms.
        values: float32 [n, terms], a row a step, the newest last.
    """

    names: tuple[str, ...] = ()
    values: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def means(self) -> dict[str, float]:
        """Returns the mean of each term."""
        return dict(zip(self.names, self.values.mean(axis=0, dtype=np.float64).tolist(), strict=True))

    def followed_by(self, names: tuple[str, ...], values: NDArray[np.float32], *, keep: int) -> Recent:
        """Returns the last `keep` steps of these and of those after them."""
        joined = np.concatenate([self.values, values]) if self.names else values
        return Recent(names, joined[-keep:])


@dataclass(frozen=True)
class Ending:
    """Why a run ends before its last step.

    Attributes:
        reason: In a word.
        text: In a sentence.
    """

    reason: str
    text: str


@dataclass
class TrainState:
    """Everything that decides how training goes on.

    The position in the data and the state of all noise are functions of the seed, the rollbacks and the step, so
    they need no place of their own.

    Attributes:
        seed: Seed of the run.
        trained: Networks, averages and optimizers.
        best: The best so far.
        health: What was noticed and done.
        clock: How far the run is.
        recent: Terms of the last steps.
        ending: Why this process ends training early. No part of a checkpoint, so that every start judges again.
    """

    seed: int
    trained: Trained
    best: Best = field(default_factory=Best)
    health: HealthRecord = field(default_factory=HealthRecord)
    clock: Clock = field(default_factory=Clock)
    recent: Recent = field(default_factory=Recent)
    ending: Ending | None = None

    @property
    def noise_seed(self) -> int:
        """Seed of everything that is drawn with a batch: another one after each rollback."""
        return streams.key("noise", self.seed, self.health.rollbacks)

    def stop(self, reason: str, text: str) -> None:
        """Ends training after the present step."""
        self.ending = Ending(reason, text)

    def keep_best(self, score: float) -> bool:
        """Keeps the averaged generators if the score is the lowest so far; says whether it was."""
        if self.best.score is not None and score >= self.best.score:
            return False
        weights = {name: np.array(variable) for name, variable in _named(self.trained.averaged)}
        self.best = Best(score, self.clock.step, weights)
        return True

    def snapshot(self) -> TrainState:
        """Returns the state as it is before a look, which changes everything but what is trained."""
        return dataclasses.replace(self, health=copy.deepcopy(self.health), clock=copy.copy(self.clock))

    def best_averaged(self) -> dict[str, keras.Model]:
        """Returns copies of the averaged generators with the best weights (the last ones before any score)."""
        averaged = self.trained.averaged
        copies = {name: keras.models.clone_model(model) for name, model in averaged.items()}
        for name, model in copies.items():
            model.set_weights(averaged[name].get_weights())
        for name, variable in _named(copies):
            if name in self.best.weights:
                variable.assign(self.best.weights[name])
        return copies


def _named(models: dict[str, keras.Model]) -> Iterator[tuple[str, keras.Variable]]:
    for name, model in models.items():
        for index, variable in enumerate(model.variables):
            yield f"{name}/{index:03d}", variable


def build_state(
    strategy: tf.distribute.Strategy,
    *,
    task: Task,
    architecture: Architecture,
    config: TrainConfig,
    image_shape: tuple[int, int, int],
    classes: int,
    dtype: str,
) -> TrainState:
    """Builds networks, averages and optimizers; the same seed gives the same weights."""
    with runtime.keras_seed(streams.key("weights", config.seed)):
        with strategy.scope():
            generators = task.generators(architecture, image_shape=image_shape, classes=classes, dtype=dtype)
            discriminators = task.discriminators(
                architecture, image_shape=image_shape, classes=classes, dtype=dtype, seed=config.seed
            )
            networks = Networks(generators, discriminators, task.frozen(image_shape=image_shape))
            generator_optimizer = _optimizer(config.generator_optimizer, networks.generators, dtype=dtype)
            discriminator_optimizer = _optimizer(config.discriminator_optimizer, networks.discriminators, dtype=dtype)
        # Outside the scope: the averages are on one device, and are drawn from there without a strategy. In float32,
        # so that what is scored and shipped does not depend on the precision of the training hardware.
        averaged = task.generators(architecture, image_shape=image_shape, classes=classes, dtype="float32")
    for name, network in averaged.items():
        network.set_weights(networks.generators[name].get_weights())
    return TrainState(config.seed, Trained(networks, averaged, generator_optimizer, discriminator_optimizer))


def _optimizer(config: OptimizerConfig, models: dict[str, keras.Model], *, dtype: str) -> keras.optimizers.Optimizer:
    optimizer = config.build()
    if dtype == "mixed_float16":  # its loss scale is among its variables, and so in every checkpoint
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build([variable for model in models.values() for variable in model.trainable_variables])
    return optimizer
