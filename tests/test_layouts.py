"""Layouts of data sets: folders, zip files and tar archives give the same splits and classes, and nothing is lost."""

import io
import json
import shutil
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from ganlib.data import Archive, DataConfig, ImageFolder, describe, kinds, labels, prepare, survey
from ganlib.data.split_names import Role, folder_role


def picture(value=0, kind="PNG"):
    data = io.BytesIO()
    Image.fromarray(np.full((24, 24, 3), value, np.uint8)).save(data, kind)
    return data.getvalue()


PNG = picture()


def folders(*names, count=10, suffix=".png"):
    """Returns a number of images in each folder, all with different names."""
    return {f"{name}/{i}{suffix}": PNG for name in names for i in range(count)}


def write(place: Path, files):
    """Writes the files as a folder, a zip file, a zip file with backslashes as on Windows, and two tar archives."""
    for name, data in files.items():
        path = place / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with zipfile.ZipFile(place / "a.zip", "w") as plain, zipfile.ZipFile(place / "b.zip", "w", 8) as backslashes:
        for name, data in files.items():
            plain.writestr(name, data)
            backslashes.writestr(name.replace("/", "\\"), data)
    for kind in ("tar", "tar.gz"):
        with tarfile.open(place / f"a.{kind}", f"w:{kind[4:]}") as file:
            for name, data in files.items():
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))
    archives = [Archive(path=str(place / name)) for name in ("a.zip", "b.zip", "a.tar", "a.tar.gz")]
    return [ImageFolder(path=str(place / "folder")), *archives]


def facts(source):
    """Returns the content of a listing, or the error."""
    try:
        listing = source.listing()
    except ValueError as error:
        return str(error).replace(source.path, "PATH")
    entries = [entry[:4] for entry in listing.entries]
    return entries, listing.classes, listing.ignored, listing.notes, listing.drawn


def alike(place, files):
    """Asserts that every source gives the same listing, and returns one of them."""
    sources = write(place, files)
    first, *others = [facts(source) for source in sources]
    assert all(other == first for other in others)
    assert not isinstance(first, str), first
    return sources[1].listing()


def refused(place, files):
    first, *others = [facts(source) for source in write(place, files)]
    assert all(other == first for other in others)
    assert isinstance(first, str)
    assert "\n" not in first
    return first


def counts(listing):
    """Returns the number of images of each split and class."""
    name = lambda entry: None if entry.label is None else listing.classes[entry.label]  # noqa: E731
    return Counter((entry.split, name(entry)) for entry in listing.entries)


def spread(**classes):
    """Returns the counts of classes, given as (train, test)."""
    pairs = {(split, name): number[i] for name, number in classes.items() for i, split in enumerate(("train", "test"))}
    return Counter({key: number for key, number in pairs.items() if number})


CAT_DOG = spread(cat=(10, 10), dog=(10, 10))
SPLIT = ["Train/cat", "Train/dog", "Test/cat", "Test/dog"]
KINDS_OF_TRAIN = ["train", "TRAIN", "Training", "train_images", "trainset", "train-2017", "seg_train/seg_train"]
KINDS_OF_TEST = ["test", "Testing", "test_set", "val", "Valid", "validation", "dev", "eval", "Evaluation", "val2017"]


@pytest.mark.parametrize("train", KINDS_OF_TRAIN)
@pytest.mark.parametrize("wrapper", ["", "dataset/", "data/v1/"])
def test_a_folder_for_training_and_one_for_testing_are_the_splits_whatever_they_are_called(tmp_path, train, wrapper):
    other = "seg_test/seg_test" if "/" in train else "test"
    files = folders(*(f"{wrapper}{split}/{name}" for split in (train, other) for name in ("cat", "dog")))
    listing = alike(tmp_path, files)
    assert (counts(listing), listing.drawn, listing.ignored) == (CAT_DOG, False, ())


