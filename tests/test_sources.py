"""Tests that all sources have in common, then tests of each source."""

import gzip
import os
import shutil
from pathlib import Path

import damaged_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from ganlib.data import Archive, Arrays, DataConfig, Digits, ImageFolder, PreparedDataset, prepare
from ganlib.data.base import Entry, Listing, assign_splits
from ganlib.data.config import AnySource
from ganlib.schema import parse

COUNT = 24
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 9, 9), dtype=np.uint8)
LABELS = np.arange(COUNT) % 3


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, suffix="", pack=lambda data: data, images=IMAGES, labels=LABELS, tests=6):
    folder.mkdir(parents=True)
    for prefix, part in (("train", slice(tests, None)), ("t10k", slice(tests))):
        (folder / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images[part])))
        (folder / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels[part])))
    return folder


def write_images(folder: Path, images=IMAGES, *, place=lambda index: f"{index:02d}.png"):
    for index, image in enumerate(images):
        file = folder / place(index)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def of_digits(folder):
    return Digits()


def of_flat_folder(folder):
    return ImageFolder(path=str(write_images(folder / "images")))


def of_class_folders(folder):
    return ImageFolder(path=str(write_images(folder / "images", place=lambda i: f"{'abc'[i % 3]}/{i}.png")))


def of_split_folders(folder):
    place = lambda i: f"{'test' if i % 4 == 0 else 'train'}/{'abc'[i % 3]}/{i}.png"  # noqa: E731
    return ImageFolder(path=str(write_images(folder / "images", place=place)))


def of_zip(folder):
    return Archive(path=shutil.make_archive(folder / "packed", "zip", of_split_folders(folder).path))


def of_plain_tar(folder):
    return Archive(path=shutil.make_archive(folder / "packed", "tar", of_class_folders(folder).path))


def of_gzipped_tar(folder):
    return Archive(path=shutil.make_archive(folder / "packed", "gztar", of_flat_folder(folder).path))


def of_gzipped_idx(folder):
    return Arrays(path=str(write_idx(folder / "idx", suffix=".gz", pack=gzip.compress)))


def of_plain_idx(folder):
    return Arrays(path=str(write_idx(folder / "idx")))


def of_one_idx_file(folder):
    (folder / "images").write_bytes(idx(IMAGES))
    (folder / "labels").write_bytes(idx(LABELS))
    return Arrays(path=str(folder / "images"), labels=str(folder / "labels"))


def of_split_npz(folder):
    parts = {"x_train": IMAGES[6:], "y_train": LABELS[6:], "x_test": IMAGES[:6], "y_test": LABELS[:6]}
    np.savez(folder / "data.npz", **parts)
    return Arrays(path=str(folder / "data.npz"))


def of_unlabelled_npz(folder):
    np.savez_compressed(folder / "data.npz", images=IMAGES)
    return Arrays(path=str(folder / "data.npz"))


def of_nameless_npz(folder):
    np.savez(folder / "data.npz", IMAGES, LABELS)
    return Arrays(path=str(folder / "data.npz"))


SOURCES = [
    of_digits,
    of_flat_folder,
    of_class_folders,
    of_split_folders,
    of_zip,
    of_plain_tar,
    of_gzipped_tar,
    of_gzipped_idx,
    of_plain_idx,
    of_one_idx_file,
    of_split_npz,
    of_unlabelled_npz,
    of_nameless_npz,
]
LABELLED = [
    of_class_folders,
    of_split_folders,
    of_zip,
    of_plain_tar,
    of_gzipped_idx,
    of_plain_idx,
    of_one_idx_file,
    of_split_npz,
    of_nameless_npz,
]


@pytest.fixture(params=SOURCES, ids=lambda make: make.__name__.removeprefix("of_"))
def source(request, tmp_path):
    return request.param(tmp_path)


def pixels(listing, index):
    with listing.read(index) as image:
        return np.asarray(image)


