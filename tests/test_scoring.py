"""Scores of two sets of images from any place, and what is refused in one line."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import damaged_files
import inception_files
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganlib import scoring
from ganlib.data import Images
from ganlib.evaluation import (
    Evaluation,
    FittedExtractor,
    FixedExtractor,
    Random,
    Reference,
    Sample,
    Statistics,
    compare,
)
from ganlib.evaluation.measures import catalogue
from pipelines.command.main import main


class Mean(FixedExtractor):
    """A feature space that needs no computation time: mean colours of quarters."""

    kind: str = "mean"

    def load(self, weights=None):
        import keras

        images = keras.Input((8, 8, 3))
        pooled = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(images))
        network = keras.Model(images, [pooled, keras.layers.Lambda(lambda x: x[:, :2])(pooled)])
        return FittedExtractor("mean", network, (), {}, resize_mode="clean")


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (60, 1, 1, 3), np.uint8) // 2 + random.integers(0, 128, (60, 16, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures") / "images"
    place.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(place / f"{number:02d}.png")
    return place


@pytest.fixture(scope="module")
def places(pictures, folder, tmp_path_factory):
    """The same images as a folder, an archive and arrays."""
    home = tmp_path_factory.mktemp("places")
    np.savez(home / "images.npz", images=pictures)
    return [str(folder), shutil.make_archive(str(home / "packed"), "zip", folder), str(home / "images.npz")]


def test_it_does_not_matter_where_images_are_stored(places, pictures):
    for place in places:
        images = Images.at(place)
        assert images.count == 60
        np.testing.assert_array_equal(np.concatenate(list(images.batches("rgb"))), pictures)
    result = [scoring.score(place, places[0], space=Mean()) for place in places]
    assert [score.name for score in result[0].scores][:3] == ["fd_mean", "fd_infinity_mean", "kd_mean"]
    assert result[0].scores[0].value == pytest.approx(0.0, abs=1e-6)
    assert len({json.dumps(one.protocol) for one in result}) == 1


def test_scores_come_with_an_expected_floor_and_a_protocol(places, pictures, tmp_path):
    np.savez(tmp_path / "darker.npz", images=pictures // 2)
    result = scoring.score(str(tmp_path / "darker.npz"), places[0], space=Mean())
    first = result.scores[0]
    assert first.value > 3 * first.floor > 0
    assert result.protocol["resize_mode"] == "clean"
    assert result.protocol["generated_count"] == result.protocol["reference_count"] == 60
    assert [note.partition(". FID")[0] for note in result.notes] == [
        "The floors, except the distance's, compare two halves of the second set, 30 images each.",
        "Scores in the feature space mean can only be compared with each other",
    ]
    result.save(tmp_path / "scores")
    again = Evaluation.open(tmp_path / "scores")
    assert again.values == {score.name: score.value for score in result.scores}
    other = scoring.score(places[0], str(tmp_path / "darker.npz"), space=Mean())
    other.save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"one protocol.*reference_sha256="):
        compare(again, Evaluation.open(tmp_path / "other"))


def test_statistics_can_replace_the_images(places, pictures, tmp_path):
    np.savez(tmp_path / "darker.npz", images=pictures // 2)
    whole = scoring.score(str(tmp_path / "darker.npz"), places[0], space=Mean())
    whole.second.save(tmp_path / "second.npz")
    short = scoring.score(str(tmp_path / "darker.npz"), str(tmp_path / "second.npz"), space=Mean())
    assert short.scores[0].value == pytest.approx(whole.scores[0].value, rel=1e-9)
    assert not any(score.name.startswith("kd") for score in short.scores)
    assert not any("does not name its feature space" in note for note in short.notes)
    both = scoring.score(str(tmp_path / "second.npz"), str(tmp_path / "second.npz"), space=Mean())
    assert [score.name for score in both.scores] == ["fd_mean"]
    assert both.scores[0].value == pytest.approx(0.0, abs=1e-9 * np.trace(whole.second.covariance))


def test_a_run_has_its_own_reference(digits, reference, tmp_path):
    reference.save(tmp_path / "reference")
    result = scoring.score(f"{digits.folder}#test", str(tmp_path / "reference"), space=Mean())
    assert result.scores[0].name == "fd_digits_classifier"
    assert result.scores[0].value == pytest.approx(result.scores[0].floor, rel=1e-4)
    assert result.protocol["dataset_sha256"] == digits.checksum


def test_all_images_are_scored_against_a_runs_reference(digits, reference, tmp_path, monkeypatch):
    """Even if there are fewer real images for the floors. The distance also uses all of very many images."""
    reference.save(tmp_path / "reference")
    more = scoring.score(f"{digits.folder}#train", str(tmp_path / "reference"), space=Mean())
    assert more.notes[-1].startswith(
        "The floors use 360 real images, all that the reference has, but the scores use 1437"
    )
    assert (more.protocol["generated_count"], more.protocol["floor_count"]) == (1437, 360)
    first = more.scores[0]
    assert first.value == pytest.approx(0.0, abs=1e-3)  # they are the reference's own
    assert (first.count, first.floor_text[-13:]) == (1437, " (360 images)")
    monkeypatch.setattr(scoring, "FEATURE_BYTES", 1000)
    monkeypatch.setattr(scoring.catalogue, "PAIRWISE_LIMIT", 40)
    some = scoring.score(f"{digits.folder}#train", str(tmp_path / "reference"), space=Mean())
    assert (some.scores[0].value, some.scores[0].count) == (pytest.approx(first.value, abs=1e-6), 1437)
    assert {score.name: score.count for score in some.scores}["kd_digits_classifier"] == 40
    assert [score.name for score in some.scores] == [
        score.name for score in more.scores if not score.name.startswith("fd_infinity")
    ]


def test_a_folder_of_class_folders_scores_as_a_shuffled_one_does(tmp_path):
    random = np.random.default_rng(3)
    bases = random.integers(0, 200, (4, 3))
    for side, count in (("few", 30), ("many", 120)):
        for label, base in enumerate(bases):
            (tmp_path / side / str(label)).mkdir(parents=True)
            for number in range(count):
                picture = np.clip(base + random.normal(0, 12, (8, 8, 3)) + random.normal(0, 12, 3), 0, 255)
                Image.fromarray(picture.astype(np.uint8)).save(tmp_path / side / str(label) / f"{number:03d}.png")
    for first, second in (("few", "many"), ("many", "few")):
        result = scoring.score(str(tmp_path / first), str(tmp_path / second), space=Mean())
        scores = {score.name: score for score in result.scores}
        kernel = scores["kd_mean"]
        assert abs(kernel.value - kernel.floor) < 3 * np.hypot(kernel.error, kernel.floor_error)
        for name in ("precision_mean", "recall_mean", "coverage_mean"):
            assert scores[name].value > 0.75
            assert abs(scores[name].value - scores[name].floor) < 0.2


def test_of_very_many_images_a_sample_is_used_except_for_the_distance(places, pictures, tmp_path, monkeypatch):
    np.savez(tmp_path / "darker.npz", images=pictures // 2)
    whole = scoring.score(str(tmp_path / "darker.npz"), places[0], space=Mean())
    monkeypatch.setattr(scoring, "FEATURE_BYTES", 1000)
    monkeypatch.setattr(scoring.catalogue, "PAIRWISE_LIMIT", 40)
    some = scoring.score(str(tmp_path / "darker.npz"), places[0], space=Mean())
    assert some.scores[0].value == pytest.approx(whole.scores[0].value, rel=1e-9)
    assert [score.name for score in some.scores] == [
        score.name for score in whole.scores if not score.name.startswith("fd_infinity")
    ]
    assert "40 generated and 40 real images" in some.scores[1].meaning
    assert some.notes[0].endswith("a random sample of 40 images is used, except for the distance.")


def test_images_of_another_size_than_the_references_are_noted(digits, tmp_path):
    space = Random().load()
    features, probabilities = space.all_outputs([digits.load("test")[0]])
    sample = Sample(features, probabilities)
    statistics = replace(Statistics.of([features]), space=catalogue.identity(space))
    Reference(space, statistics, sample, sample, {"size": "16x16"}).save(tmp_path / "reference")
    np.savez(tmp_path / "large.npz", images=np.repeat(np.repeat(digits.load("test")[0][:50], 2, axis=1), 2, axis=2))
    result = scoring.score(str(tmp_path / "large.npz"), str(tmp_path / "reference"), space=Mean())
    assert result.notes[-1].startswith("The images have two sizes, 32x32 and 16x16")
    assert (result.protocol["generated_size"], result.protocol["truncation"]) == ("32x32", "unknown")


STATISTICS = {
    "other width": Statistics(np.zeros(5), np.eye(5), 9),
    "other space": Statistics(np.zeros(12), np.eye(12), 9, space="fd_mean (resize mode legacy, weights 0)"),
    "no covariance": Statistics(np.zeros(12), np.eye(12) - 0.5, 9),
}
OTHER_SPACE = (
    r"^expected statistics of the feature space fd_mean \(resize mode clean, weights \w{16}\)\. "
    r"Received: fd_mean \(resize mode legacy, weights 0\) in "
)


def bad(name, folder, tmp_path, pictures):
    place = tmp_path / name
    if name == "mixed":
        shutil.copytree(folder, place)
        Image.fromarray(pictures[0][:9]).save(place / "99.png")
    elif name == "few":
        np.savez(tmp_path / "few.npz", images=pictures[:1])
        return str(tmp_path / "few.npz")
    elif name == "damaged":
        shutil.copytree(folder, place)
        for number in range(5):
            (place / f"{number:02d}.png").write_bytes(b"nothing")
    elif name in STATISTICS:
        STATISTICS[name].save(tmp_path / "s.npz")
        return str(tmp_path / "s.npz")
    elif name == "none":
        place.mkdir()
    elif name == "bits.npz":
        np.savez(place, images=pictures > 99)
    elif name == "empty":
        with zipfile.ZipFile(tmp_path / "empty.zip", "w") as file:
            file.writestr("readme.txt", "no images")
        return str(tmp_path / "empty.zip")
    return str(place)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mixed", r"^expected images of one size; resize them first\. Received: 12x16 \(00\.png\) and 12x9 \("),
        ("few", r"^expected at least 2 images to score\. Received: 1 in "),
        (
            "damaged",
            r"^expected at most 5% unusable images\. Received: 5 of 60 .*00\.png \(unreadable: not an image\)",
        ),
        ("other width", r"^expected statistics of 12 features, those of mean\. Received: 5 in "),
        ("other space", OTHER_SPACE),
        ("no covariance", r"^expected a covariance without negative eigenvalues"),
        ("empty", r"^expected images"),
        ("none", r"^expected images"),
        ("bits.npz", r"^expected images as numbers of shape .* Received: dtype=bool, shape=\(60, 16, 12, 3\)"),
        ("absent", r"^no such file or folder"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(name, message, folder, places, pictures, tmp_path):
    place = bad(name, folder, tmp_path, pictures)
    for pair in ((place, places[0]), (places[0], place)):
        with pytest.raises(ValueError, match=message) as raised:
            scoring.score(*pair, space=Mean())
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["text.npz", "text.zip", "text", "nothing", "array.npy", "cut.npz", "picture.png"])
def test_a_file_that_holds_no_set_of_images_is_refused_by_what_was_expected(name, folder, places, pictures, tmp_path):
    place = tmp_path / name
    if name.startswith("text"):
        place.write_text("neither images nor statistics")
    elif name == "array.npy":
        np.save(place, pictures)
    elif name == "cut.npz":
        place.write_bytes(Path(places[2]).read_bytes()[:-50])
    else:
        place.write_bytes((folder / "00.png").read_bytes() if name == "picture.png" else b"")
    expected = r"^expected a folder of images, a zip or tar file of them, or an npz or idx file, undamaged\. Received: "
    with pytest.raises(ValueError, match=expected):
        scoring.score(str(place), places[0], space=Mean())


@pytest.mark.parametrize("damage", damaged_files.NPZ)
@pytest.mark.parametrize("kind", ["images.npz", "images.zip", "statistics.npz"])
def test_a_file_with_false_claims_is_refused_in_one_line(kind, damage, places, pictures, tmp_path):
    arrays = {"mu": np.zeros(12), "sigma": np.eye(12)} if kind.startswith("statistics") else {"images": pictures}
    place = tmp_path / kind
    damaged_files.write_npz(place.with_suffix(".npz"), damage, **arrays)
    place.with_suffix(".npz").rename(place)
    with pytest.raises(ValueError, match=f"Received: path={str(place)!r}") as raised:
        scoring.score(str(place), places[0], space=Mean())
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("kind", damaged_files.TARS)
def test_a_tar_with_false_claims_is_refused_in_one_line(kind, places, tmp_path):
    (tmp_path / "images.tar").write_bytes(damaged_files.tar(kind))
    with pytest.raises(ValueError, match=r"Received: path='\S+images\.tar'") as raised:
        scoring.score(str(tmp_path / "images.tar"), places[0], space=Mean())
    assert len(str(raised.value).splitlines()) == 1


def test_images_of_another_shape_than_the_references_are_refused(places, reference, tmp_path):
    reference.save(tmp_path / "reference")
    with pytest.raises(ValueError, match=r"^expected images of 16x16x1, as the reference's\. Received: 16x12x1 in "):
        scoring.score(places[0], str(tmp_path / "reference"), space=Mean())


def test_constant_images_have_scores_and_a_note(places, pictures, tmp_path):
    still = str(tmp_path / "still.npz")
    np.savez(still, images=np.full_like(pictures, 7))
    for pair in ((still, places[0]), (places[0], still), (still, still)):
        result = scoring.score(*pair, space=Mean())
        assert np.isfinite([score.value for score in result.scores]).all()
        assert f"All images of {still} are the same." in result.notes
    assert result.scores[0].value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("count", [2, 3])
def test_two_images_are_enough_wherever_they_are_stored(places, pictures, tmp_path, count):
    few = tmp_path / "few"
    for number, picture in enumerate(pictures[:count]):
        place = few / ("test" if number else "train")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{number}.png")
    np.savez(tmp_path / "few.npz", images=pictures[:count])
    first, second = (scoring.score(str(place), places[0], space=Mean()) for place in (few, tmp_path / "few.npz"))
    assert first.protocol["generated_count"] == count
    assert first.scores[0].value == pytest.approx(second.scores[0].value, rel=1e-9)
    assert np.isfinite([score.value for score in first.scores]).all()
    assert "mostly bias" in first.notes[0]


def test_the_same_images_twice_are_noted(places):
    assert scoring.score(places[0], places[2], space=Mean()).notes[0] == "Both sets are the same images."


def test_images_that_are_in_both_sets_are_counted_whatever_their_order_and_their_file(places, pictures, tmp_path):
    others = np.roll(pictures[:10], 1, axis=1)
    np.savez(tmp_path / "copied.npz", images=np.concatenate([pictures[:30][::-1], others]))
    np.savez(tmp_path / "own.npz", images=others)
    copied, own = (scoring.score(str(tmp_path / name), places[0], space=Mean()) for name in ("copied.npz", "own.npz"))
    assert copied.notes[0] == "30 of the 40 images of the first set are also in the second, pixel for pixel."
    assert not any("pixel for pixel" in note for note in own.notes)


def test_each_set_is_described_in_a_line_and_no_image_is_missed_for_its_suffix(pictures, places, tmp_path, capsys):
    (tmp_path / "samples").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(
            tmp_path / "samples" / f"{number:02d}.{'jfif' if number % 10 else 'sample'}", "PNG"
        )
    (tmp_path / "samples" / "log.txt").write_text("text")
    result = scoring.score(str(tmp_path / "samples"), places[2], space=Mean())
    assert result.protocol["generated_count"] == 60
    sizes = "sizes 12x16, in colour (10 checked); values 0..255"
    ignored = "ignored: 1 file other than images (1 .txt), such as log.txt"
    assert f"Of {tmp_path / 'samples'}, {ignored}." in result.notes
    output = [line for line in capsys.readouterr().out.splitlines() if " images; " in line]
    assert output == [
        f"{tmp_path / 'samples'}: 60 images; no classes; {ignored}; {sizes}",
        f"{places[2]}: 60 images; no classes; {sizes}",
    ]


def test_both_sets_are_opened_before_either_is_measured(places, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(5), sigma=np.eye(5))
    for wrong in ("nowhere", "empty", "statistics.npz"):
        with pytest.raises(ValueError, match="Received"):
            scoring.score(places[0], str(tmp_path / wrong), space=Mean())
    assert "features of" not in capsys.readouterr().out


def saved_as(place, pictures, kind):
    """Returns the pictures in a form whose conversion loses something."""
    place.mkdir()
    for number, picture in enumerate(pictures):
        image, more = Image.fromarray(picture), {}
        if kind == "transparent":
            image.putalpha(40)
        elif kind == "16-bit grey":
            image = Image.fromarray(picture[..., 0].astype(np.uint16) * 257)
        elif kind == "animated":
            more = {"save_all": True, "append_images": [Image.fromarray(255 - picture)]}
        elif kind == "dim":
            image = Image.fromarray(picture // 20)
        elif kind == "grey" and number < 30:
            image = image.convert("L")
        suffix = {"animated": "gif", "JPEG": "jpg"}.get(kind, "png")
        image.save(place / f"{number:02d}.{suffix}", **more)
    if kind == "damaged":
        (place / "07.png").write_bytes(b"nothing")
    return str(place)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("transparent", "Of {}, 60 of 60 images: transparent: put on a white background."),
        ("16-bit grey", "Of {}, 60 of 60 images: values 0..65535: scaled to 0..255."),
        (
            "16-bit grey",
            (
                "The ranges of values differ, 0..65535 and 0..255, each scaled to 0..255: "
                "equal pixels need not mean equal brightness."
            ),
        ),
        (
            "JPEG",
            (
                "File formats differ: the first set JPEG 100%; the second set PNG 100%. "
                "Compression artefacts affect the scores."
            ),
        ),
        ("dim", "Of {}: The values use 5% of their range, 0..12; data.value_range=[0, 12] would spread them."),
        ("16-bit grey", "100% and 0% of the images have no colour: this difference affects the scores too."),
        ("animated", "Of {}, 60 of 60 images: several frames or pages: only the first is used."),
        ("grey", "50% and 0% of the images have no colour: this difference affects the scores too."),
        ("damaged", "Of {}, 1 of 60 images: skipped, such as 07.png (unreadable: not an image)."),
    ],
)
def test_lossy_conversions_of_images_are_noted(places, pictures, tmp_path, kind, message):
    place = saved_as(tmp_path / "images", pictures, kind)
    result = scoring.score(place, places[0], space=Mean())
    assert message.format(place) in result.notes
    assert result.protocol["generated_count"] == 60 - (kind == "damaged")


def test_images_of_one_pixel_have_scores(places, pictures, tmp_path):
    np.savez(tmp_path / "tiny.npz", images=pictures[:, :1, :1])
    result = scoring.score(str(tmp_path / "tiny.npz"), places[0], space=Mean())
    assert np.isfinite([score.value for score in result.scores]).all()
    assert result.notes[0].startswith("The images have two sizes, 1x1 and 16x12")


def test_statistics_of_another_tool_are_accepted(places, tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(12), sigma=np.eye(12))
    result = scoring.score(places[0], str(tmp_path / "theirs.npz"), space=Mean())
    assert result.notes[0] == f"{tmp_path / 'theirs.npz'} does not name its feature space; mean is assumed."


def test_the_command_scores_with_the_inception_network(places, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(inception_files.port_file(inception_files.random_weights()))
    np.savez(tmp_path / "few.npz", images=np.load(places[2])["images"][:8])
    few = str(tmp_path / "few.npz")
    output = ["-o", str(tmp_path / "scores"), "--statistics", str(tmp_path / "s.npz"), "--json"]
    result = CliRunner().invoke(main, ["score", few, few, "--weights", str(weights), *output])
    assert result.exit_code == 0, result.output
    assert "features of" in result.output
    message = json.loads(result.output.splitlines()[-1])
    assert message["scores"][0]["name"] == "fd_inception_legacy"  # random weights are not FID's
    assert "mostly bias" in message["notes"][0]
    assert Statistics.load(tmp_path / "s.npz").mean.shape == (2048,)
    assert Evaluation.open(tmp_path / "scores").protocol == message["protocol"]


def test_the_command_scores_without_weights_in_random_features(places, tmp_path):
    written = ["-o", str(tmp_path / "scores"), "--statistics", str(tmp_path / "second.npz")]
    result = CliRunner().invoke(main, ["score", places[0], places[1], *written])
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / 'second.npz'}, mean and covariance of {places[1]}" in result.output
    actual = Evaluation.open(tmp_path / "scores")
    assert [score.name for score in actual.scores[:2]] == ["fd_random", "kd_random"]  # few images in 163 features
    assert actual.protocol["resize_mode"] == "clean"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resize-mode", "clean"], "--resize-mode needs --space inception"),
        (["--space", "squeezenet"], "expected --weights FILE"),
        (["--space", "squeezenet", "--weights", __file__], "expected the HDF5 file squeezenet_weights"),
        (["--weights", __file__, "--space", "random"], "expected no weights for random features"),
        (["--weights", "/nowhere.pth"], "no such file or folder"),
        (["--weights", __file__], "the Inception weights cannot be read"),
    ],
)
def test_the_command_reports_a_mistake_in_one_line(options, message, places):
    result = CliRunner().invoke(main, ["score", places[0], places[0], *options])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr
