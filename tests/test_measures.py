"""Measures over single images, against known values, plain loops and simulation."""

import gzip
import os

import numpy as np
import pytest

from ganlib import streams
from ganlib.evaluation.measures import jackknife, neighbours
from ganlib.evaluation.measures.class_score import class_score
from ganlib.evaluation.measures.density_coverage import density_coverage
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.evaluation.measures.neighbours import median_nearest, squared_radii
from ganlib.evaluation.measures.precision_recall import precision_recall, realism
from ganlib.evaluation.reference import INDISTINCT


def draws(seed, *counts, width=5, shift=0.0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(count, width)) + shift * number for number, count in enumerate(counts)]


def test_the_kernel_distance_of_fashion_mnists_pixels_is_the_known_one(fashion_mnist):
    """Known from the plain sum over all pairs."""
    train, test = (
        np.frombuffer(gzip.decompress((fashion_mnist / name).read_bytes()), np.uint8, offset=16)[: 784 * 1000] / 255
        for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
    )
    value, error = kernel_distance(train.reshape(1000, 784), test.reshape(1000, 784))
    assert value == pytest.approx(0.000283846497, abs=5e-13)
    assert 0 < error < 0.002


@pytest.mark.skipif(
    "GAN_PIPELINES_EVERY_PAIR" not in os.environ, reason="20,000 rows of 1,000 numbers: make every-pair"
)
def test_two_draws_of_one_gaussian_in_many_dimensions_score_as_published():
    """In 1,000 dimensions, density and precision depend on a few rows that are near to all others, so they vary."""
    first, second = draws(0, 10_000, 10_000, width=1000)
    assert precision_recall(first, second, neighbour=5) == pytest.approx((0.4772, 0.4705), abs=0.02)
    density, coverage = density_coverage(first, second)
    assert density == pytest.approx(1.0555, abs=0.06)
    assert coverage == pytest.approx(0.9735, abs=0.006)


def kernel(x, y):
    return (x @ y / len(x) + 1) ** 3


def test_the_kernel_distance_is_that_of_plain_loops():
    first, second = draws(1, 13, 9, shift=0.3)
    within = [
        np.mean([kernel(x, y) for i, x in enumerate(sample) for j, y in enumerate(sample) if i != j])
        for sample in (first, second)
    ]
    between = np.mean([kernel(x, y) for x in first for y in second])
    for blocks in (2, 4, 10):
        assert kernel_distance(first, second, blocks=blocks)[0] == pytest.approx(sum(within) - 2 * between, rel=1e-12)


def test_the_error_of_the_kernel_distance_is_the_jackknifes():
    first, second = draws(2, 12, 18, shift=0.3)
    parts = [
        [block[:, 0] for block in jackknife.blocks(np.arange(count)[:, None], 3, sample=number)]
        for number, count in enumerate((12, 18))
    ]
    left_out = [
        kernel_distance(
            *(np.delete(sample, rows[part], 0) for sample, rows in zip((first, second), parts, strict=True))
        )[0]
        for part in range(3)
    ]
    expected = np.sqrt(2 / 3 * sum((np.array(left_out) - np.mean(left_out)) ** 2))
    assert kernel_distance(first, second, blocks=3)[1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.5], ids=["alike", "unlike"])
def test_the_error_of_the_kernel_distance_covers(shift):
    """The mean over many draws replaces the true value, which is zero for samples of the same distribution."""
    pairs = [kernel_distance(*draws(seed, 100, 150, width=4, shift=shift)) for seed in range(300)]
    values, errors = np.array(pairs).T
    assert np.mean(np.abs(values - values.mean()) < 2 * errors) > 0.88
    ratio = np.sqrt((errors**2).mean()) / values.std()
    assert (1.1 if shift == 0 else 0.85) < ratio < (1.7 if shift == 0 else 1.3)
    if shift == 0:
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("order", ["sorted", "in turn"])
def test_the_error_of_the_kernel_distance_holds_for_classes_in_any_order(order):
    centres = np.random.default_rng(9).normal(size=(10, 6)) * 2

    def draw(random):
        labels = random.integers(0, 10, 200)
        labels = np.sort(labels) if order == "sorted" else np.arange(200) % 10
        return centres[labels] + random.normal(size=(200, 6))

    pairs = [kernel_distance(*(draw(np.random.default_rng([seed, side])) for side in (0, 1))) for seed in range(100)]
    values, errors = np.array(pairs).T
    ratio = np.sqrt((errors**2).mean()) / values.std()
    # Classes in turn vary less from draw to draw than rows that are left out at random do.
    assert 1.0 < ratio < (2.0 if order == "sorted" else 12.0)


def distances(first, second):
    return np.array([[np.linalg.norm(x - y) for y in second] for x in first])


def radii(sample, neighbour):
    return np.sort(distances(sample, sample), axis=1)[:, neighbour]  # the first one is the image itself


