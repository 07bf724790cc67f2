"""What the paths of files say of images: splits, classes, and what is no image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ganlib.data.base import Split, held_out

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz", ".7z", ".rar")
SHOWN_PACKED = 3
TEST_FOLDERS = ("test", "val", "valid", "validation")
MAX_SHOWN = 200  # letters of a path in a message
LITTER = "__MACOSX"  # what a Mac puts into a zip file beside the files


@dataclass(frozen=True)
class Arrangement:
    """The images among some files.

    Attributes:
        names: Paths of the images, sorted.
        splits: The split of each.
        labels: Index of each one's class, or None where there are no classes.
        classes: Names of the classes.
        top: Folder that was looked through, with its `/`; the names are those below it. Empty if there is none.
        ignored: Visible files that are no images by their name, or stand in a folder that is not used.
    """

    names: list[str]
    splits: list[Split]
    labels: list[int | None]
    classes: tuple[str, ...]
    top: str
    ignored: int


def arrange(paths: Iterable[str], *, test_fraction: float, place: str, look_through: bool = False) -> Arrangement:
    """Reads splits and classes from paths; hidden files do not count.

    Args:
        paths: Paths below the source, their parts separated by `/`; those of folders end in `/`.
        test_fraction: Share of the images held out for testing, where the folders do not say.
        place: Where the files are, for messages.
        look_through: Whether a single folder that all images lie in is taken for the source itself.

    Raises:
        ValueError: There are no images, or some outside the folders of the splits.
    """
    # Folder by folder, as by the parts of each path; a null is less than any letter and in no name.
    visible = sorted((path for path in paths if not _hidden(path)), key=lambda path: path.replace("/", "\0"))
    top = _single_folder(visible) if look_through else ""
    inside = [path.removeprefix(top) for path in visible if path.startswith(top)]
    test_folder, unused = _split_folders({path.partition("/")[0] for path in inside if "/" in path})
    names = [path for path in inside if is_image(path) and path.partition("/")[0] not in unused]
    if not names:
        packed = [path for path in inside if path.lower().endswith(PACKED)]
        if packed:
            told = ", ".join([*packed[:SHOWN_PACKED], *["..."] * (len(packed) > SHOWN_PACKED)])
            raise ValueError(f"holds archives ({told}), expected images: unpack them first. Received: path={place!r}")
        wanted = " ".join(sorted(SUFFIXES))
        raise ValueError(f"expected images ({wanted}), found none. Received: path={place!r}")
    splits, below_split = _splits(names, test_folder, test_fraction)
    classes, labels = _classes(below_split)
    ignored = sum(not path.endswith("/") for path in visible) - len(names)
    return Arrangement(names, splits, labels, classes, top, ignored)


def is_image(path: str) -> bool:
    """Says whether a path is that of an image file, by its suffix."""
    return path[path.rfind(".") :].lower() in SUFFIXES  # a Path for each of a million names is slow


def printable(path: str) -> str:
    """Returns a path as text of one line: names that are not UTF-8, or hold a line break, must not harm any output."""
    text = path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def _hidden(path: str) -> bool:
    if "/." not in path and LITTER not in path and not path.startswith("."):  # as nearly all
        return False
    return any(part.startswith(".") or part == LITTER for part in path.split("/"))


def _single_folder(visible: list[str]) -> str:
    """Returns the one folder beside which there are no others and no images, with its `/`; empty if there is none."""
    tops = {path.partition("/")[0] for path in visible if "/" in path}
    if len(tops) != 1 or any(is_image(path) for path in visible if "/" not in path):
        return ""
    return f"{tops.pop()}/"


def _split_folders(tops: set[str]) -> tuple[str | None, list[str]]:
    """Returns the folder of the test split, if the folders are the splits, and those that are not used then."""
    present = [name for name in TEST_FOLDERS if name in tops]
    if not present or "train" not in tops:
        return None, []
    return present[0], present[1:]


def _splits(names: list[str], test_folder: str | None, fraction: float) -> tuple[list[Split], list[str]]:
    """Returns each name's split, and the names without the folder of their split."""
    if test_folder is None:
        return held_out(names, fraction, _classes(names)[1]), names
    splits: list[Split] = []
    for name in names:
        top = name.partition("/")[0]
        if top not in ("train", test_folder):
            raise ValueError(
                f"expected every image below train/ or {test_folder}/, since both folders are there. "
                f"Received: image={name!r}"
            )
        splits.append("test" if top == test_folder else "train")
    return splits, [name.partition("/")[2] for name in names]


def _classes(names: list[str]) -> tuple[tuple[str, ...], list[int | None]]:
    """Returns the classes and each name's label, by the first folder of each name."""
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = sorted(set(folders))
    if "" in classes or len(classes) < 2:
        return (), [None] * len(names)
    index = {name: position for position, name in enumerate(classes)}
    return tuple(classes), [index[folder] for folder in folders]