@pytest.mark.parametrize("test", KINDS_OF_TEST)
def test_every_usual_name_of_held_out_images_is_known(tmp_path, test):
    listing = alike(tmp_path, folders("train/cat", "train/dog", f"{test}/cat", f"{test}/dog"))
    assert counts(listing) == CAT_DOG


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["images/train/cat", "images/train/dog", "images/test/cat", "images/test/dog"], CAT_DOG),
        (["train/images/cat", "train/images/dog", "test/images/cat", "test/images/dog"], CAT_DOG),
        (["cat/train", "cat/test", "dog/train", "dog/test"], CAT_DOG),
        (["all/cat/Train", "all/cat/Val", "all/dog/Train", "all/dog/Val"], CAT_DOG),
        (["cat", "dog", "test/cat", "test/dog"], CAT_DOG),
        (["trainA", "trainB", "testA", "testB"], spread(A=(10, 10), B=(10, 10))),
        (["train_A", "train_B", "val_A", "val_B"], spread(A=(10, 10), B=(10, 10))),
        (["train/cat", "train/dog", "test/bird"], spread(cat=(10, 0), dog=(10, 0), bird=(0, 10))),
        (["traindata/cat", "traindata/dog", "testdata/cat", "testdata/dog"], CAT_DOG),
        (["train/images/cat", "train/images/dog", "test/cat", "test/dog"], CAT_DOG),
        (["train/photo", "train/sketch", "test/photo"], spread(photo=(10, 10), sketch=(10, 0))),
        (["lens1_train", "lens2_train", "lens1_test", "lens2_test"], spread(lens1=(10, 10), lens2=(10, 10))),
        (["train1/cat", "train2/dog", "test1/cat", "test2/dog"], CAT_DOG),
        (["01_train/cat", "01_train/dog", "02_test/cat", "02_test/dog"], CAT_DOG),
        (["train", "test"], Counter({("train", None): 10, ("test", None): 10})),
        (["set_train_HR", "set_valid_HR"], Counter({("train", None): 10, ("test", None): 10})),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_splits_are_found_in_many_places(tmp_path, places, expected):
    listing = alike(tmp_path, folders(*places))
    assert (counts(listing), listing.drawn, listing.ignored) == (expected, False, ())


@pytest.mark.parametrize(
    ("places", "classes"),
    [
        (["train/cat", "train/dog"], ("cat", "dog")),
        (["dataset/train/cat", "dataset/train/dog"], ("cat", "dog")),
        (["dataset/cat", "dataset/dog"], ("cat", "dog")),
        (["a/b/c/cat", "a/b/c/dog"], ("cat", "dog")),
        (["cat/siamese", "cat/persian", "dog"], ("cat", "dog")),
        (["trainA", "trainB"], ("A", "B")),
        (["bus", "car", "train"], ("bus", "car", "train")),  # a train is a thing
        (["test_tube", "train_station"], ("test_tube", "train_station")),
        (["0", "1", "10"], ("0", "1", "10")),
        (["only"], ()),
        (["train"], ()),
        ([".", "more"], ()),
    ],
    ids=lambda value: " ".join(value),
)
def test_without_a_folder_for_testing_a_tenth_of_all_is_held_out_and_no_class_is_lost(tmp_path, places, classes):
    listing = alike(tmp_path, folders(*places))
    splits = Counter(entry.split for entry in listing.entries)
    assert splits["test"] == max(2, len(places))
    assert (sum(splits.values()), listing.classes, listing.drawn) == (10 * len(places), classes, True)
    assert listing.ignored == ()


def ignored(listing):
    return [str(item) for item in listing.ignored]


@pytest.mark.parametrize("top", ["", "dataset/"])
@pytest.mark.parametrize("stray", ["overview.png", "dataset/overview.png"])
def test_one_picture_beside_the_classes_is_ignored_and_no_class_is(tmp_path, top, stray):
    if not top and "/" in stray:
        stray = "Übersicht.png"
    listing = alike(tmp_path, folders(f"{top}cat", f"{top}dog") | {stray: PNG, f"{top}README": b"x"})
    assert listing.classes == ("cat", "dog")
    assert len(listing.entries) == 20
    [readme, one] = ignored(listing)
    assert readme == f"1 file other than images (1 without a suffix), such as {top}README"
    assert one.startswith(("1 image beside the folder ", "1 image beside the class folders"))
    assert one.endswith(f"such as {stray.rpartition('/')[2] if top and '/' in stray else stray}")


def test_many_pictures_beside_folders_mean_that_these_are_no_classes(tmp_path):
    listing = alike(tmp_path, folders("cat", "dog", "."))
    assert (len(listing.entries), listing.classes, listing.ignored) == (30, (), ())
    assert listing.notes == ("no classes, since 10 of 30 images have no label, such as 0.png",)


@pytest.mark.parametrize("loose", [1, 10])
@pytest.mark.parametrize("folder", ["cat", "data/cat"])
def test_pictures_beside_the_only_folder_mean_that_it_is_no_class(tmp_path, loose, folder):
    top = folder.removesuffix("cat")
    listing = alike(tmp_path, folders(folder) | {f"{top}{number}.png": PNG for number in range(loose)})
    assert (len(listing.entries), listing.classes, listing.ignored) == (10 + loose, (), ())
    assert listing.notes == (f"no classes, since {folder} is the only folder beside the images",)


