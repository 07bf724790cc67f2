"""The reference of a dataset."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ganlib
from ganlib import pixels, storage
from ganlib.data import DataConfig, prepare
from ganlib.evaluation import EvaluationConfig, Reference, Statistics, measure_reference
from ganlib.evaluation.extractors import Classifier, FittedExtractor
from ganlib.evaluation.galleries import save_sheets
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.notes import note_reference, note_scores
from ganlib.evaluation.reference import versions
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.scores import Score
from ganlib.tasks import Sheet


def test_a_saved_reference_is_read_back_and_names_its_space(reference, digits, tmp_path):
    reference.save(tmp_path)
    opened = Reference.open(tmp_path)
    images = digits.load("test")[0]
    assert opened.measure == "fd_digits_classifier"
    assert opened.statistics.space == catalogue.identity(reference.extractor)
    assert opened.distance([images]) == reference.distance([images])
    assert opened.distance([images]) == pytest.approx(opened.floor(len(images)), rel=1e-6)
    assert opened.protocol(count=5, generator="best", averaged=True, seed=1) == {
        "measure": "fd_digits_classifier",
        "extractor_sha256": reference.extractor.sha256,
        "dataset": "digits",
        "dataset_sha256": digits.checksum,
        "reference_split": "train",
        "reference_count": 1437,
        "resize_mode": "none",
        "resize": "bicubic",
        "size": "16x16",
        "pairwise_count": 5,
        "generated_count": 5,
        "floor_count": 5,
        "generator": "best",
        "averaged": True,
        "truncation": "none",
        "seed": 1,
        "versions": versions(),
    }
    libraries = {"gan-pipelines": ganlib, "tensorflow": tf, "keras": keras, "numpy": np}
    assert versions() == ", ".join(f"{name} {library.__version__}" for name, library in libraries.items())


def test_the_classifier_has_learned_and_records_its_accuracy(reference):
    assert 0.6 < reference.extractor.facts["test_accuracy"] <= 1.0


def test_noise_and_blank_images_score_far_worse_than_real_ones(reference, digits):
    images = digits.load("test")[0]
    noise = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    floor = reference.floor(len(images))
    assert reference.distance([noise]) > 5 * floor
    assert reference.distance([np.zeros_like(images)]) > 5 * floor
    one_class = images[digits.load("test")[1] == 3]
    assert reference.distance([one_class]) > 2 * floor


def test_a_reference_stores_the_first_training_images_and_all_test_images(reference, digits, monkeypatch, tmp_path):
    images, labels = digits.load("train")
    assert (len(reference.train), len(reference.test)) == (1437, 360)
    np.testing.assert_allclose(reference.train.features, reference.features([images]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(reference.train.labels, labels)
    np.testing.assert_array_equal(reference.test.labels, digits.load("test")[1])
    monkeypatch.setattr(catalogue, "PAIRWISE_LIMIT", 300)
    config = EvaluationConfig(extractor={"kind": "classifier", "network": {"width": 4, "feature_dim": 4, "epochs": 1}})
    few = measure_reference(digits, config, tmp_path / "few")
    assert (len(few.train), few.statistics.count, len(few.test)) == (300, 1437, 360)
    assert few.protocol(count=360, generator="best", averaged=True, seed=1)["pairwise_count"] == 300


def test_floors_are_measured_once(reference, digits):
    """By `measure_reference`; for another number of images they are measured again."""
    features, probabilities = reference.extractor.all_outputs([digits.load("test")[0]])
    scores = {score.name: score for score in reference.score(Sample(features, probabilities))}
    assert list(reference.known_floors) == [360]
    for floor in reference.known_floors[360]:
        assert (scores[floor.name].floor, scores[floor.name].floor_error) == (floor.value, floor.error)
        assert scores[floor.name].value == pytest.approx(floor.value, rel=1e-4, abs=1e-4)
    fewer = {score.name: score for score in reference.score(Sample(features[:100]))}
    assert fewer["fd_digits_classifier"].floor > scores["fd_digits_classifier"].floor


def removed(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(500))


def flipped(path):
    """The zip file stays readable, but its content does not match its checksum."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


FILES = ("extractor.json", "extractor.keras", "statistics.npz", "train.npz", "test.npz")


@pytest.mark.parametrize(
    ("name", "harm"),
    [(name, harm) for name in FILES for harm in (removed, cut, noise)]
    + [(name, flipped) for name in FILES[1:]]
    + [("test_closeness.npy", cut), ("test_closeness.npy", noise)],
)
def test_a_damaged_reference_is_reported(reference, tmp_path, name, harm):
    reference.save(tmp_path)
    harm(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"^expected a complete reference; measure it again\. Received: folder="
    ) as raised:
        Reference.open(tmp_path)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("reference.json", {"facts": None}),
        ("reference.json", {"floors": None}),
        ("reference.json", {"floors": {"many": []}}),
        ("extractor.json", {"sha256": None}),
        ("extractor.json", {"more": 1}),
        ("train.npz", {"features": np.zeros((50, 5), np.float32)}),
        ("train.npz", {"features": np.full((50, 16), np.nan, np.float32)}),
        ("test.npz", {"features": np.zeros((1, 16), np.float32)}),
        ("test.npz", {"features": np.zeros((9, 16), np.float32), "labels": np.zeros(8, np.int64)}),
        ("test.npz", {"labels": np.zeros(8, np.int64)}),
        ("statistics.npz", {"mu": np.zeros(5), "sigma": np.eye(5)}),
    ],
)
def test_a_reference_whose_parts_do_not_match_is_reported(reference, tmp_path, name, change):
    reference.save(tmp_path)
    if name.endswith(".npz"):
        np.savez(tmp_path / name, **change)
    else:
        storage.write_json(tmp_path / name, storage.read_json(tmp_path / name) | change)
    with pytest.raises(ValueError, match=r"^expected a complete reference; measure it again\. Received: folder="):
        Reference.open(tmp_path)