def pictures(dataset: PreparedDataset, split):
    """Returns the pairs of picture and label of a split, without order."""
    images, labels = dataset.load(split)
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def refused(source, *words):
    """Asserts that listing fails with one line that contains these words and what was received; returns the line."""
    with pytest.raises(ValueError, match=r"Received: \S") as caught:
        source.listing()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


# All sources.


def test_names_are_unique_and_every_image_has_a_size(source):
    entries = source.listing().entries
    assert len({entry.name for entry in entries}) == len(entries) >= COUNT
    assert all(entry.size > 0 for entry in entries)


def test_both_splits_have_images_and_training_has_more(source):
    splits = [entry.split for entry in source.listing().entries]
    assert set(splits) == {"train", "test"}
    assert splits.count("train") > splits.count("test") >= 2


def test_labels_are_there_for_every_image_or_for_none(source):
    listing = source.listing()
    labels = {entry.label for entry in listing.entries}
    assert labels == (set(range(len(listing.classes))) if listing.classes else {None})


def test_listing_twice_gives_the_same(source):
    one, two = source.listing(), source.listing()
    assert one.entries == two.entries
    assert one.classes == two.classes
    assert one.checksum() == two.checksum()
    assert one.checksum(with_times=True) == two.checksum(with_times=True)


def test_an_image_can_be_read_more_than_once(source):
    listing = source.listing()
    assert pixels(listing, 3).shape == pixels(listing, 0).shape
    np.testing.assert_array_equal(pixels(listing, 3), pixels(listing, 3))
    assert not np.array_equal(pixels(listing, 3), pixels(listing, 4))


def test_a_source_goes_through_a_pipeline_parameter_unharmed(source):
    assert parse(AnySource, source.to_parameter()) == source


def test_a_source_is_frozen_and_refuses_unknown_options(source):
    with pytest.raises(ValidationError, match="frozen"):
        source.kind = "other"
    with pytest.raises(ValidationError, match="colour_space"):
        parse(AnySource, {**source.to_parameter(), "colour_space": "rgb"})


def test_every_source_becomes_a_dataset_of_its_own_pixels(source, tmp_path):
    listing = source.listing()
    side = pixels(listing, 0).shape[0]
    dataset = prepare(DataConfig(source=source, size=side), tmp_path / "dataset")
    for split in ("train", "test"):
        expected = [
            (pixels(listing, index).tobytes(), -1 if entry.label is None else entry.label)
            for index, entry in enumerate(listing.entries)
            if entry.split == split
        ]
        assert pictures(dataset, split) == sorted(expected)
    assert dataset.classes == listing.classes
    assert dataset.manifest["source"] == {**source.to_parameter(), "listing_sha256": listing.checksum()}


@pytest.mark.parametrize("make", LABELLED, ids=lambda make: make.__name__.removeprefix("of_"))
def test_labels_stay_with_their_images(make, tmp_path):
    listing = make(tmp_path).listing()
    assert len(listing.classes) == 3
    known = {image.tobytes(): int(label) for image, label in zip(IMAGES, LABELS, strict=True)}
    for index, entry in enumerate(listing.entries):
        assert known[pixels(listing, index).tobytes()] == entry.label


@pytest.mark.parametrize(
    "make", [of_flat_folder, of_class_folders, of_plain_tar, of_gzipped_tar, of_one_idx_file, of_unlabelled_npz]
)
def test_the_share_for_testing_is_as_requested(make, tmp_path):
    source = make(tmp_path).model_copy(update={"test_fraction": 0.25})
    assert [entry.split for entry in source.listing().entries].count("test") == COUNT // 4


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
@pytest.mark.parametrize("kind", ["image_folder", "archive", "arrays"])
def test_a_share_outside_0_and_1_is_refused(kind, fraction):
    with pytest.raises(ValidationError, match="test_fraction"):
        parse(AnySource, {"kind": kind, "path": "x", "test_fraction": fraction})


