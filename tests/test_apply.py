"""An exported model is applied to pictures of any size, without seams, and nothing is lost without a word."""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import exported_models as models
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms

from ganlib import storage
from ganlib.inference import Inputs, tiling
from ganlib.inference.functions import ExportedFunctions
from ganlib.inference.tiling import Cut
from pipelines.command.main import main

SIZES = [(1, 1), (17, 301), (64, 64), (65, 130), (200, 3)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder of exported models, by the name of what they do."""
    root = tmp_path_factory.mktemp("exported")
    free, fixed = models.any_size(), {"images": [None, 64, 64, 3]}
    models.save(
        root / "several",
        {
            "translate": (models.invert, free),
            "translate_back": (models.identity, free),
            "grey": (models.invert, models.any_size(1)),
            "to_grey": (models.to_grey, free),
            "blur": (models.blur, free),
            "normalise": (models.normalise, free),
            "refuse": (models.refuse, free),
        },
    )
    models.save(root / "fixed", {"translate": (models.invert, fixed)})
    models.save(root / "coarse", {"translate": (models.coarse, free)}, inputs={"multiple_of": 4, "overlap": 10})
    models.save(root / "restore", {"restore": (models.paint, models.with_masks())}, inputs={"minimum": 8})
    return root


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, ["apply", *map(str, words)])


@pytest.fixture
def mistake(call):
    """Runs a command that must end with one line and the code of a user's mistake."""

    def fail(*words):
        result = call(*words)
        assert result.exit_code == 2
        assert not result.stdout or result.stdout.startswith("note: ")
        [line] = result.stderr.splitlines()
        return line

    return fail


def noise(height, width, channels=3, *, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height, width):
    """A picture with light and dark, as photos have."""
    down, across = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    waves = np.sin(down / np.array([90, 70, 150])) + np.sin(across / np.array([60, 130, 40]))
    return (127 + 60 * waves).astype(np.uint8)


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def function(exported, model, name=None):
    return ExportedFunctions.open(str(exported / model)).from_images(name)


def test_the_first_line_says_what_is_done(exported, call, tmp_path):
    save(noise(2, 2), tmp_path / "a.png")

    def first(model, *words):
        done = call(exported / model, "a.png", "-o", "out", "--overwrite", *words)
        return done.stdout.splitlines()[:2]

    tiles = "apply: translate, 1 picture, larger ones in tiles of"
    line, note = first("several")
    assert line == f"{tiles} 512x512 pixels, which overlap by 64"
    assert note == "note: other functions of the model: translate_back"
    assert first("fixed")[0] == f"{tiles} 64x64 pixels, which overlap by 32"
    assert first("coarse", "--tile", 30)[0] == f"{tiles} 32x32 pixels, which overlap by 10"
    assert first("several", "--tile", 256, "--overlap", 128)[0] == f"{tiles} 256x256 pixels, which overlap by 128"
    line, note = first("several", "--tile", 0, "--signature", "translate_back")
    assert line == "apply: translate_back, 1 picture, each as a whole"
    assert not note.startswith("note")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("model", ["several", "fixed"])
def test_a_picture_of_any_size_keeps_its_size(exported, call, tmp_path, size, model):
    picture = noise(*size)
    done = call(exported / model, save(picture, tmp_path / "in.png"), "-o", "out.png")
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), 255 - picture)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sides_are_extended_to_a_multiple_by_reflection(exported, size):
    picture = noise(*size)
    made = tiling.run(function(exported, "coarse"), picture, None, tile=0)
    height, width = size
    extended = np.pad(picture, [(0, -height % 4), (0, -width % 4), (0, 0)], mode="reflect").astype(float)
    squares = extended.reshape(len(extended) // 4, 4, -1, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(made, squares.repeat(4, 0).repeat(4, 1)[:height, :width], atol=0.5)


@pytest.mark.parametrize(("height", "width"), [(100, 301), (64, 65), (300, 97)])
@pytest.mark.parametrize("tile", [64, 96, 100])
def test_tiles_give_the_same_image_as_the_whole(exported, height, width, tile):
    """Where tiles overlap by at least four times the reach of the network; here 32 = 4 x 8."""
    blur = function(exported, "several", "blur")
    picture = noise(height, width)
    whole = blur(picture[None])[0]
    np.testing.assert_array_equal(tiling.run(blur, picture, None, tile=tile), whole)


def test_tiles_begin_where_the_grid_of_the_network_does(exported):
    coarse = function(exported, "coarse")
    picture = noise(90, 75)
    whole = tiling.run(coarse, picture, None, tile=0)
    np.testing.assert_array_equal(tiling.run(coarse, picture, None, tile=30), whole)


@pytest.mark.parametrize("fixed", [None, 64])
@pytest.mark.parametrize("side", [1, 63, 64, 65, 127, 500, 3001])
@pytest.mark.parametrize("multiple_of", [1, 4, 32])
@pytest.mark.parametrize("overlap", [0, 1, 10, 32, 1000])
def test_the_influences_of_all_tiles_sum_to_one_everywhere(fixed, side, multiple_of, overlap):
    cut = Cut.of(side, fixed=fixed, tile=64, multiple_of=multiple_of, minimum=1, overlap=overlap)
    assert cut.length >= side
    assert cut.tile % multiple_of == 0
    assert all(start % multiple_of == 0 for start in cut.starts)
    total = np.zeros(cut.length)
    for start, weights in zip(cut.starts, cut.weights, strict=True):
        assert weights.min() >= 0
        total[start : start + cut.tile] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


def jumps(image, places, axis):
    """The mean absolute difference between neighbouring rows or columns, at some places and at all others."""
    steps = np.abs(np.diff(image.astype(float), axis=axis)).mean(axis=tuple({0, 1, 2} - {axis}))
    at = np.isin(np.arange(len(steps)), places)
    return steps[at].mean(), steps[~at].mean()


def test_there_is_no_seam_where_each_tile_has_colours_of_its_own(exported):
    normalise = function(exported, "several", "normalise")
    picture = smooth(700, 900)
    made = tiling.run(normalise, picture, None, tile=256)
    rows, columns = tiling.cuts(normalise, 700, 900, tile=256)
    for cut, axis in ((rows, 0), (columns, 1)):
        borders = [start - 1 for start in cut.starts[1:]] + [start + cut.tile - 1 for start in cut.starts[:-1]]
        at_borders, inside = jumps(made, borders, axis)
        assert at_borders < 1.2 * inside
    # The more overlap, the slower do colours change.
    steepest = [
        np.abs(np.diff(tiling.run(normalise, picture, None, tile=256, overlap=overlap).astype(float), axis=1)).max()
        for overlap in (0, 16, 64, 128)
    ]
    assert steepest == sorted(steepest, reverse=True)
    # Without the overlap, the tiles differ so much that their borders are seen.
    beside = made.copy()
    for top in range(0, 700, 256):
        for left in range(0, 900, 256):
            square = picture[None, top : top + 256, left : left + 256]
            beside[top : top + 256, left : left + 256] = normalise(square)[0]
    at_borders, inside = jumps(beside, [255, 511], 0)
    assert at_borders > 2 * inside


def test_a_small_picture_is_extended_to_the_smallest_side(exported):
    [rows, columns] = tiling.cuts(function(exported, "restore"), 1, 9, tile=512)
    assert (rows.tile, columns.tile) == (8, 9)
    assert rows.pixels.tolist() == [0] * 8
    assert Cut.of(3, fixed=None, tile=0, multiple_of=4, minimum=8, overlap=0).pixels.tolist() == [
        0,
        1,
        2,
        1,
        0,
        1,
        2,
        1,
    ]


def test_a_folder_keeps_its_names_and_reports_each_loss(exported, call, tmp_path):
    colours, grey = noise(5, 7), noise(5, 7, 1)
    save(colours, tmp_path / "in/a b.bmp")
    save(grey, tmp_path / "in/sub/deep/é.png")
    save(np.dstack([colours, np.full((5, 7), 255, np.uint8)]), tmp_path / "in/opaque.webp")
    save(np.dstack([colours, np.zeros((5, 7), np.uint8)]), tmp_path / "in/clear.png")
    save(np.array([[0, 65535]], np.uint16), tmp_path / "in/sixteen.png")
    (tmp_path / "in/notes.txt").write_text("no picture")
    (tmp_path / "in/.hidden.png").write_bytes(b"x")
    with Image.fromarray(colours) as turned:
        exif = turned.getexif()
        exif[0x0112] = 6  # the camera was turned: the first row is the right column
        turned.save(tmp_path / "in/turned.png", exif=exif)
    done = call(exported / "several", "in", "-o", "out")
    assert done.exit_code == 0, done.output
    expected = {
        "a b.png": 255 - colours,
        "sub/deep/é.png": 255 - np.dstack([grey] * 3),
        "clear.png": np.zeros((5, 7, 3)),
        "sixteen.png": [[[255] * 3, [0] * 3]],
        "turned.png": 255 - np.rot90(colours, -1),
    }
    out = tmp_path / "out"
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {*expected, "opaque.png"}
    for name, array in expected.items():
        np.testing.assert_array_equal(pixels(out / name), array)
    for note in (
        "ignored: 1 file other than images (1 .txt), such as notes.txt",
        "1 of 6 pictures: transparent: put on a white background",
        "1 of 6 pictures: values 0..65535: scaled to 0..255",
    ):
        assert f"note: {note}\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "apply: wrote 6 of 6 pictures to out"


def test_a_grey_model_gives_grey_pictures(exported, call, tmp_path):
    colours = noise(9, 4)
    save(colours, tmp_path / "in/a.png")
    done = call(exported / "several", "in", "-o", "out", "--signature", "grey")
    assert "note: 1 of 1 pictures: colour: reduced to grey\n" in done.stdout
    np.testing.assert_array_equal(
        pixels(tmp_path / "out/a.png"), 255 - np.asarray(Image.fromarray(colours).convert("L"))
    )
    assert call(exported / "several", "in", "-o", "more", "--signature", "to_grey").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "more/a.png"), colours[..., 0])


