"""Artifacts are checked by hash wherever two of them meet: some differences are errors, others give notes."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ganlib import storage
from ganlib.data import DataConfig, PreparedDataset, merge_parts, prepare, prepare_part
from ganlib.evaluation import Evaluation, EvaluationConfig, evaluate, measure_reference
from ganlib.export import ExportConfig, export
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.tasks import Generation
from ganlib.training import TrainConfig, TrainedModel, train

FEW = EvaluationConfig(samples=5)


@pytest.fixture(scope="module")
def evaluation(trained, digits, reference, tmp_path_factory):
    return evaluate(trained, digits, reference, FEW, tmp_path_factory.mktemp("evaluation") / "scores")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Noise images with the shape of the digits."""
    place = tmp_path_factory.mktemp("others")
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8)
    np.savez(place / "data.npz", images=images)
    source = {"kind": "arrays", "path": str(place / "data.npz")}
    return prepare(DataConfig(source=source, name="noise", size=16), place / "dataset")


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """The digits in another size."""
    return prepare(DataConfig(size=20), tmp_path_factory.mktemp("larger") / "dataset")


def started(dataset, reference, output, **changes):
    config = TrainConfig(**{"steps": 1, "batch_size": 4, "score_samples": 20, "precision": "float32", **changes})
    return train(
        dataset,
        reference,
        task=Generation(latent_dim=4),
        architecture=Dcgan(width=4),
        objective=NonSaturating(),
        config=config,
        output=output,
    )


def test_scores_name_the_generator_that_they_are_of(evaluation, trained):
    assert evaluation.generator == {
        "which": "best",
        "averaged": True,
        "step": trained.step("best"),
        "sha256": hashlib.sha256(storage.sha256(trained.file("best")).encode()).hexdigest(),  # of all its networks
    }
    assert Evaluation.open(evaluation.folder).generator == evaluation.generator
    assert (evaluation.protocol["generator"], evaluation.protocol["averaged"]) == ("best", True)


def test_a_model_is_not_shipped_with_the_scores_of_another(evaluation, trained, copy, tmp_path):
    other = TrainedModel.open(copy(trained.folder))
    network = other.network("best")
    network.set_weights([weights + 0.05 for weights in network.get_weights()])
    network.save(other.file("best"))
    message = r"^expected scores of this model's best generator; measure them again\. Received: model=.*, scores="
    with pytest.raises(ValueError, match=message) as raised:
        export(other, evaluation, ExportConfig(onnx=False), tmp_path / "model")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("generator", [None, {}, {"which": "other", "sha256": "0"}])
def test_scores_that_name_no_generator_ship_none(evaluation, trained, tmp_path, generator):
    with pytest.raises(
        ValueError, match=r"^expected scores of a trained model, as `evaluate` saves them\. Received: sc"
    ):
        export(trained, replace(evaluation, generator=generator), ExportConfig(onnx=False), tmp_path / "model")


def test_a_model_is_not_scored_with_a_dataset_that_it_was_not_trained_on(trained, others, reference, tmp_path):
    message = (
        r"^expected the images that the model was trained on, digits\. Received: dataset='noise' \(sha256 \w+, not "
    )
    with pytest.raises(ValueError, match=message):
        evaluate(trained, others, reference, FEW, tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize("split", ["test", "all"])
def test_a_reference_of_another_split_than_the_settings_say_is_refused(trained, digits, reference, tmp_path, split):
    message = rf"^expected train, the split of the reference\. Received: evaluation\.reference_split={split}$"
    config = EvaluationConfig(samples=5, reference_split=split)
    with pytest.raises(ValueError, match=message):
        evaluate(trained, digits, reference, config, tmp_path / "scores")


def test_training_refuses_a_reference_of_another_shape_before_it_begins(larger, reference, tmp_path):
    with pytest.raises(ValueError, match=r"^expected images of 16x16x1, as the reference's\. Received: 20x20x1$"):
        started(larger, reference, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_training_prints_the_notes_of_the_task(digits, reference, tmp_path, capsys):
    """So they are in the log of a pod, too."""
    started(digits, reference, tmp_path / "model")
    assert capsys.readouterr().out.count("note: the classes are used for scores only") == 1


def test_a_reference_of_other_images_is_noted_by_training_and_keeps_the_run_its_own(
    others, digits, reference, tmp_path, capsys
):
    model = started(others, reference, tmp_path / "model")
    note = "The reference was measured on other images, digits, than the model was trained on."
    assert f"note: {note}" in capsys.readouterr().out
    own = measure_reference(others, EvaluationConfig(extractor="random"), tmp_path / "own")
    capsys.readouterr()
    scores = evaluate(model, others, own, FEW, tmp_path / "scores")
    assert note not in scores.notes
    chosen = "The best generator was chosen with another reference, fd_digits_classifier of digits."
    assert chosen in scores.notes
    # The same feature space, measured on other images, is another reference: a run cannot resume with it.
    moved = replace(reference, facts={**reference.facts, "dataset": "letters", "dataset_sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"holds a run with other settings: reference_images was '\w+'"):
        started(others, moved, tmp_path / "model", steps=2)


def test_shards_of_another_data_set_of_the_same_size_are_refused(others, copy):
    folder = copy(others.folder)
    shard = folder / others.manifest["splits"]["train"]["shards"][0]["file"]
    turned = others.folder.parent / "turned"
    with np.load(others.folder.parent / "data.npz") as file:
        np.savez(others.folder.parent / "turned.npz", images=file["images"][:, ::-1])
    source = {"kind": "arrays", "path": str(others.folder.parent / "turned.npz")}
    prepare(DataConfig(source=source, size=16), turned)
    assert (turned / shard.name).stat().st_size == shard.stat().st_size
    shutil.copy(turned / shard.name, shard)
    message = (
        r"^damaged images; prepare them anew\. Received: .*\(train-00000-of-00001\.tfrecord is not that of the manif"
    )
    with pytest.raises(ValueError, match=message):
        PreparedDataset.open(folder).load("train")
    assert len(PreparedDataset.open(folder).load("test")[0])


@pytest.mark.parametrize("split", ["train", "test"])
def test_parts_are_merged_with_their_own_shards_only(tmp_path, split):
    config = DataConfig(size=8, shards=2, train_images=40)
    folders = [tmp_path / f"part-{number}" for number in range(2)]
    for number, folder in enumerate(folders):
        prepare_part(config, folder, part=number, of=2)
    [shard] = folders[0].glob(f"{split}-*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[-20] ^= 255
    shard.write_bytes(data)
    with pytest.raises(
        ValueError, match=rf"^the shard {split}-.* is not the one that its part wrote\. Received: folder"
    ):
        merge_parts(config, folders, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