def test_folders_without_files_are_named(tmp_path):
    [source, *_] = write(tmp_path, folders("cat", "dog"))
    for name in ("bird", "fish", ".git/objects"):
        (Path(source.path) / name).mkdir(parents=True)
    listing = source.listing()
    assert (listing.ignored_count, listing.notes) == (0, ("2 folders without files, such as bird",))


def test_pictures_beside_a_folder_for_testing_are_for_training(tmp_path):
    listing = alike(tmp_path, folders(".", "test"))
    assert {entry.name.rpartition("/")[0] for entry in listing.entries if entry.split == "test"} == {"test"}
    assert counts(listing) == Counter({("train", None): 10, ("test", None): 10})


@pytest.mark.parametrize("test", ["test", "test/images", "test/test"])
@pytest.mark.parametrize(
    "classes",
    [["train/cat", "train/dog"], ["cat", "dog"], ["train/images/cat", "train/images/dog"], ["x/cat", "x/dog"]],
)
def test_images_for_testing_without_labels_are_never_trained_on_and_give_and_take_no_class(tmp_path, classes, test):
    listing = alike(tmp_path, folders(*classes, test))
    assert listing.classes == ("cat", "dog")
    assert not [entry for entry in listing.entries if entry.name.startswith("test/")]
    assert ignored(listing) == [f"10 images for testing, which have no label, such as {test}/0.png"]
    assert listing.drawn


def test_validation_images_with_labels_are_tested_on_rather_than_test_images_without(tmp_path):
    listing = alike(tmp_path, folders("train/cat", "train/dog", "val/cat", "val/dog", "test/images"))
    assert counts(listing) == CAT_DOG
    assert ignored(listing) == ["10 images for testing, which have no label, such as test/images/0.png"]
    assert not listing.drawn


def test_validation_images_beside_test_images_are_ignored_and_reported(tmp_path):
    listing = alike(tmp_path, folders(*(f"{s}/{c}" for s in ("train", "val", "test") for c in ("cat", "dog")), count=4))
    assert counts(listing) == spread(cat=(4, 4), dog=(4, 4))
    assert ignored(listing) == ["8 images for validation, since others are for testing, such as val/cat/0.png"]
    assert not [entry for entry in listing.entries if entry.name.startswith("val/")]


def test_a_folder_for_testing_alone_is_not_trained_on(tmp_path):
    listing = alike(tmp_path, folders("test/cat", "test/dog"))
    with pytest.raises(ValueError, match="Received: train=0, test=20"):
        listing.check_splits()


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["train", "test", "other"], "expected every image below test/ or train/, which are splits. Received: path="),
        (["train", "test", "test_hard"], "which are splits. Received: path='PATH', folders=['test', 'test_hard', "),
        (["train", "test", "."], "with 10 images beside them, such as '0.png'"),
        (
            ["cat/train", "cat/test", "dog"],
            "below every class folder, or below none. Received: path='PATH', image=",
        ),
    ],
)
def test_what_would_make_wrong_splits_is_refused(tmp_path, places, message):
    assert message in refused(tmp_path, folders(*places))


def test_folders_without_images_and_what_a_mac_adds_do_not_count(tmp_path):
    beside = {"docs/a.txt": b"x", "__MACOSX/dataset/cat/._0.png": b"x", "README.md": b"x", "dataset/.DS_Store": b"x"}
    listing = alike(tmp_path, folders("dataset/cat", "dataset/dog") | beside)
    assert listing.classes == ("cat", "dog")
    assert ignored(listing) == ["2 files other than images (1 .md, 1 .txt), such as README.md"]


# Recognising images.


@pytest.mark.parametrize("suffix", ["", ".jfif", ".JPG", ".Jpeg", ".jpg.part", ".1", ".dat", ".jpg_large", ".ü"])
def test_an_image_is_recognised_by_its_content_whatever_its_suffix(tmp_path, suffix):
    data = picture(kind="JPEG")
    files = {f"{name}/{i}{suffix}": data for name in ("cat", "dog") for i in range(5)} | {"cat/list.dat": b"text"}
    listing = alike(tmp_path, files)
    assert len(listing.entries) == 10
    assert ignored(listing) == ["1 file other than images (1 .dat), such as cat/list.dat"]
    with listing.read(3) as image:
        assert image.size == (24, 24)


