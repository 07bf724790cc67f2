"""What is shipped is what was trained, and the step fails where it is not."""

import base64
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganlib import storage, streams
from ganlib.config import RunConfig
from ganlib.data import DataConfig, PreparedDataset, prepare
from ganlib.evaluation import Evaluation, EvaluationConfig, evaluate, measure_reference
from ganlib.evaluation.extractors.network import NetworkSettings
from ganlib.export import ExportConfig, export
from ganlib.export.card import with_inline_pictures
from ganlib.export.facts import digest
from ganlib.inference import Inputs
from ganlib.models import Dcgan
from ganlib.objectives import Hinge
from ganlib.tasks import Generation
from ganlib.trained import save_witness, witness_file
from ganlib.training import TrainConfig, TrainedModel, train


@pytest.fixture(scope="module")
def evaluation(trained, digits, reference, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation") / "scores"
    return evaluate(trained, digits, reference, EvaluationConfig(samples=60), output, seconds={"train_gan": 1.5})


@pytest.fixture(scope="module")
def exported(trained, evaluation, tmp_path_factory):
    return export(trained, evaluation, ExportConfig(onnx=False), tmp_path_factory.mktemp("exported") / "model")


def test_scores_carry_floor_and_protocol(evaluation, reference):
    opened = Evaluation.open(evaluation.folder)
    assert opened.values == evaluation.values
    assert list(opened.values) == [
        "fd_digits_classifier",
        "fd_infinity_digits_classifier",
        "kd_digits_classifier",
        "precision_digits_classifier",
        "recall_digits_classifier",
        "density_digits_classifier",
        "coverage_digits_classifier",
        "class_score_digits_classifier",
        "digits_classifier_classes_seen",
        "digits_classifier_sure_share",
        "memorised_pixels",
    ]
    assert opened.floors["fd_digits_classifier"] == reference.floor(60)
    assert opened.values["fd_digits_classifier"] > 2 * reference.floor(60)  # six steps make no digits
    # Six steps make grey spots: far away, unlike digits, and alike.
    assert opened.values["kd_digits_classifier"] > 3 * opened.metrics["kd_digits_classifier_error"] > 0
    assert opened.values["coverage_digits_classifier"] < 0.1 < 0.7 < opened.floors["coverage_digits_classifier"]
    assert opened.values["precision_digits_classifier"] < 0.1 < 0.5 < opened.floors["precision_digits_classifier"]
    assert opened.protocol["generated_count"] == opened.protocol["pairwise_count"] == 60
    assert opened.protocol["generator"] == "best"
    assert opened.protocol["extractor_sha256"] == reference.extractor.sha256


def test_the_same_seed_gives_the_same_scores_and_another_one_others(trained, digits, reference, evaluation, tmp_path):
    again = evaluate(trained, digits, reference, EvaluationConfig(samples=60), tmp_path / "again")
    other = evaluate(trained, digits, reference, EvaluationConfig(samples=60, seed=2), tmp_path / "other")
    assert again.values == evaluation.values
    assert other.values != evaluation.values


def test_too_few_images_for_neighbours_are_scored_without_them(trained, digits, reference, tmp_path):
    few = evaluate(trained, digits, reference, EvaluationConfig(samples=5), tmp_path / "few")
    assert "fd_digits_classifier" in few.values
    assert "coverage_digits_classifier" not in few.values
    assert [note for note in few.notes if note.startswith("Without precision, recall, density, coverage: they need 6 ")]
    assert "kd_digits_classifier" in few.values


@pytest.mark.parametrize("harm", ["absent", "cut", "flipped"])
def test_a_damaged_generator_is_told_in_one_line(trained, digits, reference, tmp_path, harm):
    folder = tmp_path / "trained"
    shutil.copytree(trained.folder, folder)
    trained_file = TrainedModel.open(folder).file("best")
    data = bytearray((trained_file).read_bytes())
    (trained_file).unlink()
    if harm == "flipped":
        data[len(data) // 2] ^= 255
        (trained_file).write_bytes(data)
    elif harm == "cut":
        (trained_file).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"^expected the whole Keras file of a generator\. Received: path=") as raised:
        evaluate(TrainedModel.open(folder), digits, reference, EvaluationConfig(samples=5), tmp_path / "scores")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("saved", [[], {}, {"config": {}}])
def test_what_is_no_trained_model_is_told(saved, tmp_path):
    storage.write_json(tmp_path / "model.json", saved)
    with pytest.raises(ValueError, match=r"^expected what `train` leaves behind\. Received: folder="):
        TrainedModel.open(tmp_path)


def test_a_reference_of_other_images_is_noted_and_one_of_another_shape_refused(trained, digits, reference, tmp_path):
    facts = {**reference.facts, "dataset": "letters", "dataset_sha256": "0" * 64}
    config = EvaluationConfig(samples=5)
    noted = evaluate(trained, digits, replace(reference, facts=facts), config, tmp_path / "scores")
    assert "The reference was measured on other images, letters, than the model was trained on." in noted.notes
    larger = prepare(DataConfig(size=20), tmp_path / "larger")
    extractor = {"kind": "classifier", "network": {"width": 4, "feature_dim": 4, "epochs": 1}}
    other = measure_reference(larger, EvaluationConfig(extractor=extractor), tmp_path / "reference")
    with pytest.raises(ValueError, match=r"^expected images of 20x20x1, as the reference's\. Received: 16x16x1$"):
        evaluate(trained, digits, other, config, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_classes_without_images_are_noted(trained, digits, reference, copy, tmp_path):
    folder = copy(digits.folder)
    manifest = storage.read_json(folder / "manifest.json")
    manifest["splits"]["test"]["classes"] |= {"3": 0, "7": 0}
    storage.write_json(folder / "manifest.json", manifest)
    few = evaluate(trained, PreparedDataset.open(folder), reference, EvaluationConfig(samples=5), tmp_path / "scores")
    assert "Classes without test images: 2 of 10, such as 3." in few.notes


def test_the_report_shows_scores_pictures_and_times(evaluation):
    page = evaluation.report.read_text()
    kernel = next(score for score in evaluation.scores if score.name.startswith("kd_"))
    assert re.fullmatch(r"\S+ ± [\d.]+", kernel.text)
    assert f'>{kernel.text}</td><td class="n">{kernel.floor_text}</td>' in page
    for part in (
        "fd_digits_classifier",
        "step 6",
        "train_gan",
        "generator/non_saturating",
        "Protocol",
        "real test images",
    ):
        assert part in page
    # Three of growth, generated, real, preview; best, worst, closest pairs, neighbours.
    assert page.count("data:image/png;base64,") == 10
    assert "the closest pairs: generated above, the nearest training image below" in page
    assert "Scores of each class" in page
    assert "predicted as requested" not in page  # no class was requested
    assert page.count("<svg") == 8  # distance, diversity, accuracy, terms, gradients, rates, average, speed
    colour = re.search(r'background: (#\w{6})"></i>generator/non_saturating</span>', page)
    assert f"stroke: {colour[1]}" in page.partition("generator/non_saturating</span>")[2].partition("</svg>")[0]


def test_the_exported_signatures_give_the_images_of_training(exported, trained):
    model = tf.saved_model.load(str(exported.folder / "saved_model"))
    inputs, images = trained.witness("best")
    served = model.signatures["serving_default"](latent=tf.constant(inputs["latent"]))["images"].numpy()
    np.testing.assert_allclose(served, images, atol=1e-6)
    drawn = model.signatures["generate"](seed=tf.constant(1, tf.int64), count=tf.constant(7))["images"].numpy()
    np.testing.assert_array_equal(drawn, trained.sampler("best").images(7, seed=1))
    assert exported.parity["saved_model"] <= 1e-4
    assert exported.parity["keras"] <= 1e-4


def test_the_exported_folder_is_a_model_of_mlflow(exported, labelled, trained):
    import mlflow.pyfunc

    conda = mlflow.pyfunc.get_model_dependencies(str(exported.folder), format="conda")  # what makes an environment
    assert Path(conda).read_text().startswith("dependencies:\n- python=3.")
    made = mlflow.pyfunc.load_model(str(exported.folder)).predict({"seed": 1, "count": 7})
    np.testing.assert_array_equal(made, trained.sampler("best").images(7, seed=1))
    made = mlflow.pyfunc.load_model(str(labelled[2].folder)).predict([{"seed": 3, "label": "7"}])
    np.testing.assert_array_equal(made, labelled[0].sampler("best").images(1, seed=3, labels=np.array([7])))


def test_the_five_lines_of_the_model_card_work_by_themselves(exported):
    card = exported.card.read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    check = "\nassert images.shape == (16, 16, 16, 1) and images.dtype == tf.uint8"
    command = [sys.executable, "-I", "-c", code + check]  # not forked: the lines import what they need
    done = subprocess.run(command, cwd=exported.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for part in ("data set `digits`", "16x16 grey", "| `fd_digits_classifier` |", "extractor_sha256", "samples.png"):
        assert part in card
    assert (exported.folder / "samples.png").exists()


def test_the_card_of_a_page_has_its_pictures_inside(exported, tmp_path):
    """Small ones pixel for pixel; a large one is made smaller, so that KFP's page shows all of the card."""
    page = exported.page
    assert "samples.png" not in page.partition("## Use")[0]
    [content] = re.findall(r"^!\[samples\]\(data:image/png;base64,([^)]+)\)$", page, re.MULTILINE)
    with (
        Image.open(io.BytesIO(base64.b64decode(content))) as inside,
        Image.open(exported.folder / "samples.png") as png,
    ):
        np.testing.assert_array_equal(np.asarray(inside.convert("RGB")), np.asarray(png.convert("RGB")))
    assert page.replace(f"data:image/png;base64,{content}", "samples.png") == exported.card.read_text(encoding="utf-8")
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "samples.png")
    assert len(with_inline_pictures(exported.card.read_text(encoding="utf-8"), tmp_path)) < 400_000


def test_a_model_that_is_not_the_trained_one_is_not_shipped(trained, evaluation, copy, tmp_path):
    forged = TrainedModel.open(copy(trained.folder))
    network = forged.network("best")
    network.set_weights([weights + 0.05 for weights in network.get_weights()])
    network.save(forged.file("best"))
    evaluation = replace(evaluation, generator=forged.identity("best"))
    with pytest.raises(RuntimeError, match=r"gives other images than training did.*export\.tolerance.*Received: diff"):
        export(forged, evaluation, ExportConfig(onnx=False), tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


def test_images_that_are_not_numbers_are_not_taken_for_equal(trained, evaluation, copy, tmp_path):
    forged = TrainedModel.open(copy(trained.folder))
    inputs, images = forged.witness("best")
    save_witness(witness_file(forged.folder, "best", "generator"), inputs, images * np.nan)
    with pytest.raises(RuntimeError, match=r"gives other images than training did.*Received: difference=nan"):
        export(forged, evaluation, ExportConfig(onnx=False), tmp_path / "model")


def test_the_last_generator_is_shipped_if_that_was_judged(trained, digits, reference, tmp_path):
    judged = evaluate(trained, digits, reference, EvaluationConfig(samples=20, generator="last"), tmp_path / "scores")
    exported = export(trained, judged, ExportConfig(onnx=False), tmp_path / "model")
    assert "the last one" in exported.card.read_text()
    shipped = tf.keras.models.load_model(exported.folder / "generator.keras", compile=False)
    expected = trained.network("last").get_weights()
    assert all((a == b).all() for a, b in zip(shipped.get_weights(), expected, strict=True))


@pytest.fixture(scope="module")
def labelled(digits, reference, tmp_path_factory):
    """A trained model that takes a label, scored and exported, and the store that all of it was logged to."""
    from ganlib import tracking

    place = tmp_path_factory.mktemp("labelled")
    uri = tracking.create_store(place / "mlflow.db", experiment="gan-pipelines", artifacts=place / "artifacts")
    config = TrainConfig(
        steps=8, batch_size=8, score_every=4, sample_every=4, checkpoint_every=8, score_samples=50, precision="float32"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        model = train(
            digits,
            reference,
            task=Generation(latent_dim=8, conditional=True),
            architecture=Dcgan(width=4, discriminator_norm="spectral"),
            objective=Hinge(),
            config=config,
            output=place / "model",
        )
        scores = evaluate(model, digits, reference, EvaluationConfig(samples=60), place / "scores")
        return model, scores, export(model, scores, ExportConfig(onnx=False), place / "exported"), uri


def test_the_documented_example_saves_images_with_and_without_classes(exported, labelled, tmp_path, monkeypatch):
    readme, page = (Path(__file__).parents[1].joinpath(name).read_text() for name in ("README.md", "docs/apply.md"))
    example, *_ = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    [run] = re.findall(r'"(runs/[^"/]+)/model/saved_model"', example)
    assert f"\n  model     {run}/model\n" in readme  # what `make run` printed
    for folder, label in ((labelled[2].folder, ', "label": tf.constant(3, tf.int64)'), (exported.folder, "")):
        place = tmp_path / ("with" if label else "without")
        (place / run).mkdir(parents=True)
        (place / run / "model").symlink_to(folder)
        monkeypatch.chdir(place)
        exec(example if label else example.replace(', "label": tf.constant(3, tf.int64)', ""), {})
        assert sorted(path.name for path in place.glob("*.png")) == [f"{number:03}.png" for number in range(100)]


def test_a_class_can_be_asked_for_wherever_images_are_drawn(labelled):
    model, _, exported, _ = labelled
    sampler = model.sampler("best")
    generate = tf.saved_model.load(str(exported.folder / "saved_model")).signatures["generate"]
    for label in (0, 7):
        asked = {"seed": tf.constant(3, tf.int64), "label": tf.constant(label, tf.int64), "count": tf.constant(5)}
        expected = sampler.images(5, seed=3, labels=np.full(5, label))
        np.testing.assert_array_equal(generate(**asked)["images"].numpy(), expected)
    assert Inputs.read(exported.folder).classes == model.classes
    sheet = sampler.sheet(seed=3)
    np.testing.assert_array_equal(sheet.images, sampler.images(100, seed=3, labels=np.repeat(np.arange(10), 10)))
    assert (sampler.images(5, seed=3, labels=np.full(5, 1)) != sampler.images(5, seed=3, labels=np.full(5, 2))).any()
    assert set(labelled[0].witness("best")[0]) == {"latent", "label"}


@pytest.mark.parametrize("label", [-1, 10, 99, 2**40])
def test_every_exported_entry_refuses_a_label_of_no_class(labelled, label):
    folder = labelled[2].folder
    signatures = tf.saved_model.load(str(folder / "saved_model")).signatures
    latent, labels = tf.zeros([3, 8]), tf.constant([0, label, 9], tf.int64)
    told = rf"(?s)expected labels in 0\.\.9\. Received: label=.*{label}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        signatures["serving_default"](latent=latent, label=labels)
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        signatures["generate"](seed=tf.constant(1, tf.int64), count=tf.constant(2), label=labels[1])
    network = tf.keras.models.load_model(folder / "generator.keras", compile=False)
    inputs = {"latent": latent.numpy(), "label": labels.numpy()}
    for call in (network, network.predict_on_batch, tf.function(network)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"should be in vocabulary.*\[{label}\]"):
            call(inputs)
    assert np.isfinite(network({**inputs, "label": np.arange(3)})).all()


def test_the_signatures_say_what_is_wrong_with_other_inputs(labelled, exported):
    with_label, without = (
        tf.saved_model.load(str(folder / "saved_model")).signatures for folder in (labelled[2].folder, exported.folder)
    )
    refusals = (tf.errors.InvalidArgumentError, TypeError)
    seed, latent, label = tf.constant(1, tf.int64), tf.zeros([2, 8]), tf.zeros([2], tf.int64)
    for count in (0, -3):
        with pytest.raises(refusals, match=rf"expected a count of at least 1\. Received: count=.*{count}"):
            without["generate"](seed=seed, count=tf.constant(count))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(refusals, match="expected finite numbers as latent"):
            without["serving_default"](latent=tf.fill([2, 8], bad))
    with pytest.raises(refusals, match=r"incompatible: In\[0\]: \[2,9\], In\[1\]: \[8,"):
        without["serving_default"](latent=tf.zeros([2, 9]))
    with pytest.raises(refusals, match="expected as many labels as latents"):
        with_label["serving_default"](latent=latent, label=label[:1])
    for wrong in (tf.zeros([2]), tf.zeros([2], tf.int32)):
        with pytest.raises(refusals, match=r"label|expected to be a int64 tensor"):
            with_label["serving_default"](latent=latent, label=wrong)
    with pytest.raises(refusals, match="label"):
        without["generate"](seed=seed, count=tf.constant(2), label=label[0])
    with pytest.raises(refusals, match="label"):
        with_label["generate"](seed=seed, count=tf.constant(2))


def test_a_sampler_refuses_what_it_cannot_draw(labelled, trained):
    asked, free = labelled[0].sampler("best"), trained.sampler("best")
    for label in (-1, 10):
        with pytest.raises(ValueError, match=rf"^expected labels in 0\.\.9\. Received: label={label}$"):
            asked.images(3, seed=1, labels=np.array([0, label, 1]))
    with pytest.raises(ValueError, match=r"^expected a label for each of 3 images\. Received: shape=\(2,\)$"):
        asked.images(3, seed=1, labels=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"^expected no labels, since this generator takes none\. Received: labels="):
        free.images(3, seed=1, labels=np.array([0, 1, 2]))
    for count in (0, -1):
        with pytest.raises(ValueError, match=rf"^expected at least one image\. Received: count={count}$"):
            free.images(count, seed=1)


def test_the_report_tells_how_often_each_class_is_seen_as_asked(labelled):
    page = labelled[1].report.read_text()
    assert '<th class="n">predicted as requested</th>' in page
    assert all(row.count("<td") == 9 for row in re.findall(r"<tr><td>\d</td>.*</tr>", page))


def test_scored_samples_have_classes_as_frequent_as_the_real_ones(labelled, digits):
    model = labelled[0]
    asked = np.concatenate([samples.labels for samples in model.sampler("best").batches(5000, seed=1)])
    shares = np.bincount(digits.load("train")[1], minlength=10) / digits.count("train")
    assert model.shares == pytest.approx(shares)
    # Five standard deviations of a share near a tenth over 5,000 draws.
    assert np.bincount(asked, minlength=10) / 5000 == pytest.approx(shares, abs=5 * np.sqrt(0.1 * 0.9 / 5000))


def test_the_agreement_with_the_asked_class_is_a_score(labelled, reference):
    model, scores, _, _ = labelled
    batches = list(model.sampler("best").batches(1000, seed=streams.key("evaluation", 1)))
    agreed = [
        probabilities.argmax(axis=1) == samples.labels
        for samples in batches
        for _, probabilities in reference.extractor.outputs([samples.images])
    ]
    assert scores.values["digits_classifier_agreement"] == pytest.approx(np.concatenate(agreed).mean())
    assert scores.floors["digits_classifier_agreement"] == pytest.approx(reference.extractor.facts["test_accuracy"])


def test_each_class_has_scores_of_its_own(labelled, digits):
    rows = storage.read_json(labelled[1].folder / "scores.json")["classes"]
    assert [row["name"] for row in rows] == list(digits.classes)
    assert sum(row["count"] for row in rows) == 1000
    manifest = digits.manifest["splits"]["train"]["classes"]
    assert {row["name"]: row["real"] for row in rows} == manifest  # all of them, being fewer than are kept
    held_out = digits.manifest["splits"]["test"]["classes"]
    for row in rows:
        assert row["measured"] == min(row["count"], held_out[row["name"]])
        assert row["distance"] > 2 * row["floor"] > 0
        assert 0 <= row["agreement"] <= 1


def test_what_generated_images_are_worth_is_measured_by_a_classifier_that_learns_from_them(
    labelled, digits, reference, tmp_path, monkeypatch
):
    seeds, plain = set(), NetworkSettings.train

    def watched(settings, *given, seed, **named):
        seeds.add(seed)
        return plain(settings, *given, seed=seed, **named)

    monkeypatch.setattr(NetworkSettings, "train", watched)
    config = EvaluationConfig(samples=20, classification_accuracy=True)
    scores = evaluate(labelled[0], digits, reference, config, tmp_path / "scores")
    assert len(seeds) == 1  # all three begin alike, and not as the extractor of this seed does
    assert config.seed not in seeds
    assert scores.floors["cas_digits"] == scores.floors["cas_with_real_digits"] > 0.9
    assert scores.values["cas_digits"] < 0.5 < scores.values["cas_with_real_digits"]  # eight steps make no digits
    assert 0 < scores.metrics["cas_digits_error"] < 0.03


def test_the_accuracy_score_wants_a_generator_that_is_asked_for_classes(trained, digits, reference, tmp_path):
    config = EvaluationConfig(samples=20, classification_accuracy=True)
    with pytest.raises(
        ValueError, match=r"task\.conditional=true\. Received: evaluation\.classification_accuracy=True"
    ):
        evaluate(trained, digits, reference, config, tmp_path / "scores")
    with pytest.raises(
        ValueError, match=r"task\.conditional=true\. Received: evaluation\.classification_accuracy=true"
    ):
        RunConfig(evaluation={"classification_accuracy": True})


def test_card_report_and_registered_model_say_what_a_label_is(labelled, monkeypatch):
    from mlflow import MlflowClient

    _, scores, exported, uri = labelled
    card = exported.card.read_text()
    assert "`label` chooses the class: 0 = `0`, 1 = `1`, " in card
    assert "- `serving_default` takes `label` int64 [N], `latent` float32 [N, 8]." in card
    assert "- `generate` takes `seed` int64, `count` int32, `label` int64." in card
    code = card.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(exported.folder)
    made = {}
    exec(code, made)  # our own; in a process of its own the other card's is run
    assert (made["images"].shape, made["images"].dtype) == ((16, 16, 16, 1), tf.uint8)
    page = scores.report.read_text()
    assert "one class per row: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in page
    [first, *_] = re.findall('<img src="data:image/png;base64,([^"]+)" alt="samples at step', page)
    with Image.open(io.BytesIO(base64.b64decode(first))) as growth, Image.open(scores.samples) as sheet:
        assert growth.height == sheet.height  # all rows, for each is another class
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("gan-pipelines").experiment_id
    [model] = client.search_logged_models([experiment])
    assert model.status == "READY"


def test_a_label_is_refused_where_the_data_has_none(digits, reference, copy, tmp_path):
    folder = copy(digits.folder)
    manifest = storage.read_json(folder / "manifest.json")
    storage.write_json(folder / "manifest.json", {**manifest, "classes": []})
    with pytest.raises(ValueError, match=r"needs images with labels.*Received: classes=0, conditional=True"):
        train(
            PreparedDataset.open(folder),
            reference,
            task=Generation(conditional=True),
            architecture=Dcgan(width=4),
            objective=Hinge(),
            config=TrainConfig(steps=1),
            output=tmp_path / "model",
        )


@pytest.fixture
def proved(monkeypatch):
    """Takes the exported model for proved, as other tests show that it is, to save the time of a fresh process."""
    monkeypatch.setattr("ganlib.export.parity.FreshProcess.check", lambda *_, **__: {"saved_model": 0.0, "keras": 0.0})


def test_the_model_is_published_in_a_bucket_as_it_lies_here(trained, evaluation, proved, tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    target = f"{bucket}/models/digits"
    exported = export(trained, evaluation, ExportConfig(onnx=False, target=target), tmp_path / "model")
    assert exported.summary["published"] == target
    assert f"Published at `{target}`." in exported.card.read_text()
    fetched = storage.fetch(target)
    names = {path.relative_to(fetched) for path in fetched.rglob("*") if path.is_file()}
    assert {str(name) for name in names} >= {
        "saved_model/saved_model.pb",
        "generator.keras",
        "inputs.json",
        "README.md",
        "parity.json",
    }
    for name in names:
        assert (fetched / name).read_bytes() == (exported.folder / name).read_bytes()
    drawn = tf.saved_model.load(str(fetched / "saved_model")).signatures["generate"]
    assert drawn(seed=tf.constant(1, tf.int64), count=tf.constant(2))["images"].shape == (2, 16, 16, 1)


def test_a_model_that_cannot_be_published_does_not_appear(trained, evaluation, proved, tmp_path, traffic):
    with pytest.raises(ValueError, match="no such bucket or object"):
        export(trained, evaluation, ExportConfig(onnx=False, target="gs://elsewhere/model"), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_target_here_is_replaced_only_if_an_export_wrote_it(trained, evaluation, proved, tmp_path):
    target = tmp_path / "served"
    config = ExportConfig(onnx=False, target=str(target))
    target.mkdir()
    (target / "precious").write_text("x")
    with pytest.raises(ValueError, match="expected a new folder, or one that an export wrote"):
        export(trained, evaluation, config, tmp_path / "model")
    target.rename(tmp_path / "elsewhere")
    for name in ("one", "two"):
        export(trained, evaluation, config, tmp_path / name)
        assert (target / "generator.keras").read_bytes() == (tmp_path / name / "generator.keras").read_bytes()
    assert digest(tmp_path / "one") == digest(tmp_path / "two") == digest(target)  # the same model for the registry


def test_a_target_in_a_bucket_is_replaced_only_if_it_was_published(
    trained, evaluation, proved, tmp_path, bucket, objects
):
    objects.blob("served/README.md").upload_from_string("precious")
    objects.blob("servedelsewhere/README.md").upload_from_string("beside it")
    for end in ("", "/"):
        with pytest.raises(ValueError, match="expected a new folder, or one that an export wrote") as caught:
            export(trained, evaluation, ExportConfig(onnx=False, target=f"{bucket}/served{end}"), tmp_path / "model")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()
    assert [blob.name for blob in objects.list_blobs(prefix="served/")] == ["served/README.md"]
    objects.blob("served/README.md").delete()
    for name in ("one", "two"):
        export(trained, evaluation, ExportConfig(onnx=False, target=f"{bucket}/served"), tmp_path / name)
        published = objects.blob("served/generator.keras").download_as_bytes()
        assert published == (tmp_path / name / "generator.keras").read_bytes()


def test_a_target_that_nobody_can_write_to_is_refused():
    with pytest.raises(ValueError, match="expected a gs:// or s3:// address, or a folder"):
        ExportConfig(target="https://host/x")
