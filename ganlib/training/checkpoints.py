"""Checkpoints of a run."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.training.state import Best, Clock, HealthRecord, Recent, Trained, TrainState

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

FORMAT = "gan-pipelines/checkpoint@2"
FACTS, RECENT = "facts.json", "recent"
CHECKPOINT_FILES = "step-*.npz"
BEST = "best/"  # what the names of the best generators' weights begin with


def has_checkpoints(folder: Path) -> bool:
    """Returns whether a folder holds a checkpoint from which a run can resume."""
    return any(folder.glob(CHECKPOINT_FILES))


class DamagedCheckpointError(ValueError):
    """A checkpoint that cannot be read."""


class Checkpoints:
    """The newest checkpoints of a run in a folder, and the one of its best score.

    A checkpoint is written before the callbacks of a step are called. A run that resumes from it calls them again, with
    its own settings.

    Args:
        folder: Their folder.
        keep: Number of checkpoints to keep. 0 on workers, which keep only the best one.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder, self._keep = folder, keep

    def save(self, state: TrainState) -> None:
        """Adds a checkpoint and removes the oldest. A state with terms that are infinite or NaN is not saved."""
        if not np.isfinite(state.recent.values).all():
            return
        facts = {
            "best": {"score": state.best.score, "step": state.best.step},
            "health": asdict(state.health),
            "clock": asdict(state.clock),
            "terms": state.recent.names,
        }
        best = {f"{BEST}{name}": array for name, array in state.best.weights.items()}
        path = self.folder / f"step-{state.clock.step:09d}.npz"
        _write(path, facts, {**_arrays(state.trained), **best, RECENT: state.recent.values})
        for old in self._all()[: -self._keep]:
            old.unlink()
        # A run that resumes from one of the others may roll back to its best state at that time.
        self._remove_bests({_best_step(path) for path in self._all()})

    def save_best(self, state: TrainState) -> None:
        """Saves what is trained, at the best score so far, for a rollback."""
        _write(self._best(state.best.step), {}, _arrays(state.trained))
        if not self._keep:
            self._remove_bests({state.best.step})

    def roll_back(self, state: TrainState) -> int:
        """Restores what was trained at the best score, and nothing else; returns its step, 0 before any score.

        Raises:
            ValueError: The file of that step is damaged or gone.
        """
        path = self._best(state.best.step)
        _assign(state.trained, _read(path)[1], path)
        return state.best.step or 0

    def restore(self, state: TrainState) -> bool:
        """Restores the newest checkpoint that is not damaged, if there is one, and prints which are damaged.

        Raises:
            ValueError: All checkpoints are damaged, or they belong to other networks or another version.
        """
        paths = self._all()
        for path in reversed(paths):
            try:
                _restore(state, path)
                return True
            except DamagedCheckpointError as error:
                print(f"train: {error}", flush=True)
        if paths:
            raise ValueError(f"every checkpoint is damaged. Remove them to start again. Received: {self.folder}")
        return False

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob(CHECKPOINT_FILES))

    def _remove_bests(self, except_steps: set[int | None]) -> None:
        """Removes the best states of all steps but some."""
        for path in self.folder.glob("best-*.npz"):
            if path not in {self._best(step) for step in except_steps}:
                path.unlink()

    def _best(self, step: int | None) -> Path:
        """Returns the file of the state of the best score; before any score, that of the beginning."""
        return self.folder / f"best-{step or 0:09d}.npz"


def _arrays(trained: Trained) -> Arrays:
    return {name: np.array(variable) for name, variable in trained.variables().items()}


def _write(path: Path, facts: dict[str, Any], arrays: Arrays) -> None:
    """Writes an npz file atomically."""
    metadata = np.frombuffer(json.dumps({"format": FORMAT, **facts}).encode(), np.uint8)
    with storage.atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **{FACTS: metadata})


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Returns the facts and arrays that `_write` wrote."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop(FACTS).tobytes())
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedCheckpointError(f"damaged checkpoint: {error}. Received: path={str(path)!r}") from error
    if facts.get("format") != FORMAT:
        raise ValueError(
            f"expected a checkpoint of format {FORMAT}; take another run name, or remove the folder. "
            f"Received: path={str(path)!r}, format={facts.get('format')!r}"
        )
    return facts, arrays


def _restore(state: TrainState, path: Path) -> None:
    """Restores a state from a checkpoint. If that fails, nothing has changed."""
    facts, arrays = _read(path)
    weights = {name.removeprefix(BEST): arrays.pop(name) for name in list(arrays) if name.startswith(BEST)}
    recent = Recent(tuple(facts["terms"]), arrays.pop(RECENT))
    _assign(state.trained, arrays, path)
    state.best = Best(**facts["best"], weights=weights)
    state.health, state.clock, state.recent = HealthRecord(**facts["health"]), Clock(**facts["clock"]), recent


def _assign(trained: Trained, arrays: Arrays, path: Path) -> None:
    """Sets the variables, if the arrays belong to the same networks."""
    variables = trained.variables()
    mismatched = sorted(
        name
        for name in variables.keys() | arrays.keys()
        if name not in arrays or name not in variables or tuple(variables[name].shape) != arrays[name].shape
    )
    if mismatched:
        raise ValueError(
            f"the checkpoint belongs to other networks: {len(mismatched)} variables differ, such as {mismatched[0]}. "
            f"Received: path={str(path)!r}"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _best_step(path: Path) -> int | None:
    """Returns which step was the best so far when a checkpoint was written; None where that cannot be read."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            step: int | None = json.loads(file[FACTS].tobytes())["best"]["step"]
            return step
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
