"""Images are generated with an exported model alone: files, a sheet, an animation, one class or all."""

import json
import re
import sys

import exported_models as models
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from ganlib import pixels, streams
from ganlib.evaluation import EvaluationConfig, evaluate
from ganlib.export import ExportConfig, export
from ganlib.inference.functions import _cause
from ganlib.inference.generate import interpolate, truncate
from pipelines.command.main import main

LATENT, SIDE, CLASSES = 3, 4, ("cat", "dog", "1")


def from_latent(latent):
    """Makes an image whose rows have the values of the latent, and which is white below."""
    rows = tf.repeat(latent[:, :, None, None], SIDE, axis=2) / 8
    return {"images": tf.concat([rows, tf.ones_like(rows[:, :1])], axis=1)}


def from_latent_and_label(latent, label):
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(label < 3), ["expected labels in 0..2"])]):
        images = from_latent(latent)["images"]
    level = tf.cast(label, tf.float32)[:, None, None, None] / 4
    return {"images": tf.concat([images[:, :-1], tf.zeros_like(images[:, -1:]) + level], axis=1)}


def save(folder, function, *, classes=None, **specs):
    concrete = tf.function(function).get_concrete_function(
        **{name: tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in specs.items()}
    )
    tf.saved_model.save(tf.Module(), str(folder / "saved_model"), signatures={"serving_default": concrete})
    if classes is not None:
        (folder / "inputs.json").write_text(json.dumps({"classes": classes}))
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    latent, label = ([None, LATENT], tf.float32), ([None], tf.int64)
    save(root / "plain", from_latent, latent=latent)
    save(root / "labelled", from_latent_and_label, latent=latent, label=label, classes=CLASSES)
    save(root / "nameless", from_latent_and_label, latent=latent, label=label)
    models.save(root / "translator", {"translate": (models.invert, models.any_size())})
    return root


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, ["generate", *map(str, words)])


