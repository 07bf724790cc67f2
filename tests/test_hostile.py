"""Malicious folders and archives are refused or skipped by name. Nothing is written outside, and nothing hangs."""

import io
import os
import re
import socket
import stat
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Archive, DataConfig, ImageFolder, prepare

DEEP = 10_000
GOOD = [f"{index}.png" for index in range(8)]
NAMES = {
    "escape": "../../escaped.png",
    "escape within": "a/../../../escaped.png",
    "absolute": "/etc/escaped.png",
    "other system": "..\\..\\escaped.png",
    "drive": "C:\\escaped.png",
    "line break": "two\nlines.png",
    "terminal": "\x1b[2Jcleared.png",
    "long": "n" * 60_000 + ".png",
    "backslashes": "a\\b\\c.png",
    "emoji and right to left": "\u202e\U0001f600gnp.png",
}


def png(value=0):
    data = io.BytesIO()
    Image.fromarray(np.full((9, 9), value, np.uint8)).save(data, "PNG")
    return data.getvalue()


PNG = png()


def pack(path, members):
    """Writes an archive with good images, followed by other members."""
    whole = [(name, png(index)) for index, name in enumerate(GOOD)] + list(members)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in whole:
                file.writestr(name, data)
    else:
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
            for name, data in whole:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))
    return Archive(path=str(path), test_fraction=0.5)


def write_images(folder):
    folder.mkdir()
    for index, name in enumerate(GOOD):
        (folder / name).write_bytes(png(index))
    return ImageFolder(path=str(folder), test_fraction=0.5)


def prepared(source, place):
    return prepare(DataConfig(source=source, size=9, max_unusable=0.5), place / "dataset")


def skipped(dataset):
    return {item["name"]: item["reason"] for item in dataset.manifest["skipped"]}


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_name_writes_anywhere_or_breaks_a_line(tmp_path, monkeypatch, capsys, kind, name):
    place = tmp_path / "a" / "b" / "c"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    source = pack(place / f"images.{kind}", [(name, b"no image")])
    name = name.replace("\\", "/") if kind == "zip" else name
    hidden = any(part.startswith(".") for part in name.split("/"))
    dataset = prepared(source, place)
    assert below(tmp_path)[:4] == ["a", "a/b", "a/b/c", "a/b/c/dataset"]
    assert below(place)[5:] == [f"images.{kind}"]
    assert not list(Path("/").glob("etc/escaped*"))
    assert len(dataset.manifest["skipped"]) == (not hidden)
    out = capsys.readouterr().out
    leads_out = ".." in name.split("/")
    assert ("ignored: 1 file with a path outside of the archive, such as " in out) == leads_out
    assert dataset.manifest["ignored_files"] == leads_out
    assert all(line.isprintable() for line in out.splitlines())
    assert all(re.match("prepare|skipped|data: |note: ", line) for line in out.splitlines())


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_ten_thousand_nested_folders_in_an_archive_are_one_long_name(tmp_path, kind):
    name = "d/" * DEEP + "deep.png"
    listing = pack(tmp_path / f"images.{kind}", [(name, PNG)]).listing()
    assert name in [entry.name for entry in listing.entries]
    dataset = prepared(Archive(path=str(tmp_path / f"images.{kind}")), tmp_path)
    assert dataset.count("train") + dataset.count("test") == len(GOOD) + 1


def test_folders_nested_deeper_than_the_system_can_name_are_refused_by_name(tmp_path):
    source = write_images(tmp_path / "images")
    here = os.open(tmp_path / "images", os.O_RDONLY)
    try:
        for _ in range(DEEP):
            os.mkdir("deep", dir_fd=here)
            inner = os.open("deep", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        with pytest.raises(
            ValueError, match=r"^a folder that cannot be listed: File name too long\. Received: path='"
        ) as caught:
            source.listing()
        assert len(str(caught.value)) < 400
        assert str(tmp_path / "images" / "deep") in str(caught.value)
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "images")], check=True)


