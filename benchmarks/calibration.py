"""Checks the floors against scores of halves of real data, and the coverage of the error bars.

    python benchmarks/calibration.py --data FOLDER [--splits 20] [--draws 100]

FOLDER has `fashion_mnist/` with the four idx files. There are two experiments: halves of real images are scored against
each other, and draws of blurred images against draws of sharp ones, for which the distance of many images is known. One
standard error should include the true value in 68 % of the draws, two standard errors in 95 %.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from ganlib.data import DataConfig  # before TensorFlow is imported, because it sets variables for it
from ganlib.evaluation import Statistics, frechet_distance
from ganlib.evaluation.measures.frechet import expected_distance, frechet_estimate
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.progress import Progress

import numpy as np  # isort: skip
from degradations import Data, Split, blur  # isort: skip
from spaces import SPACES  # isort: skip

COUNT = 1000  # images in a half or draw
LARGE = 20_000  # images on each side for the true distance
BLUR = 0.03
SPACE_NAMES = ("classifier", "random")


def main() -> None:
    """Runs both experiments and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the dataset")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/benchmark-calibration"), help="folder for prepared images"
    )
    parser.add_argument("--splits", type=int, default=20, help="number of splits into halves")
    parser.add_argument("--draws", type=int, default=100, help="number of draws")
    options = parser.parse_args()
    config = DataConfig.model_validate({"source": {"kind": "arrays", "path": str(options.data / "fashion_mnist")}})
    split = Split.of(Data("", config, 20_000, LARGE), options.work)
    sharp, others = split.real, split.others[:LARGE]
    degraded = blur(others, BLUR, np.random.default_rng(0))
    for space in SPACE_NAMES:
        features = SPACES[space](split.training, split.labels, options.data)
        of_sharp, of_others, of_degraded = (features(images) for images in (sharp, others, degraded))
        print(score_halves(space, np.concatenate([of_sharp, of_others]), options.splits))
        print(measure_coverage(space, of_degraded, of_sharp, options.draws))


def score_halves(space: str, features: np.ndarray, splits: int) -> str:
    """Scores halves of real images against each other."""
    results: dict[str, list[tuple[float, float, float]]] = {"Frechet distance": [], "without bias": [], "kernel": []}
    progress = Progress(f"halves, {space}", total=splits, unit="splits")
    for number in range(splits):
        rows = np.random.default_rng(number).choice(len(features), 2 * COUNT, replace=False)
        one, other = features[rows[:COUNT]], features[rows[COUNT:]]
        floor = expected_distance(Statistics.of([features[rows]]), first=COUNT, second=COUNT)
        estimate = frechet_estimate(one, other)
        results["Frechet distance"].append((estimate.value, estimate.error, floor))
        results["without bias"].append((estimate.infinity, estimate.error, 0.0))
        results["kernel"].append((*kernel_distance(one, other), 0.0))
        progress.update(number + 1)
    title = f"{space} ({features.shape[1]}): {splits} splits into halves of {COUNT}"
    return _table(title, "floor", {name: np.array(row) for name, row in results.items()})


def measure_coverage(space: str, degraded: np.ndarray, sharp: np.ndarray, draws: int) -> str:
    """Scores draws of degraded images against draws of sharp ones."""
    truth = {
        "Frechet distance without bias": _unbiased(degraded, sharp),
        "kernel": kernel_distance(degraded, sharp)[0],
    }
    measures: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]] = {
        "Frechet distance without bias": _frechet,
        "kernel": kernel_distance,
    }
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in measures}
    progress = Progress(f"coverage, {space}", total=draws, unit="draws")
    for number in range(draws):
        random = np.random.default_rng(number)
        one, other = (side[random.choice(len(side), COUNT, replace=False)] for side in (degraded, sharp))
        for name, measure in measures.items():
            rows[name].append((*measure(one, other), truth[name]))
        progress.update(number + 1)
    title = f"{space}: {draws} draws of {COUNT} blurred and {COUNT} sharp images"
    return _table(title, f"of {LARGE} each", {name: np.array(row) for name, row in rows.items()})


def _frechet(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    estimate = frechet_estimate(one, other)
    return estimate.infinity, estimate.error


def _unbiased(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the distance of many images minus its small bias."""
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