@pytest.mark.parametrize("block", [1, 40, 2**23], ids=["rows", "blocks", "whole"])
def test_measures_of_neighbours_are_those_of_plain_loops(monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    generated, real = draws(3, 17, 23, width=2, shift=0.8)
    between = distances(generated, real)
    for neighbour, squares in zip((3, 5), squared_radii(real, 3, 5), strict=True):
        np.testing.assert_allclose(np.sqrt(squares), radii(real, neighbour), rtol=1e-12)
    precision = np.mean([any(row <= radii(real, 3)) for row in between])
    recall = np.mean([any(column <= radii(generated, 3)) for column in between.T])
    assert precision_recall(generated, real) == (pytest.approx(precision), pytest.approx(recall))
    inside = between < radii(real, 5)
    assert density_coverage(generated, real) == (
        pytest.approx(inside.sum() / (5 * 17)),
        pytest.approx(inside.any(axis=0).mean()),
    )
    assert 0 < precision < 1
    assert 0 < recall < 1


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_duplicates_have_no_distance_for_any_common_offset(offset):
    rows = np.repeat(draws(4, 10, width=50)[0] + offset, 2, axis=0)
    assert median_nearest(rows) < INDISTINCT


def test_a_common_offset_of_all_images_changes_nothing():
    generated, real = draws(6, 200, 200, width=20, shift=0.3)
    for measure in (precision_recall, density_coverage):
        assert measure(generated + 1e6, real + 1e6) == measure(generated, real)


def test_missing_modes_lower_recall_and_coverage_and_bad_images_precision_and_density():
    random = np.random.default_rng(5)
    centres = random.normal(size=(10, 8)) * 10
    real, good, few = (
        centres[random.integers(0, modes, 1000)] + random.normal(size=(1000, 8)) for modes in (10, 10, 3)
    )
    bad = good + np.where(np.arange(1000)[:, None] < 400, 30.0, 0.0)
    scores = {
        name: [*precision_recall(sample, real), *density_coverage(sample, real)]
        for name, sample in {"good": good, "few": few, "bad": bad}.items()
    }
    assert scores["good"] == pytest.approx([0.9, 0.9, 1.0, 0.97], abs=0.1)
    assert scores["few"] == pytest.approx([0.9, 0.3, 1.0, 0.3], abs=0.1)
    assert scores["bad"] == pytest.approx([0.54, 0.85, 0.6, 0.9], abs=0.1)


@pytest.mark.parametrize("measure", [kernel_distance, precision_recall, density_coverage])
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((9, 3)), np.zeros((9, 4)), r"of one width\. Received: 3 and 4"),
        (np.zeros((9, 3)), np.zeros((2, 3)), r"at least [346] feature vectors\. Received: 9 and 2"),
        (np.zeros(9), np.zeros((9, 3)), r"shape \[n, D\]\. Received: shape=\(9,\)"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), r"finite features\. Received: infinite or NaN"),
    ],
    ids=["widths", "few", "flat", "nan"],
)
def test_incompatible_features_are_refused(measure, first, second, message):
    with pytest.raises(ValueError, match=message):
        measure(first, second)


def test_identical_images_have_finite_measures():
    alike = np.tile(np.linspace(0.03, 0.11, 64), (20, 1))
    other = alike + 1.7
    assert kernel_distance(alike, alike) == (pytest.approx(0.0), pytest.approx(0.0))
    assert precision_recall(alike, alike) == (1.0, 1.0)
    assert precision_recall(alike, other) == (0.0, 0.0)
    assert density_coverage(alike, alike) == (0.0, 0.0)  # no distance is less than zero


@pytest.mark.parametrize(
    ("measure", "given", "message"),
    [
        (kernel_distance, {"blocks": 1}, "at least 2 blocks. Received: blocks=1"),
        (precision_recall, {"neighbour": 0}, "of at least 1. Received: neighbour=0"),
        (density_coverage, {"neighbour": -1}, "of at least 1. Received: neighbour=-1"),
    ],
)
def test_invalid_parameters_are_refused(measure, given, message):
    with pytest.raises(ValueError, match=message):
        measure(*draws(7, 9, 9), **given)


def test_the_class_score_is_that_of_its_closed_forms():
    sure = np.tile(np.eye(5), (40, 1))
    assert class_score(np.full((100, 5), 0.2)) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))
    assert class_score(sure, splits=1 + 1)[0] == pytest.approx(5.0, rel=0.05)
    assert class_score(np.tile(np.eye(5)[:1], (50, 1)))[0] == pytest.approx(1.0)  # confident, but without variety
    random = np.random.default_rng(8)
    rows = random.dirichlet(np.ones(4), 60)
    order = np.random.default_rng(streams.key("jackknife", 0)).permutation(60)
    parts = [rows[part] for part in np.array_split(order, 3)]
    plain = [np.exp(np.mean([(p * np.log(p / part.mean(axis=0))).sum() for p in part])) for part in parts]
    value, error = class_score(rows, splits=3)
    assert value == pytest.approx(np.mean(plain))
    assert error == pytest.approx(np.std(plain, ddof=1) / np.sqrt(3))
    with pytest.raises(ValueError, match=r"at least 10 images, one per split\. Received: images=9"):
        class_score(rows[:9])


def test_realism_is_the_largest_ratio_of_radius_to_distance():
    generated, real = draws(11, 12, 31, width=3, shift=1.0)
    own, between = radii(real, 3), distances(generated, real)
    chosen = own <= np.median(own)
    np.testing.assert_allclose(realism(generated, real), (own[chosen] / between[:, chosen]).max(axis=1), rtol=1e-9)
    assert np.isinf(realism(real[chosen][:1], real))[0]
    inside = realism(generated, real) >= 1
    assert inside.sum() <= precision_recall(generated, real)[0] * len(generated)  # uses fewer real images
