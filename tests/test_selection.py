"""The statistics of a comparison, on scores of which the truth is known."""

import functools
import itertools
import math

import numpy as np
import pytest
import selection
from scipy import stats
from selection import CALIBRATED, SPREADS, WORLDS, World, coverage, stated

from ganlib.evaluation import Score
from ganlib.evaluation.measures import catalogue
from ganlib.selection import Scale, rank, ranking
from ganlib.selection.best import probabilities_of_best
from ganlib.selection.early import correlation_interval, early_against_late, halving, rank_correlation
from ganlib.selection.ranking import SURE, chance_of_separation
from ganlib.selection.spread import Spread

LOG, LINEAR, HIGHER = Scale(lower=True, log=True), Scale(lower=True), Scale(lower=False)
# comparison_and_gate.md: how often the best of several variants, ahead by a gap, has the best mean
FOUND = {
    (2, 1, 1): 0.76,
    (2, 1, 3): 0.89,
    (4, 1, 1): 0.55,
    (4, 1, 3): 0.76,
    (4, 1, 5): 0.87,
    (8, 1, 5): 0.77,
    (4, 2, 1): 0.82,
    (8, 2, 3): 0.96,
}
COMPARISONS = 400


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """Simulations need no exact probability of each comparison."""
    monkeypatch.setattr(selection, "DRAWS", 250)


def errors(share, count):
    """Three standard errors of a share, which a right one exceeds in less than one of 300 tests."""
    return 3.0 * math.sqrt(share * (1.0 - share) / count)


def test_a_clear_winner_stands_alone_and_a_tie_names_its_members():
    clear = rank({"a": [10.0, 10.4, 9.8], "b": [20.0, 21.0, 20.5], "c": [30.0, 29.0, 31.0]}, LOG)
    assert (clear.order, clear.contenders) == (["a", "b", "c"], ("a",))
    assert clear.standings[0].probability > 0.99
    assert clear.separated
    tied = rank({"a": [10.0, 12.0, 11.0], "b": [10.5, 11.5, 11.2], "c": [30.0, 29.0, 31.0]}, LOG)
    assert set(tied.contenders) == {"a", "b"}
    assert not tied.separated
    assert sum(one.probability for one in tied.standings) == pytest.approx(1.0)


def test_the_same_scores_give_the_same_ranking():
    scores = {"a": [10.0, 12.0], "b": [11.0, 11.5], "c": [12.0, 9.0]}
    assert rank(scores, LOG) == rank(scores, LOG)
    assert rank(scores, LOG).of("b").scores == (11.0, 11.5)


def test_a_measure_of_which_higher_is_better_gives_the_mirrored_ranking():
    scores = {"a": [0.5, 0.6], "b": [0.7, 0.9], "c": [0.1, 0.2]}
    ranking = rank(scores, HIGHER)
    mirrored = rank({name: [-value for value in values] for name, values in scores.items()}, LINEAR)
    assert ranking.order == mirrored.order == ["b", "a", "c"]
    for one, other in zip(ranking.standings, mirrored.standings, strict=True):
        assert one.probability == other.probability
        assert (one.mean, one.low, one.high) == (-other.mean, -other.high, -other.low)


def test_one_seed_each_says_nothing_about_the_spread():
    ranking = rank({"a": [10.0], "b": [20.0]}, LOG)
    assert (ranking.order, ranking.contenders, ranking.spread) == (["a", "b"], (), None)
    assert [(one.low, one.high, one.probability) for one in ranking.standings] == [(None, None, None)] * 2
    assert (ranking.separated, ranking.chance) == (True, 1.0)


def test_a_variant_with_one_seed_takes_the_spread_of_the_others_and_is_less_certain():
    ranking = rank({"a": [10.0], "b": [20.0, 21.0, 20.5], "c": [30.0, 29.0, 31.0]}, LOG)
    one, three = ranking.of("a"), ranking.of("b")
    assert math.log(one.high / one.low) > 2.0 * math.log(three.high / three.low)


def test_a_single_variant_has_an_interval_but_nothing_to_be_compared_with():
    values = [10.0, 12.0, 11.5]
    ranking = rank({"a": values}, LINEAR)
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3.0)
    assert ranking.standings[0].low == pytest.approx(np.mean(values) - half)
    assert (ranking.separated, ranking.chance, ranking.contenders) == (None, None, ())
    assert ranking.standings[0].probability is None


