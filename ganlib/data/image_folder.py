"""A folder of image files, with optional subfolders as classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from ganlib import storage
from ganlib.data.base import DataSource, IgnoredFiles, Listing
from ganlib.data.file_set import FileSet
from ganlib.data.locations import BucketObject, File
from ganlib.data.names import is_hidden, shorten, to_printable
from ganlib.schema import READ


class ImageFolder(DataSource):
    """Images below a folder, at any depth. Images are recognised by suffix, or by content if the suffix is unknown.

    Folders named after splits, such as `train` and `Test`, are the splits, also below class folders. `trainA` and
    `testB` are splits of two classes, A and B. A validation folder becomes the test split if no labelled test folder
    exists; otherwise it is ignored. Without a test folder, a share of all images is held out by the hash of their
    names. Below the splits, two or more folders are classes, unless `dataset.json` or `metadata.csv` has the labels.
    A folder that contains all images has no meaning.
    """

    kind: Literal["image_folder"] = "image_folder"
    path: str = Field(min_length=1, json_schema_extra=READ)
    """Folder of the images, local or in a bucket (gs://, s3://)."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the images held out for testing, if there is no test folder."""

    def listing(self) -> Listing:
        """Lists the image files.

        Raises:
            ValueError: There is no such folder, or it has no usable images.
        """
        return folder_files(self.path).listing(test_fraction=self.test_fraction)


def folder_files(path: str) -> FileSet:
    """Finds the files below a folder.

    Args:
        path: A local folder, or the address of one in a bucket.

    Raises:
        ValueError: There is no such folder.
    """
    if storage.is_bucket(path):
        return _bucket_files(path)
    if storage.is_remote(path):
        raise ValueError(f"expected a local folder or a folder of a bucket, gs:// or s3://. Received: path={path!r}")
    root = storage.fetch(path)
    if not root.is_dir():
        raise ValueError(
            "expected a folder of images (a zip or tar file of them is the source `archive`). "
            f"Received: path={str(root)!r}, which is a file"
        )
    files = _FolderFiles(root)

    def status(name: str) -> tuple[int, int]:
        try:
            result = os.stat(files.paths[name])  # noqa: PTH116  # a Path for each of a million names is slow
        except OSError:  # a dead link: reading it will report the reason
            return 0, 0
        return result.st_size, result.st_mtime_ns

    def locate(name: str) -> File:
        return File(files.paths[name])

    return FileSet(files.paths, str(root), locate, status, tuple(files.ignored), notes=tuple(files.notes))


def _bucket_files(address: str) -> FileSet:
    """Finds the files below an address. Each is downloaded to memory when it is read, and must be unchanged."""
    folder = storage.list_folder(address)
    names: dict[str, str] = {}
    files = sorted(folder.files)
    duplicates = [name for name in files if names.setdefault(to_printable(name), name) != name]
    example = shorten(to_printable(duplicates[0])) if duplicates else ""
    ignored = (IgnoredFiles(len(duplicates), "object", "with the name of another one", example),) if duplicates else ()

    def locate(name: str) -> BucketObject:
        return BucketObject(folder.bucket.address("").rstrip("/"), folder.files[names[name]])

    def status(name: str) -> tuple[int, int]:
        item = folder.files[names[name]]
        return item.size, item.local_time

    return FileSet(names, address, locate, status, ignored)


class _FolderFiles:
    """The files below a folder. `paths` maps their names to paths; `ignored` lists folders that are not searched.

    Links to files are followed, wherever they lead, because many data sets consist of such links. Links to folders are
    not followed, because they may be circular.
    """

    def __init__(self, root: Path) -> None:
        self.paths: dict[str, str] = {}
        self._links: list[str] = []
        self._unreadable: list[str] = []
        self._empty: list[str] = []
        self._top = os.path.join(root, "")  # noqa: PTH118  # ends with one separator
        folders = [str(root)]
        while folders:
            folders += self._folders(folders.pop())
        self.ignored = [
            IgnoredFiles(len(names), noun, reason, shorten(min(names)))
            for names, noun, reason in (
                (self._links, "link", "to folders, which are not followed"),
                (self._unreadable, "folder", "without read permission"),
            )
            if names
        ]
        self.notes = []
        if self._empty:
            empty = IgnoredFiles(len(self._empty), "folder", "without files", shorten(min(self._empty)))
            self.notes.append(str(empty))

    def _folders(self, folder: str) -> list[str]:
        """Records the files of a folder and returns its subfolders."""
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except PermissionError:
            self._unreadable.append(self._name(folder))
            return []
        except OSError as error:
            raise ValueError(
                f"a folder that cannot be listed: {error.strerror}. Received: path={shorten(folder)!r}"
            ) from error
        if not entries and not is_hidden(name := self._name(folder)):
            self._empty.append(name)
        inner = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112  # False for circular links
                self._links.append(self._name(entry.path))
            else:
                self.paths[self._name(entry.path)] = entry.path
        return inner

    def _name(self, path: str) -> str:
        return to_printable(path.removeprefix(self._top))
