"""A folder of image files, subfolders as classes where there are any."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from etils import epy
from pydantic import Field

from ganlib import storage
from ganlib.data.base import DataSource, Entry, Listing, Split, held_out

with epy.lazy_imports():
    from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
TEST_FOLDERS = ("test", "val", "valid", "validation")


class ImageFolder(DataSource):
    """Images below a folder, at any depth.

    If the folder holds `train` and one of `test`, `val`, `valid`, `validation`, these are the
    splits, and a further one of those is left out; otherwise a share of the images is held out by the
    hash of their names. Below that,
    two or more subfolders with no image beside them are classes.
    """

    kind: Literal["image_folder"] = "image_folder"
    path: str = Field(min_length=1)
    """Folder of the images."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the images held out for testing, where the folder does not say."""

    def listing(self) -> Listing:
        """Names the image files; see the base class."""
        root = storage.fetch(self.path)
        if not root.is_dir():
            raise ValueError(f"expected a folder of images. Received: path={str(root)!r}, which is a file")
        test_folder, unused = _split_folders(root)
        files, ignored = _image_files(root, unused)
        if not files:
            wanted = " ".join(sorted(SUFFIXES))
            raise ValueError(f"expected images ({wanted}), found none. Received: path={str(root)!r}")
        # A name that is not UTF-8 is legal on a disk, and must not stop the manifest or a line of output.
        names = [os.fsencode(file.relative_to(root)).decode("utf-8", "backslashreplace") for file in files]
        splits, inner = _splits(root, names, test_folder, self.test_fraction)
        classes, labels = _classes(inner)
        entries = []
        for index, file in enumerate(files):
            stat = file.stat()
            entries.append(Entry(names[index], splits[index], labels[index], stat.st_size, stat.st_mtime_ns))
        return Listing(entries, classes, lambda index: Image.open(files[index]), ignored)


def _split_folders(root: Path) -> tuple[str | None, list[str]]:
    """Returns the folder of the test split, if the folders are the splits, and those that are not used then."""
    present = [name for name in TEST_FOLDERS if (root / name).is_dir()]
    if not present or not (root / "train").is_dir():
        return None, []
    return present[0], present[1:]


def _image_files(root: Path, unused: list[str]) -> tuple[list[Path], int]:
    """Returns the files that are images by their name, and how many others there are; hidden ones do not count."""
    visible = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    used = [path for path in visible if path.relative_to(root).parts[0] not in unused]
    images = [path for path in used if path.suffix.lower() in SUFFIXES]
    return images, len(visible) - len(images)


def _splits(root: Path, names: list[str], test_folder: str | None, fraction: float) -> tuple[list[Split], list[str]]:
    """Returns each name's split, and the names without the folder of their split."""
    if test_folder is None:
        return held_out(names, fraction), names
    splits: list[Split] = []
    for name in names:
        top = name.partition("/")[0]
        if top not in ("train", test_folder):
            raise ValueError(
                f"expected every image below train/ or {test_folder}/, since both folders are there. "
                f"Received: image={name!r}"
            )
        splits.append("test" if top == test_folder else "train")
    for split, folder in (("train", "train"), ("test", test_folder)):
        if splits.count(split) < 2:  # type: ignore[arg-type]  # a tuple's item is a plain str to mypy
            raise ValueError(f"expected at least 2 images below {folder}/. Received: path={str(root)!r}")
    return splits, [name.partition("/")[2] for name in names]


def _classes(names: list[str]) -> tuple[tuple[str, ...], list[int | None]]:
    """Returns the classes and each name's label, by the first folder of each name."""
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = sorted(set(folders))
    if "" in classes or len(classes) < 2:
        return (), [None] * len(names)
    index = {name: position for position, name in enumerate(classes)}
    return tuple(classes), [index[folder] for folder in folders]
