"""Lists every image at a location by its path, without splits and classes, so that no image is left out."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ganlib import remote, storage
from ganlib.data.archive import PACKED, ZIP_MAGICS, archive_files, is_tar
from ganlib.data.base import Entry, IgnoredFiles, Listing
from ganlib.data.file_set import FileSet
from ganlib.data.image_folder import folder_files
from ganlib.data.kinds import BY_SUFFIX, FIRST_BYTES, are_images, count_by_suffix, is_image, suffix
from ganlib.data.locations import File
from ganlib.data.names import is_hidden, shorten, to_printable

EXPECTED = "expected a picture, a folder of pictures, or a zip or tar file of them"


def every_image(location: str) -> Listing:
    """Lists every image at a location, in the order of the paths. Hidden files are left out.

    Args:
        location: A picture, a folder, or a zip or tar file, here or in a bucket; a folder of a bucket is listed,
            and its images are read one by one. A picture or an archive can also have an https:// address.

    Returns:
        A listing in which all images belong to one split. The name of an image is its path below the location.

    Raises:
        ValueError: Nothing exists there, or there is no image.
        OSError: It cannot be read.
    """
    files = _files(location)
    visible = sorted(name for name in files.names if not is_hidden(name))
    verdicts = are_images(visible, lambda name: files.locate(name).start(FIRST_BYTES))
    names = [name for name, verdict in zip(visible, verdicts, strict=True) if verdict]
    others = [name for name, verdict in zip(visible, verdicts, strict=True) if not verdict]
    if not names:
        content = f"with {count_by_suffix(others)}" if others else "which has no files"
        raise ValueError(f"{EXPECTED}, found none. Received: path={location!r}, {content}")
    ignored = list(files.ignored)
    if others:
        reason = f"other than images ({count_by_suffix(others)})"
        ignored.append(IgnoredFiles(len(others), "file", reason, shorten(others[0])))
    return Listing(
        [Entry(name, "train", None, 0) for name in names],
        (),
        lambda index: files.locate(names[index]),
        ignored=tuple(ignored),
    )


def is_picture(location: str) -> bool:
    """Returns whether a name has the suffix of an image."""
    return BY_SUFFIX.get(suffix(location)) is True


def without_suffix(name: str) -> str:
    """Returns a name without the suffix of an image; other suffixes stay."""
    return name[: name.rfind(".")] if is_picture(name) else name


def _files(location: str) -> FileSet:
    # A bucket has no folders, so a name with a known suffix is that of one object.
    if storage.is_bucket(location) and suffix(location) not in BY_SUFFIX:
        return folder_files(location)
    path = storage.fetch(location)
    if path.is_dir():
        return folder_files(str(path))
    if is_picture(location) or is_image(File(str(path)).start(FIRST_BYTES)):
        name = remote.file_name(location) if storage.is_remote(location) else to_printable(path.name)
        return FileSet([name], location, lambda _: File(str(path)), lambda _: (0, 0))
    if not path.is_file() or not _is_archive(path):
        raise ValueError(f"{EXPECTED}. Received: path={location!r}")
    return archive_files(str(path))


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        magic = file.read(max(map(len, PACKED)))
    return magic.startswith((*ZIP_MAGICS, *PACKED)) or zipfile.is_zipfile(path) or is_tar(path)