@pytest.mark.parametrize("kind", ["image_folder", "archive", "arrays"])
def test_a_missing_path_is_named(kind, tmp_path):
    source = parse(AnySource, {"kind": kind, "path": str(tmp_path / "gone")})
    refused(source, "no such file or folder", f"path='{tmp_path / 'gone'}'")


@pytest.mark.parametrize("kind", ["image_folder", "archive", "arrays"])
def test_no_path_at_all_is_not_the_working_folder(kind):
    with pytest.raises(ValidationError, match="path"):
        parse(AnySource, {"kind": kind, "path": ""})


# The listing and the split by names.


def test_the_checksum_of_a_listing_sees_every_fact_but_the_time():
    base = Entry(name="a", split="train", label=1, size=10, modified=5)

    def checksum(entry, **options):
        return Listing([entry], ("x", "y"), lambda _: Image.new("L", (1, 1))).checksum(**options)

    changes = [{"name": "b"}, {"split": "test"}, {"label": 0}, {"label": None}, {"size": 11}]
    changed = {checksum(base._replace(**change)) for change in changes}
    assert len(changed | {checksum(base)}) == 6
    later = base._replace(modified=6)
    assert checksum(later) == checksum(base)
    assert checksum(later, with_times=True) != checksum(base, with_times=True)


def test_the_split_depends_on_names_and_not_on_their_order():
    names = [f"image-{index}" for index in range(200)]
    forwards = dict(zip(names, assign_splits(names, 0.1), strict=True))
    backwards = dict(zip(reversed(names), assign_splits(names[::-1], 0.1), strict=True))
    assert forwards == backwards
    assert list(forwards.values()).count("test") == 20


@pytest.mark.parametrize("count", [20, 100, 204, 205])
def test_one_more_image_moves_at_most_one_other(count):
    names = [f"image-{index}" for index in range(count)]
    before = dict(zip(names, assign_splits(names, 0.1), strict=True))
    for extra in range(30):
        longer = [*names, f"new-{extra}"]
        after = dict(zip(longer, assign_splits(longer, 0.1), strict=True))
        assert sum(before[name] != after[name] for name in names) <= 1


@pytest.mark.parametrize(("count", "fraction", "tests"), [(4, 0.01, 2), (4, 0.99, 2), (10, 0.99, 8), (1000, 0.1, 100)])
def test_each_split_holds_at_least_two(count, fraction, tests):
    assert assign_splits([str(index) for index in range(count)], fraction).count("test") == tests


def class_counts(names, labels, fraction):
    splits = assign_splits(names, fraction, labels)
    return {
        split: np.bincount(
            [label for label, own in zip(labels, splits, strict=True) if own == split], minlength=1 + max(labels)
        )
        for split in ("train", "test")
    }


def test_each_class_keeps_training_images_and_gives_its_share():
    """If images were drawn regardless of their classes, small classes would lose all of theirs."""
    for each, fraction in ((3, 0.5), (10, 0.1), (2, 0.3)):
        labels = [index % 1000 for index in range(1000 * each)]
        counts = class_counts([f"image-{index}" for index in range(len(labels))], labels, fraction)
        assert counts["test"].sum() == round(fraction * len(labels))
        assert counts["train"].min() >= 1
        assert set(counts["test"].tolist()) <= {int(fraction * each), int(fraction * each) + 1}


@given(st.lists(st.integers(1, 40), min_size=2, max_size=12), st.floats(0.02, 0.98))
def test_shares_are_close_to_those_requested_and_no_class_is_emptied(sizes, fraction):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    names = [f"image-{index}" for index in range(len(labels))]
    counts = class_counts(names, labels, fraction)
    able = sum(sizes) - len(sizes)
    if able < 2 or len(labels) < 4:  # nearly all classes have one image, so classes are ignored
        return
    assert counts["train"].min() >= 1
    expected = min(max(2, round(fraction * len(labels))), len(labels) - 2)
    assert counts["test"].sum() == min(expected, able)
    if expected <= able and min(sizes) * fraction >= 1 and max(sizes) * (1 - fraction) >= 2:
        for size, count in zip(sizes, counts["test"], strict=True):
            assert count <= expected * size / len(labels) + 1


