"""A folder of image files, subfolders as classes where there are any."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from etils import epy
from pydantic import Field

from ganlib import storage
from ganlib.data.base import DataSource, Entry, Listing
from ganlib.data.folders import arrange, printable

with epy.lazy_imports():
    from PIL import Image


class ImageFolder(DataSource):
    """Images below a folder, at any depth.

    If the folder holds `train` and one of `test`, `val`, `valid`, `validation`, these are the
    splits, and a further one of those is left out; otherwise a share of the images is held out by the
    hash of their names. Below that,
    two or more subfolders with no image beside them are classes.
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
            raise ValueError(f"expected a folder of images. Received: path={str(root)!r}, which is a file")
        files = dict(_below(root))
        found = arrange(files, test_fraction=self.test_fraction, place=str(root))
        entries = []
        for name, split, label in zip(found.names, found.splits, found.labels, strict=True):
            stat = files[name].stat()
            entries.append(Entry(name, split, label, stat.st_size, stat.st_mtime_ns))
        return Listing(entries, found.classes, lambda index: Image.open(files[found.names[index]]), found.ignored)

    def _in_bucket(self) -> Listing:
        """Names the images below an address; each is brought to memory when it is read, and must be unchanged."""
        folder = storage.listed(self.path)
        names = {printable(name): name for name in (*folder.files, *folder.folders)}
        found = arrange(names, test_fraction=self.test_fraction, place=self.path)
        items = [folder.files[names[name]] for name in found.names]
        entries = [
            Entry(name, split, label, item.size, item.modified)
            for name, split, label, item in zip(found.names, found.splits, found.labels, items, strict=True)
        ]
        return Listing(entries, found.classes, lambda i: _image(folder.read(names[found.names[i]])), found.ignored)


def _image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _below(root: Path) -> Iterator[tuple[str, Path]]:
    """Yields every file and folder below a folder with its name there; a folder's ends in `/`."""
    for path in root.rglob("*"):
        name = printable(str(path.relative_to(root)))
        if path.is_file():
            yield name, path
        elif path.is_dir():
            yield f"{name}/", path