@pytest.mark.parametrize("saved", [[], {"dataset": "digits"}])
def test_other_folders_are_reported(saved, tmp_path):
    storage.write_json(tmp_path / "reference.json", saved)
    with pytest.raises(
        ValueError, match=r"^expected a reference of format gan-pipelines/reference@3; measure it again"
    ):
        Reference.open(tmp_path)


def test_the_distance_does_not_depend_on_the_batches(reference, digits):
    images = digits.load("test")[0]
    whole = reference.distance([images])
    assert reference.distance(np.array_split(images, 7)) == pytest.approx(whole, rel=1e-5)


def test_changed_weights_are_reported(reference, tmp_path):
    reference.save(tmp_path)
    changed = FittedExtractor.load(tmp_path)
    weights = changed.network.get_weights()
    weights[0][0, 0, 0, 0] += 1e-3
    changed.network.set_weights(weights)
    changed.network.save(tmp_path / "extractor.keras")
    with pytest.raises(ValueError, match="weights were changed"):
        Reference.open(tmp_path)


def test_equal_seeds_give_the_same_extractor(digits):
    settings = Classifier(network={"width": 4, "feature_dim": 4, "epochs": 1})
    hashes = [settings.fit(digits, seed=seed).sha256 for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_without_labels_features_are_random_or_learned_from_rotations(tmp_path):
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
    assert measure_reference(dataset, EvaluationConfig(), tmp_path / "random").measure == "fd_random"
    measured = measure_reference(dataset, EvaluationConfig(extractor="rotation"), tmp_path / "reference")
    assert measured.measure == "fd_ramps_rotation"
    assert measured.extractor.classes == ()
    assert measured.extractor.facts["test_accuracy"] > 0.9


def test_class_scores_have_floors_of_the_same_number_of_real_images(reference):
    half = reference.class_scores(reference.test.first(180))
    assert all(score.floor == score.value for score in half)
    twice = reference.test.take(np.tile(np.arange(360), 2))
    floors = {score.name: score.floor for score in reference.class_scores(twice)}
    assert floors.pop("class_score_digits_classifier") is None  # it grows with the count
    assert None not in floors.values()


@pytest.mark.parametrize(
    ("accuracy", "chance", "count", "expected"),
    [
        (0.9, 0.1, 16, []),
        (0.3, 0.1, 16, ["has hardly learned"]),
        (0.61, 0.2, 16, ["is weak (test accuracy 0.610, chance 0.200)"]),
        (0.9, 0.9, 16, ["has hardly learned"]),
        (1.0, 1.0, 16, ["has hardly learned"]),
        (0.1, 0.1, 15, ["With 15 images and 16 features", "has hardly learned"]),
    ],
)
def test_a_doubtful_reference_has_a_note(accuracy, chance, count, expected):
    extractor = FittedExtractor("toy", None, (), {"test_accuracy": accuracy, "chance": chance})
    sample, statistics = Sample(np.zeros((100, 16), np.float32)), Statistics(np.zeros(16), np.eye(16), 100)
    notes = note_reference(Reference(extractor, statistics, sample, sample, {}), count)
    assert len(notes) == len(expected)
    assert all(words in note for words, note in zip(expected, notes, strict=True))


def test_classes_that_are_missing_by_more_than_chance_are_noted(reference):
    predicted = reference.test.probabilities.argmax(axis=1)
    scores = reference.score(reference.test)
    assert note_scores(scores, reference.test, reference) == []
    without = reference.test.take(~np.isin(predicted, [3, 7]))
    [note] = note_scores(scores, without, reference)
    assert note.startswith(f"Classes that the classifier finds in real images but in none of {len(without)} ")
    assert "ones: 2 of 10, such as 3. " in note
    assert note_scores(scores, without.first(20), reference) == []  # too few to say so


def test_copies_are_noted_if_they_are_more_than_chance(reference):
    scores = reference.score(reference.test)
    for value, count in ((0.1, 0), (0.3, 1)):
        copies = Score("memorised_pixels", value, 0.05, "", 0.03, 0.03)
        notes = note_scores([*scores, copies], reference.test, reference)
        assert ["generated images repeat training images" in note for note in notes] == [True] * count


def test_chance_is_the_share_of_the_most_frequent_class(digits, reference):
    labels = digits.load("test")[1]
    assert reference.extractor.facts["chance"] == np.bincount(labels).max() / len(labels)


def test_sheets_of_real_and_generated_images_have_the_same_order_of_classes(digits, tmp_path):
    images, labels = digits.load("test")
    requested = np.repeat([7, 2, 9], [10, 10, 50])  # more nines than there are
    save_sheets(tmp_path, {"generator": Sheet(images[: len(requested)], 10, 1, requested)}, {"generator": digits})
    chosen = [images[labels == label][:count] for label, count in ((7, 10), (2, 10), (9, 50))]
    missing = np.full((len(requested) - sum(map(len, chosen)), *digits.image_shape), 255, np.uint8)
    assert len(missing)
    pixels.save_grid(np.concatenate([*chosen, missing]), tmp_path / "expected.png", columns=10)
    assert (tmp_path / "real.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    save_sheets(tmp_path, {"generator": Sheet(images[:20], 10, 1, None)}, {"generator": digits})
    pixels.save_grid(images[:20], tmp_path / "expected.png", columns=10)
    assert (tmp_path / "real.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
