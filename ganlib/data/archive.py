"""Image files in a zip or tar archive, laid out as a folder of images is; nothing is unpacked under a name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, cast

from pydantic import Field

from ganlib import storage
from ganlib.data.base import DataSource, Entry, IgnoredFiles, Listing
from ganlib.data.layouts import arrange
from ganlib.data.locations import LOCAL_HEADER, FileLocation, ImageLocation, Range, Unreadable, ZipMember
from ganlib.data.names import shorten, to_printable

ZIP_MAGICS = (b"PK\3\4", b"PK\5\6")
Packed = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
PACKED: dict[bytes, type[Packed]] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
BLOCK = 512  # of a tar archive; one of zeros ends it
CHUNK = 2**20
MAX_SHARE_OF_DISK = 0.9  # of what is free, for an unpacked tar archive
ENCRYPTED = 0x1
DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    UnicodeDecodeError,
    NotImplementedError,  # a zip file of a later version of the format
)
HEADER_ERRORS = (MemoryError, OverflowError, RecursionError, ValueError)  # of what tarfile believes of a header


class Archive(DataSource):
    """Images in a `.zip` or tar file, plain or packed by gzip, bzip2 or xz; its content tells which.

    Folders in it are read as those of `image_folder`. A zip file is read in place; a packed tar archive needs free disk
    space for its content while it is used.
    """

    kind: Literal["archive"] = "archive"
    path: str = Field(min_length=1)
    """Zip or tar file of the images."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the images held out for testing, where the archive's folders do not say."""

    def listing(self) -> Listing:
        """Names the images of the archive; see the base class."""
        path = storage.fetch(self.path)
        members = _opened(path)
        files = [name for name in members.sizes if name and not name.endswith("/")]
        leading_out = [name for name in files if ".." in name.split("/")]
        found = arrange(
            files,  # those that lead out are hidden ones too, by their `..`
            locate=members.locate,
            test_fraction=self.test_fraction,
            place=str(path),
        )
        modified = path.stat().st_mtime_ns
        entries = [
            Entry(name, split, label, members.sizes[found.top + name], modified)
            for name, split, label in zip(found.names, found.splits, found.labels, strict=True)
        ]

        def locate(index: int) -> ImageLocation:
            return members.locate(found.top + found.names[index])

        reason = "with a place outside of the archive"
        ignored = [IgnoredFiles(len(leading_out), "file", reason, shorten(min(leading_out)))] if leading_out else []
        return Listing(
            entries,
            found.classes,
            locate,
            files=(members.file,),
            ignored=(*found.ignored, *ignored),
            notes=found.notes,
            drawn=found.drawn,
        )


def _opened(path: Path) -> _Zip | _Tar:
    if path.is_dir():
        raise ValueError(f"expected a zip or tar file; a folder is an image_folder. Received: path={str(path)!r}")
    with path.open("rb") as file:
        magic = file.read(len(ZIP_MAGICS[0]))
    try:
        return _Zip(path) if magic in ZIP_MAGICS else _Tar(path)
    except DAMAGE_ERRORS as error:
        raise ValueError(f"not a readable zip or tar file: {error}. Received: path={str(path)!r}") from error


class _Members:
    """What an archive holds; `sizes` tells the bytes of each member unpacked, `file` is open while this is there."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        weakref.finalize(self, opened.close)
        self.file = opened.fileno()
        self.sizes: dict[str, int] = {}


class _Zip(_Members):
    """A zip file, read where it lies."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb"))
        with zipfile.ZipFile(self._opened) as archive:
            members = archive.infolist()
            _check_places(members, archive.start_dir)
        locked = [member.filename for member in members if member.flag_bits & ENCRYPTED]
        if locked:
            raise ValueError(
                f"expected an archive without a password. Received: path={str(path)!r}, file={_tidy(locked[0])!r}"
            )
        self._members: dict[str, ZipMember] = {}
        for info in members:
            # The format asks for `/`; some programs of Windows write a backslash.
            name = _tidy(to_printable(info.filename.replace("\\", "/")))
            self.sizes[name] = info.file_size
            self._members[name] = ZipMember(
                self.file, info.header_offset, info.compress_type, info.compress_size, info.file_size, info.CRC
            )

    def locate(self, name: str) -> FileLocation:
        return self._members[name]


def _check_places(members: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Refuses members that share bytes: a small file could claim to hold any amount."""
    places = sorted(members, key=lambda member: member.header_offset)
    following = [*(member.header_offset for member in places[1:]), end]
    for member, next_one in zip(places, following, strict=False):
        if member.header_offset + LOCAL_HEADER.size + member.compress_size > next_one:
            raise zipfile.BadZipFile(f"files that overlap, such as {to_printable(member.filename)!r}")


class _Tar(_Members):
    """A tar archive, read like a zip file; a packed one is unpacked as a whole into a file that has no name."""

    def __init__(self, path: Path) -> None:
        packed = _packed(path)
        # Without a name, it goes with the processes that use it, and nothing in it can be taken for a path.
        plain = path.open("rb") if packed is None else tempfile.TemporaryFile()  # noqa: SIM115
        super().__init__(cast("BinaryIO", plain))
        if packed is not None:
            _unpack(packed, self._opened, path)
        self._offsets: dict[str, int] = {}
        try:
            self._index()
        except HEADER_ERRORS as error:
            raise tarfile.ReadError(f"damaged: {error}") from error

    def _index(self) -> None:
        with tarfile.open(fileobj=self._opened, mode="r:") as archive:
            for member in archive:
                if member.size < 0 or archive.offset < member.offset_data:  # tarfile would read it again and again
                    raise tarfile.ReadError(f"damaged at byte {member.offset}")
                name = _tidy(to_printable(f"{member.name}/" if member.isdir() else member.name))
                self.sizes[name] = member.size
                self._offsets.pop(name, None)  # of an earlier member that this one replaces
                if member.isreg() and not member.issparse():
                    self._offsets[name] = member.offset_data
            end = archive.offset
        self._opened.seek(end)
        if self._opened.read(BLOCK) != bytes(BLOCK):  # tarfile takes damage for the end
            raise tarfile.ReadError(f"damaged or cut off at byte {end}")

    def locate(self, name: str) -> FileLocation:
        if name not in self._offsets:
            return Unreadable("a link, a device, or a file with holes")
        return Range(self.file, self._offsets[name], self.sizes[name])


def _packed(path: Path) -> Packed | None:
    """Opens a packed file for unpacking; None if it is not packed."""
    with path.open("rb") as file:
        magic = file.read(max(map(len, PACKED)))
    return next((unpacker(path) for start, unpacker in PACKED.items() if magic.startswith(start)), None)


def _unpack(packed: Packed, plain: BinaryIO, path: Path) -> None:
    limit = int(MAX_SHARE_OF_DISK * shutil.disk_usage(tempfile.gettempdir()).free)
    with packed:
        for chunk in _chunks(packed):
            plain.write(chunk)
            if plain.tell() > limit:
                raise OSError(
                    f"expected room for the unpacked archive in {tempfile.gettempdir()}, but it is larger than "
                    f"{limit} bytes. Received: path={str(path)!r}"
                )
    plain.seek(0)


def _chunks(packed: Packed) -> Iterator[bytes]:
    try:
        while chunk := packed.read(CHUNK):
            yield chunk
    except OSError as error:  # as gzip and bz2 call what is damaged
        raise tarfile.ReadError(str(error)) from error


def _tidy(name: str) -> str:
    """Returns a member's name without what some programs put before it."""
    while name.startswith(("/", "./")):
        name = name.partition("/")[2]
    return name
