"""The folder of checkpoints."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

from etils import epy

from ganlib.training.state import FACTS, RUNNING, DamagedCheckpointError, TrainState

with epy.lazy_imports():
    import numpy as np


class Checkpoints:
    """The newest checkpoints of a run in a folder, and the one of its best score.

    Args:
        folder: Where they lie.
        keep: How many of the newest are kept; with 0, of a worker whose chief keeps them, no more than the best one is.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder, self._keep = folder, keep

    def save(self, state: TrainState) -> None:
        """Adds a checkpoint and removes those that are too old."""
        state.save(self.folder / f"step-{state.step:09d}.npz")
        for path in self._all()[: -self._keep]:
            path.unlink()
        # A run that goes on from any of the rest may roll back to the best state that it knew then.
        self._forget_bests({_best_step(path) for path in self._all()})

    def save_best(self, state: TrainState) -> None:
        """Keeps the state, whose score is the best so far, for a rollback."""
        state.save(self._best(state.best_step))
        if not self._keep:
            self._forget_bests({state.best_step})

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

    def _forget_bests(self, kept: set[int | None]) -> None:
        """Removes the best states of all steps but some."""
        for path in self.folder.glob("best-*.npz"):
            if path not in {self._best(step) for step in kept}:
                path.unlink()

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