@given(st.integers(0, 400), st.integers(0, 7))
def test_one_more_image_of_a_class_moves_hardly_any_other(extra, label):
    labels = [index % 7 if index % 3 else 0 for index in range(210)]
    names = [f"image-{index}" for index in range(210)]
    before = assign_splits(names, 0.1, labels)
    after = assign_splits([*names, f"new-{extra}"], 0.1, [*labels, label])
    assert sum(one != two for one, two in zip(before, after, strict=False)) <= 4


def test_classes_of_one_image_each_are_split_as_images_without_classes_are():
    names = [str(index) for index in range(20)]
    assert assign_splits(names, 0.1, list(range(20))) == assign_splits(names, 0.1)
    assert assign_splits(names, 0.1, [None] * 20) == assign_splits(names, 0.1)


@pytest.mark.parametrize("make", [of_class_folders, of_plain_tar, of_one_idx_file, of_nameless_npz])
def test_every_source_with_classes_holds_out_class_by_class(make, tmp_path):
    source = make(tmp_path).model_copy(update={"test_fraction": 0.25})
    assert sorted(entry.label for entry in source.listing().entries if entry.split == "test") == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_images_too_few_to_split_are_all_for_training_and_refused_by_who_needs_both(count):
    splits = assign_splits([str(index) for index in range(count)], 0.5)
    assert splits == ["train"] * count
    listing = Listing([Entry(str(index), split, None, 1) for index, split in enumerate(splits)], (), Image.open)
    with pytest.raises(ValueError, match=rf"2 images to train on and 2 to test on\. Received: train={count}, test=0"):
        listing.check_splits()


# Digits.


def test_digits_are_the_real_ones_in_full_contrast():
    listing = Digits().listing()
    splits = [entry.split for entry in listing.entries]
    assert (splits.count("train"), splits.count("test")) == (1437, 360)
    assert listing.classes == tuple("0123456789")
    assert [entry.label for entry in listing.entries[:12]] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    every = np.stack([pixels(listing, index) for index in range(100)])
    assert every.dtype == np.uint8
    assert every.shape == (100, 8, 8)
    assert (every.min(), every.max()) == (0, 255)
    assert len(np.unique(every)) == 17


# ImageFolder.


@pytest.mark.parametrize("few", ["train", "test"])
def test_a_split_folder_with_too_few_images_is_refused(tmp_path, few):
    many = {"train": "test", "test": "train"}[few]
    source = ImageFolder(path=str(write_images(tmp_path / "images", place=lambda i: f"{many if i else few}/{i}.png")))
    with pytest.raises(ValueError, match=rf"at least 2 images to train on.*Received: .*{few}=1"):
        source.listing().check_splits()