WRITTEN = [
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "TIFF",
    "WEBP",
    "PPM",
    "JPEG2000",
    "AVIF",
    "ICO",
    "DDS",
    "QOI",
    "SGI",
    "PCX",
    "ICNS",
]


@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "AVIF" or features.check("avif")])
def test_every_kind_of_image_is_recognised_by_its_first_bytes(kind):
    assert kinds.is_image(picture(kind=kind)[: kinds.FIRST_BYTES])


def test_a_float_image_of_the_pgm_family_is_one(tmp_path):
    for i in range(10):
        Image.fromarray(np.full((24, 24), i / 10, np.float32)).save(tmp_path / f"{i}.pfm", "PPM")
    assert len(ImageFolder(path=str(tmp_path)).listing().entries) == 10


def test_both_orders_of_bytes_and_large_tiff_files_are_images():
    for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        assert kinds.is_image(start + bytes(20))


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 32, b"BMW and other cars, which", b"P is a letter", b"P4 of the list", b"PK\3\4", b"<html>"]
)
def test_what_only_resembles_an_image_is_not_one(data):
    assert not kinds.is_image(data)


def test_a_wrong_suffix_of_an_image_does_not_matter_and_a_page_named_as_one_is_skipped(tmp_path):
    files = {f"train/{i}.jpg": PNG for i in range(20)} | {"train/99.jpg": b"<html>404 not found</html>"}
    [source, *_] = write(tmp_path, files | folders("test"))
    dataset = prepare(DataConfig(source=source, size=24, colour="rgb"), tmp_path / "dataset")
    assert dataset.manifest["skipped"] == [{"name": "train/99.jpg", "reason": "unreadable: not an image"}]
    with pytest.raises(ValueError, match="1 of 31 images cannot be used"):
        prepare(DataConfig(source=source, size=24, max_unusable=0.01), tmp_path / "none")


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1"])
def test_a_photo_in_an_unsupported_format_counts_as_an_image_and_its_format_is_named(tmp_path, name):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    [source, *_] = write(tmp_path, {f"{i}.png": PNG for i in range(20)} | {name: heic})
    dataset = prepare(DataConfig(source=source, size=24), tmp_path / "dataset")
    reason = "unreadable: HEIC, an unsupported format; convert it to PNG or JPEG"
    assert dataset.manifest["skipped"] == [{"name": name, "reason": reason}]


