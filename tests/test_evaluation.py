"""Scores against known values, closed forms and simulation."""

import gzip

import numpy as np
import pytest

from ganlib.data import DataConfig, prepare
from ganlib.evaluation import EvaluationConfig, Reference, Statistics, frechet_distance, measure_reference
from ganlib.evaluation.extractors import Classifier, FittedExtractor


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


def gaussian(mean, covariance, count=1_000_000):
    return Statistics(count, np.asarray(mean, float), np.asarray(covariance, float) * (count - 1))


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
    statistics = Statistics.of([random.normal(size=(10, 4))])
    statistics.save(tmp_path / "s.npz")
    loaded = Statistics.load(tmp_path / "s.npz")
    assert loaded.count == 10
    np.testing.assert_array_equal(loaded.scatter, statistics.scatter)


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


def expected_distance(covariance, *, first, second):
    """The distance to be expected of two samples of one Gaussian, which is not zero, to first order in 1/n:
    with eigenvalues l, (1/n1 + 1/n2) (tr S + 1/2 sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)).
    """
    eigenvalues = np.clip(np.linalg.eigvalsh(covariance), 0.0, None)
    sums = eigenvalues[:, None] + eigenvalues[None, :]
    products = np.outer(eigenvalues, eigenvalues) * (1.0 + np.eye(len(eigenvalues)))
    pairs = np.divide(products, sums, out=np.zeros_like(sums), where=sums > 0)
    return float((1.0 / first + 1.0 / second) * (eigenvalues.sum() + pairs.sum() / 2.0))


def test_the_floor_in_simulation_is_the_analytic_one(random):
    eigenvalues = np.array([4.0, 2.0, 1.0, 0.5, 0.25])
    distances = [
        frechet_distance(*(Statistics.of([random.normal(size=(n, 5)) * np.sqrt(eigenvalues)]) for n in (400, 1000)))
        for _ in range(300)
    ]
    expected = expected_distance(np.diag(eigenvalues), first=400, second=1000)
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


def test_a_reference_survives_the_disk_and_names_its_space(reference, digits, tmp_path):
    reference.save(tmp_path)
    opened = Reference.open(tmp_path)
    images = digits.load("test")[0]
    assert opened.measure == "fd_digits_classifier"
    assert opened.distance([images]) == reference.distance([images])
    assert opened.distance([images]) == pytest.approx(opened.floor(len(images)), rel=1e-6)
    assert opened.protocol(count=5, generator="ema, best", seed=1) == {
        "measure": "fd_digits_classifier",
        "extractor_sha256": reference.extractor.sha256,
        "dataset": "digits",
        "dataset_sha256": digits.checksum,
        "reference_split": "train",
        "reference_count": 1437,
        "resize": "bicubic",
        "generated_count": 5,
        "generator": "ema, best",
        "seed": 1,
    }


def test_the_classifier_has_learned_and_says_how_well(reference):
    assert 0.6 < reference.extractor.facts["test_accuracy"] <= 1.0


def test_noise_and_blank_images_score_far_worse_than_real_ones(reference, digits):
    images = digits.load("test")[0]
    noise = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    floor = reference.floor(len(images))
    assert reference.distance([noise]) > 5 * floor
    assert reference.distance([np.zeros_like(images)]) > 5 * floor
    one_class = images[digits.load("test")[1] == 3]
    assert reference.distance([one_class]) > 2 * floor


def test_a_reference_keeps_as_many_training_images_as_there_are_test_images(reference, digits):
    images, count = digits.load("train")[0], digits.count("test")
    assert len(reference.train_features) == len(reference.test_features) == count
    np.testing.assert_allclose(reference.train_features, reference.features([images[:count]]), rtol=1e-5, atol=1e-5)


def test_a_floor_of_more_images_than_there_are_is_refused(reference, digits):
    with pytest.raises(ValueError, match=r"at most 360 test images. Received: count=361"):
        reference.floor(digits.count("test") + 1)


def test_the_distance_does_not_depend_on_the_batches(reference, digits):
    images = digits.load("test")[0]
    whole = reference.distance([images])
    assert reference.distance(np.array_split(images, 7)) == pytest.approx(whole, rel=1e-5)


def test_the_sample_count_never_exceeds_what_the_floor_can_be_measured_with(reference):
    assert reference.sample_count(None) == reference.sample_count(10_000) == 360
    assert reference.sample_count(50) == 50


def test_changed_weights_are_noticed(reference, tmp_path):
    reference.save(tmp_path)
    changed = FittedExtractor.load(tmp_path)
    weights = changed.network.get_weights()
    weights[0][0, 0, 0, 0] += 1e-3
    changed.network.set_weights(weights)
    changed.network.save(tmp_path / "extractor.keras")
    with pytest.raises(ValueError, match="weights were changed"):
        Reference.open(tmp_path)


def test_equal_seeds_give_the_same_extractor(digits):
    recipe = Classifier(network={"width": 4, "feature_dim": 4, "epochs": 1})
    hashes = [recipe.fit(digits, seed=seed).sha256 for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_without_labels_the_space_is_learned_from_turns(tmp_path):
    from PIL import Image

    random = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 16)[:, None]
    (tmp_path / "images").mkdir()
    for index in range(60):
        pixels = np.clip(ramp + random.normal(0, 10, (16, 16)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    source = {"kind": "image_folder", "path": str(tmp_path / "images")}
    dataset = prepare(DataConfig(source=source, name="ramps", size=16), tmp_path / "dataset")
    with pytest.raises(ValueError, match=r"needs labelled images.*Received: data='ramps' without classes"):
        Classifier().fit(dataset, seed=0)
    measured = measure_reference(dataset, EvaluationConfig(), tmp_path / "reference")
    assert measured.measure == "fd_ramps_rotation"
    assert measured.extractor.classes == ()
    assert measured.extractor.facts["test_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("accuracy", "chance", "count", "said"),
    [
        (0.9, 0.1, 16, []),
        (0.3, 0.1, 16, ["has hardly learned"]),
        (0.9, 0.9, 16, ["has hardly learned"]),
        (1.0, 1.0, 16, ["has hardly learned"]),
        (0.1, 0.1, 15, ["A score of 15 images in 16 features", "has hardly learned"]),
    ],
)
def test_a_doubtful_yardstick_says_so(accuracy, chance, count, said):
    extractor = FittedExtractor("toy", None, (), {"test_accuracy": accuracy, "chance": chance})
    remarks = Reference(extractor, gaussian([0], np.eye(1)), *np.zeros((2, 100, 16), np.float32), {}).remarks(count)
    assert len(remarks) == len(said)
    assert all(words in remark for words, remark in zip(said, remarks, strict=True))


def test_guessing_is_the_most_frequent_answer(digits, reference):
    labels = digits.load("test")[1]
    assert reference.extractor.facts["chance"] == np.bincount(labels).max() / len(labels)