def test_archives_and_folders_of_a_bucket_give_what_a_folder_gives(exported, call, tmp_path, objects, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        # Names of splits and classes mean nothing here, and no picture is left out.
        for seed, name in enumerate(("train/a.png", "val/b.png", "cats/c.png", "d.png")):
            path = save(noise(3, 4, seed=seed), tmp_path / "in" / name)
            archive.write(path, name)
            objects.blob(f"some/{name}").upload_from_filename(path)
        archive.writestr("../outside.png", b"x")
    (tmp_path / "in.zip").write_bytes(data.getvalue())
    objects.blob("in.zip").upload_from_string(data.getvalue())
    objects.blob("one.png").upload_from_filename(tmp_path / "in/d.png")
    sources = ["in", "in.zip", "gs://bucket/some", "gs://bucket/in.zip"]
    for place, source in enumerate(sources):
        done = call(exported / "several", source, "-o", f"out{place}")
        assert done.exit_code == 0, done.output
        for seed, name in enumerate(("train/a.png", "val/b.png", "cats/c.png", "d.png")):
            np.testing.assert_array_equal(pixels(tmp_path / f"out{place}" / name), 255 - noise(3, 4, seed=seed))
        assert ("with a path outside of the archive, such as ../outside.png" in done.stdout) == source.endswith("zip")
    objects.blob("odd//a.png").upload_from_filename(tmp_path / "in/d.png")
    assert call(exported / "several", "gs://bucket/odd", "-o", "odd").exit_code == 0
    assert [path.name for path in (tmp_path / "odd").iterdir()] == ["a.png"]
    assert call(exported / "several", "gs://bucket/one.png", "-o", "one").exit_code == 0
    assert (tmp_path / "one/one.png").read_bytes() == (tmp_path / "out0/d.png").read_bytes()


def test_a_model_in_a_bucket_is_used_like_one_here(exported, call, tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    storage.publish(exported / "restore", f"{bucket}/models/restore")
    save(np.dstack([noise(9, 9), np.full((9, 9), 200, np.uint8)]), tmp_path / "a.png")
    assert call(f"{bucket}/models/restore", "a.png", "-o", "out.png").exit_code == 0
    assert (pixels(tmp_path / "out.png") == 200).all()


def test_what_cannot_be_read_is_reported_and_the_rest_is_made(exported, call, tmp_path):
    for name in ("a.png", "z.png"):
        save(noise(8, 8), tmp_path / "in" / name)
    (tmp_path / "in/broken.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:60])
    (tmp_path / "in/empty.jpg").touch()
    Path(tmp_path / "in/gone.png").symlink_to("nowhere")
    save(np.array([[0.0, 1e12]], np.float32), tmp_path / "in/floats.tif")
    done = call(exported / "several", "in", "-o", "out")
    assert done.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
    *failed, last = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in failed] == [
        ["failed", name] for name in ("broken.png", "empty.jpg", "floats.tif", "gone.png")
    ]
    assert failed[2].endswith("floating-point values of unknown range; set --value-range")
    assert last == "error: 4 of 6 pictures failed, such as broken.png"
    done = call(exported / "several", "in/floats.tif", "-o", "floats.png", "--value-range", 0, 4e12)
    np.testing.assert_array_equal(pixels(tmp_path / "floats.png")[..., 0], [[255, 255 - 64]])


def test_what_the_model_refuses_is_reported_in_one_line(exported, call, tmp_path):
    for name, height in (("a.png", 49), ("b.png", 50)):
        save(noise(height, 4), tmp_path / "in" / name)
    done = call(exported / "several", "in", "-o", "out", "--signature", "refuse")
    assert done.exit_code == 1
    [failed, _] = done.stderr.splitlines()
    assert failed.startswith("failed: b.png: the exported model refused it: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_names_that_differ_by_their_suffix_keep_it(exported, call, tmp_path):
    for seed, name in enumerate(("a.png", "a.bmp", "sub/a.png", "b.v2")):
        path = save(noise(2, 2, seed=seed), tmp_path / "in" / f"{name}.png")
        path.rename(tmp_path / "in" / name)
    done = call(exported / "several", "in", "-o", "out")
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert names == ["a.bmp.png", "a.png.png", "b.v2.png", "sub/a.png"]
    assert "note: 2 pictures have the name of another one with another suffix" in done.stdout
    np.testing.assert_array_equal(pixels(out / "a.png.png"), 255 - noise(2, 2, seed=0))


def test_two_results_never_have_one_name(exported, mistake, tmp_path):
    for name in ("a.png", "a.bmp", "a.bmp.png"):
        save(noise(2, 2), tmp_path / "in" / name)
    line = mistake(exported / "several", "in", "-o", "out")
    assert line.endswith("Received: 'a.bmp' and 'a.bmp.png', both 'a.bmp.png'")


def test_known_pixels_stay_as_they_are_and_a_missing_mask_is_reported(exported, call, tmp_path):
    picture, mask = noise(90, 150), np.zeros((90, 150), np.uint8)
    mask[30:70, 60:100] = 255
    for name in ("sub/a.png", "b.png", "c.png"):
        save(picture, tmp_path / "in" / name)
    save(mask, tmp_path / "masks/sub/a.bmp")
    save(np.dstack([mask, mask, 255 - mask]), tmp_path / "masks/b.png")  # yellow and blue
    save(mask, tmp_path / "masks/other.png")
    done = call(exported / "restore", "in", "-o", "out", "--masks", "masks", "--tile", 48)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "failed: c.png: it has no mask",
        "error: 1 of 3 pictures failed, such as c.png",
    ]
    assert "note: masks of no picture: 1, such as other.png\n" in done.stdout
    assert "note: 1 of 3 pictures: mask: colour: reduced to grey\n" in done.stdout
    expected = picture.copy()
    expected[30:70, 60:100] = 200
    for name in ("sub/a.png", "b.png"):
        np.testing.assert_array_equal(pixels(tmp_path / "out" / name), expected)


def test_a_hole_that_leads_from_tile_to_tile_is_reported(exported, call, tmp_path):
    wide, narrow, scratch = (np.zeros((90, 150), np.uint8) for _ in range(3))
    wide[50:64, 25:60] = narrow[50:64, 25:40] = scratch[50:52, 25:140] = 255
    masks = {"wide": wide, "tall": np.rot90(wide), "narrow": narrow, "scratch": scratch, "none": 0 * wide}
    for name, mask in masks.items():
        save(noise(*mask.shape), tmp_path / f"in/{name}.png")
        save(mask, tmp_path / f"masks/{name}.png")
    words = [exported / "restore", "in", "-o", "out", "--masks", "masks", "--overwrite", "--tile"]
    for tile, overlap, pictures in ((48, 16, 2), (48, 24, 1), (80, 40, 0), (0, 0, 0)):
        done = call(*words, tile, "--overlap", overlap)
        assert done.exit_code == 0
        told = [line for line in done.stdout.splitlines() if "a hole leads through" in line]
        assert [line.split(":")[1] for line in told] == [f" {pictures} of 5 pictures"] * bool(pictures), (tile, overlap)
        assert all(line.endswith("or --tile 0 may avoid that") for line in told)
    done = call(*words, 48, "--overlap", 0)  # tiles that touch
    assert "3 of 5 pictures: a hole leads" in done.stdout


def test_a_hole_in_tiles_of_the_only_size_that_a_model_takes_has_no_advice(call, tmp_path):
    fixed = {"images": [None, 32, 32, 3], "masks": [None, 32, 32, 1]}
    models.save(tmp_path / "fixed", {"restore": (models.paint, fixed)}, inputs={"overlap": 8})
    mask = np.full((32, 70), 255, np.uint8)
    mask[:, :4] = 0
    save(noise(32, 70), tmp_path / "a.png")
    save(mask, tmp_path / "mask.png")
    done = call("fixed", "a.png", "-o", "out.png", "--masks", "mask.png")
    assert done.exit_code == 0, done.stderr
    [told] = [line for line in done.stdout.splitlines() if "a hole leads through" in line]
    assert (
        told
        == "note: 1 of 1 pictures: a hole leads through all that two tiles share, and they may repair it differently"
    )


def test_transparent_parts_are_repaired(exported, call, tmp_path):
    colours, alpha = noise(20, 30), np.full((20, 30), 255, np.uint8)
    alpha[5:9, 7:], alpha[:2] = 0, 254
    save(np.dstack([colours, alpha]), tmp_path / "in/a.png")
    save(colours, tmp_path / "in/opaque.png")
    done = call(exported / "restore", "in", "-o", "out")
    assert done.stderr.splitlines()[0] == (
        "failed: opaque.png: it has no mask: no transparent parts, and --masks is not given"
    )
    assert "transparent" not in done.stdout
    expected = np.where(alpha[..., None] == 255, colours, 200)
    np.testing.assert_array_equal(pixels(tmp_path / "out/a.png"), expected)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((4, 5), np.uint8), "expected the size of the picture, 4x4, and it has 5x4"),
        (np.eye(4, dtype=np.uint8), "expected white, 255, where the picture is to be repaired, and its largest value"),
        (None, "unreadable"),
    ],
)
def test_a_mask_that_does_not_fit_is_reported(exported, call, tmp_path, mask, reason):
    save(noise(4, 4), tmp_path / "a.png")
    if mask is None:
        (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    else:
        save(mask, tmp_path / "mask.png")
    done = call(exported / "restore", "a.png", "-o", "out.png", "--masks", "mask.png")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"failed: a.png: mask mask.png: {reason}")
    assert not (tmp_path / "out.png").exists()