def test_hidden_files_do_not_count_and_other_files_are_counted(tmp_path):
    folder = write_images(tmp_path / "images")
    for name in (".hidden.png", ".cache/thumbnail.png", "__a/.b/c.png", ".DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((folder / "00.png").read_bytes())
    for name in ("labels.csv", "deep/notes.txt", "png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    listing = ImageFolder(path=str(folder)).listing()
    assert [entry.name for entry in listing.entries] == [f"{index:02d}.png" for index in range(COUNT)]
    assert listing.ignored_count == 3


def test_a_hidden_folder_above_the_images_does_not_hide_them(tmp_path):
    listing = ImageFolder(path=str(write_images(tmp_path / ".data" / "images"))).listing()
    assert len(listing.entries) == COUNT


@pytest.mark.parametrize("suffix", ["png", "JPG", "Jpeg", "bmp", "gif", "webp", "tif", "TIFF", "ppm", "pgm"])
def test_the_common_kinds_of_files_are_images(tmp_path, suffix):
    folder = write_images(tmp_path / "images", IMAGES[:4], place=lambda i: f"{i}.{suffix}")
    listing = ImageFolder(path=str(folder)).listing()
    assert len(listing.entries) == 4
    assert pixels(listing, 0).shape[:2] == (9, 9)


def test_an_empty_folder_is_refused(tmp_path):
    refused(ImageFolder(path=str(tmp_path)), "expected images", ".png", "found none", f"path='{tmp_path}'")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    refused(ImageFolder(path=str(tmp_path)), "expected images", ".png", "found none", f"path='{tmp_path}'")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_archives_instead_of_images_are_named(tmp_path, kind):
    for name in "dbca":
        shutil.make_archive(tmp_path / "all" / name, "zip", write_images(tmp_path / name))
    folder = tmp_path / "all"
    if kind == "zip":
        source = Archive(path=shutil.make_archive(tmp_path / "packed", "zip", folder))
    else:
        source = ImageFolder(path=str(folder))
    refused(source, "expected images, found archives (a.zip, b.zip, c.zip, ...): unpack them first")


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "image.png").write_text("text")
    refused(ImageFolder(path=str(tmp_path / "image.png")), "expected a folder of images", "which is a file")


def test_three_images_are_too_few_to_prepare(tmp_path):
    source = ImageFolder(path=str(write_images(tmp_path / "images", IMAGES[:3])))
    with pytest.raises(ValueError, match=r"^expected at least 2 images to train on.* Received: train=3, test=0$"):
        prepare(DataConfig(source=source), tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_name_that_is_not_utf8_is_prepared_like_any_other(tmp_path):
    folder = write_images(tmp_path / "images")
    (folder / "00.png").rename(Path(os.fsdecode(os.fsencode(folder) + b"/\xe4\xfc.png")))
    source = ImageFolder(path=str(folder))
    names = [entry.name for entry in source.listing().entries]
    assert "\\xe4\\xfc.png" in names
    dataset = prepare(DataConfig(source=source, size=9), tmp_path / "dataset")
    assert dataset.count("train") + dataset.count("test") == COUNT


def test_a_changed_file_changes_the_checksum_with_times(tmp_path):
    source = of_flat_folder(tmp_path)
    before, before_with_times = source.listing().checksum(), source.listing().checksum(with_times=True)
    file = Path(source.path) / "00.png"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert source.listing().checksum() == before
    assert source.listing().checksum(with_times=True) != before_with_times


# Arrays.


def test_gzipped_and_plain_files_may_be_mixed(tmp_path):
    folder = write_idx(tmp_path / "idx")
    packed = folder / "train-images-idx3-ubyte"
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    assert len(Arrays(path=str(folder)).listing().entries) == COUNT


@pytest.mark.parametrize("gone", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_idx_file_is_named(tmp_path, gone):
    folder = write_idx(tmp_path / "idx")
    (folder / gone).unlink()
    refused(Arrays(path=str(folder)), f"expected the file {gone} or {gone}.gz", f"path='{folder}'")


def test_labels_of_another_length_are_refused(tmp_path):
    (tmp_path / "images").write_bytes(idx(IMAGES))
    (tmp_path / "labels").write_bytes(idx(LABELS[:-1]))
    source = Arrays(path=str(tmp_path / "images"), labels=str(tmp_path / "labels"))
    refused(source, "expected one label per image, 24 labels", "Received: labels=23")
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=LABELS[:5])
    refused(Arrays(path=str(tmp_path / "data.npz")), "expected one label per image, 24 labels", "Received: labels=5")


def test_images_instead_of_labels_are_refused(tmp_path):
    (tmp_path / "images").write_bytes(idx(IMAGES))
    source = Arrays(path=str(tmp_path / "images"), labels=str(tmp_path / "images"))
    refused(source, "expected an idx file with 1 dimensions", "images'")


@pytest.mark.parametrize("make", [of_plain_idx, of_split_npz], ids=["folder", "npz"])
def test_labels_beside_files_that_hold_their_own_are_refused(tmp_path, make):
    (tmp_path / "labels").write_bytes(idx(LABELS))
    source = make(tmp_path).model_copy(update={"labels": str(tmp_path / "labels")})
    refused(source, "labels only beside an idx file of images", "Received: labels=")


def test_labels_for_one_split_only_are_ignored(tmp_path):
    np.savez(tmp_path / "data.npz", x_train=IMAGES[6:], y_train=LABELS[6:], x_test=IMAGES[:6])
    listing = Arrays(path=str(tmp_path / "data.npz")).listing()
    assert listing.classes == ()
    assert {entry.label for entry in listing.entries} == {None}


def test_a_column_of_labels_is_as_good_as_a_row(tmp_path):
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=LABELS[:, None].astype(np.int32))
    assert [entry.label for entry in Arrays(path=str(tmp_path / "data.npz")).listing().entries] == LABELS.tolist()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_with_channels_are_pictures(tmp_path, channels):
    images = np.random.default_rng(1).integers(0, 256, (5, 9, 8, channels), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    listing = Arrays(path=str(tmp_path / "data.npz")).listing()
    assert listing.read(2).mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(pixels(listing, 2).reshape(9, 8, channels), images[2])


@pytest.mark.parametrize(
    "images",
    [IMAGES[0], np.zeros((5, 9, 9, 2), np.uint8), IMAGES > 3, IMAGES.astype(complex), IMAGES.astype(str)],
    ids=["one image", "two channels", "truth values", "complex numbers", "words"],
)
def test_images_of_another_type_or_shape_are_refused(tmp_path, images):
    np.savez(tmp_path / "data.npz", images=images)
    shape = f"dtype={images.dtype}, shape={images.shape} in data.npz"
    refused(
        Arrays(path=str(tmp_path / "data.npz")), "expected images as numbers of shape [N, H, W]", f"Received: {shape}"
    )


@pytest.mark.parametrize(
    "labels",
    [LABELS / 2, LABELS - 1, np.eye(COUNT, dtype=np.int64), np.array(["cat"] * COUNT)],
    ids=["floats", "negative", "one-hot", "words"],
)
def test_labels_of_another_type_or_shape_are_refused(tmp_path, labels):
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=labels)
    source = Arrays(path=str(tmp_path / "data.npz"))
    refused(source, "one non-negative integer label per image", f"Received: dtype={labels.dtype}, shape={labels.shape}")


def test_serial_numbers_instead_of_labels_are_refused(tmp_path):
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=LABELS + 4_000_000_000)
    refused(Arrays(path=str(tmp_path / "data.npz")), "expected labels below 65536", "Received: label=4000000002")


