"""In onnxruntime, without TensorFlow, ONNX files give the images of training; or there are none, and why is said."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import exported_models
import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from ganlib import storage
from ganlib.evaluation import EvaluationConfig, evaluate
from ganlib.export import ExportConfig, export
from ganlib.export.onnx import _check, onnx_export
from ganlib.export.onnx_card import onnx_section
from ganlib.inference import Inputs
from ganlib.models import Dcgan, Fourier
from ganlib.objectives import Hinge
from ganlib.tasks import Generation, Restoration
from ganlib.training import TrainConfig, TrainedModel, train
from pipelines.settings import preset

REFUSALS = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
)


@pytest.fixture(scope="module")
def scored(digits, reference, tmp_path_factory):
    """A conditional generator, trained in bfloat16, and its scores."""
    place = tmp_path_factory.mktemp("scored")
    config = TrainConfig(
        steps=4, batch_size=8, score_every=4, sample_every=4, checkpoint_every=4, score_samples=20, precision="bfloat16"
    )
    model = train(
        digits,
        reference,
        task=Generation(latent_dim=8, conditional=True),
        architecture=Dcgan(width=4),
        objective=Hinge(),
        config=config,
        output=place / "model",
    )
    return model, evaluate(model, digits, reference, EvaluationConfig(samples=20), place / "scores")


@pytest.fixture(scope="module")
def exported(scored, tmp_path_factory):
    return export(*scored, ExportConfig(onnx=True), tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture(scope="module")
def session(exported):
    return opened(exported.folder / "generator.onnx")


def opened(file):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def test_a_generator_that_was_trained_in_bfloat16_gives_its_images_in_onnxruntime(scored, exported, session):
    inputs, images = scored[0].witness("best")
    assert scored[0].facts["precision"] == "mixed_bfloat16"
    [served] = session.run(["images"], inputs)
    difference = np.abs(served - images).max()
    assert difference <= exported.parity["onnx"] <= 1e-4
    assert exported.parity.keys() >= {"saved_model", "keras", "onnx"}
    assert exported.summary["largest_difference"] >= exported.parity["onnx"]
    assert storage.read_json(exported.folder / "parity.json") == exported.parity


def test_inputs_keep_their_names_and_types_and_any_number_of_images_is_taken(scored, exported, session):
    described = [(one.name, one.type, one.shape) for one in (*session.get_inputs(), *session.get_outputs())]
    assert described == [
        ("label", "tensor(int64)", ["N"]),
        ("latent", "tensor(float)", ["N", 8]),
        ("images", "tensor(float)", ["N", 16, 16, 1]),
    ]
    network = scored[0].network("best")
    for count in (1, 5, 40):
        latent = np.random.default_rng(count).standard_normal((count, 8), np.float32)
        given = {"latent": latent, "label": np.arange(count) % 10}
        np.testing.assert_allclose(session.run(["images"], given)[0], network(given, training=False), atol=1e-5)
    carried = json.loads(session.get_modelmeta().custom_metadata_map["inputs.json"])
    assert Inputs.model_validate(carried) == Inputs.read(exported.folder)
    assert carried["classes"] == list(scored[0].classes)
    [opset] = [one.version for one in onnx.load(exported.folder / "generator.onnx").opset_import if not one.domain]
    assert opset == 18


def sides(text):
    return [int(side) for side in re.findall(r"\d+", text)]


def test_the_settings_of_triton_in_the_docs_are_those_of_the_file(session):
    page = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    [config] = [block for block in blocks if "max_batch_size: 16" in block]
    [asked] = [block for block in blocks if "curl http://digits-triton." in block]
    sent, received = asked.partition("\n{")[::2]
    inputs, outputs = config.partition("output [")[::2]
    types = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
    width = {("latent", 8): preset("digits")["task"]["latent_dim"]}  # this model's latents are shorter than the digits'
    line = re.compile(r'name: "(\w+)", data_type: TYPE_(\w+), dims: \[(.*?)\](?:, reshape: \{ shape: \[(.*?)\])?')
    for part, shown, tensors in ((inputs, sent, session.get_inputs()), (outputs, received, session.get_outputs())):
        assert {one.shape[0] for one in tensors} == {"N"}  # so Triton may make batches of it
        expected = {one.name: [width.get((one.name, side), side) for side in one.shape[1:]] for one in tensors}
        described = {found[1]: found for found in line.finditer(part)}
        assert described.keys() == expected.keys()
        for one in tensors:
            _, kind, dims, reshaped = described[one.name].groups()
            assert kind == types[one.type]
            assert sides(dims if reshaped is None else reshaped) == expected[one.name]
            [tensor] = [text for text in re.findall(r"\{[^{}]*\}", shown) if f'"{one.name}"' in text]
            assert re.search(r'"datatype": ?"(\w+)"', tensor)[1] == kind
            assert sides(re.search(r'"shape": ?\[(.*?)\]', tensor)[1]) == [1, *sides(dims)]


@pytest.mark.parametrize("labels", [[0, -1], [0, 10], [-10, 0], [2**40, 0], [3], [1, 2, 3]])
def test_a_label_of_no_class_is_refused_and_one_label_for_two_latents(session, labels):
    latent = np.ones((2, 8), np.float32)
    session.run(["images"], {"latent": latent, "label": np.array([0, 9])})
    with pytest.raises(REFUSALS, match=r"Name:'expected_(labels_in_0\.\.9|a_label_for_each_latent)'"):
        session.run(["images"], {"latent": latent, "label": np.array(labels)})


def run_example(text, folder, shape, *, trained=True):
    """Runs the Python of a text where nothing but onnxruntime and NumPy can be imported."""
    code = text.partition("```python\n")[2].partition("```")[0]
    blocked = "import sys\nsys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'ganlib', 'onnx', 'tf2onnx']))\n"
    # A network that is not trained may paint one colour.
    check = f"\nassert images.shape == {shape} and images.dtype == np.uint8 and (images.std() > 0 or not {trained})"
    run = [sys.executable, "-I", "-c", blocked + code + check]
    subprocess.run(run, cwd=folder, check=True, capture_output=True)


def test_the_example_of_the_card_runs_without_tensorflow(exported):
    section = exported.card.read_text().partition("## ONNX\n")[2].partition("\n## ")[0]
    run_example(section, exported.folder, (16, 16, 16, 1))
    for part in (
        f"onnxruntime {onnxruntime.__version__} gives",
        "a seed gives other images",
        "is refused with an error",
    ):
        assert part in section


def test_masks_and_another_size_are_taken_and_a_damaged_file_is_found(tmp_path, capsys):
    """The network has Fourier transforms. Its file is cut, or takes only the size or the number of the witness, or one
    weight is another.
    """
    task, shape = Restoration(), (16, 16, 3)
    architecture = Fourier(width=4, halvings=1, blocks=1, discriminator_layers=1)
    built = task.generators(architecture, image_shape=shape, classes=0, dtype="float32", seed=None)
    networks = task.shipped(built)
    shipped = exported_models.fill(tmp_path, task, networks, image_shape=shape)
    with onnx_export("auto") as writer:
        files = writer.write(networks, shipped, tmp_path, inputs=Inputs(multiple_of=2), tolerance=1e-4)
    assert files.facts == {"onnx": files.difference}
    assert files.difference <= 1e-4
    assert "onnxruntime gives the same images (largest difference" in capsys.readouterr().out
    ones = onnx_section(networks, files, image_shape=shape).replace("np.zeros((1, 16, 16, 1)", "np.ones((1, 16, 16, 1)")
    run_example(ones, tmp_path, (1, *shape), trained=False)
    path = tmp_path / "generator.onnx"
    [image, mask] = opened(path).get_inputs()
    assert (image.name, image.shape) == ("image", ["N", "H", "W", 3])
    assert (mask.name, mask.shape) == ("mask", ["N", "H", "W", 1])

    def check():
        _check(networks, shipped, [path], Inputs(), tolerance=1e-4)

    content = path.read_bytes()
    model = onnx.load(path)
    weights = max(model.graph.initializer, key=lambda one: np.prod(one.dims))
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] += 1.0
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, path)
    with pytest.raises(
        RuntimeError, match=r"^onnxruntime gives other images .*export\.tolerance=0\.0001\. Received: d"
    ):
        check()
    for side, number in ((0, 4), (1, 16)):
        model = onnx.load_from_string(content)
        model.graph.input[0].type.tensor_type.shape.dim[side].dim_value = number
        onnx.save(model, path)
        with pytest.raises(RuntimeError, match=r"^onnxruntime fails: InvalidArgument: .*invalid dimensions[^\n]+$"):
            check()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RuntimeError, match=r"^onnxruntime fails: InvalidProtobuf: [^\n]+$"):
        check()


def forged(scored, folder, change):
    """A trained model whose best generator passes its images through a change, and its scores."""
    model, scores = scored
    shutil.copytree(model.folder, folder)
    copy = TrainedModel.open(folder)
    network = copy.network("best")
    keras.Model(network.input, change(network.output), name="generator").save(copy.file("best"))
    return copy, replace(scores, generator=copy.identity("best"))


def test_what_cannot_be_converted_is_exported_without_and_the_reason_is_said(scored, tmp_path, capsys):
    def change(images):
        row = keras.ops.reshape(images, (-1, 256))
        return keras.ops.reshape(keras.ops.irfft(keras.ops.rfft(row), fft_length=256), (-1, 16, 16, 1))

    exported = export(*forged(scored, tmp_path / "forged", change), ExportConfig(), tmp_path / "model")
    reason = exported.parity["without_onnx"]
    assert re.fullmatch(r"the conversion failed: ValueError: make_sure failure: .*RFFT[^\n]+", reason)
    assert "onnx" not in exported.parity
    assert f"export: note: without ONNX files: {reason}\n" in capsys.readouterr().out
    assert f"## ONNX\nThere are no ONNX files: {reason}\n" in exported.card.read_text()
    assert sorted(path.name for path in exported.folder.glob("generator.*")) == ["generator.keras"]
    assert max(exported.parity["saved_model"], exported.parity["keras"]) <= 1e-4


def test_a_file_that_no_runtime_opens_ends_the_export_where_it_was_asked_for(tmp_path):
    """tf2onnx says success."""
    image = keras.Input((16, 16, 1), name="image")
    network = keras.Model({"image": image}, image + 1e-9 * keras.ops.erfinv(image * 0.5), name="generator")
    task = Restoration(damage="noise")
    shipped = exported_models.fill(tmp_path, task, {"generator": network}, image_shape=(16, 16, 1))
    with (
        onnx_export(True) as writer,
        pytest.raises(
            RuntimeError, match=r"^expected ONNX files, as export\.onnx=true asks for\. Received: .*Erfinv"
        ) as told,
    ):
        writer.write({"generator": network}, shipped, tmp_path, inputs=Inputs(), tolerance=1e-4)
    assert "\n" not in str(told.value)
    assert str(tmp_path) not in str(told.value)


def test_what_is_not_installed_is_said_or_refused(monkeypatch, tmp_path, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "tf2onnx" else find(name, *more)
    )
    with (
        pytest.raises(ValueError, match=r"^export\.onnx=true needs .*Received: tf2onnx not installed$"),
        onnx_export(True),
    ):
        pass
    with onnx_export("auto") as writer:
        files = writer.write({}, [], tmp_path, inputs=Inputs(), tolerance=1e-4)
    assert files.facts == {"without_onnx": "tf2onnx not installed"}
    assert "without ONNX files: tf2onnx not installed" in capsys.readouterr().out
