"""Whether the floors are where halves of real data score, and whether the error bars cover as they should.

    python benchmarks/calibration.py --data FOLDER [--splits 20] [--draws 100]

FOLDER holds `fashion_mnist/` with the four idx files. Two things are repeated: real images are split into halves, which
score against each other; and draws of blurred images score against draws of sharp ones, whose distance in large numbers
is known. An error bar of one standard error should hold the truth in 68 % of the draws, one of two in 95 %.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from ganlib.data import DataConfig  # before anything that imports TensorFlow, whose settings it makes
from ganlib.evaluation import Statistics, frechet_distance
from ganlib.evaluation.measures.frechet import expected_distance, frechet_estimate
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.progress import Progress

import numpy as np  # isort: skip
from degradations import Data, Parts, blurred  # isort: skip
from spaces import SPACES  # isort: skip

COUNT = 1000  # images in a half, and in a draw
LARGE = 20_000  # images on each side whose distance counts as the truth
BLUR = 0.03
SPACES_HERE = ("classifier", "random")


def main() -> None:
    """Splits, draws, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the real data set")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-calibration"), help="for prepared images")
    parser.add_argument("--splits", type=int, default=20, help="splits into halves")
    parser.add_argument("--draws", type=int, default=100, help="draws whose error bars are looked at")
    options = parser.parse_args()
    config = DataConfig.model_validate({"source": {"kind": "arrays", "path": str(options.data / "fashion_mnist")}})
    parts = Parts.of(Data("", config, 20_000, LARGE), options.work)
    sharp, others = parts.real, parts.others[:LARGE]
    spoiled = blurred(others, BLUR, np.random.default_rng(0))
    for space in SPACES_HERE:
        features = SPACES[space](parts.training, parts.labels, options.data)
        of_sharp, of_others, of_spoiled = (features(images) for images in (sharp, others, spoiled))
        print(halves(space, np.concatenate([of_sharp, of_others]), options.splits))
        print(coverage(space, of_spoiled, of_sharp, options.draws))


def halves(space: str, features: np.ndarray, splits: int) -> str:
    """Scores halves of real images against each other."""
    rows: dict[str, list[tuple[float, float, float]]] = {"Frechet distance": [], "without bias": [], "kernel": []}
    progress = Progress(f"halves, {space}", total=splits, unit="splits")
    for number in range(splits):
        chosen = np.random.default_rng(number).choice(len(features), 2 * COUNT, replace=False)
        one, other = features[chosen[:COUNT]], features[chosen[COUNT:]]
        floor = expected_distance(Statistics.of([features[chosen]]), first=COUNT, second=COUNT)
        found = frechet_estimate(one, other)
        rows["Frechet distance"].append((found.value, found.error, floor))
        rows["without bias"].append((found.infinity, found.error, 0.0))
        rows["kernel"].append((*kernel_distance(one, other), 0.0))
        progress.update(number + 1)
    title = f"{space} ({features.shape[1]}): {splits} splits into halves of {COUNT}"
    return _table(title, "floor", {name: np.array(row) for name, row in rows.items()})


def coverage(space: str, spoiled: np.ndarray, sharp: np.ndarray, draws: int) -> str:
    """Scores draws of spoiled images against draws of sharp ones."""
    truth = {
        "Frechet distance without bias": _unbiased(spoiled, sharp),
        "kernel": kernel_distance(spoiled, sharp)[0],
    }
    measures: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]] = {
        "Frechet distance without bias": _frechet,
        "kernel": kernel_distance,
    }
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in measures}
    progress = Progress(f"coverage, {space}", total=draws, unit="draws")
    for number in range(draws):
        random = np.random.default_rng(number)
        one, other = (side[random.choice(len(side), COUNT, replace=False)] for side in (spoiled, sharp))
        for name, measure in measures.items():
            rows[name].append((*measure(one, other), truth[name]))
        progress.update(number + 1)
    title = f"{space}: {draws} draws of {COUNT} blurred and {COUNT} sharp images"
    return _table(title, f"of {LARGE} each", {name: np.array(row) for name, row in rows.items()})


def _frechet(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    found = frechet_estimate(one, other)
    return found.infinity, found.error


def _unbiased(one: np.ndarray, other: np.ndarray) -> float:
    """The distance of many images, freed of the little that is left of its bias."""
    statistics = [Statistics.of([features]) for features in (one, other)]
    return frechet_distance(*statistics) - expected_distance(statistics[1], first=len(one), second=len(other))


def _table(title: str, truth: str, rows: dict[str, np.ndarray]) -> str:
    lines = [title, "", f"| measure | mean | spread | mean stated error | {truth} | within 1 error | within 2 |"]
    lines.append(f"|{'---|' * 7}")
    for name, values in rows.items():
        value, error, expected = values.T
        apart = np.abs(value - expected) / error
        numbers = (value.mean(), value.std(ddof=1), error.mean(), expected.mean())
        shares = (f"{(apart <= limit).mean():.0%}" for limit in (1, 2))
        lines.append(f"| {name} | {' | '.join(f'{number:.4g}' for number in numbers)} | {' | '.join(shares)} |")
    return "\n".join(["", *lines, ""])


if __name__ == "__main__":
    main()