def test_pickled_arrays_are_refused_and_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "run"),))

    np.savez(tmp_path / "data.npz", images=np.array([Evil()], dtype=object))
    refused(Arrays(path=str(tmp_path / "data.npz")), "allow_pickle=False", "data.npz'")
    assert not (tmp_path / "run").exists()


def test_an_npz_with_other_names_says_which_were_expected(tmp_path):
    np.savez(tmp_path / "data.npz", **{f"array_{index:03d}": IMAGES[:1] for index in range(50)})
    text = refused(Arrays(path=str(tmp_path / "data.npz")), "expected the arrays x_train and x_test, or images")
    assert "'array_000'" in text
    assert len(text) < 300


@pytest.mark.parametrize("damage", ["cut", "stored bytes", "packed bytes"])
def test_a_damaged_npz_is_refused(tmp_path, damage):
    save = np.savez if damage == "stored bytes" else np.savez_compressed
    save(tmp_path / "data.npz", images=IMAGES)
    data = bytearray((tmp_path / "data.npz").read_bytes())
    data = data[: len(data) // 2] if damage == "cut" else data
    for position in range(90, 110):
        data[position] ^= 0xFF
    (tmp_path / "data.npz").write_bytes(data)
    refused(Arrays(path=str(tmp_path / "data.npz")), "not a readable npz file", "data.npz'")


@pytest.mark.parametrize("damage", damaged_files.NPZ)
def test_an_npz_with_false_claims_is_refused(tmp_path, damage):
    damaged_files.write_npz(tmp_path / "data.npz", damage, images=IMAGES)
    refused(Arrays(path=str(tmp_path / "data.npz")), "not a readable npz file", "data.npz'")


@pytest.mark.parametrize("position", [2, 12, 200, -6, None])
def test_a_damaged_gzip_file_is_refused(tmp_path, position):
    folder = write_idx(tmp_path / "idx", suffix=".gz", pack=gzip.compress)
    file = folder / "train-images-idx3-ubyte.gz"
    data = bytearray(file.read_bytes())
    if position is None:
        data = data[: len(data) // 2]
    else:
        data[position] ^= 0xFF
        data[position + 1] ^= 0xFF
    file.write_bytes(data)
    refused(Arrays(path=str(folder)), "damaged gzip file", "train-images-idx3-ubyte.gz'")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["expected an idx file with 3 dimensions"]),
        (b"only text", ["expected an idx file with 3 dimensions"]),
        (b"\0\0\x0a\x03" + bytes(12), ["expected an idx file with 3 dimensions"]),
        (idx(IMAGES)[:-1], ["expected 1960 bytes for shape [24, 9, 9]", "Received: bytes=1959"]),
        (idx(IMAGES) + b"\0", ["expected 1960 bytes for shape [24, 9, 9]", "Received: bytes=1961"]),
    ],
    ids=["empty", "text", "unknown type", "short", "long"],
)
def test_a_file_that_is_no_idx_file_is_refused(tmp_path, data, words):
    (tmp_path / "images").write_bytes(data)
    refused(Arrays(path=str(tmp_path / "images")), *words)