def test_a_few_hundred_nested_folders_are_a_folder_like_any_other(tmp_path):
    source = write_images(tmp_path / "images")
    inner = tmp_path / "images"
    for _ in range(300):
        inner /= "d"
        inner.mkdir()
    (inner / "deep.png").write_bytes(PNG)
    assert len(source.listing().entries) == len(GOOD) + 1
    subprocess.run(["rm", "-rf", str(tmp_path / "images")], check=True)


def test_pipes_sockets_devices_and_dead_links_are_skipped_at_once(tmp_path):
    source = write_images(tmp_path / "images")
    os.mkfifo(tmp_path / "images" / "pipe.png")
    (tmp_path / "images" / "to-pipe.png").symlink_to("pipe.png")
    (tmp_path / "images" / "to-device.png").symlink_to("/dev/zero")
    (tmp_path / "images" / "dead.png").symlink_to("nowhere.png")
    (tmp_path / "images" / "circle.png").symlink_to("circle.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "images" / "socket.png"))
        result = skipped(prepared(source, tmp_path))
    assert {name: reason.removeprefix("unreadable: ") for name, reason in result.items()} == {
        "pipe.png": "not a regular file",
        "to-pipe.png": "not a regular file",
        "to-device.png": "not a regular file",
        "socket.png": result["socket.png"].removeprefix("unreadable: "),
        "dead.png": result["dead.png"].removeprefix("unreadable: "),
        "circle.png": result["circle.png"].removeprefix("unreadable: "),
    }
    assert "No such device or address" in result["socket.png"]
    assert "No such file" in result["dead.png"]
    assert "Too many levels of symbolic links" in result["circle.png"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path):
    source = write_images(tmp_path / "images")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(png(200))
    (tmp_path / "images" / "linked.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "images" / "sub").mkdir()
    (tmp_path / "images" / "sub" / "up").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "away").symlink_to(tmp_path / "elsewhere")
    listing = source.listing()
    names = [entry.name for entry in listing.entries]
    assert names == [*GOOD, "linked.png"]
    assert np.asarray(listing.read(names.index("linked.png"))).max() == 200
    assert [str(item) for item in listing.ignored] == ["2 links to folders, which are not followed, such as away"]


def test_a_folder_without_read_permission_is_reported(tmp_path, monkeypatch):
    source = write_images(tmp_path / "images")
    (tmp_path / "images" / "lost+found").mkdir()
    scan = os.scandir

    def scanned(folder):
        if str(folder).endswith("lost+found"):  # as for users other than root
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scanned)
    listing = source.listing()
    assert len(listing.entries) == len(GOOD)
    assert [str(item) for item in listing.ignored] == ["1 folder without read permission, such as lost+found"]


def test_names_in_a_folder_that_are_not_text_break_no_line(tmp_path, capsys):
    source = write_images(tmp_path / "images")
    for name in (b"\xff\xfe.png", b"two\nlines.png", b"\x1b[2J.png", b"n" * 251 + b".png"):
        Path(os.fsdecode(os.fsencode(source.path) + b"/" + name)).write_bytes(b"no image")
    result = skipped(prepared(source, tmp_path))
    assert result.keys() == {"\\xff\\xfe.png", "two\\nlines.png", "\\x1b[2J.png", "n" * 251 + ".png"}
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


def test_names_in_a_tar_archive_that_are_not_text_are_valid(tmp_path):
    source = pack(tmp_path / "images.tar", [(b"\xff\xfe.png".decode("utf-8", "surrogateescape"), PNG)])
    assert "\\xff\\xfe.png" in [entry.name for entry in source.listing().entries]


def test_a_zip_file_whose_names_are_not_in_the_coding_that_it_claims_is_refused(tmp_path):
    source = pack(tmp_path / "images.zip", [("\xe4.png", PNG)])
    data = (tmp_path / "images.zip").read_bytes()
    (tmp_path / "images.zip").write_bytes(data.replace("\xe4.png".encode(), b"\xff\xfe.png"))
    with pytest.raises(ValueError, match=r"^not a readable zip or tar file: .*utf-8.*Received: path="):
        source.listing()


