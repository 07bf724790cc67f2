"""Statistics and Frechet distances against known values, closed forms and simulation."""

import gzip
from dataclasses import replace

import damaged_files
import numpy as np
import pytest

from ganlib.evaluation.measures.frechet import expected_distance, frechet_distance, frechet_estimate
from ganlib.evaluation.statistics import Statistics


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


def gaussian(mean, covariance, count=1_000_000):
    return Statistics(np.asarray(mean, float), np.asarray(covariance, float), count)


def test_streamed_statistics_equal_numpy_whatever_the_batches(random):
    features = random.normal(size=(1000, 7)) * 3 + 100
    for cuts in ([], [1], [500], [3, 10, 999]):
        statistics = Statistics.of(np.split(features, cuts))
        np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics.covariance, np.cov(features.T), rtol=1e-10)
        assert statistics.count == 1000


def test_statistics_do_not_lose_small_spread_on_a_large_mean(random):
    features = (random.normal(size=(5000, 3)) * 1e-3 + 1e4).astype(np.float64)
    np.testing.assert_allclose(
        Statistics.of(np.array_split(features, 50)).covariance, np.cov(features.T), rtol=1e-6, atol=1e-15
    )


def test_statistics_survive_the_disk(random, tmp_path):
    statistics = replace(Statistics.of([random.normal(size=(10, 4))]), space="fd_x")
    statistics.save(tmp_path / "s.npz")
    loaded = Statistics.load(tmp_path / "s.npz")
    assert (loaded.count, loaded.space) == (10, "fd_x")
    np.testing.assert_array_equal(loaded.covariance, statistics.covariance)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least 2 feature vectors. Received: 0"),
        ([np.zeros((1, 3))], "at least 2 feature vectors. Received: 1"),
        ([np.zeros(3)], r"shape \[n, D\]. Received: shape=\(3,\)"),
        ([np.array([[1.0, np.nan], [1.0, 1.0]])], "finite features. Received: infinite or NaN"),
    ],
)
def test_bad_features_are_refused(batches, message):
    with pytest.raises(ValueError, match=message):
        Statistics.of(batches)


def test_frechet_distance_of_commuting_gaussians_is_the_closed_form():
    first, second = gaussian([0, 0, 0], np.diag([1.0, 4.0, 9.0])), gaussian([1, 2, 2], np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(first, second) == pytest.approx(9 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2, rel=1e-12)


def test_frechet_distance_of_any_gaussians_agrees_with_the_matrix_root(random):
    from scipy import linalg

    draws = [random.normal(size=(200, 12)) @ random.normal(size=(12, 12)) for _ in range(2)]
    first, second = (Statistics.of([draw]) for draw in draws)
    root = linalg.sqrtm(first.covariance @ second.covariance).real
    shift = first.mean - second.mean
    expected = shift @ shift + np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)


def test_frechet_distance_works_where_there_are_fewer_samples_than_features(random):
    first, second = (Statistics.of([random.normal(size=(20, 100))]) for _ in range(2))
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(frechet_distance(first, second))


def test_unlike_spaces_are_refused():
    with pytest.raises(ValueError, match=r"one width\. Received: 2 and 3"):
        frechet_distance(gaussian([0, 0], np.eye(2)), gaussian([0, 0, 0], np.eye(3)))


def test_the_floor_in_simulation_is_the_analytic_one(random):
    eigenvalues = np.array([4.0, 2.0, 1.0, 0.5, 0.25])
    distances = [
        frechet_distance(*(Statistics.of([random.normal(size=(n, 5)) * np.sqrt(eigenvalues)]) for n in (400, 1000)))
        for _ in range(300)
    ]
    expected = expected_distance(gaussian(np.zeros(5), np.diag(eigenvalues)), first=400, second=1000)
    standard_error = np.std(distances) / np.sqrt(len(distances))
    assert np.mean(distances) == pytest.approx(expected, abs=4 * standard_error)
    assert standard_error < 0.05 * expected


def test_fashion_mnist_in_pixel_space_gives_the_known_values(fashion_mnist):
    def read(name):
        data = gzip.decompress((fashion_mnist / name).read_bytes())
        return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 784)

    train, test = read("train-images-idx3-ubyte.gz"), read("t10k-images-idx3-ubyte.gz")

    def statistics(images):
        return Statistics.of(part / 255 for part in np.array_split(images, max(1, len(images) // 5000)))

    assert frechet_distance(statistics(train), statistics(test)) == pytest.approx(0.242546065, abs=5e-10)
    assert frechet_distance(statistics(train[:1000]), statistics(test[:1000])) == pytest.approx(3.900471377, abs=5e-10)


@pytest.mark.parametrize(("first", "second"), [(30, 40), (30, 400), (99, 101), (150, 400)])
def test_fewer_images_than_features_give_the_distance_of_the_matrix_root(random, first, second):
    """The images themselves replace the covariance, which has no Cholesky decomposition."""
    draws = [random.normal(size=(count, 100)) @ random.normal(size=(100, 100)) / 10 for count in (first, second)]
    one, other = (Statistics.of(np.array_split(draw, 7)) for draw in draws)
    assert (one.factor is not None) == (first < 100)
    eigenvalues, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(np.clip(eigenvalues, 0, None))) @ vectors.T
    inner = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other.covariance @ root), 0, None)).sum()
    shift = one.mean - other.mean
    expected = shift @ shift + np.trace(one.covariance) + np.trace(other.covariance) - 2 * inner
    for swapped in ((one, other), (other, one)):
        assert frechet_distance(*swapped) == pytest.approx(expected, rel=1e-6)


