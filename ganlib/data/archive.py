"""Image files in a zip or tar archive, with the layout of an image folder. No member is unpacked to a named file."""

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
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, cast

from pydantic import Field

from ganlib import storage
from ganlib.data.base import DataSource, IgnoredFiles, Listing
from ganlib.data.file_set import FileSet
from ganlib.data.locations import LOCAL_HEADER, FileLocation, Range, Unreadable, ZipMember
from ganlib.data.names import shorten, to_printable
from ganlib.schema import READ

ZIP_MAGICS = (b"PK\3\4", b"PK\5\6")
Packed = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
PACKED: dict[bytes, type[Packed]] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
BLOCK = 512  # bytes of a tar block; a block of zeros ends the archive
CHUNK = 2**20
MAX_SHARE_OF_DISK = 0.9  # share of the free space that an unpacked tar archive may take
ENCRYPTED = 0x1
DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    UnicodeDecodeError,
    NotImplementedError,  # a zip file in a newer version of the format
)
HEADER_ERRORS = (MemoryError, OverflowError, RecursionError, ValueError)  # raised by tarfile on malformed headers


class Archive(DataSource):
    """Images in a zip or tar file. A tar file may be compressed with gzip, bzip2 or xz; the format is detected.

    Folders in it have the same meaning as in `image_folder`. A zip file is read in place. A compressed tar archive
    needs free disk space for its content while it is used.
    """

    kind: Literal["archive"] = "archive"
    path: str = Field(min_length=1, json_schema_extra=READ)
    """Zip or tar file of the images."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the images held out for testing, if the archive has no test folder."""

    def listing(self) -> Listing:
        """Lists the images of the archive.

        Raises:
            ValueError: It is not a readable archive, has a password, or has no images.
        """
        return archive_files(self.path).listing(test_fraction=self.test_fraction)


def archive_files(location: str) -> FileSet:
    """Finds the files in an archive.

    Args:
        location: A local path or an address.

    Raises:
        ValueError: It is not a readable archive, or has a password.
    """
    path = storage.fetch(location)
    members = _open_archive(path)
    files = [name for name in members.sizes if name and not name.endswith("/")]
    # `..` makes names that lead outside of the archive hidden, so they are not images.
    outside = [name for name in files if ".." in name.split("/")]
    reason = "with a path outside of the archive"
    ignored = (IgnoredFiles(len(outside), "file", reason, shorten(min(outside))),) if outside else ()
    modified = path.stat().st_mtime_ns

    def status(name: str) -> tuple[int, int]:
        return members.sizes[name], modified

    return FileSet(files, str(path), members.locate, status, ignored, (members.file,))


def is_tar(path: Path) -> bool:
    """Returns whether a file is a tar file, also a compressed one."""
    try:
        return tarfile.is_tarfile(path)
    except HEADER_ERRORS:
        return False


def _open_archive(path: Path) -> _Members:
    """Opens a zip or tar file.

    Raises:
        ValueError: It is neither, or it is damaged or has a password.
        OSError: It cannot be read, or there is too little disk space to unpack it.
    """
    if path.is_dir():
        raise ValueError(f"expected a zip or tar file; a folder is an image_folder. Received: path={str(path)!r}")
    with path.open("rb") as file:
        magic = file.read(len(ZIP_MAGICS[0]))
    try:
        return _Zip(path) if magic in ZIP_MAGICS else _Tar(path)
    except DAMAGE_ERRORS as error:
        raise ValueError(f"not a readable zip or tar file: {error}. Received: path={str(path)!r}") from error


class _Members(ABC):
    """The members of an archive. `sizes` maps names to unpacked bytes; `file` is open as long as this object exists.

    Names of folders end with `/`.
    """

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        weakref.finalize(self, opened.close)
        self.file = opened.fileno()
        self.sizes: dict[str, int] = {}

    @abstractmethod
    def locate(self, name: str) -> FileLocation:
        """Returns the location of a file."""


class _Zip(_Members):
    """A zip file, read in place."""

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
            # The format requires `/`, but some Windows programs write a backslash.
            name = _tidy(to_printable(info.filename.replace("\\", "/")))
            self.sizes[name] = info.file_size
            self._members[name] = ZipMember(
                self.file, info.header_offset, info.compress_type, info.compress_size, info.file_size, info.CRC
            )

    def locate(self, name: str) -> FileLocation:
        return self._members[name]


def _check_places(members: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Refuses members that share bytes: they would let a small file unpack to any amount of data."""
    places = sorted(members, key=lambda member: member.header_offset)
    following = [*(member.header_offset for member in places[1:]), end]
    for member, next_one in zip(places, following, strict=False):
        if member.header_offset + LOCAL_HEADER.size + member.compress_size > next_one:
            raise zipfile.BadZipFile(f"files overlap, such as {to_printable(member.filename)!r}")


class _Tar(_Members):
    """A tar archive, read like a zip file. A compressed one is first unpacked into one unnamed temporary file."""

    def __init__(self, path: Path) -> None:
        packed = _open_packed(path)
        # An unnamed file disappears with the processes that use it.
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
                if member.size < 0 or archive.offset < member.offset_data:  # tarfile would loop forever
                    raise tarfile.ReadError(f"damaged at byte {member.offset}")
                name = _tidy(to_printable(f"{member.name}/" if member.isdir() else member.name))
                self.sizes[name] = member.size
                self._offsets.pop(name, None)  # this member replaces an earlier one of the same name
                if member.isreg() and not member.issparse():
                    self._offsets[name] = member.offset_data
            end = archive.offset
        self._opened.seek(end)
        if self._opened.read(BLOCK) != bytes(BLOCK):  # tarfile treats damage as the end of the archive
            raise tarfile.ReadError(f"damaged or cut off at byte {end}")

    def locate(self, name: str) -> FileLocation:
        if name not in self._offsets:
            return Unreadable("a link, a device, or a sparse file")
        return Range(self.file, self._offsets[name], self.sizes[name])


def _open_packed(path: Path) -> Packed | None:
    """Opens a compressed file for reading; returns None if the file is not compressed."""
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
                    f"expected enough disk space for the unpacked archive in {tempfile.gettempdir()}, but it is larger "
                    f"than {limit} bytes. Received: path={str(path)!r}"
                )
    plain.seek(0)


def _chunks(packed: Packed) -> Iterator[bytes]:
    try:
        while chunk := packed.read(CHUNK):
            yield chunk
    except OSError as error:  # gzip and bz2 raise this on damaged data
        raise tarfile.ReadError(str(error)) from error


def _tidy(name: str) -> str:
    """Returns a member's name without a leading `/` or `./`."""
    while name.startswith(("/", "./")):
        name = name.partition("/")[2]
    return name
