"""Scores the images of a first run with an independent classifier.

    python benchmarks/first_run.py [--preset digits ...] [--set FIELD=VALUE ...] [--seeds 0 1 2] [--work FOLDER]
    python benchmarks/first_run.py --run runs/NAME ...

Runs the pipeline once for each seed, or uses finished runs of the digits at 16x16, and draws 1,000 images from each
exported SavedModel. A support vector machine that is trained on the real training digits classifies them (`judge.py`).
The last line is for held-out real digits, which are prepared in the same way.

- `certain`: fraction of images about which the classifier is certain; `probability`: the same, for a probability of
  at least 0.9 of scikit-learn's `SVC(probability=True)`, which ends with version 1.11.
- `certain, held out`: the same for a classifier trained on the 360 test digits, which no step of the run trains on.
- `fewest`, `most`: fraction of the rarest and most frequent class; `accuracy`: fraction with the requested class.
- `varied`: variance within the predicted classes, relative to real training digits.
- `precision`, `recall`: of 360 images against the 360 held-out digits, in their 64 pixels, with the third neighbour.
- `distance`, `memorised`, `seconds`: scores of the run itself, and its training time.
"""

import argparse
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

from ganlib.data import PreparedDataset  # before TensorFlow is imported, because it sets variables for it
from ganlib.evaluation import Evaluation
from ganlib.evaluation.measures.precision_recall import precision_recall
from ganlib.training import TrainedModel
from pipelines.settings import config_hash, resolve

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
from judge import GAMMA, Judge, to_digits_scale, variance_within_classes  # isort: skip
from sklearn.svm import SVC  # isort: skip

IMAGES, CLASSES, SEED = 1000, 10, 1
CERTAIN = 0.9
DISTANCE, MEMORISED = "fd_digits_classifier", "memorised_pixels"


def main() -> None:
    """Makes the runs and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", default=["digits"], help="presets of the runs")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="settings of the runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one run for each seed")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-first-run"), help="folder for the runs")
    parser.add_argument("--run", nargs="+", type=Path, default=[], help="finished runs to use instead of new ones")
    options = parser.parse_args()
    folders = options.run or [make_run(seed, options) for seed in options.seeds]
    dataset = PreparedDataset.open(folders[0] / "dataset")
    classifiers = Classifiers(dataset)
    lines = {folder.name: classifiers.measure(*draw_images(folder)) | run_scores(folder) for folder in folders}
    undefined = {"certain, held out": None, "precision": None, "recall": None}  # compared with itself
    print(table(lines, classifiers.measure(*dataset.load("test")) | undefined))


def make_run(seed: int, options: argparse.Namespace) -> Path:
    """Makes a run, or uses the cached one, and returns its folder."""
    settings = config_hash(resolve(chosen=options.preset, assignments=options.set))
    name = "-".join([*options.preset, settings, str(seed)])
    words = [word for preset in options.preset for word in ("--preset", preset)]
    words += [word for setting in (*options.set, f"training.seed={seed}") for word in ("--set", setting)]
    command = [sys.executable, "-m", "pipelines", "run", *words, "--root", str(options.work), "--name", name]
    subprocess.run(command, check=True)
    return options.work / name


def draw_images(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Draws images from the exported model, the same number for each class of a conditional model.

    Returns:
        uint8 [1000, 16, 16, 1], and the requested classes, int64 [1000], of a conditional model.
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


class Classifiers:
    """The classifiers, and the prepared real digits.

    Args:
        dataset: The prepared digits.
    """

    def __init__(self, dataset: PreparedDataset) -> None:
        self.judge, self.other = Judge(), Judge(held_out=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The `probability` parameter was deprecated", FutureWarning)
            self.probabilities = SVC(gamma=GAMMA, probability=True, random_state=0).fit(
                self.judge.pixels, self.judge.labels
            )
        self.held_out = to_digits_scale(dataset.load("test")[0])
        images, labels = dataset.load("train")
        self.variance = variance_within_classes(to_digits_scale(images), labels)

    def measure(self, images: np.ndarray, requested: np.ndarray | None) -> dict[str, float | None]:
        """Returns the numbers for uint8 images [N, 16, 16, 1], as described at the top of this file."""
        pixels = to_digits_scale(images)
        classes, certain = self.judge.classify(pixels)
        fractions = np.bincount(classes, minlength=CLASSES) / len(classes)
        precision, recall = precision_recall(pixels[: len(self.held_out)], self.held_out)
        return {
            "certain": certain.mean(),
            "probability": (self.probabilities.predict_proba(pixels).max(axis=1) >= CERTAIN).mean(),
            "certain, held out": self.other.classify(pixels)[1].mean(),
            "fewest": fractions.min(),
            "most": fractions.max(),
            "accuracy": None if requested is None else (classes == requested).mean(),
            "varied": variance_within_classes(pixels, classes) / self.variance,
            "precision": precision,
            "recall": recall,
        }


def run_scores(folder: Path) -> dict[str, float | None]:
    """Returns scores and training time of the run itself."""
    scores = Evaluation.open(folder / "scores").values
    history = TrainedModel.open(folder / "trained").history
    steps = [0, *(line["step"] for line in history)]
    pairs = zip(steps, steps[1:], history, strict=False)
    seconds = sum((after - before) / line["speed/steps_per_second"] for before, after, line in pairs)
    return {"distance": scores[DISTANCE], "memorised": scores[MEMORISED], "seconds": seconds}


def table(lines: dict[str, dict[str, float | None]], held_out: dict[str, float | None]) -> str:
    """Returns a Markdown table of the runs, their mean, and real images."""
    names = list(next(iter(lines.values())))
    rows = [f"| run | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    mean = {name: average([line[name] for line in lines.values()]) for name in names}
    for title, line in {**lines, "mean": mean, "held-out real digits": held_out}.items():
        rows.append(f"| {title} | {' | '.join(cell(line.get(name)) for name in names)} |")
    return "\n".join(rows)


def average(values: list[float | None]) -> float | None:
    """Returns the mean, or None if a run lacks the number."""
    return None if None in values else statistics.mean(values)


def cell(value: float | None) -> str:
    """Formats a number with three decimals, or one from ten on."""
    return "" if value is None else f"{value:.{1 if value >= 10 else 3}f}"


if __name__ == "__main__":
    main()
