"""Images in a bucket: the same listing as for a local folder, read one by one, and no image is lost to a fault."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from ganlib import remote, storage
from ganlib.data import Archive, DataConfig, Digits, ImageFolder, locations, prepare

COUNT = 16


@pytest.fixture(params=["gs", "s3"])
def scheme(request):
    return request.param


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    """The first built-in digits as PNG files in folders of splits and classes, with files to be ignored."""
    folder = tmp_path_factory.mktemp("digits")
    listing = Digits().listing()
    for index in range(COUNT):
        entry = listing.entries[index]
        place = folder / ("test" if index % 4 == 0 else "train") / str(entry.label % 2) / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        with listing.read(index) as image:
            image.save(place)
    (folder / "train/notes.txt").write_text("no image")
    (folder / "train/.hidden.png").write_bytes(b"x")
    (folder / "train/empty").mkdir()
    return folder


@pytest.fixture
def filled(digits_folder, objects, bucket):
    """Uploads the folder to the bucket as other programs do, and an archive of it."""
    for path in sorted(digits_folder.rglob("*")):
        name = f"digits/{path.relative_to(digits_folder)}"
        objects.blob(f"{name}/" if path.is_dir() else name).upload_from_string(
            path.read_bytes() if path.is_file() else b""
        )
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for path in sorted(digits_folder.rglob("*")):
            file.write(path, path.relative_to(digits_folder))
    objects.blob("digits.zip").upload_from_string(data.getvalue())
    return f"{bucket}/digits"


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(remote.bucket, "TIMEOUT", 0.3)


def pixels(listing):
    images = []
    for index in range(len(listing.entries)):
        with listing.read(index) as image:
            images.append(np.asarray(image))
    return np.stack(images)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_and_an_archive_in_a_bucket_are_listed_and_read_as_here(digits_folder, filled, traffic, end):
    traffic.page = 7
    here = ImageFolder(path=str(digits_folder)).listing()
    assert here.ignored_count == 1
    for source in (ImageFolder(path=filled + end), Archive(path=f"{filled}.zip")):
        listing = source.listing()
        assert listing.checksum() == here.checksum()
        assert (listing.classes, listing.ignored_count) == (here.classes, here.ignored_count)
        np.testing.assert_array_equal(pixels(listing), pixels(here))


def test_images_are_prepared_from_a_bucket_as_from_here(digits_folder, filled, tmp_path):
    prepared = [
        prepare(DataConfig(source=ImageFolder(path=path), size=8, name="digits"), tmp_path / name)
        for path, name in ((str(digits_folder), "here"), (filled, "there"))
    ]
    assert prepared[0].checksum == prepared[1].checksum


def test_only_the_listing_is_requested_until_an_image_is_read(filled, traffic):
    traffic.asked.clear()
    listing = ImageFolder(path=filled).listing()
    asked = [asked for asked in traffic.asked if asked != "bucket"]  # for Google's own tracing
    assert asked == ["list digits/"]
    with listing.read(0):
        assert traffic.count("download") == 1


def test_a_file_of_unknown_suffix_is_recognised_by_its_first_bytes(filled, objects, traffic, monkeypatch):
    image = objects.blob("digits/test/0/4.png").download_as_bytes()
    for name, data in {
        "train/0/a": image,
        "train/1/b.dat": image + bytes(10**6),
        "train/1/c.dat": b"x",
        "d": b"",
    }.items():
        objects.blob(f"digits/{name}").upload_from_string(data)
    traffic.asked.clear()
    listing = ImageFolder(path=filled).listing()
    assert {"train/0/a", "train/1/b.dat"} < {entry.name for entry in listing.entries}
    assert [item.reason for item in listing.ignored] == ["other than images (1 without a suffix, 1 .dat, 1 .txt)"]
    assert traffic.count("download") == 3
    monkeypatch.setattr(remote.bucket, "FIRST_PAUSE", 0.02)
    traffic.fail("status", action="download", times=3)
    assert ImageFolder(path=filled).listing().checksum() == listing.checksum()


def test_labels_in_a_bucket_are_read_as_here(filled, objects):
    rows = ["file_name,label", *(f"{split}/{label}/{i}.png,kind {i % 3}" for split, label, i in _places())]
    objects.blob("digits/metadata.csv").upload_from_string("\n".join(rows))
    listing = ImageFolder(path=filled).listing()
    assert listing.classes == ("kind 0", "kind 1", "kind 2")
    assert {entry.split for entry in listing.entries} == {"train", "test"}


def _places():
    for index, entry in enumerate(Digits().listing().entries[:COUNT]):
        yield "test" if index % 4 == 0 else "train", entry.label % 2, index


def test_a_source_can_be_sent_to_another_process(filled):
    source = pickle.loads(pickle.dumps(ImageFolder(path=filled)))
    assert source.listing().checksum(with_times=True) == ImageFolder(path=filled).listing().checksum(with_times=True)


def test_a_changed_image_changes_the_checksum_with_times_and_is_not_read_by_the_old_listing(filled, objects):
    old = ImageFolder(path=filled).listing()
    name = f"digits/{old.entries[0].name}"
    data = bytearray(objects.blob(name).download_as_bytes())
    data[-1] ^= 1
    objects.blob(name).upload_from_string(bytes(data))
    assert ImageFolder(path=filled).listing().checksum(with_times=True) != old.checksum(with_times=True)
    with pytest.raises(storage.RemoteError, match="it was changed or removed after it was listed"):
        old.read(0)
    objects.blob(f"digits/{old.entries[1].name}").delete()
    with pytest.raises(storage.RemoteError, match="it was changed or removed after it was listed"):
        old.read(1)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("status", {"times": 3}),
        ("status", {"times": 3, "status": 429}),
        ("cut", {"times": 2}),
        ("lose", {}),
        ("spoil", {}),
    ],
    ids=lambda value: str(value).replace("'", ""),
)
def test_no_image_is_lost_to_a_transient_fault(digits_folder, filled, tmp_path, traffic, kind, settings):
    traffic.fail(kind, action="download", **settings)
    dataset = prepare(DataConfig(source=ImageFolder(path=filled), size=8, name="digits"), tmp_path / "dataset")
    assert traffic.faults[0].met == traffic.faults[0].times
    assert dataset.count("train") + dataset.count("test") == COUNT


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("status", 503, "cannot be read: the server answers 503, for 0.3 s"),
        ("status", 403, "access is denied (403)"),
        ("spoil", None, "the transferred bytes have a wrong checksum"),
    ],
)
def test_a_lasting_fault_ends_the_preparation_and_skips_no_image(
    filled, tmp_path, traffic, hurried, kind, status, message
):
    traffic.fail(kind, action="download", name="digits/train/0", status=status, times=1000)
    config = DataConfig(source=ImageFolder(path=filled), size=8, max_unusable=1.0)
    with pytest.raises(storage.RemoteError) as caught:
        prepare(config, tmp_path / "dataset")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert f"Received: path='{filled}/train/0/" in str(caught.value)
    assert not (tmp_path / "dataset").exists()


def test_an_object_that_is_no_image_is_skipped_with_its_reason(filled, objects, tmp_path, monkeypatch):
    objects.blob("digits/train/0/bad.png").upload_from_string(b"no image")
    objects.blob("digits/train/1/large.png").upload_from_string(bytes(3000))
    monkeypatch.setattr(locations, "MAX_IMAGE_BYTES", 2999)
    dataset = prepare(DataConfig(source=ImageFolder(path=filled), size=8, max_unusable=0.2), tmp_path / "dataset")
    aside = {item["name"]: item["reason"] for item in dataset.manifest["skipped"]}
    assert aside == {
        "train/1/large.png": "unreadable: larger than any image, 3000 bytes",
        "train/0/bad.png": "unreadable: not an image",
    }


def test_object_names_that_are_not_valid_for_files_are_read(objects, bucket):
    data = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(data, "png")
    names = ["a//y.png", "a/z\u00e9.png", "a", "a/w.png", "/v.png"]
    for name in names:
        objects.blob(f"odd/{name}").upload_from_string(data.getvalue())
    listing = ImageFolder(path=f"{bucket}/odd").listing()
    assert {entry.name for entry in listing.entries} == {"a//y.png", "a/z\u00e9.png", "a", "a/w.png", "/v.png"}
    assert pixels(listing).shape == (5, 9, 9)


def test_of_names_that_print_the_same_one_is_read_and_the_others_are_counted(objects, bucket):
    data = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(data, "png")
    for name in ("a\t.png", "a\\t.png", "b.png"):
        objects.blob(f"odd/{name}").upload_from_string(data.getvalue())
    listing = ImageFolder(path=f"{bucket}/odd").listing()
    assert [entry.name for entry in listing.entries] == ["a\\t.png", "b.png"]
    assert [str(item) for item in listing.ignored] == ["1 object with the name of another one, such as a\\t.png"]
    with listing.read(0) as image:
        assert image.size == (9, 9)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "bucket/digits.zip",
            "expected a folder of a bucket. Received: path={}, which is a file",
        ),
        ("bucket/gone", "expected a folder of a bucket. Received: path={}, which does not exist"),
        ("bucket/digits/train/empty", "expected images, such as .png or .jpg, found none"),
        ("gone/digits", "no such bucket or object. Received: path={}"),
    ],
)
def test_a_place_without_images_is_reported_in_one_line(filled, scheme, path, message):
    path = f"{scheme}://{path}"
    with pytest.raises(ValueError, match="Received: path=") as caught:
        ImageFolder(path=path).listing()
    assert message.format(repr(path)) in str(caught.value)
    assert "\n" not in str(caught.value)