def test_files_that_are_images_by_their_suffix_are_not_opened_to_be_listed(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr("ganlib.data.locations.File.start", lambda file, count: looked.append(file.path) or PNG[:count])
    [source, *_] = write(tmp_path, folders("a") | {"a/x.txt": b"x", "a/unknown": b"x"})
    assert len(source.listing().entries) == 11
    assert [Path(path).name for path in looked] == ["unknown"]


# Labels in files.


def labelled(kind, count=12, classes=3):
    """Images in numbered folders, with labels in the format of StyleGAN's tool or of Hugging Face's data sets."""
    names = [f"{i // 6:05d}/img{i:08d}.png" for i in range(count)]
    files = dict.fromkeys(names, PNG)
    pairs = [(name, 8 + i % classes) for i, name in enumerate(names)]
    if kind == "dataset.json":
        return files | {kind: json.dumps({"labels": pairs}).encode()}
    if kind == "metadata.jsonl":
        rows = [json.dumps({"file_name": name, "label": label, "text": "x"}) for name, label in pairs]
        return files | {kind: "\n".join(rows).encode()}
    rows = [f"{name.replace('/', chr(92))},{label}" for name, label in pairs]
    return files | {kind: "\ufefffile_name,label\r\n".encode() + "\r\n".join(rows).encode()}


FORMS = ["dataset.json", "metadata.csv", "metadata.jsonl"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top", ["", "data/"])
def test_labels_are_read_from_files(tmp_path, form, top):
    listing = alike(tmp_path, {top + name: data for name, data in labelled(form).items()})
    assert listing.classes == ("8", "9", "10")
    assert [entry.label for entry in listing.entries] == [i % 3 for i in range(12)]
    assert (listing.ignored, listing.notes) == ((), ())


def test_if_a_file_states_that_there_are_no_labels_numbered_folders_are_not_classes(tmp_path):
    listing = alike(tmp_path, labelled("dataset.json") | {"dataset.json": b'{"labels": null}'})
    assert (listing.classes, len(listing.entries)) == ((), 12)
    assert listing.notes == ("no classes, since dataset.json has none",)


def test_labels_that_are_all_the_same_make_no_classes_and_that_is_noted(tmp_path):
    listing = alike(tmp_path, labelled("dataset.json", classes=1))
    assert (listing.classes, listing.notes) == ((), ("no classes, since dataset.json has 1",))


def test_each_split_may_have_its_own_file_of_labels(tmp_path):
    files = folders("train", "test")
    for split in ("train", "test"):
        rows = [f"{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(10)]
        files[f"{split}/metadata.csv"] = "\n".join(["file_name,label", *rows]).encode()
    assert counts(alike(tmp_path, files)) == spread(cat=(5, 5), dog=(5, 5))


@pytest.mark.parametrize(
    "text",
    [
        b'{"name": "mine", "licenses": []}',
        b'{"labels": {"cat": 0, "dog": 1}}',
        b'{"line": 1}\n{"line": 2}',
        b"file,kind\na,b\n",
        b"file_name,text\n0.png,x\n",
        "Datei;Prüfer\n1;Jörg\n".encode("latin-1"),
    ],
)
def test_a_file_about_something_else_leaves_the_classes_of_folders(tmp_path, text):
    name = "dataset.json" if text.startswith(b"{") else "metadata.csv"
    listing = alike(tmp_path, folders("cat", "dog") | {name: text})
    assert listing.classes == ("cat", "dog")


def test_labels_of_images_that_do_not_exist_are_noted(tmp_path):
    files = labelled("metadata.csv")
    del files["00000/img00000003.png"]
    listing = alike(tmp_path, files)
    assert listing.notes == (
        "labels in metadata.csv: 1 of 12 are of images that do not exist, such as 00000/img00000003.png",
    )


def test_one_image_without_a_label_is_ignored_and_many_are_refused(tmp_path):
    listing = alike(tmp_path / "one", labelled("dataset.json") | {"00001/new.png": PNG})
    assert ignored(listing) == ["1 image without a label, such as 00001/new.png"]
    message = refused(tmp_path / "many", labelled("dataset.json") | folders("more"))
    assert "expected a label for every image. Received: file='dataset.json', 10 of 22 images have no label" in message


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("dataset.json", b'{"labels": [["a.png", 1', "cannot read labels: "),
        ("dataset.json", b'{"labels": ' + b"[" * 100_000, "cannot read labels: "),
        ("dataset.json", b'{"labels": [["a.png", 1.5]]}', "expected a word or a whole number as label, not 1.5"),
        ("dataset.json", b'{"labels": [["a.png", [0, 1]]]}', "not [0, 1]"),
        ("dataset.json", b'{"labels": [1, 2]}', "expected `labels` to be pairs"),
        ("dataset.json", b'{"labels": [[7, 1]]}', "expected the name of a file, not 7"),
        ("metadata.csv", b"file_name,label\n\xff\xfe,1", "cannot read labels: "),
        ("metadata.csv", "file_name,label\na,b\n".encode("utf-16"), "cannot read labels: "),
        ("metadata.csv", b'file_name,label\n"' + b"x" * 200_000, "cannot read labels: "),
        ("metadata.jsonl", b'["file_name"]', "expected an object on every line"),
    ],
)
def test_a_wrong_file_of_labels_is_refused_in_one_line(tmp_path, name, data, reason):
    message = refused(tmp_path, folders("a") | {name: data})
    assert reason in message
    assert message.endswith(f"Received: file='{name}'")
    assert len(message) < 300


def test_two_labels_for_one_image_are_refused(tmp_path):
    message = refused(tmp_path, folders("a") | {"metadata.csv": b"file_name,label\na/1.png,cat\na/1.png,dog\n"})
    assert message == "expected one label for every image. Received: image='a/1.png' in 'metadata.csv'"


def test_a_file_of_labels_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "MAX_BYTES", 100)
    assert "expected at most 100 bytes of labels" in refused(tmp_path, labelled("dataset.json"))


def test_other_names_of_classes_are_another_listing(tmp_path):
    sums = []
    for number, word in enumerate(("cat", "kitten")):
        text = "\n".join(["file_name,label", *(f"a/{i}.png,{word if i % 2 else 'dog'}" for i in range(10))])
        sums.append(alike(tmp_path / str(number), folders("a") | {"metadata.csv": text.encode()}).checksum())
    assert sums[0] != sums[1]


# Generated layouts.

