"""Compares our measures with other packages on the same features, in interleaved rounds.

    python benchmarks/peers.py [--images 10000] [--rounds 3] [--threads 2] [--only few ...] [--out runs/peers.jsonl]
    python benchmarks/peers.py --table

Needs requirements/peers.txt. The features are synthetic float32 [N, 2048]: not negative, like pooled ReLUs, with a
spectrum that falls over six orders of magnitude. Each program gets them in its own format. A ratio is the median over
the rounds of its time divided by ours. One JSON line for each program and comparison is appended to a file, and
`--table` prints the file. With 10,000 images a round takes some minutes and 8 GB.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cleanfid.fid as clean_fid
import numpy as np
import torch
import torchmetrics.image.fid as torchmetrics_fid
import torchmetrics.image.kid as torchmetrics_kid
from prdc import compute_prdc
from pytorch_fid import fid_score as pytorch_fid
from threadpoolctl import threadpool_limits
from torch_fidelity import metric_fid, metric_kid, metric_prc
from torchmetrics.image import FrechetInceptionDistance

from ganlib.evaluation.measures.density_coverage import density_coverage
from ganlib.evaluation.measures.frechet import frechet_distance, frechet_estimate
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.evaluation.measures.precision_recall import precision_recall
from ganlib.evaluation.statistics import Statistics

WIDTH = 2048
FEW = 1000  # images in the comparison with fewer images than features
OURS = "ours"
EXACT = "exact"
QUIET = {"verbose": False}

Programs = dict[str, Callable[[], object]]


class Sides(NamedTuple):
    """Two sets of features [N, WIDTH], float32."""

    first: np.ndarray
    second: np.ndarray

    def wide(self) -> "Sides":
        """Returns the features in float64."""
        return Sides(*(side.astype(np.float64) for side in self))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Returns the features as PyTorch tensors."""
        return tuple(map(torch.from_numpy, self))


