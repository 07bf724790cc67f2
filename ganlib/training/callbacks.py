"""Callbacks of the training loop: scores, pictures, records and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels, streams
from ganlib.evaluation import Shortcuts, differences
from ganlib.progress import Progress, number
from ganlib.tasks import Sheet
from ganlib.trained import SAMPLES_FOLDER
from ganlib.training.rows import NEAREST, SHORTCUTS, VARIANCE
from ganlib.training.strategy import is_chief, sum_over_workers

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.evaluation import Reference
    from ganlib.tasks import Sampler
    from ganlib.tracking import Tracker
    from ganlib.training.checkpoints import Checkpoints
    from ganlib.training.run_directory import RunDirectory
    from ganlib.training.state import TrainState
    from ganlib.training.trainer import Callback, Row

SAMPLES_KEY = "samples"
TRUTH = "truth/"
TRUE_MEASURES = ("l1", "l1_hole")


class MeasureScore:
    """Scores the averaged generators, and remembers the best.

    Args:
        reference: What samples are compared with.
        samplers: Draw from the averaged generators that are scored, by name.
        shortcuts: Look for networks that return their input or paint the mean, by the same names.
        checkpoints: Saves the state of the best score.
        strategy: Only the chief of its workers computes scores.
        best_measure: What chooses the best, see `Task.best_measure`.
        every: Steps between two scores.
        count: Samples in a score.
        seed: Seed of the run; every score uses the same inputs.
    """

    def __init__(
        self,
        reference: Reference,
        samplers: Mapping[str, Sampler],
        shortcuts: Mapping[str, Shortcuts],
        checkpoints: Checkpoints,
        *,
        strategy: tf.distribute.Strategy,
        best_measure: str,
        every: int,
        count: int,
        seed: int,
    ) -> None:
        self.every: int | None = every
        self._best_measure = best_measure
        self._reference, self._samplers, self._checkpoints = reference, samplers, checkpoints
        self._shortcuts = shortcuts
        self._strategy, self._count, self._seed = strategy, count, streams.key("training score", seed)

    @property
    def measure(self) -> str:
        """Name of the score in the history that chooses the best."""
        return self._distance if self._best_measure == "distance" else f"{TRUTH}{self._best_measure}"

    @property
    def _distance(self) -> str:
        """Name of the distance in the history."""
        several = len(self._samplers) > 1
        return f"training/mean_{self._reference.measure}" if several else f"training/{self._reference.measure}"

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Adds distance and diversity to the row, of several networks the mean and the lowest, and all shortcuts.

        Where the true images are known, it also adds the mean difference to them.
        """
        del step
        names, chief = list(self._samplers), is_chief(self._strategy)
        width = 3 + len(TRUE_MEASURES) + len(Shortcuts.NAMES)
        measured = [number for name in names for number in (self._measure(name) if chief else [0.0] * width)]
        numbers = sum_over_workers(self._strategy, measured)
        distances, variances, nearest, *others = (numbers[start::width] for start in range(width))
        apart, signs = others[: len(TRUE_MEASURES)], others[len(TRUE_MEASURES) :]
        for measure, values in zip(TRUE_MEASURES, apart, strict=True):
            if not any(map(math.isnan, values)):
                row[f"{TRUTH}{measure}"] = sum(values) / len(values)
        for sign, values in zip(Shortcuts.NAMES, signs, strict=True):
            for name, value in zip(names, values, strict=True):
                if not math.isnan(value):
                    row[f"{SHORTCUTS}{name}/{sign}" if len(names) > 1 else f"{SHORTCUTS}{sign}"] = value
        if len(names) > 1:
            measures = {name: self._reference.of(name).measure for name in names}
            row |= {f"training/{name}/{measures[name]}": one for name, one in zip(names, distances, strict=True)}
        row[self._distance] = sum(distances) / len(distances)
        row[VARIANCE], row[NEAREST] = min(variances), min(nearest)
        state.clock.scores += 1
        if state.update_best(row[self.measure]):
            self._checkpoints.save_best(state)

    def _measure(self, name: str) -> list[float]:
        """Returns distance, diversity twice, TRUE_MEASURES and shortcuts; NaN for those without a meaning."""
        sampler, reference = self._samplers[name], self._reference.of(name)
        count, signs = min(self._count, sampler.available or self._count), []
        apart: dict[str, list[float]] = {measure: [] for measure in TRUE_MEASURES}

        def images() -> Iterator[NDArray[np.uint8]]:
            for samples in sampler.batches(count, seed=self._seed):
                signs.append(self._shortcuts[name].signs(samples))
                if samples.truths is not None:
                    for measure, values in differences(samples.images, samples.truths, holes=samples.holes).items():
                        apart[measure].extend(values[~np.isnan(values)])
                yield samples.images

        features = reference.features(images())
        shares = Shortcuts.shares(signs)
        values = [shares.get(sign, math.nan) for sign in Shortcuts.NAMES]
        truth = [sum(values) / len(values) if values else math.nan for values in apart.values()]
        return [reference.distance_of(features), *reference.diversity(features), *truth, *values]


