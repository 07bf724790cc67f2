"""What a first run's pictures look like to a judge that had no part in it.

    python benchmarks/first_run.py [--preset digits ...] [--set FIELD=VALUE ...] [--seeds 0 1 2] [--work FOLDER]
    python benchmarks/first_run.py --run runs/NAME ...

Makes the run once a seed, or takes finished runs of the digits at 16x16, and draws 1,000 images from each exported
SavedModel, as anybody would who got it. A support vector machine that knows the real training digits alone says what
they show (`judge.py`). Held-out real digits, prepared like the others, stand in the last line.

- `sure`: share of images of which the machine is sure by its duels; `probability`: by at least 0.9 of the probability
  that scikit-learn's `SVC(probability=True)` gives, which ends with version 1.11.
- `sure, held out`: the same of a machine that learned from the 360 digits that no step of the run trains on.
- `fewest`, `most`: share of the rarest and of the most frequent class; `asked`: share that shows the class asked for.
- `varied`: variance within the classes that it finds, as a share of that of real training digits.
- `precision`, `recall`: of 360 images against the 360 held-out digits, in their 64 pixels, with the third neighbour.
- `distance`, `memorised`, `seconds`: what the run says of itself, and its seconds of training.
"""

import argparse
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

from ganlib.data import PreparedDataset  # before anything that imports TensorFlow, whose settings it makes
from ganlib.evaluation import Evaluation
from ganlib.evaluation.measures.precision_recall import precision_recall
from ganlib.training import TrainedModel
from pipelines.settings import digest, resolve

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
from judge import GAMMA, Judge, native, variance  # isort: skip
from sklearn.svm import SVC  # isort: skip

IMAGES, CLASSES, SEED = 1000, 10, 1
SURE = 0.9
DISTANCE, MEMORISED = "fd_digits_classifier", "memorised_pixels"


def main() -> None:
    """Makes the runs that are wanted and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", default=["digits"], help="presets of the runs")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="single settings of the runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one run each")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-first-run"), help="where the runs are kept")
    parser.add_argument("--run", nargs="+", type=Path, default=[], help="finished runs, in the place of new ones")
    options = parser.parse_args()
    folders = options.run or [made(seed, options) for seed in options.seeds]
    dataset = PreparedDataset.open(folders[0] / "dataset")
    panel = Panel(dataset)
    lines = {folder.name: panel.verdict(*drawn(folder)) | own_words(folder) for folder in folders}
    ours = {"sure, held out": None, "precision": None, "recall": None}  # measured against themselves
    print(table(lines, panel.verdict(*dataset.load("test")) | ours))


def made(seed: int, options: argparse.Namespace) -> Path:
    """Makes one run, or takes it from the cache, and returns its folder."""
    settings = digest(resolve(chosen=options.preset, assignments=options.set))
    name = "-".join([*options.preset, settings, str(seed)])
    words = [word for preset in options.preset for word in ("--preset", preset)]
    words += [word for setting in (*options.set, f"training.seed={seed}") for word in ("--set", setting)]
    command = [sys.executable, "-m", "pipelines", "run", *words, "--root", str(options.work), "--name", name]
    subprocess.run(command, check=True)
    return options.work / name


def drawn(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Draws images from the exported model, as many of each class where classes can be asked for.

    Returns:
        uint8 [1000, 16, 16, 1], and the classes that were asked for, int64 [1000], if any were.
    """
    generate = tf.saved_model.load(str(folder / "model" / "saved_model")).signatures["generate"]
    if "label" not in generate.structured_input_signature[1]:
        return generate(seed=tf.constant(SEED, tf.int64), count=tf.constant(IMAGES))["images"].numpy(), None
    each = [
        generate(
            seed=tf.constant(SEED + label, tf.int64),
            count=tf.constant(IMAGES // CLASSES),
            label=tf.constant(label, tf.int64),
        )["images"].numpy()
        for label in range(CLASSES)
    ]
    order = np.random.default_rng(SEED).permutation(IMAGES)
    return np.concatenate(each)[order], np.arange(CLASSES).repeat(IMAGES // CLASSES)[order]


class Panel:
    """The judge, the two that answer otherwise, and the real digits as they are prepared.

    Args:
        dataset: The prepared digits.
    """

    def __init__(self, dataset: PreparedDataset) -> None:
        self.judge, self.other = Judge(), Judge(held_out=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The `probability` parameter was deprecated", FutureWarning)
            self.chances = SVC(gamma=GAMMA, probability=True, random_state=0).fit(self.judge.pixels, self.judge.labels)
        self.held_out = native(dataset.load("test")[0])
        images, labels = dataset.load("train")
        self.variance = variance(native(images), labels)

    def verdict(self, images: np.ndarray, asked: np.ndarray | None) -> dict[str, float | None]:
        """Returns the numbers on uint8 [N, 16, 16, 1]; see the head of this file."""
        pixels = native(images)
        found, sure = self.judge.answers(pixels)
        shares = np.bincount(found, minlength=CLASSES) / len(found)
        precision, recall = precision_recall(pixels[: len(self.held_out)], self.held_out)
        return {
            "sure": sure.mean(),
            "probability": (self.chances.predict_proba(pixels).max(axis=1) >= SURE).mean(),
            "sure, held out": self.other.answers(pixels)[1].mean(),
            "fewest": shares.min(),
            "most": shares.max(),
            "asked": None if asked is None else (found == asked).mean(),
            "varied": variance(pixels, found) / self.variance,
            "precision": precision,
            "recall": recall,
        }


def own_words(folder: Path) -> dict[str, float | None]:
    """What the run says of itself."""
    scores = Evaluation.open(folder / "scores").values
    history = TrainedModel.open(folder / "trained").history
    steps = [0, *(line["step"] for line in history)]
    pairs = zip(steps, steps[1:], history, strict=False)
    seconds = sum((after - before) / line["speed/steps_per_second"] for before, after, line in pairs)
    return {"distance": scores[DISTANCE], "memorised": scores[MEMORISED], "seconds": seconds}


def table(lines: dict[str, dict[str, float | None]], held_out: dict[str, float | None]) -> str:
    """The runs, their mean, and real images, as Markdown."""
    names = list(next(iter(lines.values())))
    rows = [f"| run | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    mean = {name: average([line[name] for line in lines.values()]) for name in names}
    for title, line in {**lines, "mean": mean, "held-out real digits": held_out}.items():
        rows.append(f"| {title} | {' | '.join(cell(line.get(name)) for name in names)} |")
    return "\n".join(rows)


def average(values: list[float | None]) -> float | None:
    """The mean, where every run has the number."""
    return None if None in values else statistics.mean(values)


def cell(value: float | None) -> str:
    """Three digits after the point, one from ten on."""
    return "" if value is None else f"{value:.{1 if value >= 10 else 3}f}"


if __name__ == "__main__":
    main()