def test_dependent_features_have_a_distance(random):
    rows = random.normal(size=(200, 3)) @ random.normal(size=(3, 12))
    still = np.concatenate([rows, np.full((200, 1), 4.0)], axis=1)
    moved = Statistics.of([still + 1.0])
    assert frechet_distance(Statistics.of([still]), moved) == pytest.approx(13.0, rel=1e-6)


@pytest.mark.parametrize("width", [6, 19, 40], ids=["many", "just enough", "few"])
def test_statistics_without_a_block_are_those_of_the_others(random, width):
    blocks = [random.normal(size=(count, width)) for count in (5, 9, 5, 7)]
    partial = list(Statistics.without_each(blocks))
    assert len(partial) == 4
    for index, statistics in enumerate(partial):
        rest = np.concatenate([block for number, block in enumerate(blocks) if number != index])
        np.testing.assert_allclose(statistics.covariance, np.cov(rest.T), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(statistics.mean, rest.mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(statistics.root.T @ statistics.root, statistics.covariance, atol=1e-14)
        assert statistics.count == len(rest)
        assert (statistics.factor is not None) == (len(rest) < width)


@pytest.mark.parametrize("decades", [2, 9], ids=["by eigenvalues", "by singular values"])
def test_directions_that_hardly_vary_leave_the_distance_exact(random, decades):
    """Known in closed form, for the one covariance is a multiple of the other."""
    axes = np.linalg.qr(random.normal(size=(300, 300)))[0]
    variances = np.logspace(0, -decades, 300)
    first, second = (gaussian(np.zeros(300), (axes * scale) @ axes.T) for scale in (variances, 1.2 * variances))
    expected = (np.sqrt(1.2) - 1) ** 2 * variances.sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shift", [0.0, 0.4], ids=["alike", "unlike"])
@pytest.mark.parametrize("fixed", [True, False], ids=["statistics", "features"])
def test_the_estimate_has_an_error_that_covers_and_no_bias(shift, fixed):
    """Two Gaussians in eight dimensions: the distance of endless samples is the shift's square."""
    truth = Statistics(np.zeros(8), np.eye(8))
    estimates = []
    for seed in range(150):
        random = np.random.default_rng([seed, fixed])
        sample, other = random.normal(size=(200, 8)), random.normal(size=(300, 8))
        sample[:, 0] += shift
        estimates.append(frechet_estimate(sample, truth if fixed else other))
    values, errors, infinities = np.array([[item.value, item.error, item.infinity] for item in estimates]).T
    mean_error = values.std() / np.sqrt(len(values))
    expected = expected_distance(truth, first=200, second=300) if not fixed else 36 / 200 / 2 + 8 / 200
    assert abs(infinities.mean() - shift**2) < 4 * infinities.std() / np.sqrt(len(values)) + 0.02 * expected
    assert values.mean() - shift**2 > 10 * mean_error
    if shift == 0 and not fixed:
        assert values.mean() == pytest.approx(expected, rel=0.1)
    assert 0.8 < np.sqrt((errors**2).mean()) / values.std() < 1.7
    assert np.mean(np.abs(values - values.mean()) < 2 * errors) > 0.88


def test_an_estimate_of_two_images_has_no_error(random):
    estimate = frechet_estimate(random.normal(size=(2, 4)), gaussian(np.zeros(4), np.eye(4)))
    assert estimate.value > 0
    assert estimate.error is None
    assert estimate.infinity is None


def test_no_more_images_than_features_have_no_distance_without_bias(random):
    one, other = (random.normal(size=(60, 20)) for _ in range(2))
    assert frechet_estimate(one, other).infinity == pytest.approx(0.0, abs=4 * frechet_estimate(one, other).error)
    for count in (10, 20, 22):  # of 22, ten blocks leave 19 or 20
        estimate = frechet_estimate(one[:count], other)
        assert estimate.infinity is None
        assert estimate.error > 0
        assert frechet_estimate(one, other[:count]).infinity is None
    assert frechet_estimate(one[:22], Statistics.of([other[:10]])).infinity is None
    assert frechet_estimate(one[:24], Statistics.of([other])).infinity is not None


def test_statistics_of_two_spaces_have_no_distance():
    one, other = (Statistics(np.zeros(2), np.eye(2), 9, space=space) for space in ("fd_a", "fd_b"))
    with pytest.raises(ValueError, match=r"^expected statistics of one feature space\. Received: fd_a and fd_b$"):
        frechet_distance(one, other)
    assert frechet_distance(one, replace(other, space=None)) == pytest.approx(0.0, abs=1e-12)


def test_statistics_are_exchanged_with_other_tools(random, tmp_path):
    rows = random.normal(size=(50, 4))
    Statistics.of([rows]).save(tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as file:
        np.testing.assert_allclose(file["mu"], rows.mean(axis=0))
        np.testing.assert_allclose(file["sigma"], np.cov(rows.T))
    np.savez(tmp_path / "theirs.npz", mu=rows.mean(axis=0), sigma=np.cov(rows.T))
    theirs = Statistics.load(tmp_path / "theirs.npz")
    assert theirs.count is None
    assert frechet_distance(theirs, Statistics.of([rows])) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, "expected the arrays mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"sigma of shape \[D, D\]. Received: mu=\(3,\), sigma=\(4, 4\)"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"sigma of shape \[D, D\]. Received: mu=\(0,\)"),
        ({"mu": np.zeros(3), "sigma": np.full((3, 3), np.nan)}, "expected finite statistics"),
        ({"mu": np.full(3, -np.inf), "sigma": np.eye(3)}, "expected finite statistics"),
        ({"mu": np.zeros(3), "sigma": np.eye(3) * 1e200}, "expected finite statistics"),
        ({"mu": np.zeros(3), "sigma": np.eye(3) + 1j}, "expected real numbers as sigma. Received: dtype=complex128"),
        ({"mu": np.array(["a", "b", "c"]), "sigma": np.eye(3)}, "expected real numbers as mu. Received: dtype=<U1"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "symmetric sigma. Received: values that differ by 1 "),
        ({"mu": np.zeros(3), "sigma": np.ones((3, 3)) - np.eye(3)}, "negative eigenvalues. Received: -1 to 2 "),
        ({"mu": np.zeros(3), "sigma": -np.eye(3)}, "negative eigenvalues. Received: -1 to -1 "),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": 1}, "expected a count of at least 2. Received: count=1 in"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": np.nan}, "a count of at least 2. Received: count=nan"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": [4, 4]}, r"a count of at least 2. Received: count=\[4 4\]"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "factor": np.eye(4)}, r"factor of shape \[R, 3\]"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "factor": 2 * np.eye(3)}, "expected a factor of sigma"),
        ({"mu": np.zeros(3), "sigma": np.array([{}], object)}, "not a readable npz file"),
        (None, "not a readable npz file"),
    ],
)
def test_files_without_valid_statistics_are_refused(arrays, message, tmp_path):
    path = tmp_path / "s.npz"
    path.write_bytes(b"nothing") if arrays is None else np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as raised:
        Statistics.load(path)
    assert len(str(raised.value).splitlines()) == 1
    assert repr(str(path)) in str(raised.value)


