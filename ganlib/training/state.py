"""All that a checkpoint holds, and the folder of checkpoints."""

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

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

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


class Checkpoints:
    """The newest checkpoints of a run in a folder, and the one of its best score.

    Args:
        folder: Where they lie.
        keep: How many of the newest are kept.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder, self._keep = folder, keep

    def save(self, state: TrainState) -> None:
        """Adds a checkpoint and removes those that are too old."""
        state.save(self.folder / f"step-{state.step:09d}.npz")
        for path in self._all()[: -self._keep]:
            path.unlink()
        # A run that goes on from any of the rest may roll back to the best state that it knew then.
        known = {_best_step(path) for path in self._all()}
        for path in self.folder.glob("best-*.npz"):
            if path not in {self._best(step) for step in known}:
                path.unlink()

    def save_best(self, state: TrainState) -> None:
        """Keeps the state, whose score is the best so far, for a rollback."""
        state.save(self._best(state.best_step))

    def roll_back(self, state: TrainState) -> int:
        """Takes the networks and optimizers at the best score back, and returns the step that they had.

        Raises:
            ValueError: The checkpoint of that step is damaged or gone.
        """
        went_on = {name: getattr(state, name) for name in RUNNING}
        state.restore(self._best(state.best_step))
        best = state.step
        for name, value in went_on.items():
            setattr(state, name, value)
        return best

    def restore(self, state: TrainState) -> bool:
        """Restores the newest checkpoint that is whole, if there is any; says which ones are not.

        Raises:
            ValueError: There are checkpoints and all are damaged, or they are of other networks.
        """
        found = self._all()
        for path in reversed(found):
            try:
                state.restore(path)
                return True
            except DamagedCheckpointError as error:
                print(f"train: {error}", flush=True)
        if found:
            raise ValueError(f"every checkpoint is damaged. Remove them to begin anew. Received: {self.folder}")
        return False

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.npz"))

    def _best(self, step: int | None) -> Path:
        """Where the state of the best score lies; before any score, that of the beginning."""
        return self.folder / f"best-{step or 0:09d}.npz"


def _best_step(path: Path) -> int | None:
    """Returns which step was the best so far when a checkpoint was written; None where that cannot be read."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            step: int | None = json.loads(file[FACTS].tobytes())["best_step"]
            return step
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