def test_an_overwritten_file_in_the_folder_changes_the_checksum_with_times(tmp_path):
    source = of_plain_idx(tmp_path)
    before = source.listing().checksum(with_times=True)
    file = Path(source.path) / "train-images-idx3-ubyte"
    stat = file.stat()
    file.write_bytes(idx(255 - IMAGES[6:]))
    os.utime(file, ns=(0, stat.st_mtime_ns + 1_000_000))  # as on a disk with a slow clock
    assert source.listing().checksum(with_times=True) != before


def test_fashion_mnist_is_listed_as_published(fashion_mnist):
    listing = Arrays(path=str(fashion_mnist)).listing()
    splits = [entry.split for entry in listing.entries]
    assert (splits.count("train"), splits.count("test")) == (60_000, 10_000)
    assert listing.classes == tuple("0123456789")
    for split in ("train", "test"):
        labels = np.bincount([entry.label for entry in listing.entries if entry.split == split])
        assert labels.tolist() == [splits.count(split) // 10] * 10


@pytest.mark.parametrize("kind", ["gzipped idx", "plain idx", "npz"])
def test_the_pixels_of_fashion_mnist_survive_the_round_trip_exactly(fashion_mnist, tmp_path, kind):
    raw = {}
    for prefix, name in (("train", "train"), ("t10k", "test")):
        images = gzip.decompress((fashion_mnist / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((fashion_mnist / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
        raw[name] = (
            np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
            np.frombuffer(labels[8:], np.uint8),
        )
    train, test = [(images[:700], labels[:700]) for images, labels in (raw["train"], raw["test"])]
    if kind == "npz":
        path = tmp_path / "data.npz"
        np.savez_compressed(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    else:
        images, labels = np.concatenate([test[0], train[0]]), np.concatenate([test[1], train[1]])
        packing = {"suffix": ".gz", "pack": gzip.compress} if kind == "gzipped idx" else {}
        path = write_idx(tmp_path / "idx", images=images, labels=labels, tests=700, **packing)
    dataset = prepare(DataConfig(source=Arrays(path=str(path)), name="fashion_mnist", size=28), tmp_path / "dataset")
    for split, (images, labels) in (("train", train), ("test", test)):
        expected = sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
        assert pictures(dataset, split) == expected
