"""The state of a training, in parts that are named for what a rollback does to them."""

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
        generator_optimizer: Optimizer of the generators and of the auxiliary networks, with its moments.
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
            "auxiliary": self.networks.auxiliary,
            "averaged": self.averaged,
        }
        named.update({f"memory/{name}": variable for name, variable in self.networks.memory.items()})
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
        weights: Weights of the averaged generators at that step, by variable name.
    """

    score: float | None = None
    step: int | None = None
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass
class HealthRecord:
    """Problems so far, and the reactions to them.

    Attributes:
        diverse: Whether samples were ever diverse.
        signs: How long each sign has lasted, in steps or scores.
        reported: Signs that still last and were reported, with the settings of that time.
        events: Number of reactions to each problem.
        rollbacks: Number of rollbacks; chooses the noise.
        learning_rate_scale: Factor on the learning rates after rollbacks.
    """

    diverse: bool = False
    signs: dict[str, int] = field(default_factory=dict)
    reported: dict[str, str] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    rollbacks: int = 0
    learning_rate_scale: float = 1.0


@dataclass
class Clock:
    """Progress of the run.

    Attributes:
        step: Number of generator updates so far.
        looked: Step at which callbacks were last called.
        scores: Number of scores so far.
        seconds: Seconds spent in the loop so far.
        speed: Steps per second since the last call.
    """

    step: int = 0
    looked: int = 0
    scores: int = 0
    seconds: float = 0.0
    speed: float = 0.0


@dataclass(frozen=True)
class Recent:
    """The terms of the last steps, of which rows of the history are means.

    Attributes:
        names: Names of the terms.
        values: float32 [n, terms], one row per step, the newest last.
    """

    names: tuple[str, ...] = ()
    values: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def means(self) -> dict[str, float]:
        """Returns the mean of each term."""
        return dict(zip(self.names, self.values.mean(axis=0, dtype=np.float64).tolist(), strict=True))

    def append(self, names: tuple[str, ...], values: NDArray[np.float32], *, keep: int) -> Recent:
        """Returns the last `keep` steps after adding later ones."""
        values = np.concatenate([self.values, values]) if self.names else values
        return Recent(names, values[-keep:])


@dataclass(frozen=True)
class Ending:
    """Why a run ends before its last step.

    Attributes:
        reason: One word.
        text: One sentence.
    """

    reason: str
    text: str


@dataclass
class TrainState:
    """Everything that determines the rest of a training.

    The position in the data and all noise are functions of the seed, the rollbacks and the step, so they need no state.

    Attributes:
        seed: Seed of the run.
        trained: Networks, averages and optimizers.
        best: The best so far.
        health: Problems and reactions.
        clock: Progress of the run.
        recent: Terms of the last steps.
        ending: Why this process ends training early. It is not part of a checkpoint, so every start decides again.
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
        """Seed of everything that is drawn with a batch, which changes with each rollback."""
        return streams.key("noise", self.seed, self.health.rollbacks)

    def stop(self, reason: str, text: str) -> None:
        """Ends training after the present step."""
        self.ending = Ending(reason, text)

    def update_best(self, score: float) -> bool:
        """Remembers the averaged generators if the score is the lowest so far; returns whether it is."""
        if self.best.score is not None and score >= self.best.score:
            return False
        weights = {name: np.array(variable) for name, variable in _named(self.trained.averaged)}
        self.best = Best(score, self.clock.step, weights)
        return True

    def snapshot(self) -> TrainState:
        """Returns the state before callbacks are called, which may change all of it but what is trained."""
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
            generators = task.generators(
                architecture, image_shape=image_shape, classes=classes, dtype=dtype, seed=config.seed
            )
            discriminators = task.discriminators(
                architecture, image_shape=image_shape, classes=classes, dtype=dtype, seed=config.seed
            )
            auxiliary = task.auxiliary(generators, image_shape=image_shape)
            memory = task.memory(image_shape=image_shape, batch_size=config.batch_size)
            networks = Networks(generators, discriminators, task.frozen(image_shape=image_shape), memory, auxiliary)
            generator_optimizer = _optimizer(
                config.generator_optimizer, networks.generators, networks.auxiliary, dtype=dtype
            )
            discriminator_optimizer = _optimizer(config.discriminator_optimizer, networks.discriminators, dtype=dtype)
        # Outside the scope: the averages are on one device, and are drawn from there without a strategy. In float32,
        # so that what is scored and shipped does not depend on the precision of the training hardware.
        averaged = task.generators(architecture, image_shape=image_shape, classes=classes, dtype="float32", seed=None)
    for name, network in averaged.items():
        network.set_weights(networks.generators[name].get_weights())
    return TrainState(config.seed, Trained(networks, averaged, generator_optimizer, discriminator_optimizer))


def _optimizer(config: OptimizerConfig, *groups: dict[str, keras.Model], dtype: str) -> keras.optimizers.Optimizer:
    optimizer = config.build()
    if dtype == "mixed_float16":  # its loss scale is among its variables, and so in every checkpoint
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(
        [variable for models in groups for model in models.values() for variable in model.trainable_variables]
    )
    return optimizer
