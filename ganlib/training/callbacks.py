"""What happens while the networks train: measuring, picturing, recording, saving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels, streams
from ganlib.progress import Progress, number
from ganlib.tasks import SAMPLE_COLUMNS
from ganlib.trained import SAMPLES_FOLDER
from ganlib.training.rows import NEAREST, VARIANCE
from ganlib.training.strategy import is_chief, summed

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.evaluation import Reference
    from ganlib.tasks import Sampler
    from ganlib.tracking import Tracker
    from ganlib.training.checkpoints import Checkpoints
    from ganlib.training.home import Home
    from ganlib.training.state import TrainState
    from ganlib.training.trainer import Callback, Row

SAMPLES_KEY = "samples"


class MeasureScore:
    """Measures the averaged generator's distance to the real images, and keeps the best.

    Args:
        reference: Yardstick.
        sampler: Draws from the averaged generator.
        checkpoints: Where the state at the best score is kept.
        strategy: Of its workers the chief measures for all.
        every: Steps between two scores.
        count: SaveSamples of a score.
        seed: Seed of the run; every score is of the same samples.
    """

    def __init__(
        self,
        reference: Reference,
        sampler: Sampler,
        checkpoints: Checkpoints,
        *,
        strategy: tf.distribute.Strategy,
        every: int,
        count: int,
        seed: int,
    ) -> None:
        self.every: int | None = every
        self._reference, self._sampler, self._checkpoints = reference, sampler, checkpoints
        self._strategy, self._count, self._seed = strategy, count, streams.key("training score", seed)

    @property
    def measure(self) -> str:
        """Name of the distance in the history."""
        return f"training/{self._reference.measure}"

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Adds the distance and the diversity to the row."""
        del step
        measured = self._measured() if is_chief(self._strategy) else (0.0, 0.0, 0.0)
        row[self.measure], row[VARIANCE], row[NEAREST] = summed(self._strategy, measured)
        state.clock.scores += 1
        if state.keep_best(row[self.measure]):
            self._checkpoints.save_best(state)

    def _measured(self) -> tuple[float, float, float]:
        images = (images for images, _ in self._sampler.batches(self._count, seed=self._seed))
        features = self._reference.features(images)
        variance, nearest = self._reference.diversity(features)
        return self._reference.distance_of(features), variance, nearest


class SaveSamples:
    """Pictures samples of the averaged generator, always from the same inputs.

    Args:
        sampler: Draws from the averaged generator.
        tracker: Records the pictures; they lie in its folder.
        every: Steps between two pictures.
    """

    def __init__(self, sampler: Sampler, tracker: Tracker, *, every: int) -> None:
        self.every: int | None = every
        self._sampler, self._tracker = sampler, tracker

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Writes one picture."""
        del row, state
        path = sample_path(self._tracker.folder, step)
        pixels.save_grid(self._sampler.sheet(seed=streams.key("training sheet")), path, columns=SAMPLE_COLUMNS)
        self._tracker.image(path, key=SAMPLES_KEY, step=step)


def sample_path(folder: Path, step: int) -> Path:
    """Returns where the picture of a step lies."""
    return folder / SAMPLES_FOLDER / f"step-{step:09d}.png"


def later_pictures(folder: Path, step: int) -> list[Path]:
    """Returns the pictures of steps after one, which a run that goes on from there will make anew, if at all."""
    return [path for path in (folder / SAMPLES_FOLDER).glob("*.png") if path > sample_path(folder, step)]


class RecordHistory:
    """Writes every row into the history."""

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
    """

    def __init__(self, *, steps: int, start: int, discriminator_steps: int, measure: str) -> None:
        self.every: int | None = None
        self._progress = Progress("train", total=steps, unit="steps", start=start)
        each = f", {discriminator_steps} discriminator updates each" if discriminator_steps > 1 else ""
        self._introduction = (
            f"train: {steps:,} steps{each}\ntrain: the score is {measure.rpartition('/')[2]}; lower is better"
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
        if score:
            self._progress.update(step, note=f"score {score} (best {best})", brief=f"score {score} ({best})")
        else:  # a run that resumes knows the best one only
            self._progress.update(step, note=f"best score {best}" if best else "")


class SaveCheckpoint:
    """Writes a checkpoint. Comes first: a run that resumes from it looks at the step again, by whatever settings."""

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
        checkpoints: Where the checkpoint goes.
        home: What is kept.
        minutes: Minutes of training between two times.
        seconds: Those that training has taken already.
    """

    def __init__(self, checkpoints: Checkpoints, home: Home, *, minutes: float, seconds: float) -> None:
        self.every: int | None = None
        self._checkpoints, self._home = checkpoints, home
        self._seconds, self._kept = 60.0 * minutes, seconds
        self._before: TrainState | None = None

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Keeps the run if it is time."""
        del step, row
        self._before = state.snapshot()
        if state.clock.seconds - self._kept >= self._seconds:
            self._checkpoints.save(state)
            self._home.keep()
            self._kept = state.clock.seconds

    def save_before_stop(self) -> None:
        """Writes the state from before the look that stopped the run, so that a later start decides again."""
        if self._before is not None:
            self._checkpoints.save(self._before)


class SkippedOnWorker:
    """Does nothing when a callback would be due that the chief alone calls; all workers look at the same steps."""

    def __init__(self, callback: Callback) -> None:
        self.every: int | None = callback.every

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Does nothing."""