@pytest.fixture
def mistake(call):
    def fail(*words):
        result = call(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        [line] = result.stderr.splitlines()
        return line

    return fail


def images(folder):
    """The images of a folder in the order of their names."""
    found = []
    for path in sorted(folder.glob("[0-9]*.png")):
        with Image.open(path) as image:
            found.append(np.asarray(image))
    return np.stack(found)


def latents(count, seed):
    stream = streams.pair(seed, streams.key("sample latents"))
    return tf.random.stateless_normal([count, LATENT], stream).numpy()


def expected(values):
    rows = np.rint((np.clip(values / 8, -1, 1).astype(np.float64) + 1) * 127.5)
    return np.repeat(rows[:, :, None], SIDE, axis=2)


def test_the_images_of_a_seed_do_not_depend_on_their_number(exported, call, tmp_path):
    for count, name in ((3, "few"), (11, "many")):
        done = call(exported / "plain", "-o", name, "--count", count, "--seed", 7)
        assert done.exit_code == 0, done.output
    names = [path.name for path in sorted((tmp_path / "many").iterdir())]
    assert names == [f"{index:02d}.png" for index in range(11)]
    many = images(tmp_path / "many")
    np.testing.assert_array_equal(images(tmp_path / "few"), many[:3])
    np.testing.assert_allclose(many[:, :LATENT], expected(latents(11, 7)), atol=1)
    assert (many[:, LATENT] == 255).all()
    call(exported / "plain", "-o", "other", "--count", 3, "--seed", 2**63 - 1)
    assert (images(tmp_path / "other") != many[:3]).any()


def test_a_class_is_chosen_by_name_or_index_and_otherwise_they_take_turns(exported, call, tmp_path):
    def labels(*words, model="labelled"):
        done = call(exported / model, "-o", "out", "--overwrite", "--count", 5, *words)
        assert done.exit_code == 0, done.output
        return [round(float(row.mean()) / 127.5 * 4 - 4) for row in images(tmp_path / "out")[:, LATENT]], done.stdout

    turns, printed = labels()
    assert turns == [0, 1, 2, 0, 1]
    assert "generate: the 3 classes take turns: cat, dog, 1\n" in printed
    assert labels("--label", "dog")[0] == [1] * 5
    assert labels("--label", "0")[0] == [0] * 5
    assert labels("--label", "1")[0] == [2] * 5  # a name goes before an index
    assert labels("--label", "1", model="nameless")[0] == [1] * 5


def test_truncated_latents_have_the_distribution_of_those_drawn_again():
    normal = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    for limit in (0.3, 1.0, 2.5):
        made = truncate(normal, limit)
        assert np.abs(made).max() <= limit
        ranks = scipy.stats.norm.cdf(normal.astype(np.float64))
        np.testing.assert_allclose(made, scipy.stats.truncnorm.ppf(ranks, -limit, limit), atol=1e-6)
        again = np.random.default_rng(1).standard_normal(80_000)
        assert scipy.stats.ks_2samp(made, again[np.abs(again) <= limit]).pvalue > 0.01
    np.testing.assert_allclose(truncate(normal, 20.0), normal, atol=1e-6)
    assert np.isfinite(truncate(np.array([-30.0, 0.0, 30.0], np.float32), 50.0)).all()


def test_truncation_is_applied_to_what_the_model_gets(exported, call, tmp_path):
    assert call(exported / "plain", "-o", "out", "--count", 4, "--truncation", 0.5).exit_code == 0
    np.testing.assert_allclose(images(tmp_path / "out")[:, :LATENT], expected(truncate(latents(4, 0), 0.5)), atol=1)


def test_points_between_latents_are_latents():
    normal = np.random.default_rng(0).standard_normal((2000, 2)).astype(np.float32)
    points = np.stack(list(interpolate(normal, 4)))
    assert points.shape == (2000, 4, 2)
    np.testing.assert_array_equal(points[:, 0], normal)
    half = (normal + np.roll(normal, -1, axis=0)) / np.sqrt(2)
    np.testing.assert_allclose(points[:, 2], half, atol=1e-6)
    for step in range(4):
        assert scipy.stats.kstest(points[:, step].ravel(), "norm").pvalue > 0.01


def test_an_animation_that_memory_may_not_hold_is_refused_before_anything_is_written(
    exported, mistake, tmp_path, monkeypatch
):
    """The pixels count that the frames have when they are enlarged, here 56x56."""
    monkeypatch.setattr(sys.modules[interpolate.__module__], "MOST_FRAME_PIXELS", 12 * 56**2 - 1)
    line = mistake(exported / "plain", "-o", "out", "--count", 3, "--interpolate", 4)
    assert line == "error: expected at most 11 frames of 56x56 pixels in an animation. Received: 12"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_leads_from_each_image_to_the_next_and_back(exported, call, tmp_path, kind):
    words = ["--count", 3, "--interpolate", 5, "--animation", kind]
    done = call(exported / "plain", "-o", "out", *words)
    assert done.exit_code == 0, done.output
    path = tmp_path / f"out/interpolation.{kind}"
    assert done.stdout.splitlines()[-1] == f"generate: wrote out/{path.name}"
    scale = pixels.enlargement(LATENT + 1)
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (15, 0)
        for index, image in enumerate(images(tmp_path / "out")):
            animation.seek(5 * index)
            large = image.repeat(scale, 0).repeat(scale, 1)
            np.testing.assert_array_equal(np.asarray(animation.convert("L")), large)


def test_a_sheet_shows_the_first_hundred_or_a_class_in_each_column(exported, call, tmp_path):
    assert call(exported / "plain", "-o", "out", "--count", 120, "--sheet").exit_code == 0
    scale = pixels.enlargement(LATENT + 1)
    with Image.open(tmp_path / "out/sheet.png") as sheet:
        assert sheet.size == ((10 * (SIDE + 2) - 2) * scale, (10 * (LATENT + 3) - 2) * scale)
    assert call(exported / "labelled", "-o", "classes", "--count", 7, "--sheet").exit_code == 0
    with Image.open(tmp_path / "classes/sheet.png") as sheet:
        assert sheet.size == ((3 * (SIDE + 2) - 2) * scale, (3 * (LATENT + 3) - 2) * scale)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["translator", "-o", "out"], "expected an exported model that makes images from latents. Received: model="),
        (["none", "-o", "out"], "no such file or folder. Received: path='"),
        (["plain", "-o", "out", "--label", "cat"], "the model takes no class. Received: label=cat"),
        (["labelled", "-o", "out", "--label", "cow"], "(0 = cat, 1 = dog, 2 = 1). Received: label=cow"),
        (["labelled", "-o", "out", "--label", "3"], "(0 = cat, 1 = dog, 2 = 1). Received: label=3"),
        (["nameless", "-o", "out"], "expected the index of a class, since this export does not name its classes. Rec"),
        (["plain", "-o", "out", "--interpolate", "4", "--count", "1"], "an interpolation needs 2 images or more. Rece"),
        (["labelled", "-o", "out", "--interpolate", "4"], "an interpolation needs one class for all images"),
        (
            ["nameless", "-o", "out", "--label", "9" * 10],
            "expected the name or the index of a class. Received: label=999",
        ),
        (["labelled", "-o", "out", "--label", "9" * 5000], "). Received: label=999"),
        (
            ["plain", "-o", "out", "--count", "1000001"],
            "expected at most 1,000,000 images; take another seed for more. ",
        ),
        (["plain", "-o", "out", "--interpolate", "6251"], "Received: 16 images with 6251 frames each"),
        (
            ["plain", "-o", "out", "--truncation", "nan"],
            "expected a finite number above 0 as truncation. Received: trun",
        ),
        (
            ["plain", "-o", "out", "--truncation", "inf"],
            "expected a finite number above 0 as truncation. Received: trun",
        ),
        (["plain", "-o", "full"], "expected a new output, or --overwrite. Received: output='full', which exists"),
        (["plain", "-o", "full/file"], "expected a new output, or --overwrite. Received: output='full/file', which "),
        (["plain", "-o", "gs://bucket/out"], "expected a place on this machine. Received: output='gs://bucket/out'"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_each_mistake_is_one_line(exported, mistake, tmp_path, words, line):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert line in mistake(exported / words[0], *words[1:])
    assert not (tmp_path / "out").exists()


def test_a_class_that_only_the_model_knows_is_refused_by_it(exported, call):
    done = call(exported / "nameless", "-o", "out", "--label", 3)
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert re.match("error: the exported model refused it: assertion failed: .+", line)


def test_the_reason_of_a_failure_is_a_line_that_is_not_blank():
    for text, reason in {
        "where\nwhy\n\n\t [[place": "why",
        " \n": "InvalidArgumentError",
        "": "InvalidArgumentError",
        "why\n \n": "why",
    }.items():
        assert _cause(tf.errors.InvalidArgumentError(None, None, text)) == reason
    assert _cause(ValueError("\nwhy\nwhere")) == "why"


def test_an_exported_model_gives_the_images_of_its_own_function(trained, digits, reference, call, tmp_path):
    scores = evaluate(trained, digits, reference, EvaluationConfig(samples=20), tmp_path / "scores")
    folder = export(trained, scores, ExportConfig(onnx=False), tmp_path / "model").folder
    assert call("model", "-o", "out", "--count", 5, "--seed", 3).exit_code == 0
    own = tf.saved_model.load(str(folder / "saved_model")).signatures["generate"]
    drawn = own(seed=tf.constant(3, tf.int64), count=tf.constant(5))["images"].numpy()
    np.testing.assert_allclose(images(tmp_path / "out").astype(int), drawn[..., 0].astype(int), atol=1)
    assert call(".", "-o", "run", "--count", 2).exit_code == 0  # the folder of a run, which has `model` in it
    assert json.loads((folder / "inputs.json").read_text()) == {
        "multiple_of": 1,
        "minimum": 1,
        "overlap": 64,
        "classes": [],
    }