def test_two_variants_of_two_seeds_have_the_interval_of_a_common_spread():
    ranking = rank({"a": [10.0, 12.0], "b": [20.0, 21.0]}, LINEAR)
    half = stats.t.ppf(0.975, 2) * math.sqrt((2.0 + 0.5) / 2.0) / math.sqrt(2.0)
    assert ranking.of("a").high - ranking.of("a").mean == pytest.approx(half)
    assert ranking.spread == pytest.approx(math.sqrt(1.25))


@pytest.mark.parametrize("scale", [LOG, LINEAR])
def test_equal_scores_are_a_tie(scale):
    ranking = rank({"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}, scale)
    assert set(ranking.contenders) == {"a", "b", "c"}


@pytest.mark.parametrize("scores", [{}, {"a": [1.0], "b": []}])
def test_a_variant_without_a_score_cannot_be_ranked(scores):
    with pytest.raises(ValueError, match=r"^expected one score or more for each variant\. Received: scores="):
        rank(scores, LOG)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 2), (3, 3), (2, 4), (5, 5)])
def test_the_chance_of_the_plain_rule_is_that_of_all_orders(first, second):
    orders = list(itertools.combinations(range(first + second), first))
    count = sum(max(places) == first - 1 or min(places) == second for places in orders)
    assert chance_of_separation(first, second) == pytest.approx(count / len(orders))


def scores_of(*values, error=0.1, meaning="a distance; lower is better"):
    return [Score("x", value, None, meaning, error) for value in values]


def test_distances_are_compared_by_ratios_unless_one_may_be_zero():
    assert Scale.of(scores_of(4.0, 150.0)) == LOG
    assert Scale.of(scores_of(4.0, 150.0, error=None)) == LOG
    assert Scale.of(scores_of(4.0, -0.1)) == LINEAR
    assert Scale.of(scores_of(4.0, 0.15)) == LINEAR  # within two errors of zero
    assert Scale.of(scores_of(0.8, 0.9, meaning="a share; higher is better")) == HIGHER
    with pytest.raises(ValueError, match=r"^expected a measure of which lower or higher .* Received: measure='x'"):
        Scale.of(scores_of(4.0, meaning="a value clearly above the floor means copying"))


def test_the_distances_of_the_catalogue_have_a_direction():
    random = np.random.default_rng(0)
    features, real = (random.standard_normal((60, 4)).astype(np.float32) for _ in range(2))

    class Space:
        def measure(self, word):
            return f"{word}_x"

    scores = [*catalogue.distances(features, real, Space()), *catalogue.pairwise(features, real, Space())]
    lower = {score.name: Scale.of([score]).lower for score in scores}
    assert lower == {
        "fd_x": True,
        "fd_infinity_x": True,
        "kd_x": True,
        "precision_x": False,
        "recall_x": False,
        "density_x": False,
        "coverage_x": False,
    }


@pytest.mark.parametrize(("variants", "seeds"), [(2, 2), (4, 3), (8, 2)])
def test_intervals_hold_the_true_mean_as_often_as_they_say(variants, seeds):
    losses = np.random.default_rng(0).standard_normal((2000, variants, seeds))
    held = coverage(losses, np.zeros(variants))
    assert held["ours"].mean() > 0.95 - errors(0.95, 2000)
    assert held["ours"].mean() < 0.99


def test_the_interval_of_an_unstable_variant_is_better_than_that_of_a_common_spread():
    random = np.random.default_rng(0)
    unstable = World(lambda _, k: np.zeros(k), SPREADS["one is 3 times the others"])
    losses = np.stack([unstable.comparison(random, 4, 3)[1] for _ in range(1000)])
    held = coverage(losses, np.zeros(4))
    assert held["common"][0] < 0.8 < 0.83 < held["ours"][0]
    assert held["ours"].mean() > 0.95 - errors(0.95, 4000)


@pytest.mark.parametrize("spreads", ["equal", "all differ"])
@pytest.mark.parametrize(("variants", "seeds"), [(2, 2), (2, 5), (8, 2)])
def test_equal_variants_are_called_a_tie(variants, seeds, spreads):
    facts = stated(World(lambda _, k: np.zeros(k), SPREADS[spreads]), variants, seeds, COMPARISONS)
    assert (facts["probability"] < SURE).mean() >= 0.9  # of the same draws in every run, so without a tolerance
    if spreads == "equal":
        chance = chance_of_separation(seeds, seeds)
        assert facts["separated"].mean() <= chance + errors(chance, COMPARISONS)


