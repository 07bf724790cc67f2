"""The numbers of images in scores and floors, and the real images they are compared with."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from kfp import dsl
from pydantic import ValidationError

from ganlib import storage, streams, tracking
from ganlib.evaluation import Evaluation, EvaluationConfig, Reference, Statistics, compare, evaluate, measure_reference
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.frechet import frechet_distance
from ganlib.evaluation.measures.per_class import count_predictions, per_class
from ganlib.evaluation.notes import note_reference
from ganlib.evaluation.sample import Sample

SPACE = {"kind": "classifier", "network": {"width": 4, "feature_dim": 8, "epochs": 2}}


@pytest.fixture(scope="module")
def many(trained, digits, reference, tmp_path_factory):
    """More samples than there are test images, scored."""
    output = tmp_path_factory.mktemp("many") / "scores"
    return evaluate(trained, digits, reference, EvaluationConfig(samples=1100), output)


def test_the_requested_number_of_samples_is_scored(many, reference, trained):
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


def test_fresh_samples_of_a_model_that_others_chose_have_metrics_of_their_own(trained, digits, reference, tmp_path):
    fresh = evaluate(trained, digits, reference, EvaluationConfig(samples=20).with_fresh_samples(), tmp_path / "fresh")
    [row] = storage.read_lines(fresh.folder / tracking.HISTORY)
    assert set(row) - {"step", "time"} == {f"check_{name}" for name in fresh.metrics}
    [params, report] = storage.read_lines(fresh.folder / tracking.JOURNAL)
    assert all(name.startswith("check_evaluation.") for name in params["values"])
    assert report["place"] == "check_report"
    assert Evaluation.open(fresh.folder).prefix == "check_"


def test_the_table_of_kfps_page_holds_what_people_compare(many):
    """The errors, the counts and the whole protocol are in the files."""
    shown = many.summary
    assert shown.pop("generator_step") == many.generator["step"]
    assert re.fullmatch("[0-9a-f]{8}", shown.pop("protocol"))
    assert shown == {**many.values, **{f"{name}_floor": floor for name, floor in many.floors.items()}}
    assert not any(isinstance(value, str) for value in shown.values())
    assert len(many.protocol) > 10
    assert any(name.endswith("_error") for name in many.metrics)


def test_the_protocols_identifier_is_equal_for_scores_that_may_be_compared(many):
    mine = many.summary["protocol"]
    for fact in many.protocol:
        other = replace(many, protocol={**many.protocol, fact: "another"})
        if other.summary["protocol"] == mine:
            compare(many, other)
            assert fact == "seed"
        else:
            with pytest.raises(ValueError, match="one protocol"):
                compare(many, other)


def test_requested_classes_stand_against_those_that_the_classifier_reads(reference, many):
    count = len(reference.extractor.classes)
    labels = np.array([0, 0, 1, 2, 2, 2])
    predicted = np.array([0, 3, 1, 2, 2, 9])
    sample = Sample(np.zeros((6, 4), np.float32), np.eye(count, dtype=np.float32)[predicted], labels)
    matrix = count_predictions(sample, reference)
    assert sum(map(sum, matrix)) == 6
    assert {(asked, read): matrix[asked][read] for asked, read in zip(labels, predicted, strict=True)} == {
        (0, 0): 1,
        (0, 3): 1,
        (1, 1): 1,
        (2, 2): 2,
        (2, 9): 1,
    }
    assert count_predictions(replace(sample, labels=None), reference) is None
    assert count_predictions(replace(sample, probabilities=None), reference) is None
    names = reference.extractor.classes
    shown = replace(many, confusion={"classes": names, "counts": matrix}).confusion_summary
    metrics = dsl.ClassificationMetrics()
    metrics.log_confusion_matrix(list(names), matrix)
    assert shown == metrics.metadata
    crowd = replace(many, confusion={"classes": ["x"] * 101, "counts": [[0] * 101] * 101})
    assert many.confusion is None
    assert many.confusion_summary == crowd.confusion_summary == {}


def test_a_floor_names_its_number_of_images_if_it_differs(many):
    add_floors = [score for score in many.scores if score.floor is not None]
    assert len(add_floors) > 8
    assert all(score.floor_text.endswith(f" ({score.floor_count} images)") for score in add_floors)
    assert many.protocol["floor_count"] == 360
    assert many.metrics["fd_digits_classifier_floor_count"] == 360
    page = many.report.read_text()
    assert all(score.floor_text in page for score in add_floors)
    [note] = [note for note in many.notes if "floors" in note]
    assert note.startswith(
        "The floors use 360 real images, all that the reference has, but the scores use 1100 generated ones."
    )
    saved = json.loads((many.folder / "scores.json").read_text())["scores"]
    assert [row["floor_count"] for row in saved] == [score.floor_count for score in many.scores]


def test_a_floor_of_the_same_number_of_images_names_none(reference):
    score = reference.score(reference.test.first(60))[0]
    assert (score.count, score.floor_count) == (60, 60)
    assert "images" not in score.floor_text


def test_fewer_real_images_than_features_give_a_note_for_any_number_of_samples(reference):
    few = replace(reference, test=reference.test.first(10))  # of 16 features
    assert [note for note in note_reference(few, 100) if note.startswith("With only 10 real images and 16 features")]
    few = replace(reference, statistics=replace(reference.statistics, count=12))
    assert [note for note in note_reference(few, 100) if note.startswith("With only 12 real images and 16 features")]
    assert not [note for note in note_reference(reference, 100) if "features" in note]


def test_of_many_samples_only_the_needed_images_stay_in_memory(trained, digits, reference, tmp_path, monkeypatch):
    """Copies are searched for among the first samples only."""
    monkeypatch.setattr(catalogue, "PAIRWISE_LIMIT", 40)
    few = replace(reference, test=reference.test.first(40))
    evaluation = evaluate(trained, digits, few, EvaluationConfig(samples=200), tmp_path / "scores")
    scores = {score.name: score for score in evaluation.scores}
    assert scores["memorised_pixels"].count == 40
    assert scores["fd_digits_classifier"].count == 200


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_the_reference_split_is_a_choice(digits, tmp_path, split):
    config = EvaluationConfig(extractor=SPACE, reference_split=split)
    measured = measure_reference(digits, config, tmp_path / "reference")
    features = {name: measured.extractor.all_outputs([digits.load(name)[0]])[0] for name in ("train", "test")}
    real = np.concatenate(list(features.values())) if split == "all" else features[split]
    other = features["train" if split == "test" else "test"]
    floor_real = features["test" if split == "test" else "train"]  # without the images that replace generated ones
    for opened in (measured, Reference.open(tmp_path / "reference")):
        assert (opened.facts["reference_split"], opened.facts["reference_count"]) == (split, len(real))
        np.testing.assert_allclose(opened.statistics.mean, real.mean(axis=0), rtol=1e-4, atol=1e-4)
        assert opened.statistics.covariance.trace() == pytest.approx(np.cov(real.T).trace(), rel=1e-4)
        assert len(opened.real) == len(real)
        expected = frechet_distance(Statistics.of([other[:100]]), Statistics.of([floor_real]))
        assert opened.floor(100) == pytest.approx(expected, rel=1e-3)
        assert opened.floor_count(100_000) == len(other)
        protocol = opened.protocol(count=2000, generator="best", averaged=True, seed=1)
        assert protocol["reference_split"] == split
        assert (protocol["reference_count"], protocol["floor_count"]) == (len(real), len(other))
        floors = {score.name: score for score in opened.floors(100)}
        assert floors["fd_digits_classifier"].value == pytest.approx(expected, rel=1e-3)
        assert 0.0 < floors["precision_digits_classifier"].value < 1.0
        scores = {score.name: score for score in opened.score(Sample(other[:100]))}
        assert scores["fd_digits_classifier"].floor == floors["fd_digits_classifier"].value
    notes = [note for note in note_reference(measured, 100) if "floors" in note]
    assert [note.startswith("The reference consists of") for note in notes] == ([] if split == "train" else [True])


def test_a_floor_never_compares_images_with_themselves(digits, reference):
    """Also for the split `all`, floors compare test images with training images."""
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
    rows, train_rows = (per_class(generated, one, digits.classes) for one in (whole, reference))
    assert [row.floor for row in rows] == [row.floor for row in train_rows]
    assert [row.real for row in rows] == np.bincount(whole.real.labels).tolist()


def test_larger_floors_store_more_training_images(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "PAIRWISE_LIMIT", 300)
    for samples, count in ((None, 300), (600, 600)):
        config = EvaluationConfig(extractor=SPACE, reference_split="test", samples=samples)
        measured = measure_reference(digits, config, tmp_path / f"{samples}")
        assert len(measured.train) == count
        assert measured.statistics.count == 360


def test_an_unknown_split_is_refused():
    with pytest.raises(ValidationError, match="reference_split"):
        EvaluationConfig(reference_split="validation")
