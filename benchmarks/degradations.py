"""Tests which measures, in which feature spaces, rank degraded images correctly.

    python benchmarks/degradations.py --data FOLDER [--draws 3] [--only fashion_mnist/random ...] [--table]

FOLDER has `fashion_mnist/` with the four idx files, `cifar10_jpeg_subset.zip`, `flowers_128.zip`, and the weights of
SqueezeNet. Real images are degraded in six ways with five strengths each, and scored against other real images of the
same dataset; strength 0 is the original. Rows, one for each feature space and dataset, are stored in `rows.jsonl` in
the folder of `--work` with an image of all strengths, and existing rows are not repeated. The tables are printed last.
"""

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganlib import pixels, storage  # before TensorFlow is imported, because it sets variables for it
from ganlib.data import DataConfig, prepare
from ganlib.evaluation import Statistics, frechet_distance
from ganlib.evaluation.measures.density_coverage import density_coverage
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.evaluation.measures.precision_recall import precision_recall
from ganlib.progress import Progress

import numpy as np  # isort: skip
from PIL import Image, ImageFilter  # isort: skip
from spaces import SPACES  # isort: skip


@dataclass(frozen=True)
class Data:
    """A dataset, and the sizes of its parts."""

    title: str
    config: DataConfig
    training: int  # images for training extractors
    count: int  # images on each side of a score


def data_sets(folder: Path) -> dict[str, Data]:
    """Returns the datasets in a folder."""

    def colour(name: str, size: int) -> DataConfig:
        return DataConfig.model_validate(
            {"source": {"kind": "archive", "path": str(folder / name)}, "size": size, "colour": "rgb"}
        )

    fashion = DataConfig.model_validate({"source": {"kind": "arrays", "path": str(folder / "fashion_mnist")}})
    return {
        "fashion_mnist": Data("Fashion-MNIST, 28x28 grey", fashion, 20_000, 600),
        "cifar10": Data("CIFAR-10 subset, 32x32", colour("cifar10_jpeg_subset.zip", 32), 8000, 600),
        "flowers": Data("Flowers, 64x64", colour("flowers_128.zip", 64), 1700, 450),
    }


