"""Pairs of images, from pictures of two halves or from two folders, become records with a target each."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from ganlib.data import (
    DataConfig,
    PairedImages,
    describe,
    merge_parts,
    pairing,
    parts,
    prepare,
    prepare_part,
    reading,
    survey,
    tfrecord,
)

SIDE = 12


def noise(seed, shape=(SIDE, SIDE, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def target_of(pixels):
    """A target that shows which image it belongs to."""
    return 255 - pixels


def config_of(source, **changes):
    settings = {"source": source, "size": SIDE, "colour": "rgb", "name": "own"}
    return DataConfig(**{**settings, **changes})


def side_by_side(folder, count=10, splits=("train", "test")):
    for split in splits:
        for index in range(count):
            pixels = noise(1000 * len(split) + index)
            save(folder / split / f"{index}.png", np.concatenate([pixels, target_of(pixels)], axis=1))
    return folder


def two_folders(folder, places=("trainA", "trainB", "testA", "testB"), count=10, suffixes=(".png", ".png")):
    for place in places:
        for index in range(count):
            target = "B" in place.split("/")[0] or place.endswith("B")
            pixels = noise(1000 * ("test" in place) + index)
            pixels = target_of(pixels) if target else pixels
            save(folder / place / f"{index}{suffixes[target]}", pixels)
    return folder


def pairs(dataset, split="train"):
    batches = list(dataset.examples(split))
    return [np.concatenate([batch[name] for batch in batches]) for name in ("images", "targets")]


def assert_pairs(dataset, train=10, test=10):
    assert dataset.paired
    for split, count in (("train", train), ("test", test)):
        images, targets = pairs(dataset, split)
        assert len(images) == dataset.count(split) == count
        np.testing.assert_array_equal(targets, 255 - images)


def skipped(dataset):
    return {item["name"]: item["reason"] for item in dataset.manifest["skipped"]}


def test_the_halves_of_a_picture_are_an_image_and_its_target(tmp_path):
    source = PairedImages(path=str(side_by_side(tmp_path / "pictures")))
    dataset = prepare(config_of(source), tmp_path / "left")
    assert_pairs(dataset)
    assert sorted(image.tobytes() for image in pairs(dataset, "test")[0]) == sorted(
        noise(4000 + index).tobytes() for index in range(10)
    )
    assert skipped(dataset) == {}
    other = prepare(config_of(source.model_copy(update={"input": "right"})), tmp_path / "right")
    for one, two in zip(pairs(dataset), reversed(pairs(other)), strict=True):
        np.testing.assert_array_equal(one, two)
    assert other.checksum != dataset.checksum


@pytest.mark.parametrize(
    "places",
    [
        ("trainA", "trainB", "testA", "testB"),
        ("A/train", "B/train", "A/test", "B/test"),
        ("train/A", "train/B", "test/A", "test/B"),
        ("facades/train_A", "facades/train_B", "facades/test_A", "facades/test_B"),
    ],
)
@pytest.mark.parametrize("suffixes", [(".png", ".png"), (".bmp", ".png"), (".BMP", ".tif")])
def test_files_of_equal_names_in_two_folders_are_pairs(tmp_path, places, suffixes):
    folder = tmp_path / "images"
    for place in places:
        target = any(part.endswith("B") for part in place.split("/"))
        for index in range(10):
            pixels = noise(1000 * ("test" in place) + index)
            save(folder / place / f"{index}{suffixes[target]}", target_of(pixels) if target else pixels)
    dataset = prepare(config_of(PairedImages(path=str(folder), layout="two_folders")), tmp_path / "dataset")
    assert_pairs(dataset)
    assert sorted(image.tobytes() for image in pairs(dataset, "test")[0]) == sorted(
        noise(1000 + index).tobytes() for index in range(10)
    )
    swapped = PairedImages(path=str(folder), layout="two_folders", input="right")
    images, targets = pairs(prepare(config_of(swapped), tmp_path / "swapped"))
    np.testing.assert_array_equal(images, 255 - targets)
    assert sorted(map(bytes, targets)) == sorted(map(bytes, pairs(dataset)[0]))


def test_two_paths_with_classes_in_folders(tmp_path):
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            for index in range(3):
                pixels = noise(hash((split, name, index)) % 2**32)
                save(tmp_path / "photos" / split / name / f"{index}.png", pixels)
                save(tmp_path / "maps" / split / name / f"{index}.bmp", target_of(pixels))
    source = PairedImages(path=str(tmp_path / "photos"), target_path=str(tmp_path / "maps"), layout="two_folders")
    dataset = prepare(config_of(source), tmp_path / "dataset")
    assert_pairs(dataset, 6, 6)
    assert dataset.classes == ("cat", "dog")
    assert dataset.class_shares == [0.5, 0.5]
    assert dataset.manifest["ignored_files"] == 6
    assert "ignored: 6 images for validation" in dataset.manifest["description"][1]


def test_without_a_test_folder_pairs_are_held_out_whole(tmp_path):
    folder = two_folders(tmp_path / "images", places=("A", "B"), count=40)
    dataset = prepare(config_of(PairedImages(path=str(folder), layout="two_folders")), tmp_path / "dataset")
    assert_pairs(dataset, 36, 4)
    assert "(held out at random)" in dataset.manifest["description"][0]


def test_what_does_not_pair_is_skipped_by_name(tmp_path, capsys):
    folder = two_folders(tmp_path / "images")
    (folder / "trainB/0.png").unlink()
    (folder / "trainA/1.png").unlink()
    save(folder / "trainB/2.png", noise(5, (SIDE, 15, 3)))
    (folder / "trainB/3.png").write_bytes((folder / "trainB/3.png").read_bytes()[:200])
    (folder / "trainA/4.png").write_bytes(b"text")
    save(folder / "trainA/5.bmp", noise(6))
    (folder / "trainB/5.png").rename(folder / "trainB/5.tif")
    save(folder / "trainA/6.png", noise(7, (5, 5, 3)))
    save(folder / "trainB/6.png", noise(8, (5, 5, 3)))
    (folder / "trainB/notes.txt").write_text("no image")
    (folder / "trainA/7.txt").write_text("a caption")
    (folder / "readme.md").write_text("no image")
    (folder / "trainB/.hidden.png").write_text("hidden")
    source = PairedImages(path=str(folder), layout="two_folders")
    dataset = prepare(config_of(source, max_unusable=0.5), tmp_path / "dataset")
    reasons = skipped(dataset)
    assert reasons.pop("trainB/3.png", None) is None
    assert reasons.pop("trainA/3.png").startswith("target unreadable: ")
    assert reasons == {
        "trainA/0.png": "no target of its name",
        "trainB/1.png": "a target without an image of its name",
        "trainA/2.png": "input 12x12, target 15x12: expected equal sizes",
        "trainA/4.png": "input unreadable: not an image",
        "trainA/5.bmp": "several images or targets have its name: 5.bmp, 5.png, 5.tif",
        "trainA/5.png": "several images or targets have its name: 5.bmp, 5.png, 5.tif",
        "trainB/5.tif": "several images or targets have its name: 5.bmp, 5.png, 5.tif",
        "trainA/6.png": "input too small: 5x5, expected sides of 8 or more",
    }
    assert_pairs(dataset, 3, 10)
    assert dataset.manifest["ignored_files"] == 3
    out = capsys.readouterr().out
    assert "without a partner of the same name: 5, such as trainA/0.png" in out
    assert "1 file among the targets, other than images (1 .txt), such as trainB/notes.txt" in out
    assert "1 file beside the folders A and B, such as readme.md" in out
    with pytest.raises(ValueError, match=r"9 of 22 images cannot be used: "):
        prepare(config_of(source), tmp_path / "strict")


def test_pictures_with_an_odd_number_of_columns_are_skipped_by_name(tmp_path):
    folder = side_by_side(tmp_path / "pictures")
    save(folder / "train/odd.png", noise(1, (SIDE, 25, 3)))
    save(folder / "test/narrow.png", noise(1, (SIDE, 1, 3)))
    (folder / "train/half.png").write_bytes((folder / "train/1.png").read_bytes()[:300])
    dataset = prepare(config_of(PairedImages(path=str(folder)), max_unusable=0.5), tmp_path / "dataset")
    assert_pairs(dataset)
    reasons = skipped(dataset)
    assert reasons.pop("train/half.png").startswith("unreadable: ")
    assert reasons == {
        "train/odd.png": "25 columns: expected an even number, an image beside its target",
        "test/narrow.png": "1 columns: expected an even number, an image beside its target",
    }


@pytest.mark.parametrize(
    ("inputs", "targets", "matches", "alone"),
    [
        (["a.png"], ["a.png"], {"a.png": "a.png"}, set()),
        (["a.png"], ["a.jpg"], {"a.png": "a.jpg"}, set()),
        (["a.png", "a.jpg"], ["a.jpg"], {"a.jpg": "a.jpg"}, {"a.png"}),
        (["a.png", "a.jpg"], ["a.jpg", "a.bmp"], {"a.jpg": "a.jpg", "a.png": "a.bmp"}, set()),
        (["a.png", "a.jpg"], ["a.bmp"], {}, {"a.png", "a.jpg", "a.bmp"}),
        (["x/a.png"], ["y/a.png"], {}, {"x/a.png", "y/a.png"}),
        (["x/a.png", "y/a.png"], ["y/a.gif", "x/a.gif"], {"x/a.png": "x/a.gif", "y/a.png": "y/a.gif"}, set()),
        (["scan.001", "scan.002"], ["scan.002", "scan.001"], {"scan.001": "scan.001", "scan.002": "scan.002"}, set()),
        (["x.y/a"], ["x.z/a"], {}, {"x.y/a", "x.z/a"}),
        ([".png"], [".png"], {".png": ".png"}, set()),
    ],
)
def test_names_are_matched_exactly_or_else_without_their_suffix(inputs, targets, matches, alone):
    result, reasons = pairing.match(inputs, targets)
    assert result == matches
    assert reasons.keys() == alone


def test_targets_of_16_bits_are_scaled_by_their_own_range(tmp_path):
    depth = {}
    for split in ("train", "test"):
        for index in range(6):
            name = f"{split}/{index}"
            save(tmp_path / f"photos/{name}.png", noise(index + 50 * len(split), (SIDE, SIDE)))
            values = np.random.default_rng(index).integers(0, 4096, (SIDE, SIDE), dtype=np.uint16)
            values[0, :2] = 0, 4095
            save(tmp_path / f"depth/{name}.png", values)
            depth[(tmp_path / f"photos/{name}.png").read_bytes()] = values
    source = PairedImages(path=str(tmp_path / "photos"), target_path=str(tmp_path / "depth"), layout="two_folders")
    dataset = prepare(config_of(source, colour="grey"), tmp_path / "dataset")
    expected = {
        np.asarray(Image.open(io.BytesIO(photo))).tobytes(): np.rint(values / (4095 / 255))
        for photo, values in depth.items()
    }
    for split in ("train", "test"):
        for image, target in zip(*pairs(dataset, split), strict=True):
            np.testing.assert_array_equal(target[..., 0], expected[image.tobytes()])
    assert dataset.values is None
    assert tuple(dataset.of("targets").values) == (0, 4095, "integers")
    assert dataset.manifest["target_value_range"] == [0.0, 4095.0, "integers"]
    assert dataset.notes == ["Of the targets, 0..255 stands for 0..4095 of the originals of more than 8 bits."]
    assert "targets: values 0..4095 of images with more than 8 bits become 0..255" in dataset.manifest["description"][1]
    assert dataset.manifest["remarks"] == {"target: values 0..4095: scaled to 0..255": 12}


def test_halves_of_16_bits_share_one_range(tmp_path):
    for split in ("train", "test"):
        for index in range(3):
            values = np.random.default_rng(index).integers(0, 65536, (SIDE, 2 * SIDE), dtype=np.uint16)
            values[:, SIDE:] //= 256  # a target that is dark beside its image
            values[0, 0] = 65535
            save(tmp_path / f"pictures/{split}/{index}.png", values)
    source = PairedImages(path=str(tmp_path / "pictures"))
    dataset = prepare(config_of(source, colour="grey"), tmp_path / "dataset")
    assert dataset.values == dataset.of("targets").values
    assert tuple(dataset.values)[:2] == (0, 65535)
    assert pairs(dataset)[1].max() == 1
    assert "The targets use 0% of 0..255, 0..1." in dataset.notes


@pytest.mark.parametrize("filters", [{"resize": "nearest"}, {"resize": "lanczos", "target_resize": "nearest"}])
def test_labels_in_a_map_are_not_mixed_by_resizing_with_nearest(tmp_path, filters):
    """Neither by the preparation nor by the jitter."""
    labels = np.array([[0, 0, 255], [0, 200, 30], [90, 0, 0], [255, 255, 0]], np.uint8)
    photos = []
    for split in ("train", "test"):
        for index in range(8):
            photo = noise(index + 50 * len(split), (40, 64, 3))
            photos.append(Image.fromarray(photo[:, 3:60]))  # the centre of 12 to 17
            areas = labels[np.random.default_rng(index).integers(0, 4, (10, 16))].repeat(4, 0).repeat(4, 1)
            save(tmp_path / f"pictures/{split}/{index}.png", np.concatenate([photo, areas], axis=1))
    source = PairedImages(path=str(tmp_path / "pictures"))
    config = config_of(source, size=[12, 17], jitter=1.3, flip=True, **filters)
    dataset = prepare(config, tmp_path / "dataset")
    [batch] = dataset.batches(batch_size=8, seed=1).take(1)
    for targets in (pairs(dataset)[1], batch["targets"].numpy()):
        colours = {tuple(colour) for colour in targets.reshape(-1, 3).tolist()}
        assert colours == {tuple(colour) for colour in labels.tolist()}
    nearest = {np.asarray(picture.resize((17, 12), Image.Resampling.NEAREST)).tobytes() for picture in photos}
    assert ({image.tobytes() for image in pairs(dataset)[0]} <= nearest) == (filters["resize"] == "nearest")


@pytest.mark.parametrize("changes", [{"fit": "pad"}, {"size": [8, 11]}, {"size": [31, 9], "fit": "pad"}, {"size": 8}])
def test_cropping_padding_and_resizing_move_both_alike(tmp_path, changes):
    for split in ("train", "test"):
        for index in range(3):
            pixels = noise(index + 50 * len(split), (21, 33, 3))
            save(tmp_path / f"images/{split}A/{index}.png", pixels)
            save(tmp_path / f"images/{split}B/{index}.png", pixels)
    source = PairedImages(path=str(tmp_path / "images"), layout="two_folders")
    dataset = prepare(config_of(source, **changes), tmp_path / "dataset")
    images, targets = pairs(dataset)
    np.testing.assert_array_equal(images, targets)
    assert images.shape[1:] == (*DataConfig(**{"size": SIDE, **changes}).image_shape[:2], 3)


@pytest.mark.parametrize("memory", [{}, {"in_memory_bytes": 0}], ids=["in memory", "streamed"])
def test_jitter_crop_and_mirroring_move_both_alike(tmp_path, memory):
    source = PairedImages(path=str(side_by_side(tmp_path / "pictures")))
    dataset = prepare(config_of(source, jitter=1.4, crop=[8, 10], flip=True, resize="bilinear"), tmp_path / "dataset")
    moved = []
    for batch in dataset.batches(batch_size=5, seed=3, **memory).take(4):
        images, targets = batch["images"].numpy().astype(int), batch["targets"].numpy().astype(int)
        assert images.shape == targets.shape == (5, 8, 10, 3)
        assert np.abs(images + targets - 255).max() <= 1  # both are rounded
        moved += [image.tobytes() for image in images]
    assert len(set(moved)) == len(moved)


@pytest.mark.parametrize("layout", ["side_by_side", "two_folders", "archive", "archives", "tar"])
def test_parts_and_archives_give_the_same_bytes(tmp_path, layout):
    folder = two_folders(tmp_path / "images", count=9)
    (folder / "trainB/3.png").unlink()
    (folder / "trainA/4.png").write_bytes(b"text")
    source = PairedImages(path=str(folder), layout="two_folders")
    if layout == "side_by_side":
        source = PairedImages(path=str(side_by_side(tmp_path / "pictures")))
    if layout in ("archive", "tar"):
        packed = shutil.make_archive(tmp_path / "pairs", {"archive": "zip", "tar": "gztar"}[layout], folder)
        source = PairedImages(path=packed, layout="two_folders")
    if layout == "archives":
        for side in "AB":
            for split in ("train", "test"):
                shutil.copytree(folder / f"{split}{side}", tmp_path / side / split)
        paths = [shutil.make_archive(tmp_path / side, "zip", tmp_path / side) for side in "AB"]
        source = PairedImages(path=paths[0], target_path=paths[1], layout="two_folders")
    config = config_of(source, shards=3, max_unusable=0.5, train_images=6)
    whole = prepare(config, tmp_path / "whole")
    places = [tmp_path / f"part-{number}" for number in range(3)]
    for number, place in enumerate(places):
        prepare_part(config, place, part=number, of=3)
    merged = merge_parts(config, places, tmp_path / "merged")
    for path in whole.folder.iterdir():
        assert path.read_bytes() == (merged.folder / path.name).read_bytes(), path.name
    assert_pairs(whole, 6, 10 if layout == "side_by_side" else 9)
    if layout in ("archive", "tar", "archives"):
        plain = PairedImages(path=str(folder), layout="two_folders")
        same = prepare(config_of(plain, shards=3, max_unusable=0.5, train_images=6), tmp_path / "plain")
        assert same.checksum == whole.checksum


@pytest.mark.parametrize("kind", ["pictures", "files", "archives"])
def test_two_processes_write_what_one_writes(tmp_path, monkeypatch, kind):
    folder = two_folders(tmp_path / "images", count=20)
    (folder / "trainB/3.png").unlink()
    source = PairedImages(path=str(folder), layout="two_folders")
    if kind == "pictures":
        source = PairedImages(path=str(side_by_side(tmp_path / "pictures", count=20)))
    if kind == "archives":
        for side in "AB":
            for split in ("train", "test"):
                shutil.copytree(folder / f"{split}{side}", tmp_path / side / split)
        paths = [shutil.make_archive(tmp_path / side, "zip", tmp_path / side) for side in "AB"]
        source = PairedImages(path=paths[0], target_path=paths[1], layout="two_folders")
    alone = prepare(config_of(source), tmp_path / "alone")
    monkeypatch.setattr(reading, "cores", lambda: 2)
    monkeypatch.setattr(reading, "MIN_WORK_SECONDS", 0.0)
    monkeypatch.setattr(parts, "CHUNK_IMAGES", 5)
    together = prepare(config_of(source), tmp_path / "together")
    for path in alone.folder.iterdir():
        assert path.read_bytes() == (together.folder / path.name).read_bytes(), path.name


def test_pairs_in_a_bucket_are_those_of_a_folder(tmp_path, objects, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    folder = two_folders(tmp_path / "images")
    (folder / "trainB/3.png").unlink()
    pictures = side_by_side(tmp_path / "pictures")
    for place in (folder, pictures):
        for path in sorted(place.rglob("*.png")):
            objects.blob(path.relative_to(tmp_path).as_posix()).upload_from_string(path.read_bytes())
    objects.blob("packed.zip").upload_from_filename(shutil.make_archive(tmp_path / "packed", "zip", pictures))
    for name, here, there in (
        ("files", PairedImages(path=str(folder), layout="two_folders"), "gs://bucket/images"),
        ("pictures", PairedImages(path=str(pictures)), "gs://bucket/pictures/"),
        ("packed", PairedImages(path=str(pictures)), "gs://bucket/packed.zip"),
    ):
        config = config_of(here, max_unusable=0.1)
        local = prepare(config, tmp_path / f"{name}-here")
        source = here.model_copy(update={"path": there})
        remote = prepare(config.model_copy(update={"source": source}), tmp_path / f"{name}-there")
        assert remote.checksum == local.checksum
        assert remote.manifest["skipped"] == local.manifest["skipped"]


def test_pictures_in_a_zip_file_with_a_folder_around_them(tmp_path):
    folder = side_by_side(tmp_path / "around" / "pictures")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, path.relative_to(tmp_path / "around"))
    packed = prepare(config_of(PairedImages(path=str(tmp_path / "pictures.zip"))), tmp_path / "packed")
    plain = prepare(config_of(PairedImages(path=str(folder))), tmp_path / "plain")
    assert packed.checksum == plain.checksum
    assert_pairs(packed)


def test_the_preview_shows_each_image_beside_its_target(tmp_path):
    dataset = prepare(config_of(PairedImages(path=str(side_by_side(tmp_path / "pictures")))), tmp_path / "dataset")
    images, targets = pairs(dataset)
    with Image.open(dataset.folder / "preview.png") as picture:
        sheet = np.asarray(picture)[::2, ::2]  # 24 pixels wide, so twice as large
    assert sheet.shape == (3 * (SIDE + 2) - 2, 4 * (2 * SIDE + 2) - 2, 3)
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        top, left = (index // 4) * (SIDE + 2), (index % 4) * (2 * SIDE + 2)
        np.testing.assert_array_equal(sheet[top : top + SIDE, left : left + SIDE], image)
        np.testing.assert_array_equal(sheet[top : top + SIDE, left + SIDE : left + 2 * SIDE], target)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_stored_pairs_are_read_back_without_tensorflow(tmp_path, size):
    both = [np.random.default_rng(seed).bytes(size) for seed in (0, 1)]
    (tmp_path / "file").write_bytes(tfrecord.frame(tfrecord.example(both[0], 7, both[1])) * 2)
    assert list(tfrecord.images(tmp_path / "file", size, paired=True)) == [b"".join(both)] * 2
    assert list(tfrecord.images(tmp_path / "file", size)) == [both[0]] * 2


def test_a_changed_target_changes_the_checksum_of_the_listing(tmp_path):
    folder = two_folders(tmp_path / "images")
    source = PairedImages(path=str(folder), layout="two_folders")
    before = source.listing().checksum()
    (folder / "trainB/3.png").rename(folder / "trainB/3.jpg")
    renamed = source.listing().checksum()
    (folder / "trainB/3.jpg").write_bytes(b"text")
    assert len({before, renamed, source.listing().checksum()}) == 3


def test_pairs_that_repeat_are_counted_only_if_both_halves_do(tmp_path):
    folder = side_by_side(tmp_path / "pictures")
    picture = np.asarray(Image.open(folder / "train/0.png"))
    save(folder / "test/same.png", picture)
    other = picture.copy()
    other[0, SIDE] ^= 1  # in the target
    save(folder / "test/other.png", other)
    dataset = prepare(config_of(PairedImages(path=str(folder))), tmp_path / "dataset")
    assert dataset.manifest["test_among_train"] == 1


def test_the_description_says_how_many_pairs_there_are(tmp_path):
    listing = PairedImages(path=str(side_by_side(tmp_path / "pictures"))).listing()
    lines = describe(listing, survey(listing))
    assert lines[0] == "20 pairs: train 10, test 10; no classes"
    assert "each picture is an image and its target, the image on the left; sizes 24x12, in colour" in lines[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_path": "b"}, "expected layout=two_folders with a target_path"),
        ({"target_path": "b", "layout": "two_folders", "input": "right"}, "exchange the paths"),
        ({"layout": "up and down"}, "side_by_side"),
        ({"input": "top"}, "left"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PairedImages(path="a", **settings)


def test_folders_without_pairs_are_refused(tmp_path):
    folder = two_folders(tmp_path / "images", places=("trainA", "testA"))
    source = PairedImages(path=str(folder), layout="two_folders")
    with pytest.raises(ValueError, match=r"expected folders A and B.*Received: path=.*, without B"):
        source.listing()
    for index in range(3):
        save(folder / f"trainB/other-{index}.png", noise(index))
    with pytest.raises(ValueError, match=r"of equal names.*image='test/0.png' and target='train/other-0.png'"):
        source.listing()
    with pytest.raises(ValueError, match="no such file or folder"):
        PairedImages(path=str(tmp_path / "missing")).listing()


def test_the_settings_go_through_json(tmp_path):
    source = PairedImages(path="a", target_path="b", layout="two_folders")
    config = config_of(source, size=[48, 80], crop=[16, 32])
    assert DataConfig.model_validate(json.loads(json.dumps(config.to_parameter()))) == config
    assert source.locations == {"path": "a", "target_path": "b"}