def main() -> None:
    """Runs the comparisons and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="features on each side")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--threads", type=int, default=2, help="threads of each program")
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS), help="comparisons")
    parser.add_argument("--out", type=Path, default=Path("runs/peers.jsonl"), help="file to append lines to")
    parser.add_argument("--table", action="store_true", help="only print the table of the file")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(options.threads)
        sides = Sides(features(options.images, 0), features(options.images, 1, drift=0.05))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with threadpool_limits(options.threads), options.out.open("a", encoding="utf-8") as file:
            for name in options.only:
                for row in compare(COMPARISONS[name](sides), options.rounds):
                    facts = {"comparison": name, "images": options.images, "threads": options.threads}
                    print(json.dumps(facts | row), file=file, flush=True)
    print_table(options.out)


def features(count: int, seed: int, *, drift: float = 0.0) -> np.ndarray:
    """Returns synthetic features; `drift` moves their means apart."""
    shared, own = np.random.default_rng(7), np.random.default_rng([7, seed])
    scales = np.arange(1, WIDTH + 1) ** -0.6
    mixing = shared.normal(size=(WIDTH, WIDTH)) * scales[:, None] / np.linalg.norm(scales)
    rows = own.normal(size=(count, WIDTH)) @ mixing
    rows = 0.3 * rows + 0.2 + drift * shared.normal(size=WIDTH)
    return np.maximum(rows, 0.0).astype(np.float32)


def of_statistics(sides: Sides) -> Programs:
    """Frechet distance from given means and covariances."""
    one, other = (Statistics.of([side]) for side in sides)
    arguments = (one.mean, one.covariance, other.mean, other.covariance)
    tensors = [torch.from_numpy(array) for array in arguments]
    first, second = ({"mu": item.mean, "sigma": item.covariance} for item in (one, other))
    return {
        # New objects, because they cache the square root.
        OURS: lambda: frechet_distance(*(Statistics(s.mean, s.covariance, s.count, s.factor) for s in (one, other))),
        "pytorch-fid (sqrtm)": lambda: pytorch_fid.calculate_frechet_distance(*arguments),
        "clean-fid (sqrtm)": lambda: clean_fid.frechet_distance(*arguments),
        "torch-fidelity (eigvals)": lambda: metric_fid.fid_statistics_to_metric(first, second, verbose=False)[
            metric_fid.KEY_METRIC_FID
        ],
        "torchmetrics (eigvals)": lambda: torchmetrics_fid._compute_fid(*tensors),  # noqa: SLF001
    }


def of_features(sides: Sides) -> Programs:
    """Frechet distance from features, including mean and covariance."""

    def fidelity() -> object:
        statistics_of_sides = (metric_fid.fid_features_to_statistics(side) for side in sides.tensors())
        return metric_fid.fid_statistics_to_metric(*statistics_of_sides, verbose=False)[metric_fid.KEY_METRIC_FID]

    def torchmetrics() -> object:
        identity = torch.nn.Identity()
        identity.num_features = WIDTH
        metric = FrechetInceptionDistance(feature=identity, normalize=True)
        for side, real in zip(sides.wide().tensors(), (False, True), strict=True):
            metric.update(side, real=real)
        return metric.compute()

    return {
        OURS: lambda: frechet_distance(*(Statistics.of([side]) for side in sides)),
        "ours, with error and without bias": lambda: frechet_estimate(*sides).value,
        "clean-fid": lambda: clean_fid.fid_from_feats(*sides),
        "torch-fidelity": fidelity,
        "torchmetrics": torchmetrics,
    }


def of_few(sides: Sides) -> Programs:
    """Frechet distance of fewer images than features, with the exact value."""
    few = Sides(*(side[:FEW] for side in sides))
    value = exact(few)
    return {**of_features(few), EXACT: lambda: value}


def kernel(sides: Sides) -> Programs:
    """Kernel distance over all pairs."""
    wide = sides.wide()
    return {
        OURS: lambda: kernel_distance(*sides)[0],
        "torch-fidelity": lambda: metric_kid.kernel_mmd(*wide, **QUIET),
        "torchmetrics": lambda: torchmetrics_kid.poly_mmd(*wide.tensors()),
    }


def kernel_as_used(sides: Sides) -> Programs:
    """Kernel distance with default settings: the other packages use subsets, which give other values."""
    return {
        OURS: lambda: kernel_distance(*sides)[0],
        "torch-fidelity": lambda: metric_kid.kid_features_to_metric(
            *sides.tensors(), kid_subset_size=min(1000, len(sides.first)), **QUIET
        )[metric_kid.KEY_METRIC_KID_MEAN],
        "clean-fid": lambda: clean_fid.kernel_distance(sides.second, sides.first),
    }


def neighbours(sides: Sides) -> Programs:
    """Precision and recall with the third neighbour."""

    def fidelity(features_of: Sides) -> object:
        metrics = metric_prc.prc_features_to_metric(*features_of.tensors(), **QUIET)
        return metrics["precision"], metrics["recall"]

    wide = sides.wide()
    return {
        OURS: lambda: precision_recall(*sides),
        "torch-fidelity, float64": lambda: fidelity(wide),
        "torch-fidelity": lambda: fidelity(sides),
    }


def density(sides: Sides) -> Programs:
    """Precision, recall, density and coverage with the fifth neighbour."""

    def prdc() -> object:
        metrics = compute_prdc(sides.second.astype(np.float64), sides.first.astype(np.float64), 5)
        return [metrics[name] for name in ("precision", "recall", "density", "coverage")]

    return {OURS: lambda: (*precision_recall(*sides, neighbour=5), *density_coverage(*sides)), "prdc": prdc}


COMPARISONS: dict[str, Callable[[Sides], Programs]] = {
    "frechet": of_statistics,
    "frechet-features": of_features,
    "few": of_few,
    "kernel": kernel,
    "kernel-as-used": kernel_as_used,
    "precision-recall": neighbours,
    "density-coverage": density,
}


def exact(sides: Sides) -> float:
    """Returns the Frechet distance with about 18 digits, with an independent algorithm.

    The trace of the square root is tr(U' A); A is the product of the centred features and U its orthogonal factor. An
    error of U only enters squared, so U can be computed in float64 and then made orthogonal with more digits.
    """
    rows = [side.astype(np.longdouble) for side in sides]
    centred = [(side - side.mean(axis=0)) / np.sqrt(np.longdouble(len(side) - 1)) for side in rows]
    product = centred[0] @ centred[1].T
    left, _, right = np.linalg.svd(product.astype(np.float64))
    turn = (left @ right).astype(np.longdouble)
    turn = 1.5 * turn - 0.5 * turn @ (turn.T @ turn)
    shift = rows[0].mean(axis=0) - rows[1].mean(axis=0)
    return float(shift @ shift + sum((side**2).sum() for side in centred) - 2 * (turn * product).sum())


def compare(programs: Programs, rounds: int) -> Iterator[dict[str, object]]:
    """Runs programs in turn; yields values and times of each, and their ratios to ours."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    values = {}
    for _ in range(rounds):
        for name, run in programs.items():
            started = time.perf_counter()
            values[name] = np.atleast_1d(np.asarray(run(), np.float64))
            seconds[name].append(time.perf_counter() - started)
    for name, value in values.items():
        yield {
            "program": name,
            "values": value.tolist(),
            "difference": float(np.max(np.abs(value - values[OURS]) / np.abs(values[OURS]))),
            "seconds": seconds[name],
            "ratio": statistics.median(np.divide(seconds[name], seconds[OURS])),
        }


def print_table(path: Path) -> None:
    """Prints the lines of a file as Markdown."""
    print("| comparison | images | program | values | relative difference to ours | seconds | times ours |")
    print("|---|---|---|---|---|---|---|")
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        values = ", ".join(f"{value:.9g}" for value in row["values"])
        time_taken = "" if row["program"] == EXACT else f"{statistics.median(row['seconds']):.2f} | {row['ratio']:.2f}"
        facts = f"{row['comparison']} | {row['images']} | {row['program']} | {values} | {row['difference']:.1e}"
        print(f"| {facts} | {time_taken or ' | '} |")


if __name__ == "__main__":
    main()
