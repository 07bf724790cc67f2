"""A folder of image files, subfolders as classes where there are any."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from ganlib import storage
from ganlib.data.base import DataSource, Entry, IgnoredFiles, Listing
from ganlib.data.layouts import arrange
from ganlib.data.locations import BucketObject, File
from ganlib.data.names import shorten, to_printable


class ImageFolder(DataSource):
    """Images below a folder, at any depth; what is an image is told by its content where its suffix does not.

    Folders named after splits, such as `train` and `Test`, are the splits, also below the folders of classes; `trainA`
    and `testB` are those of two classes, A and B. A folder for validation is the test split if there is no other with
    labels, and left out if there is. Where no folder is for testing, a share of all images is held out by the hash of
    their names. Below that, two or more folders are classes, unless `dataset.json` or `metadata.csv` give the labels.
    Folders around all images are looked through.
    """

    kind: Literal["image_folder"] = "image_folder"
    path: str = Field(min_length=1)
    """Folder of the images, of this machine or of a bucket (gs://)."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the images held out for testing, where the folder does not say."""

    def listing(self) -> Listing:
        """Names the image files; see the base class."""
        if self.path.startswith("gs://"):
            return self._in_bucket()
        if storage.is_remote(self.path):
            raise ValueError(f"expected a folder of this machine or of a bucket, gs://. Received: path={self.path!r}")
        root = storage.fetch(self.path)
        if not root.is_dir():
            raise ValueError(
                "expected a folder of images (a zip or tar file of them is the source `archive`). "
                f"Received: path={str(root)!r}, which is a file"
            )
        below = _Below(root)
        found = arrange(
            below.paths,
            locate=lambda name: File(below.paths[name]),
            test_fraction=self.test_fraction,
            place=str(root),
        )
        paths = [below.paths[found.top + name] for name in found.names]
        entries = []
        for name, split, label, path in zip(found.names, found.splits, found.labels, paths, strict=True):
            try:
                status = os.stat(path)  # noqa: PTH116  # a Path for each of a million names is slow
            except OSError:  # a link that leads nowhere: who reads it learns the reason
                entries.append(Entry(name, split, label, 0))
            else:
                entries.append(Entry(name, split, label, status.st_size, status.st_mtime_ns))
        return Listing(
            entries,
            found.classes,
            lambda index: File(paths[index]),
            ignored=(*found.ignored, *below.ignored),
            notes=found.notes,
            drawn=found.drawn,
        )

    def _in_bucket(self) -> Listing:
        """Names the images below an address; each is brought to memory when it is read, and must be unchanged."""
        folder = storage.listed(self.path)
        names: dict[str, str] = {}
        files = sorted(folder.files)
        alike = [name for name in files if names.setdefault(to_printable(name), name) != name]

        def locate(name: str) -> BucketObject:
            return BucketObject(folder.bucket.name, folder.files[names[name]])

        found = arrange(names, locate=locate, test_fraction=self.test_fraction, place=self.path)
        items = [folder.files[names[found.top + name]] for name in found.names]
        entries = [
            Entry(name, split, label, item.size, item.modified)
            for name, split, label, item in zip(found.names, found.splits, found.labels, items, strict=True)
        ]
        ignored = (
            [IgnoredFiles(len(alike), "object", "named as another one is", shorten(to_printable(alike[0])))]
            if alike
            else []
        )
        return Listing(
            entries,
            found.classes,
            lambda index: BucketObject(folder.bucket.name, items[index]),
            ignored=(*found.ignored, *ignored),
            notes=found.notes,
            drawn=found.drawn,
        )


class _Below:
    """The files below a folder; `paths` maps names there to paths, `ignored` says what is not looked through.

    Links to files are followed, wherever they lead, since data sets are kept so; links to folders are not, since they
    may lead in circles.
    """

    def __init__(self, root: Path) -> None:
        self.paths: dict[str, str] = {}
        self._links: list[str] = []
        self._closed: list[str] = []
        self._top = os.path.join(root, "")  # noqa: PTH118  # with one separator at its end
        folders = [str(root)]
        while folders:
            folders += self._folders(folders.pop())
        self.ignored = [
            IgnoredFiles(len(names), noun, reason, shorten(min(names)))
            for names, noun, reason in (
                (self._links, "link", "to folders, which are not followed"),
                (self._closed, "folder", "that may not be read"),
            )
            if names
        ]

    def _folders(self, folder: str) -> list[str]:
        """Notes what is in a folder and returns the folders there."""
        try:
            with os.scandir(folder) as found:
                entries = list(found)
        except PermissionError:
            self._closed.append(self._name(folder))
            return []
        except OSError as error:
            raise ValueError(
                f"a folder that cannot be listed: {error.strerror}. Received: path={shorten(folder)!r}"
            ) from error
        inner = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112  # False also where links lead in circles
                self._links.append(self._name(entry.path))
            else:
                self.paths[self._name(entry.path)] = entry.path
        return inner

    def _name(self, path: str) -> str:
        return to_printable(path.removeprefix(self._top))
