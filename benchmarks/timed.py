"""What the benchmarks of translation and restoration share: trainings of some minutes, scores, tables and pictures."""

import argparse
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganlib import pixels, storage, streams  # before TensorFlow is imported, because it sets variables for it
from ganlib.config import RunConfig
from ganlib.data import PreparedDataset, prepare
from ganlib.evaluation import Reference, Statistics, frechet_distance, measure_reference
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.evaluation.measures.paired import PairedMeasures
from ganlib.tasks import Sampler, Task
from ganlib.training import TrainedModel, train
from pipelines.settings import config_hash, override

import numpy as np  # isort: skip

SCORES = 6  # during a training
TRIAL = 6  # steps in each of the two loops that the speed is measured in
SPARE = 0.85  # share of the time that steps take; scores, checkpoints and the graph take the rest
SQUEEZENET = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"


def options_of(description: str | None, *, minutes: float, work: str) -> argparse.ArgumentParser:
    """Returns a parser with the options that all of these benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the datasets")
    parser.add_argument("--work", type=Path, default=Path("runs") / work, help="folder for results")
    parser.add_argument("--minutes", type=float, default=minutes, help="minutes of each training")
    parser.add_argument("--steps", type=int, help="steps of each training, instead of those that fit the minutes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the trainings")
    parser.add_argument("--samples", type=int, help="held-out images to score; all by default")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="further setting of the trainings"
    )
    return parser


def flower_sections(folder: Path) -> dict[str, Any]:
    """Returns the sections `data` and `evaluation` for flowers of 64x64, of which a fifth is held out."""
    source = {"kind": "archive", "path": str(folder / "flowers_128.zip"), "test_fraction": 0.2}
    return {
        "data": {"name": "flowers", "source": source, "size": 64, "colour": "rgb", "flip": True},
        "evaluation": {"extractor": {"kind": "squeezenet", "weights": str(folder / SQUEEZENET)}},
    }


@dataclass(frozen=True)
class Bench:
    """The options of a benchmark, and the trainings that they ask for.

    Attributes:
        work: Folder for results. What it holds already is not made again.
        minutes: Minutes of each training.
        steps: Steps of each training; None means as many as fit the minutes.
        seed: Seed of the trainings.
        samples: Held-out images to score; None means all.
        assignments: Further settings of the trainings.
    """

    work: Path
    minutes: float
    steps: int | None
    seed: int
    samples: int | None
    assignments: tuple[str, ...]

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Bench":
        """Reads the options."""
        return cls(options.work, options.minutes, options.steps, options.seed, options.samples, tuple(options.set))

    @property
    def budget(self) -> str:
        """The length of each training, for the names of files."""
        return f"{self.minutes:g}min" if self.steps is None else f"{self.steps}steps"

    def config(self, sections: Mapping[str, Any]) -> RunConfig:
        """Returns the config of some sections, with the settings of the options."""
        return override(sections, [f"training.seed={self.seed}", *self.assignments])

    def data(self, config: RunConfig, name: str) -> tuple[PreparedDataset, Reference]:
        """Returns the prepared images of a config and their reference, which are made once."""
        parts = [config.data.to_parameter(), config.evaluation.to_parameter(), config.task.kind]
        folder = self.work / f"{name}-{hashlib.sha256(storage.canonical_json(parts).encode()).hexdigest()[:6]}"
        if not (folder / "dataset").exists():
            prepare(config.data, folder / "dataset")
        dataset = PreparedDataset.open(folder / "dataset")
        if not (folder / "reference").exists():
            measure_reference(dataset, config.evaluation, folder / "reference", task=config.task)
        return dataset, Reference.open(folder / "reference")

    def train(self, config: RunConfig, dataset: PreparedDataset, reference: Reference, name: str) -> TrainedModel:
        """Trains for the minutes of the options, or opens what an earlier call with these settings left.

        A short trial says how many steps fit into the minutes. Then the steps are the limit and not the clock, so that
        the learning rates fall to the end on a machine that does other work too; compare the processor time.
        """
        output = self.work / f"{name}-{config_hash(config)}-{self.budget}"
        if not output.exists():
            sections = {"task": config.task, "architecture": config.model, "objective": config.objective}
            steps = self.steps
            if steps is None:
                rate = steps_per_second(config, dataset, reference, output.with_name(f"{output.name}-trial"), sections)
                steps = max(SCORES, round(SPARE * rate * 60 * self.minutes))
            every = -(-steps // SCORES)
            changed = {"steps": steps, "steps_per_loop": min(50, every)}
            changed |= dict.fromkeys(("score_every", "sample_every", "checkpoint_every"), every)
            training = config.training.model_copy(update=changed)
            print(f"{name}: {steps} steps of {training.batch_size} images", flush=True)
            began, cpu_began = time.perf_counter(), time.process_time()
            train(dataset, reference, config=training, output=output, **sections)
            minutes, cpu_minutes = (time.perf_counter() - began) / 60, (time.process_time() - cpu_began) / 60
            print(f"{name}: {minutes:.1f} minutes, {cpu_minutes:.1f} of a processor", flush=True)
        return TrainedModel.open(output)


def steps_per_second(
    config: RunConfig, dataset: PreparedDataset, reference: Reference, output: Path, sections: Mapping[str, Any]
) -> float:
    """Measures the speed in a short training, of which the first half is not counted."""
    intervals = dict.fromkeys(("score_every", "sample_every", "checkpoint_every"), 2 * TRIAL)
    changed = {"steps": 2 * TRIAL, "steps_per_loop": TRIAL, "score_samples": 10, **intervals}
    training = config.training.model_copy(update=changed)
    model = TrainedModel.open(output) if output.exists() else None
    model = model or train(dataset, reference, config=training, output=output, **sections)
    return float(model.history[-1]["speed/steps_per_second"])


@dataclass(frozen=True)
class Drawn:
    """Samples of a network from held-out images, and what belongs to each.

    Attributes:
        images: What the network made, uint8 [N, H, W, C].
        unchanged: Its inputs, the same shape.
        truths: The true images, the same shape; None without them.
        holes: bool [N, H, W, 1], where it had to invent the image; None without such places.
    """

    images: np.ndarray
    unchanged: np.ndarray
    truths: np.ndarray | None
    holes: np.ndarray | None


def draw(
    model: TrainedModel,
    dataset: PreparedDataset,
    *,
    task: Task | None = None,
    network: str | None = None,
    count: int | None = None,
) -> Drawn:
    """Draws from the best generator.

    Args:
        model: The trained model.
        dataset: Data whose test images are the inputs.
        task: Makes the inputs, if that is not the task of the training.
        network: Name of the network; by default the first one.
        count: Number of samples; by default one of each test image.
    """
    sampler = Sampler(
        task or model.task,
        model.network("best", network),
        shares=model.shares,
        image_shape=model.image_shape,
        held_out=dataset,
        name=network,
    )
    count = min(count or sampler.available, sampler.available)
    parts = list(sampler.batches(count, seed=streams.key("benchmark")))
    arrays = [[getattr(part, name) for part in parts] for name in ("images", "unchanged", "truths", "holes")]
    return Drawn(*(None if column[0] is None else np.concatenate(column) for column in arrays))


def score(images: np.ndarray, drawn: Drawn, reference: Reference) -> dict[str, float]:
    """Returns the scores of images that stand for those that a network made.

    Args:
        images: uint8 [N, H, W, C].
        drawn: Inputs, truths and holes.
        reference: The feature space, and the real images.

    Returns:
        `l1`, `psnr`, `ssim` and those of the holes, where there are truths; the Frechet and the kernel distance to the
        training images, and where there are truths the Frechet distance to these.
    """
    row: dict[str, float] = {}
    features = reference.features([images])
    if drawn.truths is not None:
        measures = PairedMeasures()
        measures.add(images, drawn.truths, holes=drawn.holes)
        row |= {each.name: each.value for each in measures.scores()}
        truths = Statistics.of([reference.features([drawn.truths])])
        row["fd to truths"] = frechet_distance(Statistics.of([features]), truths)
    row["fd"] = reference.distance_of(features)
    row["kd"] = kernel_distance(features, reference.real.features)[0]
    return row


def table(title: str, rows: Mapping[str, Mapping[str, float]], columns: Mapping[str, Callable[[float], str]]) -> str:
    """Returns a Markdown table of the columns that have a value."""
    present = [name for name in columns if any(name in row for row in rows.values())]
    lines = ["", f"| {title} | {' | '.join(present)} |", "|---" * (len(present) + 1) + "|"]
    for name, row in rows.items():
        cells = [columns[column](row[column]) if column in row else "" for column in present]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def digits(count: int) -> Callable[[float], str]:
    """Returns a format with some digits after the point."""
    return lambda value: f"{value:.{count}f}"


COLUMNS = {
    "l1": digits(4),
    "psnr": digits(2),
    "ssim": digits(3),
    "l1_hole": digits(4),
    "psnr_hole": digits(2),
    "fd to truths": "{:.4g}".format,
    "fd": "{:.4g}".format,
    "kd": "{:.3g}".format,
    "read": digits(3),
}


def verdict(text: str, *, ours: float, limit: float, lower: bool) -> str:
    """Returns a line that says whether a number is on the right side of a limit."""
    reached = ours <= limit if lower else ours >= limit
    return f"RESULT {text}: {ours:.4g}, expected {'at most' if lower else 'at least'} {limit:.4g}: " + (
        "reached" if reached else "MISSED"
    )


def save_rows(path: Path, columns: Mapping[str, np.ndarray], *, count: int = 12) -> None:
    """Saves the first images of each column, a row for each image, and prints the names of the columns."""
    picture = np.stack([images[:count] for images in columns.values()], axis=1)
    pixels.save_grid(picture.reshape(-1, *picture.shape[2:]), path, columns=len(columns))
    print(f"picture: {path}: {' | '.join(columns)}", flush=True)