def test_a_name_ends_where_a_zip_file_puts_a_null(tmp_path):
    source = pack(tmp_path / "images.zip", [("evil.png?.txt", PNG)])
    data = (tmp_path / "images.zip").read_bytes()
    (tmp_path / "images.zip").write_bytes(data.replace(b"evil.png?", b"evil.png\0"))
    assert "evil.png" in [entry.name for entry in source.listing().entries]


def test_a_null_in_a_name_of_a_tar_archive_reaches_no_output(tmp_path):
    path = tmp_path / "images.tar"
    pack(path, [])
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as file:
        member = tarfile.TarInfo("x.png")
        member.pax_headers = {"path": "evil\0.png"}
        member.size = len(PNG)
        file.addfile(member, io.BytesIO(PNG))
    names = [entry.name for entry in Archive(path=str(path)).listing().entries]
    assert len(names) == len(GOOD) + 1
    assert all(name.isprintable() for name in names)


def test_a_link_in_a_zip_file_is_not_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(255))
    source = pack(tmp_path / "images.zip", [])
    with zipfile.ZipFile(source.path, "a") as file:
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, str(tmp_path / "secret.png"))
    assert skipped(prepared(source, tmp_path)) == {"link.png": "unreadable: not an image"}


def overlapping(path, way):
    """Writes a zip file whose directory lists one member's bytes several times."""
    pack(path, [("kernel.png", bytes(2**20))])
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    directory = data[start : data.rindex(b"PK\5\6")]
    last = directory[directory.rindex(b"PK\1\2") :]
    copies = []
    for number in range(50):
        copy = bytearray(last.replace(b"kernel.png", b"copy%02d.png" % number))
        if way == "inside":
            struct.pack_into("<I", copy, 42, struct.unpack_from("<I", copy, 42)[0] + number)
        copies.append(bytes(copy))
    whole = directory + b"".join(copies)
    count = len(GOOD) + 1 + len(copies)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(whole), start, 0)
    path.write_bytes(data[:start] + whole + end)


@pytest.mark.parametrize("way", ["the same", "inside"])
def test_a_zip_file_whose_members_share_bytes_is_refused(tmp_path, way):
    overlapping(tmp_path / "images.zip", way)
    with pytest.raises(ValueError, match=r"not a readable zip or tar file: files overlap, such as '\w+\.png'\. Rec"):
        Archive(path=str(tmp_path / "images.zip")).listing()


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path):
    source = pack(tmp_path / "images.zip", [])
    data = bytearray((tmp_path / "images.zip").read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\1\2") + 20, 500)  # the packed size that the directory claims
    (tmp_path / "images.zip").write_bytes(data)
    with pytest.raises(ValueError, match="files overlap"):
        source.listing()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_image_of_a_size_that_no_memory_has_is_skipped_without_taking_any(tmp_path, kind):
    header = struct.pack(">2I5B", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I4s", 9, b"IDAT")
        + bytes(13)
    )
    source = pack(tmp_path / f"images.{kind}", [("bomb.png", bomb), ("zeros.png", bytes(10 * 2**20))])
    tracemalloc.start()
    try:
        result = skipped(prepared(source, tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()
    assert result == {
        "bomb.png": "too many pixels to be opened safely",
        "zeros.png": "unreadable: not an image",
    }


def test_a_great_many_members_are_listed_in_memory_that_goes_with_the_file(tmp_path):
    source = pack(tmp_path / "images.zip", [(f"{index:05d}.txt", b"") for index in range(5000)])
    tracemalloc.start()
    try:
        listing = source.listing()
        assert tracemalloc.get_traced_memory()[0] < 20 * Path(source.path).stat().st_size
    finally:
        tracemalloc.stop()
    assert (len(listing.entries), listing.ignored_count) == (len(GOOD), 5000)