def test_a_single_picture_takes_a_mask_of_any_name_also_an_empty_one(exported, call, tmp_path):
    picture = noise(10, 10)
    save(picture, tmp_path / "a.png")
    save(np.zeros((10, 10), np.uint8), tmp_path / "mask.png")
    assert call(exported / "restore", "a.png", "-o", "out.png", "--masks", "mask.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), picture)


def test_a_colour_profile_is_kept_where_it_suits_the_pixels(exported, call, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(4, 4)).save(tmp_path / "in/a.jpg", icc_profile=profile)
    assert call(exported / "several", "in", "-o", "out").exit_code == 0
    with Image.open(tmp_path / "out/a.png") as made:
        assert made.info["icc_profile"] == profile
    for name in ("grey", "to_grey"):
        done = call(exported / "several", "in", "-o", name, "--signature", name)
        assert "colour profile of other colours than grey: left out" in done.stdout
        with Image.open(tmp_path / name / "a.png") as made:
            assert "icc_profile" not in made.info


def test_an_existing_output_is_replaced_only_on_request(exported, call, mistake, tmp_path):
    save(noise(2, 2), tmp_path / "in/a.png")
    old = save(noise(2, 2, seed=5), tmp_path / "out/a.png").read_bytes()
    save(noise(2, 2, seed=6), tmp_path / "out/other.png")
    assert mistake(exported / "several", "in", "-o", "out").endswith("Received: output='out', which exists")
    assert mistake(exported / "several", "in/a.png", "-o", "out/a.png").endswith("'out/a.png', which exists")
    assert (tmp_path / "out/a.png").read_bytes() == old
    assert call(exported / "several", "in", "-o", "out", "--overwrite").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "out/a.png"), 255 - noise(2, 2))
    np.testing.assert_array_equal(pixels(tmp_path / "out/other.png"), noise(2, 2, seed=6))
    (tmp_path / "empty").mkdir()
    assert call(exported / "several", "in", "-o", "empty").exit_code == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none", "a.png", "-o", "out"], "no such file or folder. Received: path='none'"),
        (
            ["in", "a.png", "-o", "out"],
            "expected an exported model, a folder with saved_model/saved_model.pb. Received",
        ),
        (["several", "none.png", "-o", "out"], "no such file or folder. Received: path='none.png'"),
        (
            ["several", "notes.txt", "-o", "out"],
            "expected a picture, a folder of pictures, or a zip or tar file of them",
        ),
        (["several", "broken.zip", "-o", "out"], "not a readable zip or tar file: "),
        (
            ["several", "pipe", "-o", "out"],
            "expected a picture, a folder of pictures, or a zip or tar file of them. Rec",
        ),
        (["several", "in", "-o", "out", "--value-range", 5, 5], "expected a low value and a higher one. Received: val"),
        (["several", "void", "-o", "out"], "found none. Received: path='void', which has no files"),
        (["several", "in", "-o", "in/out"], "expected an output outside of 'in'. Received: output='in/out'"),
        (["several", "a.png", "-o", "a.png", "--overwrite"], "expected an output outside of 'a.png'. Received"),
        (["several", "in", "-o", "out.png"], "expected a folder. Received: output='out.png'"),
        (["several", "a.png", "-o", "out.jpg"], "expected a folder or a name that ends in .png, a format without loss"),
        (["several", "a.png", "-o", "gs://bucket/out"], "expected a place on this machine. Received: output='gs:/"),
        (["several", "a.png", "-o", "out", "--masks", "a.png"], "the function translate takes no masks. Received"),
        (["several", "a.png", "-o", "out", "--signature", "no"], "expected an exported model with the function 'no'."),
        (["fixed", "a.png", "-o", "out", "--tile", 128], "takes images of one size, 64x64, so tiles have that size."),
        (["fixed", "a.png", "-o", "out", "--tile", 0], "takes images of one size, 64x64, so tiles have that size."),
        (
            ["several", "a.png", "-o", "out", "--overlap", 257],
            "expected an overlap of at most half a tile, 256. Received",
        ),
        (["latents", "a.png", "-o", "out"], "expected an exported model with the function translate or restore. Rece"),
        (["latents", "a.png", "-o", "out", "--signature", "generate"], "expected a function from images to images, "),
        (["cut", "a.png", "-o", "out"], "expected a whole exported model. Received: model="),
        (["strange", "a.png", "-o", "out"], "multiple_of: Input should be greater than or equal to 1. Received"),
    ],
    ids=lambda words: " ".join(map(str, words)) if isinstance(words, list) else "",
)
def test_each_mistake_is_one_line(exported, mistake, tmp_path, words, line):
    save(noise(2, 2), tmp_path / "a.png")
    for name in ("a.png", "b.png"):
        save(noise(2, 2), tmp_path / "in" / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4and no more")
    (tmp_path / "void").mkdir()
    os.mkfifo(tmp_path / "pipe")
    if words[0] == "latents":
        models.save(
            tmp_path / "latents", {"generate": (lambda seed: {"images": seed[..., None] * 0}, {"seed": [1, 2]})}
        )
    if words[0] == "cut":
        shutil.copytree(exported / "fixed", tmp_path / "cut")
        (tmp_path / "cut/saved_model/saved_model.pb").write_bytes(b"\x08\x01\x12\xff")
    if words[0] == "strange":
        shutil.copytree(exported / "fixed", tmp_path / "strange")
        (tmp_path / "strange/inputs.json").write_text('{"multiple_of": 0}')
    model = exported / words[0]
    assert line in mistake(model if model.exists() else words[0], *words[1:])
    assert not (tmp_path / "out").exists()


def test_what_export_writes_about_the_inputs_is_read_back(tmp_path):
    inputs = Inputs(multiple_of=4, minimum=16, fixed=(64, 96), overlap=80, classes=("a", "b"))
    inputs.write(tmp_path)
    assert Inputs.read(tmp_path) == inputs
    assert Inputs.read(tmp_path / "elsewhere") == Inputs()
    (tmp_path / "inputs.json").write_text('{"multiple_of": 4, "fixed": null, "overlap": 80}')
    assert Inputs.read(tmp_path) == Inputs(multiple_of=4, overlap=80)


def test_a_disk_that_is_full_ends_the_command(exported, call, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        save(noise(2, 2), tmp_path / "in" / name)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ganlib.inference.outputs.storage.atomic_file", full)
    done = call(exported / "several", "in", "-o", "out")
    assert (done.exit_code, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_ctrl_c_leaves_complete_results_only(exported, call, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        save(noise(2, 2), tmp_path / "in" / name)
    write = Image.Image.save

    def stop(image, place, **options):
        write(image, place, **options)
        if "b.png" in Path(place).name:
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stop)
    done = call(exported / "several", "in", "-o", "out")
    assert (done.exit_code, done.stderr) == (1, "error: interrupted; the results so far are in out\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


PEAKS = """
import resource, sys
from click.testing import CliRunner
from pipelines.command.main import main
model, *pictures = sys.argv[1:]
for picture in pictures:
    words = ["apply", model, picture, "-o", picture + ".png", "--signature", "normalise"]
    assert CliRunner().invoke(main, words).exit_code == 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_a_photo_of_six_million_pixels_takes_little_memory(exported, tmp_path):
    """Its pixels take 18 MB. On the whole of it, each array of floats of the network would take 72 MB."""
    photo = smooth(2000, 3000)
    words = [exported / "several", save(photo[:512, :512], tmp_path / "tile.bmp"), save(photo, tmp_path / "photo.bmp")]
    done = subprocess.run([sys.executable, "-c", PEAKS, *words], capture_output=True, text=True, check=True)
    tile, whole = map(int, done.stdout.split())
    assert whole - tile < 8 * 18e6
    assert pixels(tmp_path / "photo.bmp.png").shape == photo.shape