@pytest.mark.parametrize("damage", damaged_files.NPZ)
def test_files_that_claim_what_is_not_so_are_refused(damage, tmp_path):
    path = tmp_path / "s.npz"
    damaged_files.write_npz(path, damage, mu=np.zeros(3), sigma=np.eye(3))
    message = "expected the arrays mu and sigma" if damage == "no array" else "not a readable npz file"
    with pytest.raises(ValueError, match=message) as raised:
        Statistics.load(path)
    assert len(str(raised.value).splitlines()) == 1
    assert repr(str(path)) in str(raised.value)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_files_with_short_numbers_are_read(random, tmp_path, dtype):
    """Rounding leaves them a little unsymmetric, or with eigenvalues a little below zero."""
    rows = random.normal(size=(400, 3)) @ random.normal(size=(3, 60))
    sigma = np.cov(rows.T)
    np.savez(tmp_path / "s.npz", mu=rows.mean(axis=0).astype(dtype), sigma=sigma.astype(dtype))
    loaded = Statistics.load(tmp_path / "s.npz")
    np.testing.assert_allclose(loaded.root.T @ loaded.root, sigma, atol=1e-3 * np.abs(sigma).max())


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (np.zeros(3), np.eye(2), r"^expected mu of shape \[D\] and sigma of shape \[D, D\]"),
        (np.array([0.0, np.nan]), np.eye(2), "^expected finite statistics"),
        (np.zeros(2), np.diag([1.0, np.inf]), "^expected finite statistics"),
    ],
)
def test_statistics_that_are_none_are_not_made(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        Statistics(mean, covariance)
