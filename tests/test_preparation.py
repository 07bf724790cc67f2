"""Any source becomes one dataset on disk, atomically."""

import functools
import hashlib
import json
import os
import resource
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ganlib.data import Arrays, DataConfig, ImageFolder, PreparedDataset, parts, prepare

PAGE = os.sysconf("SC_PAGE_SIZE")


def noise(shape, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def write_images(folder, count=20, shape=(12, 12, 3)):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        noise(shape, seed=index).save(folder / f"good-{index:02d}.png")
    return folder


def config_of(folder, **changes):
    settings = {"source": ImageFolder(path=str(folder)), "size": 8, "colour": "rgb", "name": "own"}
    return DataConfig(**{**settings, **changes})


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pictures(dataset, split="train"):
    images, labels = dataset.load(split)
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


@pytest.fixture
def mixed(tmp_path):
    """All kinds of images, usable or not, among twenty good ones."""
    folder = write_images(tmp_path / "images")
    noise((12, 12)).save(folder / "grey.png")
    noise((12, 12, 4)).save(folder / "alpha.png")
    noise((12, 12)).convert("P").save(folder / "palette.gif")
    noise((12, 12)).convert("1").save(folder / "bits.png")
    Image.frombytes("CMYK", (12, 12), bytes(12 * 12 * 4)).save(folder / "print.jpg")
    Image.fromarray(np.full((12, 12), 30_000, np.uint16)).save(folder / "deep.png")
    noise((12, 12), 1).save(folder / "moving.gif", save_all=True, append_images=[noise((12, 12), 2)])
    noise((30, 9, 3)).save(folder / "oblong.jpg")
    (folder / "text.png").write_text("I am a text\n")
    noise((64, 64, 3)).save(folder / "whole.jpg", quality=95)
    data = (folder / "whole.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(data[: len(data) // 2])
    noise((1, 1, 3)).save(folder / "dot.png")
    Image.fromarray(np.ones((12, 12), np.float32)).save(folder / "float.tif")
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("no image")
    return folder


SKIPPED = {
    "text.png": "unreadable: not an image",
    "half.jpg": "unreadable: image file is truncated",
    "dot.png": "too small: 1x1, expected sides of 8 or more",
    "float.tif": "floating-point values of unknown range; set data.value_range",
    "empty.png": "unreadable: not an image",
}


def test_the_embedded_digits_are_prepared_without_any_setting(digits):
    assert digits.summary == {
        "name": "digits",
        "sha256": digits.checksum,
        "image_shape": [16, 16, 1],
        "classes": 10,
        "train": 1437,
        "test": 360,
        "skipped": 0,
    }


def test_unusable_images_are_skipped_by_name_with_their_reason(mixed, tmp_path, capsys):
    dataset = prepare(config_of(mixed, max_unusable=0.2), tmp_path / "dataset")
    result = {item["name"]: item["reason"] for item in dataset.manifest["skipped"]}
    assert result.keys() == SKIPPED.keys()
    for name, reason in SKIPPED.items():
        assert result[name].startswith(reason)
    assert dataset.count("train") + dataset.count("test") == 20 + 9
    assert dataset.manifest["ignored_files"] == 1
    assert dataset.summary["skipped"] == 5
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.startswith("skipped 5 of 34 images: ")]
    assert sum(f"{name} ({reason}" in line for name, reason in SKIPPED.items()) == 3


def test_what_a_conversion_loses_is_counted(mixed, tmp_path):
    dataset = prepare(config_of(mixed, max_unusable=0.2), tmp_path / "dataset")
    assert dataset.manifest["remarks"] == {
        "CMYK: converted to RGB": 1,
        "several frames or pages: only the first is used": 1,
        "transparent: put on a white background": 1,
        "values 0..65535: scaled to 0..255": 1,
    }


def test_too_many_unusable_images_fail_the_step_in_one_line_and_leave_only_their_list(mixed, tmp_path):
    with pytest.raises(ValueError, match=r"5 of 34 images cannot be used: ") as caught:
        prepare(config_of(mixed), tmp_path / "out" / "dataset")
    text = str(caught.value)
    assert "\n" not in text
    assert sum(f"{name} ({reason}" in text for name, reason in SKIPPED.items()) == 3
    assert "), .... Expected" in text
    place = tmp_path / "out" / "dataset-skipped.json"
    assert text.endswith(f"at most data.max_unusable. Received: max_unusable=0.05, share=0.147, all='{place}'")
    assert {item["name"] for item in json.loads(place.read_text())} == SKIPPED.keys()
    assert os.listdir(tmp_path / "out") == [place.name]


@pytest.mark.parametrize(("allowed", "passes"), [(0.5, True), (0.49, False), (0.0, False), (1.0, True)])
def test_the_share_of_unusable_images_is_a_limit_that_may_be_reached(tmp_path, allowed, passes):
    folder = write_images(tmp_path / "images", count=12)
    for index in range(12):
        (folder / f"bad-{index}.png").write_text("text")
    source = ImageFolder(path=str(folder), test_fraction=0.5)
    config = config_of(folder, source=source, max_unusable=allowed, shards=4)
    if passes:
        dataset = prepare(config, tmp_path / "dataset")
        assert dataset.count("train") + dataset.count("test") == 12
        shards = dataset.manifest["splits"]["train"]["shards"]
        assert sum(shard["count"] for shard in shards) == dataset.count("train")
    else:
        with pytest.raises(ValueError, match="12 of 24 images cannot be used"):
            prepare(config, tmp_path / "dataset")


@pytest.mark.parametrize("shards", [1, 3])
def test_images_of_both_splits_are_counted_and_noted(tmp_path, capsys, shards):
    folder = tmp_path / "images"
    write_images(folder / "train", count=20)
    write_images(folder / "test", count=8)  # the first eight of the same
    noise((12, 12, 3), seed=99).save(folder / "test" / "own.png")
    noise((12, 12, 3), seed=5).save(folder / "train" / "again.bmp")
    dataset = prepare(config_of(folder, shards=shards), tmp_path / "dataset")
    notes = [
        "8 of 9 test images are also training images, pixel for pixel.",
        "1 of 21 training images repeat others, pixel for pixel.",
    ]
    assert (dataset.manifest["test_among_train"], dataset.manifest["train_repeated"]) == (8, 1)
    assert dataset.notes == notes
    assert all(f"note: {note}\n" in capsys.readouterr().out for note in notes[:1])
    assert not list(dataset.folder.glob("*.fingerprints"))


def test_images_that_are_all_different_have_no_note(digits):
    assert digits.notes == []


@pytest.mark.parametrize(("train", "noted"), [("jpg", True), ("png", False)])
def test_splits_in_other_formats_are_noted(tmp_path, train, noted):
    write_images(tmp_path / "images" / "test", count=4)
    (tmp_path / "images" / "train").mkdir()
    for index in range(9):
        noise((12, 12, 3), seed=50 + index).save(tmp_path / "images" / "train" / f"{index}.{train}")
    dataset = prepare(config_of(tmp_path / "images"), tmp_path / "dataset")
    message = (
        "File formats differ: training images JPEG 100%; test images PNG 100%. Compression artefacts affect the scores."
    )
    assert dataset.notes == [message] * noted
    assert dataset.formats("train") == {{"jpg": "JPEG", "png": "PNG"}[train]: 9}


@pytest.mark.parametrize("few", ["train", "test"])
def test_a_split_that_loses_nearly_all_images_is_named(tmp_path, few):
    for split in ("train", "test"):
        folder = write_images(tmp_path / "images" / split, count=6)
        if split == few:
            for index in range(5):
                (folder / f"good-{index:02d}.png").write_text("text")
    config = config_of(tmp_path / "images", max_unusable=0.9)
    with pytest.raises(
        ValueError, match=rf"^expected at least 2 usable images in the {few} split. Received: images=1$"
    ):
        prepare(config, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_arrays_without_images_are_refused(tmp_path):
    none = np.zeros((0, 8, 8), np.uint8)
    np.savez(tmp_path / "data.npz", x_train=none, x_test=none)
    config = DataConfig(source=Arrays(path=str(tmp_path / "data.npz")), size=8)
    with pytest.raises(ValueError, match=r"^expected at least 2 images to train on.* Received: train=0, test=0$"):
        prepare(config, tmp_path / "dataset")


@pytest.mark.parametrize("source", ["missing", "empty", "text"])
def test_a_source_that_is_refused_leaves_nothing_behind(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("text")
    with pytest.raises(ValueError, match=r"Received: path="):
        prepare(config_of(tmp_path / source), tmp_path / "out" / "dataset")
    assert not (tmp_path / "out").exists()


def test_the_manifest_tells_counts_classes_and_shape(tmp_path):
    for name, count in (("cat", 9), ("dog", 6)):
        write_images(tmp_path / "images" / "train" / name, count)
        write_images(tmp_path / "images" / "test" / name, count - 3)
    config = config_of(tmp_path / "images", size=12, fit="pad", resize="lanczos", min_side=9)
    manifest = prepare(config, tmp_path / "dataset").manifest
    assert manifest["name"] == "own"
    assert manifest["image_shape"] == [12, 12, 3]
    assert manifest["classes"] == ["cat", "dog"]
    assert manifest["splits"]["train"]["count"] == 15
    assert manifest["splits"]["train"]["classes"] == {"cat": 9, "dog": 6}
    assert manifest["splits"]["test"]["count"] == 9
    assert manifest["splits"]["test"]["classes"] == {"cat": 6, "dog": 3}
    settings = {"size": 12, "colour": "rgb", "fit": "pad", "resize": "lanczos", "min_side": 9}
    assert manifest["preparation"] == {**settings, "flip": False, "jitter": 1.0}
    assert manifest["source"]["path"] == str(tmp_path / "images")
    assert manifest["source"]["listing_sha256"] == config.source.listing().checksum()
    assert manifest["skipped"] == []


def test_the_checksums_are_those_of_the_files(tmp_path):
    dataset = prepare(config_of(write_images(tmp_path / "images"), shards=3), tmp_path / "dataset")
    lines = []
    for split in ("train", "test"):
        for shard in dataset.manifest["splits"][split]["shards"]:
            data = (dataset.folder / shard["file"]).read_bytes()
            assert shard["sha256"] == hashlib.sha256(data).hexdigest()
            assert shard["bytes"] == len(data)
            lines.append(f"{shard['file']} {shard['sha256']}\n")
    assert dataset.checksum == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert len(lines) == 4


def test_the_folder_holds_the_shards_the_manifest_and_the_preview_and_nothing_else(tmp_path):
    dataset = prepare(config_of(write_images(tmp_path / "images"), shards=2), tmp_path / "dataset")
    assert sorted(os.listdir(dataset.folder)) == [
        "manifest.json",
        "preview.png",
        "test-00000-of-00001.tfrecord",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]
    assert sorted(os.listdir(tmp_path)) == ["dataset", "images"]
    assert json.loads((dataset.folder / "manifest.json").read_text()) == dataset.manifest


@pytest.mark.parametrize("count", [10, 40, 90])
def test_the_preview_shows_training_images_as_they_are(tmp_path, count):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x_train=images, x_test=images[:2])
    source = Arrays(path=str(tmp_path / "data.npz"))
    dataset = prepare(DataConfig(source=source, size=8), tmp_path / "dataset")
    shown = min(count, 64)
    columns = 16 if shown > 16 else 8
    with Image.open(dataset.folder / "preview.png") as preview:
        sheet = np.asarray(preview)[::7, ::7]
    assert sheet.shape == (-(-shown // columns) * 10 - 2, columns * 10 - 2)
    stored, _ = dataset.load("train")
    for index in range(shown):
        top, left = 10 * (index // columns), 10 * (index % columns)
        np.testing.assert_array_equal(sheet[top : top + 8, left : left + 8], stored[index, ..., 0])


def test_preparing_twice_writes_the_same_bytes(mixed, tmp_path):
    config = config_of(mixed, max_unusable=0.2, shards=2)
    one, two = prepare(config, tmp_path / "one"), prepare(config, tmp_path / "two")
    assert files_of(one.folder) == files_of(two.folder)


def test_the_same_images_elsewhere_and_later_give_the_same_data(tmp_path):
    folder = write_images(tmp_path / "images")
    one = prepare(config_of(folder), tmp_path / "one")
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    two = prepare(config_of(elsewhere), tmp_path / "two")
    assert one.checksum == two.checksum
    assert one.manifest["source"]["listing_sha256"] == two.manifest["source"]["listing_sha256"]


def test_another_pixel_gives_another_checksum(tmp_path):
    folder = write_images(tmp_path / "images")
    one = prepare(config_of(folder, size=12), tmp_path / "one")
    with Image.open(folder / "good-00.png") as image:
        changed = np.array(image)
    changed[3, 3, 0] ^= 1
    Image.fromarray(changed).save(folder / "good-00.png")
    assert prepare(config_of(folder, size=12), tmp_path / "two").checksum != one.checksum


@pytest.mark.parametrize("shards", [2, 7, 30])
def test_more_shards_hold_the_same_images(tmp_path, shards):
    folder = write_images(tmp_path / "images", count=25)
    one = prepare(config_of(folder), tmp_path / "one")
    many = prepare(config_of(folder, shards=shards), tmp_path / "many")
    assert pictures(many) == pictures(one)
    assert pictures(many, "test") == pictures(one, "test")
    counts = [shard["count"] for shard in many.manifest["splits"]["train"]["shards"]]
    assert len(counts) == min(shards, many.count("train"))
    assert max(counts) - min(counts) <= 1


def test_classes_are_mixed_in_the_stored_order(digits):
    _, labels = digits.load("train")
    assert len(set(labels[:50].tolist())) >= 8
    assert len(np.unique(np.diff(labels))) > 10


def test_classes_without_images_are_reported(tmp_path, capsys):
    np.savez(tmp_path / "images.npz", images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2 * 2)
    prepare(DataConfig(source=Arrays(path=str(tmp_path / "images.npz")), size=8), tmp_path / "dataset")
    assert "note: classes without train images: 1 of 3, such as 1\n" in capsys.readouterr().out


def test_old_data_is_replaced_atomically(tmp_path):
    folder = write_images(tmp_path / "images")
    prepare(config_of(folder, shards=3), tmp_path / "dataset")
    (tmp_path / "dataset" / "stale.txt").touch()
    dataset = prepare(config_of(folder), tmp_path / "dataset")
    assert len(os.listdir(dataset.folder)) == 4


def test_a_failure_leaves_the_old_data_as_it_was(tmp_path):
    folder = write_images(tmp_path / "images")
    prepare(config_of(folder), tmp_path / "dataset")
    before = files_of(tmp_path / "dataset")
    for index in range(5):
        (folder / f"bad-{index}.png").write_text("text")
    with pytest.raises(ValueError, match="cannot be used"):
        prepare(config_of(folder), tmp_path / "dataset")
    assert files_of(tmp_path / "dataset") == before
    assert sorted(os.listdir(tmp_path)) == ["dataset", "dataset-skipped.json", "images"]


def test_progress_is_shown_up_to_the_last_image(tmp_path, capsys):
    prepare(config_of(write_images(tmp_path / "images")), tmp_path / "dataset")
    assert "prepare 100%  20/20 images" in capsys.readouterr().out


def test_few_training_images_are_the_first_of_the_stored_order_and_the_test_split_stays_whole(tmp_path):
    folder = write_images(tmp_path / "images", count=40)
    whole = prepare(config_of(folder), tmp_path / "whole")
    for limit, shards in ((2, 1), (10, 3), (25, 1), (36, 2), (100, 1)):
        few = prepare(config_of(folder, train_images=limit, shards=shards), tmp_path / "few")
        assert few.count("train") == min(limit, whole.count("train"))
        assert pictures(few, "test") == pictures(whole, "test")
        np.testing.assert_array_equal(few.load("train")[0], whole.load("train")[0][:limit])
        counts = [shard["count"] for shard in few.manifest["splits"]["train"]["shards"]]
        assert len(counts) == min(shards, limit)
        assert max(counts) - min(counts) <= 1
        assert few.manifest["preparation"]["train_images"] == limit
        assert few.manifest["source"] == whole.manifest["source"]
    assert "train_images" not in whole.manifest["preparation"]


def test_few_training_images_are_not_those_of_one_class(tmp_path, digits):
    few = prepare(DataConfig(size=16, train_images=100), tmp_path / "dataset")
    assert few.count("test") == digits.count("test")
    counts = few.manifest["splits"]["train"]["classes"]
    assert sum(counts.values()) == 100
    assert min(counts.values()) >= 3


def test_unusable_images_are_replaced_by_the_next_ones(tmp_path, capsys):
    folder = write_images(tmp_path / "images" / "train", count=30)
    write_images(tmp_path / "images" / "test", count=4)
    for index in range(0, 30, 3):
        (folder / f"good-{index:02d}.png").write_text("text")
    config = config_of(tmp_path / "images", max_unusable=0.5)
    whole = prepare(config, tmp_path / "whole")
    assert "skipped 10 of 34 images: " in capsys.readouterr().out
    few = prepare(config.model_copy(update={"train_images": 12}), tmp_path / "few")
    assert few.count("train") == 12
    np.testing.assert_array_equal(few.load("train")[0], whole.load("train")[0][:12])
    bad = len(few.manifest["skipped"])
    assert few.manifest["skipped"] == whole.manifest["skipped"][:bad]
    out = capsys.readouterr().out
    assert f"skipped {bad} of {12 + bad + 4} images: " in out  # those after the twelfth good one were not read
    assert "prepare 100%  16/16 images" in out
    assert out.count("prepare 100%") == 1


def test_the_share_of_unusable_images_is_of_those_that_were_read(tmp_path):
    folder = write_images(tmp_path / "images" / "train", count=30)
    write_images(tmp_path / "images" / "test", count=4)
    for index in range(0, 30, 3):
        (folder / f"good-{index:02d}.png").write_text("text")
    config = config_of(tmp_path / "images", max_unusable=0.0, train_images=12)
    with pytest.raises(ValueError, match=r"^(\d+) of (\d+) images cannot be used: ") as caught:
        prepare(config, tmp_path / "dataset")
    bad, read = (int(word) for word in str(caught.value).split()[:3:2])
    assert read == 12 + bad + 4
    assert f", share={bad / read:.3f}, all=" in str(caught.value)


def test_progress_goes_up_to_the_end_where_too_few_images_are_usable(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parts, "Progress", functools.partial(parts.Progress, interval=0.0))
    monkeypatch.setattr(parts, "CHUNK_IMAGES", 5)
    folder = write_images(tmp_path / "images" / "train", count=20)
    write_images(tmp_path / "images" / "test", count=4)
    for index in range(15):
        (folder / f"good-{index:02d}.png").write_text("text")
    dataset = prepare(config_of(tmp_path / "images", max_unusable=0.9, train_images=10), tmp_path / "dataset")
    assert dataset.count("train") == 5
    monkeypatch.undo()
    words = [
        line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.startswith(("prepare", "replace"))
    ]
    lines = [count for label, _, count in words if label == "prepare"]
    done = [int(line.split("/")[0]) for line in lines]
    assert done == sorted(done)
    assert len(done) == 3
    assert [label for label, *_ in words][3:] == ["replace"] * (len(words) - 3) != []
    assert {line.split("/")[1] for line in lines} == {"14"}
    assert lines[-1] == "14/14"


def assert_fails_for_want_of_space(config, output, reason):
    with pytest.raises(OSError, match=f"^cannot write prepared images: .*{reason}") as caught:
        prepare(config, output)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"Received: output='{output}'")
    assert os.listdir(output.parent) == []


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A source of 400 images of 8x8, and the sizes of the files written for it."""
    folder = tmp_path_factory.mktemp("large")
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "data.npz", images=images)
    config = DataConfig(source=Arrays(path=str(folder / "data.npz")), size=8, colour="rgb", shards=2)
    dataset = prepare(config, folder / "dataset")
    return config, {path.name: path.stat().st_size for path in dataset.folder.iterdir()}


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of a given size in bytes."""
    mounted = []

    def mount(size):
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("full_at", ["first shard", "second shard", "preview", "manifest"])
def test_a_full_disk_ends_in_one_line_and_leaves_nothing(large, small_disk, full_at):
    config, sizes = large
    pages = {name: -(-size // PAGE) for name, size in sizes.items()}
    shards = sum(count for name, count in pages.items() if name.endswith(".tfrecord"))
    free = {
        "first shard": 2,
        "second shard": pages["train-00000-of-00002.tfrecord"] + 2,
        "preview": shards,
        "manifest": shards + pages["preview.png"],
    }[full_at]
    disk = small_disk(free * PAGE)
    assert_fails_for_want_of_space(config, disk / "out" / "dataset", "No space left on device")


def test_a_limit_on_the_size_of_files_ends_in_one_line_and_leaves_nothing(large, tmp_path):
    config, sizes = large
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes["train-00000-of-00002.tfrecord"] // 2, hard))
    try:
        assert_fails_for_want_of_space(config, tmp_path / "out" / "dataset", "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert PreparedDataset.open(prepare(config, tmp_path / "out" / "dataset").folder).count("train") == 360


def test_a_place_that_cannot_be_written_ends_in_one_line(large, tmp_path):
    config, _ = large
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        OSError, match=r"^cannot write prepared images: (Not a directory|File exists)\. Received: output="
    ):
        prepare(config, tmp_path / "file" / "dataset")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 7),
        ("size", 1025),
        ("size", 8.5),
        ("size", [28]),
        ("size", [28, 7]),
        ("size", [28, 28, 3]),
        ("size", "28x28"),
        ("jitter", 0.9),
        ("crop", 4),
        ("crop", [8, 2000]),
        ("colour", "blue"),
        ("fit", "stretch"),
        ("resize", "magic"),
        ("min_side", 0),
        ("max_unusable", 1.1),
        ("max_unusable", -0.1),
        ("shards", 0),
        ("train_images", 1),
        ("train_images", 2.5),
        ("flip", "left"),
        ("name", "My Data"),
        ("name", ""),
        ("source", "nowhere"),
        ("source", {"kind": "image_folder"}),
        ("sizes", 28),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(field, value):
    with pytest.raises(ValidationError) as caught:
        DataConfig.model_validate({field: value})
    assert {str(item["loc"][0]) for item in caught.value.errors()} == {field}


def test_numbers_that_came_through_a_pipeline_as_floats_are_whole_again():
    config = DataConfig.model_validate({"size": 16.0, "shards": 2.0, "train_images": 50.0, "source": "digits"})
    assert (config.size, config.shards, config.train_images) == (16, 2, 50)
    assert isinstance(config.size, int)
    assert config.image_shape == (16, 16, 1)
    assert DataConfig.model_validate(config.to_parameter()) == config
    assert "train_images" not in DataConfig().to_parameter()
