"""How hard samples are to tell from their true images, against known cases and a plain minimisation."""

import numpy as np
import pytest
from scipy import optimize

from ganlib.evaluation.extractors import Random
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.discriminative import discriminative_scores, most_separable, separable


def gaussians(seed, count, width, *, shift=0.0):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, width)) + shift, random.normal(size=(count, width))


def test_the_classifier_is_the_papers():
    """Squared hinge loss with C = 1, and half the square of the weights; the bias is a weight like the others."""
    samples, truths = gaussians(0, 40, 3, shift=0.7)
    rows = np.concatenate([truths, samples])
    rows = np.hstack([rows, np.ones((80, 1))])
    signs = np.repeat([1.0, -1.0], 40)

    def loss(weights):
        return weights @ weights / 2 + (np.maximum(0, 1 - signs * (rows @ weights)) ** 2).sum()

    weights = optimize.minimize(loss, np.zeros(4), tol=1e-10).x
    realness = rows @ weights
    result = discriminative_scores(samples, truths)
    assert result.paired == np.mean(realness[40:] > realness[:40])
    assert result.unpaired == np.mean(np.sign(realness) != signs)
    assert 0 < result.paired < result.unpaired < 0.5


def test_many_samples_of_one_distribution_cannot_be_told_apart_and_shifted_ones_can():
    alike = discriminative_scores(*gaussians(1, 4000, 4))
    assert alike[::2] == pytest.approx((0.5, 0.5), abs=0.03)
    assert alike[1::2] == pytest.approx((np.sqrt(0.25 / 4000), np.sqrt(0.25 / 8000)), rel=0.01)
    apart = discriminative_scores(*gaussians(2, 500, 4, shift=8.0))
    assert apart[::2] == (0.0, 0.0)
    assert apart.paired_error > 0


def test_of_shifted_gaussians_the_error_is_the_known_one():
    """For two Gaussians at a distance of 2, the best plane errs for the tail beyond 1: 15.9 %."""
    samples, truths = gaussians(3, 5000, 1, shift=2.0)
    result = discriminative_scores(samples, truths)
    assert result.unpaired == pytest.approx(0.1587, abs=0.01)
    assert result.paired == pytest.approx(0.0786, abs=0.01)  # independent pairs: the tail beyond 2 / sqrt 2


def test_pairs_count():
    """A sample that is its true image, slightly worse, never wins, though the two sets are hard to tell apart."""
    truths = np.random.default_rng(4).normal(size=(1000, 2))
    result = discriminative_scores(truths + np.array([0.1, 0.0]), truths)
    assert result.paired == 0.0
    assert result.unpaired > 0.4


def test_equal_images_never_look_more_real():
    truths = np.random.default_rng(5).normal(size=(50, 3))
    assert discriminative_scores(truths, truths).paired == 0.0


def test_too_few_images_can_always_be_told_apart():
    assert [separable(count, 10) for count in (5, 6)] == [True, False]
    assert [separable(count, 11) for count in (6, 7)] == [True, False]
    samples, truths = gaussians(6, 5, 10)
    with pytest.raises(ValueError, match="more than 5 samples in 10 dimensions"):
        discriminative_scores(samples, truths)
    with pytest.raises(ValueError, match="a true image for each sample"):
        discriminative_scores(samples, truths[:4])


def test_the_scores_carry_the_name_of_their_space():
    space = Random().load()
    samples, truths = (side.astype(np.float32) for side in gaussians(7, 200, 163))
    scores = catalogue.discriminative(samples, truths, space)
    assert [(score.name, score.count) for score in scores] == [("pds_random", 200), ("uds_random", 200)]
    assert [score.value for score in scores] == list(discriminative_scores(samples, truths)[::2])
    assert scores[1].value > 0
    assert len(catalogue.discriminative(samples[:165], truths[:165], space)) == 2
    assert catalogue.discriminative(samples[:164], truths[:164], space) == []


def test_a_limited_number_of_images_is_compared(monkeypatch):
    monkeypatch.setattr(catalogue, "DISCRIMINATIVE_LIMIT", 180)
    samples, truths = (side.astype(np.float32) for side in gaussians(8, 200, 163))
    scores = catalogue.discriminative(samples, truths, Random().load())
    assert [score.count for score in scores] == [180, 180]
    assert [score.value for score in scores] == list(discriminative_scores(samples[:180], truths[:180])[::2])


def test_up_to_as_many_images_as_features_and_one_can_often_be_told_apart():
    """Half of the divisions of twice as many points, by a theorem of Cover's."""
    most = most_separable(4)
    apart = [discriminative_scores(*gaussians(seed, most, 4)).unpaired == 0 for seed in range(20)]
    many = [discriminative_scores(*gaussians(seed, 8 * most, 4)).unpaired == 0 for seed in range(20)]
    assert any(apart)
    assert not any(many)
