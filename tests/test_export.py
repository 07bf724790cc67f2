"""What is shipped is what was trained, and the step fails where it is not."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ganlib.evaluation import Evaluation, EvaluationConfig, evaluate
from ganlib.export import ExportConfig, export
from ganlib.training import TrainedModel


@pytest.fixture(scope="module")
def evaluation(trained, digits, reference, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation") / "scores"
    return evaluate(trained, digits, reference, EvaluationConfig(samples=60), output, seconds={"train_gan": 1.5})


@pytest.fixture(scope="module")
def exported(trained, evaluation, tmp_path_factory):
    return export(trained, evaluation, ExportConfig(), tmp_path_factory.mktemp("exported") / "model")


def test_scores_carry_floor_and_protocol(evaluation, reference):
    opened = Evaluation.open(evaluation.folder)
    assert opened.values == evaluation.values
    assert list(opened.values) == [
        "fd_digits_classifier",
        "digits_classifier_classes_seen",
        "digits_classifier_sure_share",
    ]
    assert opened.floors["fd_digits_classifier"] == reference.floor(60)
    assert opened.values["fd_digits_classifier"] > 2 * reference.floor(60)  # six steps make no digits
    assert opened.protocol["generated_count"] == 60
    assert opened.protocol["generator"] == "ema, best"
    assert opened.protocol["extractor_sha256"] == reference.extractor.sha256


def test_the_same_seed_gives_the_same_scores_and_another_one_others(trained, digits, reference, evaluation, tmp_path):
    again = evaluate(trained, digits, reference, EvaluationConfig(samples=60), tmp_path / "again")
    other = evaluate(trained, digits, reference, EvaluationConfig(samples=60, seed=2), tmp_path / "other")
    assert again.values == evaluation.values
    assert other.values != evaluation.values


def test_the_report_shows_scores_pictures_and_times(evaluation):
    page = evaluation.report.read_text()
    for part in ("fd_digits_classifier", "step 6", "train_gan", "generator/non_saturating", "Protocol", "held out"):
        assert part in page
    assert page.count("data:image/png;base64,") == 6  # three of growth, generated, real, preview
    assert page.count("<svg") == 3


def test_the_exported_signatures_give_the_images_of_training(exported, trained):
    model = tf.saved_model.load(str(exported.folder / "saved_model"))
    inputs, images = trained.witness("best")
    served = model.signatures["serving_default"](latent=tf.constant(inputs["latent"]))["images"].numpy()
    np.testing.assert_allclose(served, images, atol=1e-6)
    drawn = model.signatures["generate"](seed=tf.constant(1, tf.int64), count=tf.constant(7))["images"].numpy()
    np.testing.assert_array_equal(drawn, trained.sampler("best").images(7, seed=1))
    assert exported.parity["saved_model"] <= 1e-4
    assert exported.parity["keras"] <= 1e-4


def test_the_five_lines_of_the_model_card_work_by_themselves(exported):
    card = exported.card.read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    check = "\nassert images.shape == (16, 16, 16, 1) and images.dtype == tf.uint8"
    subprocess.run([sys.executable, "-I", "-c", code + check], cwd=exported.folder, check=True, capture_output=True)
    for part in ("data set `digits`", "16x16 grey", "| `fd_digits_classifier` |", "extractor_sha256", "samples.png"):
        assert part in card
    assert (exported.folder / "samples.png").exists()


def test_a_model_that_is_not_the_trained_one_is_not_shipped(trained, evaluation, copy, tmp_path):
    forged = TrainedModel.open(copy(trained.folder))
    network = forged.network("best")
    network.set_weights([weights + 0.05 for weights in network.get_weights()])
    network.save(forged.file("best"))
    with pytest.raises(RuntimeError, match=r"gives other images than training did.*export\.tolerance.*Received: diff"):
        export(forged, evaluation, ExportConfig(), tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_last_generator_is_shipped_if_that_was_judged(trained, digits, reference, tmp_path):
    judged = evaluate(trained, digits, reference, EvaluationConfig(samples=20, generator="last"), tmp_path / "scores")
    exported = export(trained, judged, ExportConfig(), tmp_path / "model")
    assert "the last one" in exported.card.read_text()
    shipped = tf.keras.models.load_model(exported.folder / "generator.keras", compile=False)
    expected = trained.network("last").get_weights()
    assert all((a == b).all() for a, b in zip(shipped.get_weights(), expected, strict=True))
