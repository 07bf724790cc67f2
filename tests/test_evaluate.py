"""How many images a score and its floor are of, and which real images they are held against."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from ganlib import streams
from ganlib.evaluation import EvaluationConfig, Reference, Statistics, evaluate, measure_reference
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.frechet import frechet_distance
from ganlib.evaluation.measures.per_class import per_class
from ganlib.evaluation.sample import Sample

SPACE = {"kind": "classifier", "network": {"width": 4, "feature_dim": 8, "epochs": 2}}


@pytest.fixture(scope="module")
def many(trained, digits, reference, tmp_path_factory):
    """More samples than there are test images, scored."""
    output = tmp_path_factory.mktemp("many") / "scores"
    return evaluate(trained, digits, reference, EvaluationConfig(samples=1100), output)


def test_as_many_samples_are_scored_as_were_asked_for(many, reference, trained):
    assert reference.sample_count(None) == 360
    assert reference.sample_count(10_000) == 10_000
    assert many.protocol["generated_count"] == 1100
    scores = {score.name: score for score in many.scores}
    distance = scores["fd_digits_classifier"]
    images = trained.sampler("best").images(1100, seed=streams.key("evaluation", 1))
    assert distance.value == pytest.approx(reference.distance([images]), rel=1e-6)
    assert (distance.count, distance.floor_count) == (1100, 360)
    assert distance.floor == reference.floor(360) == reference.floor(10_000)
    assert (scores["kd_digits_classifier"].count, scores["kd_digits_classifier"].floor_count) == (1100, 360)
    assert (scores["memorised_pixels"].count, scores["memorised_pixels"].floor_count) == (1100, 180)


def test_a_floor_of_another_number_of_images_says_of_how_many(many):
    add_floors = [score for score in many.scores if score.floor is not None]
    assert len(add_floors) > 8
    assert all(score.floor_text.endswith(f" ({score.floor_count} images)") for score in add_floors)
    assert many.protocol["floor_count"] == many.summary["protocol_floor_count"] == 360
    assert many.metrics["fd_digits_classifier_floor_count"] == 360
    page = many.report.read_text()
    assert all(score.floor_text in page for score in add_floors)
    [note] = [note for note in many.notes if "floors" in note]
    assert note.startswith(
        "The floors use 360 real images, all that the reference has, but the scores use 1100 generated ones."
    )
    saved = json.loads((many.folder / "scores.json").read_text())["scores"]
    assert [row["floor_count"] for row in saved] == [score.floor_count for score in many.scores]


def test_a_floor_of_as_many_images_needs_no_number(reference):
    score = reference.score(reference.test.first(60))[0]
    assert (score.count, score.floor_count) == (60, 60)
    assert "images" not in score.floor_text


def test_fewer_real_images_than_features_are_told_whatever_the_samples(reference):
    few = replace(reference, test=reference.test.first(10))  # of 16 features
    assert [note for note in few.notes(100) if note.startswith("With only 10 real images and 16 features")]
    few = replace(reference, statistics=replace(reference.statistics, count=12))
    assert [note for note in few.notes(100) if note.startswith("With only 12 real images and 16 features")]
    assert not [note for note in reference.notes(100) if "features" in note]


def test_no_more_pictures_are_kept_than_are_looked_at(trained, digits, reference, tmp_path, monkeypatch):
    """Of many samples only the features are kept; copies are looked for among the first ones."""
    monkeypatch.setattr(catalogue, "PAIRWISE_LIMIT", 40)
    few = replace(reference, test=reference.test.first(40))
    found = evaluate(trained, digits, few, EvaluationConfig(samples=200), tmp_path / "scores")
    scores = {score.name: score for score in found.scores}
    assert scores["memorised_pixels"].count == 40
    assert scores["fd_digits_classifier"].count == 200


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_the_reference_split_is_a_choice(digits, tmp_path, split):
    config = EvaluationConfig(extractor=SPACE, reference_split=split)
    measured = measure_reference(digits, config, tmp_path / "reference")
    features = {name: measured.extractor.all_outputs([digits.load(name)[0]])[0] for name in ("train", "test")}
    real = np.concatenate(list(features.values())) if split == "all" else features[split]
    other = features["train" if split == "test" else "test"]
    beside = features["test" if split == "test" else "train"]  # never images that are scored themselves
    for found in (measured, Reference.open(tmp_path / "reference")):
        assert (found.facts["reference_split"], found.facts["reference_count"]) == (split, len(real))
        np.testing.assert_allclose(found.statistics.mean, real.mean(axis=0), rtol=1e-4, atol=1e-4)
        assert found.statistics.covariance.trace() == pytest.approx(np.cov(real.T).trace(), rel=1e-4)
        assert len(found.real) == len(real)
        expected = frechet_distance(Statistics.of([other[:100]]), Statistics.of([beside]))
        assert found.floor(100) == pytest.approx(expected, rel=1e-3)
        assert found.floor_count(100_000) == len(other)
        protocol = found.protocol(count=2000, generator="best", averaged=True, seed=1)
        assert protocol["reference_split"] == split
        assert (protocol["reference_count"], protocol["floor_count"]) == (len(real), len(other))
        floors = {score.name: score for score in found.floors(100)}
        assert floors["fd_digits_classifier"].value == pytest.approx(expected, rel=1e-3)
        assert 0.0 < floors["precision_digits_classifier"].value < 1.0
        scores = {score.name: score for score in found.score(Sample(other[:100]))}
        assert scores["fd_digits_classifier"].floor == floors["fd_digits_classifier"].value
    notes = [note for note in measured.notes(100) if "floors" in note]
    assert [note.startswith("The reference consists of") for note in notes] == ([] if split == "train" else [True])


def test_a_floor_is_never_of_images_beside_themselves(digits, reference):
    """Those of all images are of the test images beside the training images, as without them."""
    whole = replace(
        reference,
        statistics=reference.statistics.merge(Statistics.of([reference.test.features])),
        facts={**reference.facts, "reference_split": "all"},
        known_floors={},
        train_statistics=reference.statistics,
    )
    assert whole.statistics.count == digits.count("train") + digits.count("test")
    assert whole.floor(200) == reference.floor(200)
    assert [score.value for score in whole.floors(200)] == [score.value for score in reference.floors(200)]
    generated = reference.train.first(300)
    rows, apart = (per_class(generated, one, digits.classes) for one in (whole, reference))
    assert [row.floor for row in rows] == [row.floor for row in apart]
    assert [row.real for row in rows] == np.bincount(whole.real.labels).tolist()


def test_more_training_images_are_kept_where_more_floors_are_asked_for(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "PAIRWISE_LIMIT", 300)
    for samples, kept in ((None, 300), (600, 600)):
        config = EvaluationConfig(extractor=SPACE, reference_split="test", samples=samples)
        measured = measure_reference(digits, config, tmp_path / f"{samples}")
        assert len(measured.train) == kept
        assert measured.statistics.count == 360


def test_an_unknown_split_is_refused():
    with pytest.raises(ValidationError, match="reference_split"):
        EvaluationConfig(reference_split="validation")