def blur(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Blurs images; the standard deviation is a fraction of the side."""
    del random
    side = images.shape[1]
    return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(strength * side)))


def add_noise(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Adds Gaussian noise; the standard deviation is in grey levels."""
    return np.clip(np.rint(images + random.normal(0.0, strength, images.shape)), 0, 255).astype(np.uint8)


def compress(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Compresses images as JPEG; the strength is the quality."""
    del random

    def through_jpeg(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "jpeg", quality=int(strength))
        return Image.open(file)

    return _each(images, through_jpeg)


def occlude(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Adds a grey square at a random position; its side is a fraction of the image's."""
    images, side = images.copy(), images.shape[1]
    square = max(1, round(strength * side))
    for image in images:
        row, column = random.integers(0, side - square + 1, 2)
        image[row : row + square, column : column + square] = 128
    return images


def tint(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Brightens the first channel, red or grey, by some grey levels."""
    del random
    images = images.astype(np.int64)
    images[..., 0] += int(strength)
    return np.clip(images, 0, 255).astype(np.uint8)


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    results = (np.asarray(change(Image.fromarray(np.squeeze(image)))) for image in images)
    return np.stack(list(results)).reshape(images.shape)


DEGRADATIONS = {
    "blur": (blur, (0.01, 0.02, 0.03, 0.05, 0.08)),
    "noise": (add_noise, (4, 8, 16, 32, 64)),
    "JPEG": (compress, (80, 60, 40, 20, 8)),
    "occlusion": (occlude, (0.1, 0.2, 0.3, 0.45, 0.6)),
    "tint": (tint, (2, 4, 8, 16, 32)),
}
DROPPED = (0.1, 0.2, 0.4, 0.6, 0.8)  # fractions of the classes, rare ones first
KINDS = (*DEGRADATIONS, "mode dropping")
STRENGTHS = 5
MEASURES = {
    "fd": 1,
    "kd": 1,
    "precision": -1,
    "recall": -1,
    "density": -1,
    "coverage": -1,
}  # 1: higher is worse, -1: lower is worse


@dataclass(frozen=True)
class Split:
    """Disjoint parts of a dataset."""

    training: np.ndarray
    labels: np.ndarray
    real: np.ndarray
    others: np.ndarray
    ranks: np.ndarray  # of the classes of `others`, 0 for the most frequent one
    classes: int

    @classmethod
    def of(cls, data: Data, folder: Path) -> "Split":
        """Prepares the images once, and splits them."""
        dataset = prepare(data.config, folder)
        images, labels = (
            np.concatenate(both) for both in zip(dataset.load("train"), dataset.load("test"), strict=True)
        )
        order = np.random.default_rng(0).permutation(len(images))
        images, labels = images[order], labels[order]
        start, end = data.training, data.training + data.count
        frequent = np.argsort(-np.bincount(labels[end:], minlength=len(dataset.classes)))
        ranks = np.argsort(frequent)[labels[end:]]
        return cls(images[:start], labels[:start], images[start:end], images[end:], ranks, len(dataset.classes))

    def draw(self, number: int) -> dict[tuple[str, int], np.ndarray]:
        """Draws images: the originals as `("", 0)`, and all degradations as `(kind, strength)`."""
        count, random = len(self.real), np.random.default_rng(number)
        rows = np.arange(number * count, (number + 1) * count)
        images = self.others[rows]
        results = {("", 0): images}
        for kind, (degrade, strengths) in DEGRADATIONS.items():
            results |= {(kind, step): degrade(images, value, random) for step, value in enumerate(strengths, 1)}
        # The order in which the images of a class are dropped is the same for all strengths.
        positions = self.ranks[rows] + random.random(count)
        for step, share in enumerate(DROPPED, 1):
            edge = (1.0 - share) * self.classes
            remaining = images[positions < edge]
            others = np.setdiff1d(np.flatnonzero(self.ranks < int(edge + 1e-9)), rows)
            more = random.choice(others, count - len(remaining), replace=False)
            results["mode dropping", step] = np.concatenate([remaining, self.others[more]])
        return results


def main() -> None:
    """Measures the missing rows and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the datasets")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-degradations"), help="folder for results")
    parser.add_argument("--draws", type=int, default=3, help="number of draws of degraded images")
    parser.add_argument("--only", nargs="*", default=[], help="rows, such as flowers/random or flowers")
    parser.add_argument("--table", action="store_true", help="only print the tables of existing rows")
    options = parser.parse_args()
    rows = options.work / "rows.jsonl"
    sets = data_sets(options.data)
    for name, data in {} if options.table else sets.items():
        done = {row["name"] for row in storage.read_lines(rows)}
        missing = [f"{name}/{space}" for space in SPACES]
        missing = [row for row in missing if row not in done and (not options.only or {row, name} & set(options.only))]
        if missing:
            split = Split.of(data, options.work / name)
            draws = [split.draw(number) for number in range(options.draws)]
            save_examples(draws[0], options.work / f"{name}.png")
        for row in missing:
            storage.append_line(rows, {"name": row, **measure(row, split, draws, options.data)})
    for name, data in sets.items():
        print(table(data, {row["name"]: row for row in storage.read_lines(rows) if row["name"].startswith(name)}))


def save_examples(draw: dict[tuple[str, int], np.ndarray], path: Path) -> None:
    """Saves one image with all degradations, a row for each kind."""
    images = [draw[kind if step else "", step][0] for kind in KINDS[:-1] for step in range(STRENGTHS + 1)]
    pixels.save_grid(np.stack(images), path, columns=STRENGTHS + 1)


def measure(name: str, split: Split, draws: list[dict[tuple[str, int], np.ndarray]], folder: Path) -> dict:
    """Returns all measures in one feature space: values of all draws by measure, kind and strength."""
    started = time.perf_counter()
    features = SPACES[name.partition("/")[2]](split.training, split.labels, folder)
    real = features(split.real)
    statistics = Statistics.of([real])
    progress = Progress(name, total=sum(map(len, draws)), unit="sets")
    values: dict[str, list[float]] = {}
    for number, draw in enumerate(draws):
        for position, ((kind, step), images) in enumerate(draw.items(), 1):
            degraded = features(images)
            scores = (
                frechet_distance(Statistics.of([degraded]), statistics),
                kernel_distance(degraded, real)[0],
                *precision_recall(degraded, real),
                *density_coverage(degraded, real),
            )
            for name_of_measure, score in zip(MEASURES, scores, strict=True):
                values.setdefault(f"{name_of_measure} {kind} {step}", []).append(float(score))
            progress.update(number * len(draw) + position)
    return {"width": real.shape[1], "seconds": time.perf_counter() - started, "values": values}


def table(data: Data, rows: dict[str, dict]) -> str:
    """Returns a table with the fraction of steps in the right order, and the first strength that is detected."""
    lines = [f"{data.title}, {data.count} images on each side", ""]
    lines += [f"| space | measure | {' | '.join(KINDS)} |", f"|{'---|' * (2 + len(KINDS))}"]
    for name, row in rows.items():
        space = name.partition("/")[2]
        for measure, sign in MEASURES.items():
            cells = [verdict(np.array(_steps(row["values"], measure, kind)) * sign) for kind in KINDS]
            lines.append(f"| {space} ({row['width']}) | {measure} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _steps(values: dict[str, list[float]], measure: str, kind: str) -> list[list[float]]:
    return [values[f"{measure} {kind if step else ''} {step}"] for step in range(STRENGTHS + 1)]


def verdict(steps: np.ndarray) -> str:
    """Returns the fraction of steps in the right order, and the first strength above all original draws.

    Args:
        steps: Values [strengths, draws]; higher is worse.
    """
    right = (np.diff(steps, axis=0) > 0).mean()
    detected = [step for step in range(1, len(steps)) if steps[step].min() > steps[0].max()]
    return f"{right:.0%} from {detected[0]}" if detected else f"{right:.0%} not separated"


if __name__ == "__main__":
    main()