@pytest.mark.parametrize(("shape", "expected"), FOUND.items(), ids=str)
def test_the_best_is_ranked_first_as_often_as_the_table_says(shape, expected, monkeypatch):
    variants, gap, seeds = shape
    monkeypatch.setattr(ranking, "probabilities_of_best", functools.partial(probabilities_of_best, draws=1))
    losses = np.random.default_rng(0).standard_normal((2000, variants, seeds))
    losses[:, 0] -= gap
    first = [rank({str(place): row for place, row in enumerate(one)}, LINEAR).order[0] for one in losses.tolist()]
    assert np.mean([name == "0" for name in first]) == pytest.approx(expected, abs=0.005 + errors(expected, 2000))


@pytest.mark.parametrize(("variants", "seeds"), CALIBRATED)
def test_the_stated_probability_is_calibrated(variants, seeds):
    """It may be a little too low where seeds are few, but not too high."""
    facts = stated(WORLDS["as the model"], variants, seeds, COMPARISONS)
    probability, right = facts["probability"], facts["right"]
    assert abs(right.mean() - probability.mean()) <= 0.02 + errors(probability.mean(), COMPARISONS)
    for low, high in ((0.0, 0.6), (0.6, 0.9), (0.9, 1.01)):
        chosen = (probability >= low) & (probability < high)
        mean, count = probability[chosen].mean(), chosen.sum()
        least, most = mean - errors(mean, count) - 0.5 / count, mean + errors(mean, count) + 0.05
        assert least <= right[chosen].mean() <= most


@pytest.mark.parametrize("name", ["equal gaps of 1", "true means with heavy tails (t, 2 degrees)"])
def test_a_sure_recommendation_is_right_in_other_worlds_too(name):
    facts = stated(WORLDS[name], 4, 3, COMPARISONS)
    sure = facts["probability"] >= SURE
    assert facts["right"][sure].mean() >= SURE
    assert sure.sum() > 50


def test_variances_of_few_seeds_are_drawn_towards_those_of_the_others():
    stable, unstable = np.array([1.0, 1.01, 0.99]), np.array([1.0, 2.0, 0.0])
    spread = Spread.of([stable, stable + 1.0, unstable])
    own = [values.var(ddof=1) for values in (stable, stable, unstable)]
    assert own[0] < spread.variances[0]
    assert spread.variances[2] < own[2]
    assert spread.degrees.tolist() == [4.0, 4.0, 4.0]


@pytest.mark.parametrize(("correlation", "expected"), [(0.3, 0.64), (0.6, 0.78), (0.8, 0.88), (0.95, 0.97)])
def test_a_halving_keeps_the_best_as_often_as_the_table_says(correlation, expected):
    random, kept = np.random.default_rng(0), []
    normal = 2.0 * math.sin(math.pi / 6.0 * correlation)  # of which the ranks have this correlation
    for _ in range(1500):
        early, other = random.standard_normal((2, 4))
        kept.append(halving(early, normal * early + math.sqrt(1.0 - normal**2) * other, ["a", "b", "c", "d"]))
    assert np.mean(kept) == pytest.approx(expected, abs=errors(expected, 1500) + 0.01)


def test_the_interval_of_a_rank_correlation_is_wide_for_few_candidates_even_in_perfect_order():
    assert correlation_interval(1.0, 4)[0] < 0.2
    low, high = correlation_interval(0.8, 40)
    assert 0.6 < low < 0.8 < high < 0.9


def test_the_interval_of_a_rank_correlation_holds_the_true_one():
    random, held, true = np.random.default_rng(0), [], 0.6
    for _ in range(40):
        first, other = random.standard_normal((2, 8))
        low, high = correlation_interval(rank_correlation(first, true * first + 0.8 * other), 8)
        held.append(low <= 6.0 / math.pi * math.asin(true / 2.0) <= high)
    assert np.mean(held) >= 0.95 - errors(0.95, 40)


def test_early_scores_of_no_candidate_say_nothing():
    assert [(one.candidates, one.correlation, one.kept) for one in early_against_late([], {})] == [(0, None, None)] * 2
