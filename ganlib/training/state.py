"""All that a checkpoint holds."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.tasks import Networks
from ganlib.training.strategy import seed_everything

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

FACTS = "facts.json"
BEST = "best"
# What goes on through a rollback, and all that is not an array.
RUNNING = ("step", "scores", "seconds", "rollbacks", "gentleness", "signs", "events")
KEPT = (*RUNNING, "seed", "diverse", "best_score", "best_step", "stopped", "stop_text")


class DamagedCheckpointError(ValueError):
    """A checkpoint that cannot be read."""


@dataclass
class TrainState:
    """Everything that decides how training goes on.

    The position in the data and the state of all noise are functions of seed and step, so they need
    no place of their own.

    Attributes:
        networks: What is trained.
        averaged: Exponential moving averages of the generators, by name.
        generator_optimizer: Optimizer with its moments.
        discriminator_optimizer: The same for the discriminators.
        seed: Seed of the run.
        step: Generator updates that were made.
        best_score: Lowest distance so far, or None.
        best_step: Step at which it was measured.
        best: Weights of the averaged generators at that step, by variable name.
        scores: Measurements so far.
        diverse: Whether samples ever were unlike each other.
        seconds: Time spent in the loop so far.
        rollbacks: How often the run went back to its best; chooses the noise.
        gentleness: What rollbacks made of the learning rates, a factor.
        signs: How long each sign of trouble has lasted.
        events: How often each trouble was reacted to.
        stopped: Why training ended before its last step, in a word, or None.
        stop_text: The same in a sentence.
        interrupted: Whether this process was asked to end; no part of a checkpoint.
    """

    networks: Networks
    averaged: dict[str, keras.Model]
    generator_optimizer: keras.optimizers.Optimizer
    discriminator_optimizer: keras.optimizers.Optimizer
    seed: int
    step: int = 0
    best_score: float | None = None
    best_step: int | None = None
    best: dict[str, NDArray[Any]] = field(default_factory=dict)
    scores: int = 0
    diverse: bool = False
    seconds: float = 0.0
    rollbacks: int = 0
    gentleness: float = 1.0
    signs: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    stopped: str | None = None
    stop_text: str | None = None
    interrupted: bool = False

    @property
    def noise_seed(self) -> int:
        """Seed of everything that is drawn with a batch: another one after each rollback."""
        return self.seed + (self.rollbacks << 32)

    def stop(self, reason: str, text: str) -> None:
        """Ends training after the present step."""
        self.stopped, self.stop_text = reason, text

    def keep_best(self, score: float) -> bool:
        """Keeps the averaged generators if the score is the lowest so far; says whether it was."""
        if self.best_score is not None and score >= self.best_score:
            return False
        self.best_score, self.best_step = score, self.step
        self.best = {name: np.array(variable) for name, variable in _named(self.averaged)}
        return True

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

    def save(self, path: Path) -> None:
        """Writes the state as one npz file that is whole or absent."""
        arrays = {name: np.array(variable) for name, variable in self.variables().items()}
        arrays.update({f"{BEST}/{name}": array for name, array in self.best.items()})
        facts = {name: getattr(self, name) for name in KEPT}
        arrays[FACTS] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        with storage.whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def restore(self, path: Path) -> None:
        """Takes everything over from a file that `save` wrote.

        Raises:
            ValueError: The file is damaged, or belongs to other networks; nothing was changed then.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            facts = json.loads(arrays.pop(FACTS).tobytes())
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DamagedCheckpointError(f"damaged checkpoint: {error}. Received: path={str(path)!r}") from error
        best = {name.removeprefix(f"{BEST}/"): arrays.pop(name) for name in list(arrays) if name.startswith(f"{BEST}/")}
        variables = self.variables()
        unlike = sorted(
            name
            for name in variables.keys() | arrays.keys()
            if name not in arrays or name not in variables or tuple(variables[name].shape) != arrays[name].shape
        )
        if unlike:
            raise ValueError(
                f"the checkpoint is of other networks: {len(unlike)} variables differ, such as {unlike[0]}. "
                f"Received: path={str(path)!r}"
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        for name, value in facts.items():
            setattr(self, name, value)
        self.best = best

    def best_averaged(self) -> dict[str, keras.Model]:
        """Returns copies of the averaged generators with the best weights (the last ones before any score)."""
        copies = {name: keras.models.clone_model(model) for name, model in self.averaged.items()}
        for name, model in copies.items():
            model.set_weights(self.averaged[name].get_weights())
        for name, variable in _named(copies):
            if name in self.best:
                variable.assign(self.best[name])
        return copies


def _named(models: dict[str, keras.Model]) -> Iterator[tuple[str, keras.Variable]]:
    for name, model in models.items():
        for index, variable in enumerate(model.variables):
            yield f"{name}/{index:03d}", variable


def build_state(
    strategy: tf.distribute.Strategy,
    *,
    task: Task,
    model: Architecture,
    config: TrainConfig,
    image_shape: tuple[int, int, int],
    classes: int,
    dtype: str,
) -> TrainState:
    """Builds networks, averages and optimizers; the same seed gives the same weights."""
    seed_everything(config.seed, deterministic=config.deterministic)
    with strategy.scope():
        networks = task.build(model, image_shape=image_shape, classes=classes, dtype=dtype, seed=config.seed)
        generator_optimizer = _optimizer(config.generator_optimizer, networks.generators)
        discriminator_optimizer = _optimizer(config.discriminator_optimizer, networks.discriminators)
    # Outside the scope: the averages live on one device, and are drawn from there without a strategy. In
    # float32, so that what is scored and shipped does not depend on the precision of the training hardware.
    averaged = task.build(model, image_shape=image_shape, classes=classes, dtype="float32", seed=config.seed).generators
    for name, network in averaged.items():
        network.set_weights(networks.generators[name].get_weights())
    return TrainState(networks, averaged, generator_optimizer, discriminator_optimizer, seed=config.seed)


def _optimizer(config: OptimizerConfig, models: dict[str, keras.Model]) -> keras.optimizers.Optimizer:
    optimizer = config.build()
    optimizer.build([variable for model in models.values() for variable in model.trainable_variables])
    return optimizer
