"""Archives as a source: the same images as from a folder, and every claim of an archive is verified."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import damaged_files
import numpy as np
import pytest
from PIL import Image

from ganlib.data import Archive, DataConfig, ImageFolder, archive, locations, prepare

FORMATS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
NAMES = [f"{'ab'[index % 2]}/{index}.png" for index in range(8)]


def png(value=0):
    data = io.BytesIO()
    Image.fromarray(np.full((9, 9), value, np.uint8)).save(data, "PNG")
    return data.getvalue()


PICTURES = {name: png(index) for index, name in enumerate(NAMES)}


def pack(path: Path, members: dict[str, bytes]):
    """Writes an archive of the kind that its suffix means. Names that end in `/` are folders."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
        return Archive(path=str(path))
    with tarfile.open(path, f"w:{path.suffix.removeprefix('.').removesuffix('tar')}") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return Archive(path=str(path))


def names(source):
    return [entry.name for entry in source.listing().entries]


def pixels(listing, index):
    with listing.read(index) as image:
        return np.asarray(image)


def refused(source, *words, kind=ValueError):
    with pytest.raises(kind, match=r"Received: path='\S") as caught:
        source.listing()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def unreadable(source, index, reason):
    """Asserts that one image is refused when it is read, and that `prepare` records the reason."""
    listing = source.listing()
    with pytest.raises(Exception, match=reason):
        listing.read(index)
    config = DataConfig(source=source.model_copy(update={"test_fraction": 0.5}), size=9, max_unusable=0.5)
    dataset = prepare(config, Path(source.path).parent / "dataset")
    [item] = dataset.manifest["skipped"]
    assert item["name"] == listing.entries[index].name
    assert reason in item["reason"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("place", ["{}", "train/{}", "data/{}", "data/train/{}"])
def test_an_archive_is_read_as_the_folder_that_it_unpacks_to(tmp_path, kind, place):
    members = {place.format(name): data for name, data in PICTURES.items()}
    if "train" in place:
        members |= {place.replace("train", "val").format(name): png(100) for name in NAMES[:4]}
        members |= {place.replace("train", "test").format(name): png(200) for name in NAMES[:3]}
    members |= {place.format(name): b"x" for name in ("notes.txt", "a/.hidden.png", "__MACOSX/a/0.png", "c/list.csv")}
    for name, data in members.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    top = tmp_path / "folder" / ("data" if "data" in place else "")
    folder = ImageFolder(path=str(top)).listing()
    packed = pack(tmp_path / f"images.{kind}", members).listing()
    assert packed.checksum() == folder.checksum()
    assert packed.classes == folder.classes == ("a", "b")
    assert packed.ignored_count == folder.ignored_count == (6 if "train" in place else 2)
    for index in range(len(folder.entries)):
        np.testing.assert_array_equal(pixels(packed, index), pixels(folder, index))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_archive_is_recognised_by_its_content_and_not_by_its_name(tmp_path, kind):
    source = pack(tmp_path / f"images.{kind}", PICTURES)
    Path(source.path).rename(tmp_path / "images.dat")
    assert names(Archive(path=str(tmp_path / "images.dat"))) == sorted(NAMES)


def test_a_tar_archive_that_ends_with_a_zip_file_is_a_tar_archive(tmp_path):
    inner = Path(pack(tmp_path / "inner.zip", {"x.txt": b"x"}).path).read_bytes()
    assert names(pack(tmp_path / "images.tar", PICTURES | {"z.zip": inner})) == sorted(NAMES)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_empty_folders_of_an_archive_do_not_count(tmp_path, kind):
    members = {f"train/{name}": data for name, data in PICTURES.items()} | {"test/": b"", "other/": b"", "train/": b""}
    listing = pack(tmp_path / f"images.{kind}", members).listing()
    assert (len(listing.entries), listing.classes, listing.drawn) == (len(NAMES), ("a", "b"), True)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("prefix", ["./", "/", ".//./"])
def test_what_programs_put_before_names_is_no_part_of_them(tmp_path, kind, prefix):
    assert names(pack(tmp_path / f"i.{kind}", {prefix + name: png() for name in NAMES})) == sorted(NAMES)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_that_leaves_the_archive_touches_nothing(tmp_path, kind):
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    escaping = {f"../../{tmp_path.name}.png": png(), f"{tmp_path}/absolute.png": png(), "a/../../up.png": png()}
    listing = pack(place / f"images.{kind}", PICTURES | escaping).listing()
    for index in range(len(listing.entries)):
        pixels(listing, index)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", f"images.{kind}"]
    assert not [entry.name for entry in listing.entries if ".." in entry.name]


def test_links_and_devices_of_a_tar_archive_are_skipped_unfollowed(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(255))
    source = pack(tmp_path / "images.tar", PICTURES)
    with tarfile.open(source.path, "a") as file:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(f"a/{name}.png")
            member.type, member.linkname = kind, str(secret)
            file.addfile(member)
    source = source.model_copy(update={"test_fraction": 0.5})
    dataset = prepare(DataConfig(source=source, size=9, max_unusable=0.5), tmp_path / "dataset")
    reason = "unreadable: a link, a device, or a sparse file"
    assert sorted(item["name"] for item in dataset.manifest["skipped"]) == [
        "a/device.png",
        "a/hard.png",
        "a/soft.png",
    ]
    assert {item["reason"] for item in dataset.manifest["skipped"]} == {reason}
    assert dataset.count("train") + dataset.count("test") == len(NAMES)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_of_two_members_with_one_name_the_later_is_used(tmp_path, kind):
    path = tmp_path / f"images.{kind}"
    source = pack(path, PICTURES)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("a/0.png", png(77))
    else:
        (tmp_path / "later.png").write_bytes(png(77))
        with tarfile.open(path, "a") as file:
            file.add(tmp_path / "later.png", "a/0.png")
    listing = source.listing()
    assert [entry.name for entry in listing.entries] == sorted(NAMES)
    assert pixels(listing, 0).max() == 77


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_many_threads_read_the_right_images(tmp_path, kind):
    members = {f"{index:03d}.png": png(index) for index in range(250)}
    listing = pack(tmp_path / f"images.{kind}", members).listing()
    with ThreadPoolExecutor(16) as pool:
        for _ in range(4):
            shades = list(pool.map(lambda index: int(pixels(listing, index).max()), range(250)))
            assert shades == list(range(250))


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    listing = pack(tmp_path / "images.tar.gz", PICTURES).listing()
    assert pixels(listing, 3).shape == (9, 9)
    assert os.listdir(tmp_path / "temporary") == []


def test_files_are_closed_when_a_listing_is_forgotten(tmp_path):
    for kind in FORMATS:
        pack(tmp_path / f"images.{kind}", PICTURES)
    program = (
        "import os, sys\nfrom ganlib.data import Archive\n"
        "before = os.listdir('/proc/self/fd')\n"
        "for path in sys.argv[1:]:\n    Archive(path=path).listing().read(0).load()\n"
        "assert os.listdir('/proc/self/fd') == before"
    )
    paths = [tmp_path / f"images.{kind}" for kind in FORMATS]
    done = subprocess.run([sys.executable, "-W", "error", "-c", program, *paths], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_archive_with_another_time_or_size_gets_another_fingerprint(tmp_path):
    source = pack(tmp_path / "images.zip", PICTURES)
    before, with_times = source.listing().checksum(), source.listing().checksum(with_times=True)
    os.utime(source.path, ns=(0, Path(source.path).stat().st_mtime_ns + 1))
    assert source.listing().checksum() == before
    assert source.listing().checksum(with_times=True) != with_times
    pack(tmp_path / "images.zip", PICTURES | {"a/0.png": png() + b"x"})
    assert source.listing().checksum() != before


# What is wrong with an archive.


def test_a_folder_is_no_archive(tmp_path):
    refused(Archive(path=str(tmp_path)), "expected a zip or tar file; a folder is an image_folder")


@pytest.mark.parametrize("kind", FORMATS)
def test_an_archive_without_images_is_refused(tmp_path, kind):
    refused(pack(tmp_path / f"images.{kind}", {"a/notes.txt": b"x"}), "expected images", "found none")
    refused(pack(tmp_path / f"empty.{kind}", {}), "expected images" if kind == "zip" else "empty")


@pytest.mark.parametrize(
    "data", [b"", b"PK\3\4", b"only text", gzip.compress(b"text", mtime=0), bz2.compress(b"")], ids=repr
)
def test_a_file_that_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "images.zip").write_bytes(data)
    refused(Archive(path=str(tmp_path / "images.zip")), "not a readable zip or tar file: ")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("kind", FORMATS)
def test_an_archive_that_is_cut_off_is_refused(tmp_path, kind, share):
    noise = np.random.default_rng(0).bytes(20_000)
    source = pack(tmp_path / f"images.{kind}", PICTURES | {"noise": noise, "b/zz.png": noise})
    data = Path(source.path).read_bytes()
    Path(source.path).write_bytes(data[: int(share * len(data))])
    refused(source, "not a readable zip or tar file: ")


@pytest.mark.parametrize("lost", [1, 3])
def test_a_tar_archive_that_is_cut_off_between_two_files_is_refused(tmp_path, lost):
    source = pack(tmp_path / "images.tar", dict.fromkeys(NAMES, b"x" * 512))
    Path(source.path).write_bytes(Path(source.path).read_bytes()[: 1024 * (len(NAMES) - lost)])
    refused(source, "damaged or cut off at byte ")


def test_a_damaged_header_is_not_taken_for_the_end_of_a_tar_archive(tmp_path):
    source = pack(tmp_path / "images.tar", dict.fromkeys(NAMES, b"x" * 512))
    data = bytearray(Path(source.path).read_bytes())
    data[4 * 1024 + 20] ^= 0xFF
    Path(source.path).write_bytes(data)
    refused(source, "damaged or cut off at byte 4096")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", damaged_files.TARS)
def test_a_size_that_no_file_can_have_is_refused_at_once(tmp_path, kind, packed):
    data = damaged_files.tar(kind)
    (tmp_path / "images.tar").write_bytes(gzip.compress(data) if packed else data)
    refused(Archive(path=str(tmp_path / "images.tar")), "not a readable zip or tar file: ")


def test_a_sparse_file_of_any_size_is_skipped_unread(tmp_path):
    (tmp_path / "images.tar").write_bytes(damaged_files.tar("one hole"))
    listing = Archive(path=str(tmp_path / "images.tar")).listing()
    assert [entry.name for entry in listing.entries] == ["a.png", "b.png"]
    with pytest.raises(ValueError, match="a sparse file"):
        listing.read(1)


@pytest.mark.parametrize("opener", [gzip, bz2, lzma], ids=lambda module: module.__name__)
def test_damage_in_a_packed_archive_is_noticed(tmp_path, opener):
    pack(tmp_path / "plain.tar", PICTURES)
    data = bytearray(opener.compress((tmp_path / "plain.tar").read_bytes()))
    for position in range(len(data) // 2, len(data) // 2 + 8):
        data[position] ^= 0xFF
    (tmp_path / "images").write_bytes(data)
    refused(Archive(path=str(tmp_path / "images")), "not a readable zip or tar file: ")


def test_a_damaged_member_is_skipped(tmp_path):
    source = pack(tmp_path / "images.zip", PICTURES).model_copy(update={"test_fraction": 0.5})
    with zipfile.ZipFile(source.path) as file:
        offset = file.getinfo("a/4.png").header_offset
    data = bytearray(Path(source.path).read_bytes())
    data[offset + 60] ^= 0xFF
    Path(source.path).write_bytes(data)
    listing = source.listing()
    index = names(source).index("a/4.png")
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        listing.read(index)
    dataset = prepare(DataConfig(source=source, size=9, max_unusable=0.5), tmp_path / "dataset")
    assert [item["name"] for item in dataset.manifest["skipped"]] == ["a/4.png"]


def test_an_archive_with_a_password_is_refused(tmp_path):
    source = pack(tmp_path / "images.zip", PICTURES)
    data = bytearray(Path(source.path).read_bytes())
    position = -1
    while (position := data.find(b"PK\1\2", position + 1)) >= 0:
        data[position + 8] |= 1
    Path(source.path).write_bytes(data)
    refused(source, "expected an archive without a password", "file='a/0.png'")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_image_that_is_too_large_is_skipped_unread(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(locations, "MAX_IMAGE_BYTES", 10_000)
    source = pack(tmp_path / f"images.{kind}", PICTURES | {"a/bomb.png": bytes(10_001), "a/limit.png": png()})
    unreadable(source, names(source).index("a/bomb.png"), "larger than any image, 10001 bytes")


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path):
    source = pack(tmp_path / "images.zip", PICTURES | {"a/bomb.png": bytes(64 * 2**20)})
    data = bytearray(Path(source.path).read_bytes())
    entry = data.rfind(b"PK\1\2")
    struct.pack_into("<I", data, entry + 24, 100)  # the unpacked size that the directory claims
    Path(source.path).write_bytes(data)
    listing = source.listing()
    tracemalloc.start()
    try:
        with pytest.raises(zipfile.BadZipFile, match="CRC"):
            listing.read(names(source).index("a/bomb.png"))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_unpacks_without_bounds_is_skipped(tmp_path, method):
    source = pack(tmp_path / "images.zip", PICTURES)
    with zipfile.ZipFile(source.path, "a") as file:
        file.writestr("a/x.png", png(), compress_type=method)
    unreadable(source, names(source).index("a/x.png"), "expected the compression method deflate")


def test_a_packed_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    source = pack(tmp_path / "images.tar.xz", PICTURES | {"notes.txt": bytes(5 * 2**20)})
    free = shutil.disk_usage(tmp_path)._replace(free=2 * 2**20)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: free)
    refused(source, "expected enough disk space for the unpacked archive", "larger than 1887436 bytes", kind=OSError)


# Real archives.


@pytest.mark.parametrize(
    ("name", "size", "train", "test", "classes"),
    [("flowers_128", 128, 3885, 432, 5), ("cifar10_jpeg_subset", 32, 15_000, 3000, 10), ("facades", 256, 400, 106, 0)],
)
def test_a_real_archive_gives_the_pixels_of_its_folder(shared_data, tmp_path, name, size, train, test, classes):
    path = shared_data / f"{name}.zip"
    if not path.exists():
        pytest.skip(f"needs {path}")
    packed = Archive(path=str(path))
    listing = packed.listing()
    splits = [entry.split for entry in listing.entries]
    assert (splits.count("train"), splits.count("test"), len(listing.classes)) == (train, test, classes)
    chosen = [entry.name for entry in listing.entries][:: len(splits) // 60]
    with zipfile.ZipFile(path) as file:
        for member in chosen:
            file.extract(member, tmp_path / "folder")
    some = [entry for entry in listing.entries if entry.name in set(chosen)]
    for entry in some:
        index = listing.entries.index(entry)
        with listing.read(index) as ours, Image.open(tmp_path / "folder" / entry.name) as theirs:
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    config = DataConfig(source=packed, size=size, colour="rgb", train_images=100)
    assert prepare(config, tmp_path / "dataset").count("train") == 100