class SaveSamples:
    """Saves a sheet of samples of the averaged generators, always from the same inputs.

    Args:
        samplers: Draw from the averaged generators that are scored.
        tracker: Records the pictures, in its folder.
        every: Steps between two pictures.
    """

    def __init__(self, samplers: Sequence[Sampler], tracker: Tracker, *, every: int) -> None:
        self.every: int | None = every
        self._samplers, self._tracker = samplers, tracker

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Writes one sheet."""
        del row, state
        path = sample_path(self._tracker.folder, step)
        share, seed = len(self._samplers), streams.key("training sheet")
        sheet = Sheet.join([sampler.sheet(seed=seed, share=share) for sampler in self._samplers])
        pixels.save_grid(sheet.images, path, columns=sheet.columns)
        self._tracker.image(path, key=SAMPLES_KEY, step=step)


def sample_path(folder: Path, step: int) -> Path:
    """Returns the path of the sheet of a step."""
    return folder / SAMPLES_FOLDER / f"step-{step:09d}.png"


def pictures_after(folder: Path, step: int) -> list[Path]:
    """Returns the sheets of later steps, which a run that resumes from `step` makes again."""
    return [path for path in (folder / SAMPLES_FOLDER).glob("*.png") if path > sample_path(folder, step)]


class RecordHistory:
    """Writes every row to the history."""

    def __init__(self, tracker: Tracker) -> None:
        self.every: int | None = None
        self._tracker = tracker

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Appends the row."""
        del state
        self._tracker.metrics(step, row)


class ReportProgress:
    """Shows how far training is, with the last score and the best one.

    Args:
        steps: Steps in all: updates of the generator.
        start: Step that this process began with.
        discriminator_steps: Updates of the discriminator in a step.
        measure: Name of the score in the history; lower is better.
        minutes: Minutes after which training ends, if there is a limit.
    """

    def __init__(
        self, *, steps: int, start: int, discriminator_steps: int, measure: str, minutes: float | None
    ) -> None:
        self.every: int | None = None
        self._steps, self._minutes = steps, minutes
        self._progress = Progress("train", total=steps, unit="steps", start=start)
        each = f", {discriminator_steps} discriminator updates each" if discriminator_steps > 1 else ""
        limit = "" if minutes is None else f"at most {minutes:g} minutes or "
        self._introduction = (
            f"train: {limit}{steps:,} steps{each}\ntrain: the score is {measure.rpartition('/')[2]}; lower is better"
        )
        self._measure = measure
        self._score: float | None = None

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Shows a line if it is time."""
        if self._introduction:
            print(self._introduction, flush=True)
            self._introduction = ""
        self._score = row.get(self._measure, self._score)
        best = "" if state.best.score is None else number(state.best.score)
        score = "" if self._score is None else number(self._score)
        total = self._steps
        if self._minutes is not None and state.clock.seconds > 0.0:  # as many as there is time for
            total = min(total, max(step + 1, round(step * 60.0 * self._minutes / state.clock.seconds)))
        if score:
            note, brief = f"score {score} (best {best})", f"score {score} ({best})"
        else:  # a run that resumes knows the best one only
            note = brief = f"best score {best}" if best else ""
        self._progress.update(step, note=note, brief=brief, total=total)


class SaveCheckpoint:
    """Writes a checkpoint.

    It comes before the other callbacks: a run that resumes from it calls them again, with its own settings.
    """

    def __init__(self, checkpoints: Checkpoints, *, every: int) -> None:
        self.every: int | None = every
        self._checkpoints = checkpoints

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Writes the state."""
        del step, row
        self._checkpoints.save(state)


class SaveOnTimer:
    """Writes a checkpoint and uploads the run on a timer. Comes first, as `SaveCheckpoint` does.

    Args:
        checkpoints: Where the checkpoint is written.
        home: The run directory, which is uploaded.
        minutes: Minutes of training between two checkpoints.
        seconds: Seconds that training has taken already.
    """

    def __init__(self, checkpoints: Checkpoints, home: RunDirectory, *, minutes: float, seconds: float) -> None:
        self.every: int | None = None
        self._checkpoints, self._home = checkpoints, home
        self._interval, self._last = 60.0 * minutes, seconds
        self._before: TrainState | None = None

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Saves and uploads if it is time."""
        del step, row
        self._before = state.snapshot()
        if state.clock.seconds - self._last >= self._interval:
            self._checkpoints.save(state)
            self._home.upload()
            self._last = state.clock.seconds

    def save_before_stop(self) -> None:
        """Writes the state from before the callbacks that stopped the run, so that a restart decides again."""
        if self._before is not None:
            self._checkpoints.save(self._before)


class SkippedOnWorker:
    """Takes the place of a chief-only callback on a worker, so that all workers pause the loop at the same steps."""

    def __init__(self, callback: Callback) -> None:
        self.every: int | None = callback.every

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Does nothing."""