NAMES = ["Train", "train", "test", "val", "trainA", "testB", "cat", "dog", "00000", "data", "ü", ".x"]
ENDINGS = st.sampled_from([".png", ".JPG", "", ".dat", ".txt"])
PATHS = st.tuples(st.lists(st.sampled_from(NAMES), max_size=3), st.integers(0, 9), ENDINGS)
FILES = st.dictionaries(
    PATHS.map(lambda parts: "/".join([*parts[0], f"i{parts[1]}{parts[2]}"])),
    st.sampled_from([PNG, PNG, PNG, b"text", b""]),
    min_size=1,
    max_size=25,
)


@settings(max_examples=80)
@given(FILES, st.sampled_from([0, 0, 1, 2]))
def test_any_tree_gives_the_same_from_all_sources_and_no_image_is_lost_silently(files, every):
    if every:
        chosen = sorted(name for name, data in files.items() if data == PNG)[::every]
        labels = [(name, index % 2) for index, name in enumerate(chosen)]
        files = files | {"dataset.json": json.dumps({"labels": labels}).encode()}
    place = Path(tempfile.mkdtemp())
    try:
        sources = write(place, files)
        first, *others = [facts(source) for source in sources]
        assert all(other == first for other in others)
        if isinstance(first, str):
            return
        entries, classes, left, _, drawn = first
        visible = [name for name in files if ".x/" not in name and name != "dataset.json"]
        assert len(entries) + sum(item.number for item in left) == len(visible)
        assert len(classes) != 1
        assert all((label is None) == (not classes) for *_, label, _ in entries)
        if not drawn:
            tested = [name for name, split, *_ in entries if split == "train" and name.startswith(("test/", "val/"))]
            assert not tested
        # A folder around everything changes nothing.
        wrapped = ImageFolder(
            path=str(shutil.move(place / "folder", place / "new" / "dataset")).removesuffix("/dataset")
        )
        assert facts(wrapped)[:2] == (entries, classes)
    finally:
        shutil.rmtree(place)


# Descriptions.


def described(listing):
    return describe(listing, survey(listing))


def test_a_source_is_described_in_two_lines(tmp_path, capsys):
    files = folders("cat", count=40) | folders("dog", count=20) | {"notes.txt": b"x", "a.txt": b"x", "cat/m.mp4": b"x"}
    [source, *_] = write(tmp_path, files)
    output = [
        "60 images: train 54, test 6 (held out at random); 2 classes: cat 40, dog 20 (fewest)",
        (
            "ignored: 3 files other than images (2 .txt, 1 .mp4), such as a.txt; "
            "sizes 24x24, in colour (10 checked); values 0..255"
        ),
    ]
    assert described(source.listing()) == output
    dataset = prepare(DataConfig(source=source, size=24), tmp_path / "dataset")
    assert dataset.manifest["description"] == output
    assert capsys.readouterr().out.startswith("".join(f"data: {line}\n" for line in output))
    said = source.listing().checksum(with_times=True)  # where the description was printed
    prepare(DataConfig(source=source, size=24, fingerprint=said), tmp_path / "again")
    assert "data: " not in capsys.readouterr().out


def test_many_classes_are_shortened_and_the_smallest_is_always_shown(tmp_path):
    files = {f"c{c:02d}/{i}.png": PNG for c in range(30) for i in range(2 if c == 17 else 3)}
    line, sizes = described(alike(tmp_path, files))
    assert line.endswith("30 classes: c00 3, c01 3, c02 3, c03 3, c04 3, c17 2 (fewest), and 24 more")
    assert sizes == "sizes 24x24, in colour (10 checked); values 0..255"


def test_sizes_are_shown_from_the_smallest_to_the_largest_despite_damage(tmp_path):
    for index, size in enumerate([(9, 30), (100, 50), (20, 20)]):
        Image.new("L", size).save(tmp_path / f"{index}.png")
    cut = tmp_path / "3.png"
    for data, reason in ((b"x", "not an image"), (PNG[:-60], "Truncated File Read")):
        cut.write_bytes(data)
        with warnings.catch_warnings(action="error"):
            *_, sizes = described(ImageFolder(path=str(tmp_path)).listing())
        broken = f"1 of 4 checked images cannot be read, such as 3.png (unreadable: {reason})"
        assert sizes == f"sizes 9x30 to 100x50, grey (3 checked); {broken}; values 0..255"


def test_the_words_of_a_name_define_its_role():
    assert folder_role("trainA") == Role("train", "A")
    assert folder_role("images_TEST_2017") == Role("test")
    assert folder_role("train_test") is None
    assert folder_role("contest") is folder_role("training2test") is folder_role("trainé") is folder_role("") is None
