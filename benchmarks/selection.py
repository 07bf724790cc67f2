"""Checks the statistics of a comparison on simulated scores, of which the truth is known.

    python benchmarks/selection.py [--comparisons 4000] [--only intervals scale ties best calibration]

Prints the tables of docs/choosing.md in about ten minutes. Losses are simulated: numbers that are lower for better
variants, whose seeds differ by a standard deviation of 1 where nothing else is said.
"""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from ganlib.selection.best import probabilities_of_best
from ganlib.selection.ranking import CONFIDENCE, SURE
from ganlib.selection.scale import Scale
from ganlib.selection.spread import Spread

DRAWS = 500  # for a probability; the library takes more
SHAPES = ((2, 2), (4, 2), (4, 3), (8, 2), (8, 5))  # variants, seeds
CALIBRATED = ((2, 2), (4, 3), (8, 2))
FEW = 40  # comparisons below which a bin is left empty
BINS = (0.0, 0.5, 0.7, 0.9, 1.0)  # of stated probabilities
Random = np.random.Generator


@dataclass(frozen=True)
class World:
    """Where variants come from.

    Attributes:
        truths: Draws the true means [K].
        spreads: Draws the standard deviations between seeds [K].
        noise: Draws deviations with a standard deviation of 1.
    """

    truths: Callable[[Random, int], np.ndarray]
    spreads: Callable[[Random, int], np.ndarray] = lambda _, count: np.ones(count)
    noise: Callable[[Random, tuple[int, int]], np.ndarray] = lambda random, shape: random.standard_normal(shape)

    def comparison(self, random: Random, variants: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws the true means [K] and the losses [K, N] of a comparison."""
        truths = self.truths(random, variants)
        noise = self.noise(random, (variants, seeds))
        return truths, truths[:, None] + self.spreads(random, variants)[:, None] * noise


def _equal(_: Random, count: int) -> np.ndarray:
    return np.zeros(count)


def _as_the_model(random: Random, count: int) -> np.ndarray:
    return np.abs(random.standard_cauchy()) * random.standard_normal(count)


def _uneven(random: Random, count: int) -> np.ndarray:
    return np.exp(0.6 * random.standard_normal(count))


def _one_unstable(_: Random, count: int) -> np.ndarray:
    return np.where(np.arange(count) == 0, 3.0, 1.0)


def _heavy(random: Random, shape: tuple[int, int]) -> np.ndarray:
    return random.standard_t(3, shape) / np.sqrt(3.0)


def _one_apart(random: Random, count: int) -> np.ndarray:
    return random.permutation(np.where(np.arange(count) == 0, -1.0, 1e-9 * np.arange(count)))


SPREADS = {"equal": World(_equal).spreads, "one is 3 times the others": _one_unstable, "all differ": _uneven}
WORLDS = {
    "as the model": World(_as_the_model),
    "true means: normal, half the spread between seeds": World(lambda random, k: 0.5 * random.standard_normal(k)),
    "true means: normal, twice the spread": World(lambda random, k: 2.0 * random.standard_normal(k)),
    "equal gaps of 1": World(lambda random, k: random.permutation(k).astype(float)),
    "one ahead by 1, the others equal": World(_one_apart),
    "true means with heavy tails (t, 2 degrees)": World(lambda random, k: random.standard_t(2, k)),
    "as the model, spreads of all variants differ": World(_as_the_model, spreads=_uneven),
    "as the model, seeds with heavy tails (t, 3 degrees)": World(_as_the_model, noise=_heavy),
}


def main() -> None:
    """Prints the tables."""
    tables = {
        "intervals": coverage_table,
        "scale": scale_table,
        "ties": tie_table,
        "best": best_table,
        "calibration": calibration_table,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=4000, help="simulated comparisons in each row")
    parser.add_argument("--only", nargs="*", default=list(tables), choices=list(tables), help="tables to print")
    options = parser.parse_args()
    for name in options.only:
        print(f"\n**{name}**\n\n{tables[name](options.comparisons)}", flush=True)


def coverage(losses: np.ndarray, truths: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the share of comparisons [B, K, N] whose intervals hold the true means [K], by variant [K].

    There are three kinds: from the variant's seeds alone, from a common spread, and the library's.
    """
    _, variants, seeds = losses.shape
    apart, own = np.abs(losses.mean(axis=2) - truths), losses.var(axis=2, ddof=1)
    ours = np.array([Spread.of(list(comparison)).half_widths(CONFIDENCE) for comparison in losses])
    quantile = (1.0 + CONFIDENCE) / 2.0
    alone = special.stdtrit(seeds - 1, quantile) * np.sqrt(own / seeds)
    common = special.stdtrit(variants * (seeds - 1), quantile) * np.sqrt(own.mean(axis=1, keepdims=True) / seeds)
    return {name: (apart <= half).mean(axis=0) for name, half in (("alone", alone), ("common", common), ("ours", ours))}


def coverage_table(comparisons: int) -> str:
    """Returns how often intervals of 95 % hold the true mean: over all variants, and for the worst of them."""
    rows = []
    for title, spreads in SPREADS.items():
        for variants, seeds in SHAPES:
            random = np.random.default_rng(0)
            drawn = [World(_equal, spreads).comparison(random, variants, seeds)[1] for _ in range(comparisons)]
            held = coverage(np.array(drawn), np.zeros(variants))
            cells = [f"{share.mean():.1%} / {share.min():.1%}" for share in held.values()]
            rows.append([title, f"{variants} x {seeds}", *cells])
    return _table(["spreads", "variants x seeds", "own seeds alone", "common spread", "ours"], rows)


def scale_table(comparisons: int) -> str:
    """Returns how intervals and choices fare on both scales, for spreads that are relative and for equal ones."""
    rows, distances = [], np.array([4.4, 5.0, 18.0, 90.0])
    for title, noise in (
        ("8 % of each distance", lambda random: distances[:, None] * np.exp(0.08 * random.standard_normal((4, 3)))),
        ("0.35 for every distance", lambda random: distances[:, None] + 0.35 * random.standard_normal((4, 3))),
    ):
        for log in (True, False):
            random, scale, held, widths, first = np.random.default_rng(0), Scale(lower=True, log=log), [], [], []
            for _ in range(comparisons):
                losses = scale.losses(noise(random))
                spread, means = Spread.of(list(losses)), losses.mean(axis=1)
                half = spread.half_widths(CONFIDENCE)
                held.append(np.abs(means - scale.losses(distances)) <= half)
                low, high = scale.interval(means[0], half[0])
                widths.append(high - low)
                first.append(probabilities_of_best(means, spread, draws=DRAWS)[0])
            shares = np.mean(held, axis=0)
            cells = [f"{shares.mean():.1%} / {shares.min():.1%}", f"{np.median(widths):.2f}", f"{np.mean(first):.0%}"]
            rows.append([title, "logarithm" if log else "difference", *cells])
    return _table(["spread between seeds", "scale", "held", "width at 4.4", "probability of the best"], rows)


def stated(world: World, variants: int, seeds: int, comparisons: int) -> dict[str, np.ndarray]:
    """Returns the facts of comparisons [B].

    `probability` is the highest stated one, `right` tells whether that variant is the best, and `separated` whether
    every seed of the first by its mean beats every seed of the second.
    """
    random, facts = np.random.default_rng(0), []
    for _ in range(comparisons):
        truths, losses = world.comparison(random, variants, seeds)
        means = losses.mean(axis=1)
        chances = probabilities_of_best(means, Spread.of(list(losses)), draws=DRAWS)
        first, second = losses[np.argsort(means)[:2]]
        facts.append((chances.max(), chances.argmax() == truths.argmin(), first.max() < second.min()))
    return dict(zip(("probability", "right", "separated"), np.array(facts).T, strict=True))


def tie_table(comparisons: int) -> str:
    """Returns how often equal variants are called a tie, and how often the plain rule tells them apart."""
    rows = []
    for title, spreads in list(SPREADS.items())[::2]:
        for variants in (2, 4, 8):
            for seeds in (2, 3, 5):
                facts = stated(World(_equal, spreads), variants, seeds, comparisons)
                tied, separated = (facts["probability"] < SURE).mean(), facts["separated"].mean()
                rows.append([title, f"{variants} x {seeds}", f"{tied:.1%}", f"{separated:.1%}"])
    return _table(["spreads", "variants x seeds", "called a tie", "every seed of the first beats the second"], rows)


def best_table(comparisons: int) -> str:
    """Returns how often the best variant, ahead of equal others by a gap, comes first and is called clear."""
    rows = []
    for gap in (1.0, 2.0):
        world = World(lambda _, k, gap=gap: np.where(np.arange(k) == 0, -gap, 0.0))
        for variants in (2, 4, 8):
            random, cells = np.random.default_rng(0), []
            for seeds in (1, 3, 5):
                losses = -gap * (np.arange(variants) == 0)[:, None] + random.standard_normal((50_000, variants, seeds))
                cells.append(f"{(losses.mean(axis=2).argmin(axis=1) == 0).mean():.2f}")
            for seeds in (3, 5):
                facts = stated(world, variants, seeds, comparisons)
                clear = facts["probability"] >= SURE
                right, wrong = (clear & (facts["right"] == flag) for flag in (1, 0))
                cells.append(f"{right.mean():.0%} / {wrong.mean():.1%}")
            rows.append([f"{gap:g}", str(variants), *cells])
    return _table(
        ["gap", "variants", "first: 1 seed", "3 seeds", "5 seeds", "clear, right / wrong: 3 seeds", "5 seeds"], rows
    )


def calibration_table(comparisons: int) -> str:
    """Returns the mean stated probability, and how often the variant is the best, in bins of the stated one."""
    rows = []
    for title, world in WORLDS.items():
        for variants, seeds in CALIBRATED:
            facts = stated(world, variants, seeds, comparisons)
            cells = []
            for low, high in itertools.pairwise(BINS):
                chosen = (facts["probability"] >= low) & (facts["probability"] < high + (high == 1.0))
                count, sums = int(chosen.sum()), [facts[name][chosen].sum() for name in ("probability", "right")]
                cells.append(
                    " / ".join(f"{total / count:.2f}" for total in sums) + f" ({count})" if count >= FEW else ""
                )
            rows.append([title, f"{variants} x {seeds}", *cells])
    bins = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(BINS)]
    return _table(["truth", "variants x seeds", *bins], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    main()
