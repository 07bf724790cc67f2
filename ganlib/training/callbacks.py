"""What happens while the networks train: measuring, picturing, recording, saving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels, streams
from ganlib.progress import Progress
from ganlib.runtime import true_float32
from ganlib.training.health import NEAREST, VARIANCE
from ganlib.training.strategy import is_chief, summed

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from ganlib.evaluation import Reference
    from ganlib.tasks import Task
    from ganlib.tracking import Tracker
    from ganlib.training.checkpoints import Checkpoints
    from ganlib.training.home import Home
    from ganlib.training.state import TrainState
    from ganlib.training.trainer import Callback, Row

SAMPLE_BATCH = 100
SAMPLE_COLUMNS = 10
SAMPLES = 100
SAMPLES_KEY = "samples"
SAMPLES_FOLDER = "samples"
TOLD = ("discriminator/", "generator/", "training/")  # what of a row a line of progress shows


class Sampler:
    """Draws uint8 images from a network in true float32, always through one graph of one batch size.

    Args:
        task: Knows the network's inputs.
        network: What `Task.sampler` returned.
        shares: Share of each class among the real images, empty without labels.
    """

    def __init__(self, task: Task, network: keras.Model, *, shares: Sequence[float]) -> None:
        self._task, self._shares = task, shares
        self._draw = tf.function(lambda inputs: pixels.to_uint8(network(inputs, training=False)), reduce_retracing=True)

    def batches(
        self, count: int, *, seed: int, labels: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        """Yields `count` images in all, uint8 [n, H, W, C], and the classes that were asked for, int64 [n].

        Args:
            count: Number of images; equal seeds give equal ones.
            seed: Chooses them.
            labels: A class for each; absent means classes as frequent as the real ones, where the task knows any.

        Raises:
            ValueError: There is no image to draw, or no class that a label names.
        """
        if count < 1:
            raise ValueError(f"expected at least one image. Received: count={count}")
        self._check(labels, count)
        whole = -(-count // SAMPLE_BATCH) * SAMPLE_BATCH
        label = None if labels is None else np.pad(labels, (0, whole - count))
        inputs = self._task.inputs(whole, seed=seed, shares=self._shares, label=label)
        for start in range(0, count, SAMPLE_BATCH):
            chosen = {name: values[start : start + SAMPLE_BATCH] for name, values in inputs.items()}
            with true_float32():
                images = self._draw(chosen).numpy()
            asked = chosen.get("label")
            yield images[: count - start], None if asked is None else asked.numpy()[: count - start]

    def _check(self, labels: NDArray[np.int64] | None, count: int) -> None:
        """Refuses labels that would give pictures of no class."""
        if labels is None or not self._task.takes_label:  # the task itself refuses those that it does not take
            return
        if labels.shape != (count,):
            raise ValueError(f"expected a label for each of {count} images. Received: shape={labels.shape}")
        unknown = labels[(labels < 0) | (labels >= len(self._shares))]
        if unknown.size:
            raise ValueError(f"expected labels in 0..{len(self._shares) - 1}. Received: label={unknown[0]}")

    def images(self, count: int, *, seed: int, labels: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Returns `count` images, uint8 [count, H, W, C]."""
        return np.concatenate([images for images, _ in self.batches(count, seed=seed, labels=labels)])

    def sheet(self, *, seed: int) -> NDArray[np.uint8]:
        """Returns a hundred images to look at, ten a row; one class a row where classes can be asked for."""
        return self.images(SAMPLES, seed=seed, labels=self.sheet_labels)

    @property
    def sheet_labels(self) -> NDArray[np.int64] | None:
        """Classes of a sheet's images, int64 [100], where they can be asked for."""
        return sheet_labels(len(self._shares)) if self._task.takes_label else None


def sheet_labels(classes: int) -> NDArray[np.int64]:
    """Returns the classes of a sheet's images, one a row: each in turn, or as many as there are rows, evenly spread."""
    rows = np.arange(SAMPLES) // SAMPLE_COLUMNS
    return rows * classes // (SAMPLES // SAMPLE_COLUMNS)


class Score:
    """Measures the averaged generator's distance to the real images, and keeps the best.

    Args:
        reference: Yardstick.
        sampler: Draws from the averaged generator.
        checkpoints: Where the state at the best score is kept.
        strategy: Of its workers the chief measures for all.
        every: Steps between two scores.
        count: Samples of a score.
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


class Samples:
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


class Record:
    """Writes every row into the history."""

    def __init__(self, tracker: Tracker) -> None:
        self.every: int | None = None
        self._tracker = tracker

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Appends the row."""
        del state
        self._tracker.metrics(step, row)


class Report:
    """Prints how far training is.

    Args:
        steps: Steps in all.
        start: Step that this process began with.
        images: Real images that the discriminator sees in a step.
    """

    def __init__(self, *, steps: int, start: int, images: int) -> None:
        self.every: int | None = None
        self._progress = Progress("train", total=steps, unit="steps", start=start)
        self._images = images

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Prints a line if it is time."""
        del state
        told = (f"{name} {value:.3f}" for name, value in row.items() if name.startswith(TOLD))
        terms = "  ".join(told)
        rate = row["speed/steps_per_second"] * self._images  # of the steps alone; the line's rate counts scores too
        self._progress.update(step, note=f"{rate:.0f} images/s between scores  {terms}")


class Save:
    """Writes a checkpoint. Comes first: a run that resumes from it looks at the step again, by whatever settings."""

    def __init__(self, checkpoints: Checkpoints, *, every: int) -> None:
        self.every: int | None = every
        self._checkpoints = checkpoints

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Writes the state."""
        del step, row
        self._checkpoints.save(state)


class Keep:
    """Writes a checkpoint on a timer and takes the run to where it outlives this machine. Comes first, as `Save` does.

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


class Left:
    """Does nothing when a callback would be due that the chief alone calls; all workers look at the same steps."""

    def __init__(self, callback: Callback) -> None:
        self.every: int | None = callback.every

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Does nothing."""
