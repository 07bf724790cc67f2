"""Which measure, in which feature space, puts images that are worse and worse into the right order.

    python benchmarks/degradations.py --data FOLDER [--draws 3] [--only fashion_mnist/random ...] [--table]

FOLDER holds `fashion_mnist/` with the four idx files, `cifar10_jpeg_subset.zip`, `flowers_128.zip`, and the weights of
SqueezeNet. Real images are spoiled in six ways and five strengths each and measured against other real images of the
same data; those that are not spoiled are strength 0. Rows, one for each space on each data set, go to `rows.jsonl` in
the folder of `--work`, a picture of the strengths beside it; the tables of all rows come last.
"""

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganlib import pixels, storage  # before anything that imports TensorFlow, whose settings it makes
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
    """Real images, and into how many they are parted."""

    title: str
    config: DataConfig
    training: int  # images that a space may learn from
    count: int  # images on each side of a measure


def data_sets(folder: Path) -> dict[str, Data]:
    """Returns the data sets below a folder."""

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


def blurred(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Gaussian blur of a deviation that is a share of the side."""
    del random
    side = images.shape[1]
    return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(strength * side)))


def noisy(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Gaussian noise of a deviation in grey levels."""
    return np.clip(np.rint(images + random.normal(0.0, strength, images.shape)), 0, 255).astype(np.uint8)


def packed(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """JPEG of a quality."""
    del random

    def through_jpeg(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "jpeg", quality=int(strength))
        return Image.open(file)

    return _each(images, through_jpeg)


def occluded(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """A grey square at a random place, its side a share of the image's."""
    images, side = images.copy(), images.shape[1]
    square = max(1, round(strength * side))
    for image in images:
        row, column = random.integers(0, side - square + 1, 2)
        image[row : row + square, column : column + square] = 128
    return images


def tinted(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """The first channel, red or grey, brighter by some grey levels."""
    del random
    images = images.astype(np.int64)
    images[..., 0] += int(strength)
    return np.clip(images, 0, 255).astype(np.uint8)


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    changed = (np.asarray(change(Image.fromarray(np.squeeze(image)))) for image in images)
    return np.stack(list(changed)).reshape(images.shape)


SPOILED = {
    "blur": (blurred, (0.01, 0.02, 0.03, 0.05, 0.08)),
    "noise": (noisy, (4, 8, 16, 32, 64)),
    "JPEG": (packed, (80, 60, 40, 20, 8)),
    "occlusion": (occluded, (0.1, 0.2, 0.3, 0.45, 0.6)),
    "tint": (tinted, (2, 4, 8, 16, 32)),
}
DROPPED = (0.1, 0.2, 0.4, 0.6, 0.8)  # shares of the classes, the rare ones first
WAYS = (*SPOILED, "mode dropping")
STRENGTHS = 5
MEASURES = {"fd": 1, "kd": 1, "precision": -1, "recall": -1, "density": -1, "coverage": -1}  # worse is up, or down


@dataclass(frozen=True)
class Parts:
    """Images of one data set, parted: none is in two."""

    training: np.ndarray
    labels: np.ndarray
    real: np.ndarray
    others: np.ndarray
    ranks: np.ndarray  # of the others' classes, 0 for the most frequent one
    classes: int

    @classmethod
    def of(cls, data: Data, folder: Path) -> "Parts":
        """Prepares the images, once, and parts them."""
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
        """Returns as many images as are real ones, untouched as `("", 0)`, and in every way and strength."""
        count, random = len(self.real), np.random.default_rng(number)
        rows = np.arange(number * count, (number + 1) * count)
        images = self.others[rows]
        found = {("", 0): images}
        for way, (spoil, strengths) in SPOILED.items():
            found |= {(way, step): spoil(images, value, random) for step, value in enumerate(strengths, 1)}
        # Within a class, which images go at which share is settled once.
        places = self.ranks[rows] + random.random(count)
        for step, share in enumerate(DROPPED, 1):
            edge = (1.0 - share) * self.classes
            kept = images[places < edge]
            others = np.setdiff1d(np.flatnonzero(self.ranks < int(edge + 1e-9)), rows)
            more = random.choice(others, count - len(kept), replace=False)
            found["mode dropping", step] = np.concatenate([kept, self.others[more]])
        return found


def main() -> None:
    """Measures whatever row is missing, then prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the real data sets")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-degradations"), help="where results are kept")
    parser.add_argument("--draws", type=int, default=3, help="draws of the images that are spoiled")
    parser.add_argument("--only", nargs="*", default=[], help="rows such as flowers/random, or flowers")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there, and stop")
    options = parser.parse_args()
    rows = options.work / "rows.jsonl"
    sets = data_sets(options.data)
    for name, data in {} if options.table else sets.items():
        done = {row["name"] for row in storage.read_lines(rows)}
        wanted = [f"{name}/{space}" for space in SPACES]
        wanted = [row for row in wanted if row not in done and (not options.only or {row, name} & set(options.only))]
        if wanted:
            parts = Parts.of(data, options.work / name)
            draws = [parts.draw(number) for number in range(options.draws)]
            picture(draws[0], options.work / f"{name}.png")
        for row in wanted:
            storage.append_line(rows, {"name": row, **measured(row, parts, draws, options.data)})
    for name, data in sets.items():
        print(table(data, {row["name"]: row for row in storage.read_lines(rows) if row["name"].startswith(name)}))


def picture(draw: dict[tuple[str, int], np.ndarray], path: Path) -> None:
    """Shows one image in every way and strength, a way a row."""
    images = [draw[way if step else "", step][0] for way in WAYS[:-1] for step in range(STRENGTHS + 1)]
    pixels.save_grid(np.stack(images), path, columns=STRENGTHS + 1)


def measured(name: str, parts: Parts, draws: list[dict[tuple[str, int], np.ndarray]], folder: Path) -> dict:
    """Returns all measures of all draws in one space: a list over the draws by measure, way and strength."""
    started = time.perf_counter()
    features = SPACES[name.partition("/")[2]](parts.training, parts.labels, folder)
    real = features(parts.real)
    statistics = Statistics.of([real])
    progress = Progress(name, total=sum(map(len, draws)), unit="sets")
    values: dict[str, list[float]] = {}
    for number, draw in enumerate(draws):
        for place, ((way, step), images) in enumerate(draw.items(), 1):
            found = features(images)
            scores = (
                frechet_distance(Statistics.of([found]), statistics),
                kernel_distance(found, real)[0],
                *precision_recall(found, real),
                *density_coverage(found, real),
            )
            for measure, score in zip(MEASURES, scores, strict=True):
                values.setdefault(f"{measure} {way} {step}", []).append(float(score))
            progress.update(number * len(draw) + place)
    return {"width": real.shape[1], "seconds": time.perf_counter() - started, "values": values}


def table(data: Data, rows: dict[str, dict]) -> str:
    """Returns a table: of each space and measure the steps in order, and from which strength on it sees anything."""
    lines = [f"{data.title}, {data.count} images on each side", ""]
    lines += [f"| space | measure | {' | '.join(WAYS)} |", f"|{'---|' * (2 + len(WAYS))}"]
    for name, row in rows.items():
        space = name.partition("/")[2]
        for measure, sign in MEASURES.items():
            cells = [verdict(np.array(_steps(row["values"], measure, way)) * sign) for way in WAYS]
            lines.append(f"| {space} ({row['width']}) | {measure} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _steps(values: dict[str, list[float]], measure: str, way: str) -> list[list[float]]:
    return [values[f"{measure} {way if step else ''} {step}"] for step in range(STRENGTHS + 1)]


def verdict(steps: np.ndarray) -> str:
    """Returns the share of steps in the right order, and the first strength that no untouched draw reaches.

    Args:
        steps: Values [strengths, draws], the higher the worse.
    """
    right = (np.diff(steps, axis=0) > 0).mean()
    seen = [step for step in range(1, len(steps)) if steps[step].min() > steps[0].max()]
    return f"{right:.0%} from {seen[0]}" if seen else f"{right:.0%} not separated"


if __name__ == "__main__":
    main()
