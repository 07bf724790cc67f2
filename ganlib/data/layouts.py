"""What the paths of files say of images: which folders are splits, classes and domains, and what is left out.

One function for all sources, so that a folder, an archive and a bucket with the same files give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ganlib.data.base import IgnoredFiles, Split, assign_splits
from ganlib.data.kinds import FIRST_BYTES, are_images, count_by_suffix
from ganlib.data.labels import FileLabels, read_labels, sort_classes
from ganlib.data.locations import FileLocation
from ganlib.data.names import is_hidden, shorten
from ganlib.data.split_names import Role, SplitName, folder_role, is_generic_name, split_folders

PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz", ".7z", ".rar")
SHOWN_PACKED = 3
STRAYS = 0.05  # share of images that may stand beside the folders of splits or classes; a single one always may


@dataclass(frozen=True)
class Layout:
    """The images among some files.

    Attributes:
        names: Paths of the images, sorted, below `top`.
        splits: The split of each.
        labels: Index of each one's class, or None where there are no classes.
        classes: Names of the classes.
        top: The one folder that all images are in, with its `/`; empty if there are several, or none.
        ignored: What is not used.
        notes: What else people should know of.
        drawn: Whether the test images were drawn from all.
    """

    names: list[str]
    splits: list[Split]
    labels: list[int | None]
    classes: tuple[str, ...]
    top: str
    ignored: tuple[IgnoredFiles, ...]
    notes: tuple[str, ...]
    drawn: bool


class _Image(NamedTuple):
    """An image, its path without the folder of its split, and that split."""

    name: str
    below: str
    split: SplitName = "train"


def arrange(paths: Iterable[str], *, locate: Callable[[str], FileLocation], test_fraction: float, place: str) -> Layout:
    """Finds images, splits and classes; hidden files do not count.

    Args:
        paths: Paths of the files below the source, their parts separated by `/`.
        locate: Returns where a file is, so that its content can be read where its name does not say enough.
        test_fraction: Share of the images held out for testing, where the folders do not say.
        place: Where the files are, for messages.

    Raises:
        ValueError: There are no images, only some are in folders of splits, or a file of labels is wrong.
    """
    # Folder by folder, as by the parts of each path; a null is less than any letter and in no name.
    visible = sorted((path for path in paths if not is_hidden(path)), key=lambda path: path.replace("/", "\0"))
    files = read_labels(visible, lambda name: locate(name).content())
    verdicts = are_images(visible, lambda name: locate(name).start(FIRST_BYTES))
    images = [name for name, verdict in zip(visible, verdicts, strict=True) if verdict]
    if not images:
        packed = [shorten(path) for path in visible if path.lower().endswith(PACKED)]
        if packed:
            some = ", ".join([*packed[:SHOWN_PACKED], *["..."] * (len(packed) > SHOWN_PACKED)])
            raise ValueError(f"holds archives ({some}), expected images: unpack them first. Received: path={place!r}")
        found = f"with {count_by_suffix(visible)}" if visible else "which holds no files"
        raise ValueError(f"expected images, such as .png or .jpg, found none. Received: path={place!r}, {found}")
    work = _Arrangement(images, files, place)
    arranged, classes, labels = work.arranged()
    names = [image.name for image in arranged]
    drawn = not any(image.split == "test" for image in arranged)
    return Layout(
        names=names,
        splits=assign_splits(names, test_fraction, labels) if drawn else [_split(image) for image in arranged],
        labels=labels,
        classes=classes,
        top=work.top,
        ignored=(*_others(visible, verdicts, files), *work.ignored),
        notes=tuple(work.notes),
        drawn=drawn,
    )


class _Arrangement:
    """The work of `arrange`: images get their split, then their class, and what fits nowhere is left out."""

    def __init__(self, images: list[str], labels: FileLabels | None, place: str) -> None:
        self._all, self._place = images, place
        self._found = labels
        # Labels of none of these images are about something else; an empty file says that there are none.
        strange = labels is not None and labels.labels and labels.labels.keys().isdisjoint(images)
        self._labels = None if strange else labels
        self._splits = False
        self._untouched = "", images  # the top, and the images below it, before any was left out
        self.top = ""
        self.ignored: list[IgnoredFiles] = []
        self.notes: list[str] = []

    def arranged(self) -> tuple[list[_Image], tuple[str, ...], list[int | None]]:
        """Returns the images that are used, the classes, and the index of each one's class."""
        images = self._with_parts()
        if self._splits:
            images = self._in_two(_without_common_folders(images))
        images, classes, labels = self._with_classes(images)
        if self.ignored and not classes and not self._splits:  # then nothing is gained by leaving images out
            (self.top, names), self.ignored = self._untouched, []
            images, labels = _as_they_are(names), [None] * len(names)
        if self._found:
            missing = sorted(self._found.labels.keys() - set(self._all))
            if missing:
                told = (
                    f"{len(missing)} of {len(self._found.labels)} are of no image here, such as {shorten(missing[0])}"
                )
                self.notes.append(f"labels in {self._found.files[0]}: {told}")
        return images, classes, labels

    def _labels_of(self, images: list[_Image]) -> list[str]:
        """Returns the class of each image; empty if it has none."""
        if self._labels:
            return [self._labels.labels.get(self.top + name, "") for name, _, _ in images]
        return [below[:end] if (end := below.find("/")) > 0 else "" for _, below, _ in images]

    def _with_parts(self) -> list[_Image]:
        """Looks through folders that hold all, down to those of the splits or classes."""
        rest = self._all
        while True:
            loose = [name for name in rest if "/" not in name]
            tops = list(dict.fromkeys([name[: name.find("/")] for name in rest if "/" in name]))
            few, found = self._few(loose, rest), split_folders(tops, place=self._place)
            if found is not None and (few or any(split != "train" for split, _ in found.values())):
                self._splits = True
                return self._by_folders(rest, found, loose, few=few)
            if found is not None or len(tops) != 1 or not few:
                return self._by_inner_folders(rest) or _as_they_are(rest)
            if not self.ignored:
                self._untouched = self.top, rest
            self._leave_out(loose, f"beside the folder {shorten(tops[0])}")
            self.top += f"{tops[0]}/"
            rest = [name[len(tops[0]) + 1 :] for name in rest if "/" in name]

    def _by_folders(self, names: list[str], found: dict[str, Role], loose: list[str], *, few: bool) -> list[_Image]:
        """Gives each image the split of its folder; those in none are few, or are all that there is for training."""
        alone = all(split != "train" for split, _ in found.values())
        if not alone and not few:
            raise ValueError(
                f"expected every image in a folder of a split, {' or '.join(f'{name}/' for name in sorted(found))}. "
                f"Received: path={self._place!r}, with {len(loose)} images beside them, such as {shorten(loose[0])!r}"
            )
        if not alone:
            self._leave_out(loose, "beside the folders of the splits")
        images = []
        for name in names:
            folder, slash, below = name.partition("/")
            if slash:
                split, domain = found[folder]
                images.append(_Image(name, f"{domain}/{below}" if domain else below, split))
            elif alone:
                images.append(_Image(name, name))
        return images

    def _by_inner_folders(self, names: list[str]) -> list[_Image] | None:
        """Gives each image the split of the second folder, as in `cat/train/1.png`; None if those are no splits."""
        if not any(name.count("/") > 1 for name in names):
            return None
        images, without, parts = [], [], dict[str, set[bool]]()
        for name in names:
            folder, _, inside = name.partition("/")
            inner, _, below = inside.partition("/")
            found = folder_role(inner) if below else None
            if found and not found.domain:
                images.append(_Image(name, f"{folder}/{below}", found.split))
                parts.setdefault(folder, set()).add(found.split == "train")
            elif inside:
                without.append(name)
            else:
                images.append(_Image(name, name))
        if without and any(len(both) == 2 for both in parts.values()):
            raise ValueError(
                "expected folders of splits below every folder of a class, or below none. "
                f"Received: path={self._place!r}, image={shorten(without[0])!r}"
            )
        if without or not parts:
            return None
        self._splits = True
        return images

    def _in_two(self, images: list[_Image]) -> list[_Image]:
        """Makes the validation split the test split if there is no other with labels; beside one it is left out."""
        labels = self._labels_of(images)
        if {image.split for image, label in zip(images, labels, strict=True) if label} == {"train", "validation"}:
            images = self._without_tests(images)
        if not any(image.split == "test" for image in images):
            return [image._replace(split="test") if image.split == "validation" else image for image in images]
        used = [image for image in images if image.split != "validation"]
        unused = [image.name for image in images if image.split == "validation"]
        self._leave_out(unused, "for validation, since others are for testing")
        return used

    def _without_tests(self, images: list[_Image]) -> list[_Image]:
        """Leaves out the images for testing, which have no labels."""
        self._leave_out([image.name for image in images if image.split == "test"], "for testing, which have no label")
        return [image for image in images if image.split != "test"]

    def _with_classes(self, images: list[_Image]) -> tuple[list[_Image], tuple[str, ...], list[int | None]]:
        """Finds the classes, and leaves out what has none where others do."""
        labels = self._labels_of(images)
        found = set(labels) - {""}
        if len(found) < 2:
            if self._labels:
                self.notes.append(f"no classes, since {self._labels.files[0]} tells of {len(found) or 'none'}")
            return images, (), [None] * len(images)
        tests = [image for image in images if image.split == "test"]
        if tests and not any(self._labels_of(tests)):
            images = self._without_tests(images)
            labels = self._labels_of(images)
        without = [image.name for image, label in zip(images, labels, strict=True) if not label]
        if len(without) > max(1, STRAYS * len(images)):
            told = f"{len(without)} of {len(images)} images have no label, such as {shorten(without[0])}"
            if self._labels:
                raise ValueError(f"expected a label for every image. Received: file={self._labels.files[0]!r}, {told}")
            self.notes.append(f"no classes, since {told}")
            return images, (), [None] * len(images)
        self._leave_out(without, "without a label" if self._labels else "beside the folders of the classes")
        classes = sort_classes(found) if self._labels else tuple(sorted(found))
        index = {name: position for position, name in enumerate(classes)}
        used = [image for image, label in zip(images, labels, strict=True) if label] if without else images
        return used, classes, [index[label] for label in labels if label]

    def _few(self, loose: list[str], names: list[str]) -> bool:
        """Says whether images beside folders are so few that they do not belong to the data."""
        if self._labels and any(self.top + name in self._labels.labels for name in loose):
            return False
        return not loose or (len(loose) < len(names) and len(loose) <= max(1, STRAYS * len(names)))

    def _leave_out(self, names: list[str], reason: str) -> None:
        if names:
            self.ignored.append(IgnoredFiles(len(names), "image", reason, shorten(names[0])))


def _as_they_are(names: list[str]) -> list[_Image]:
    return list(map(_Image, names, names))


def _without_common_folders(images: list[_Image]) -> list[_Image]:
    """Looks through folders that hold all images, or all of a split and are named after it once more or as `images`."""
    below = {
        split: [image.below for image in images if image.split == split] for split in {one.split for one in images}
    }
    for split, paths in below.items():
        others = [path for other, those in below.items() if other != split for path in those]
        while (folder := _common(paths)) and (_is_for(folder, split) or _is_no_class(folder, others)):
            paths[:] = [path.partition("/")[2] for path in paths]
    deep = [paths for paths in below.values() if any("/" in path for path in paths)]
    while _common([path for paths in deep for path in paths]):
        for paths in deep:
            paths[:] = [path.partition("/")[2] for path in paths]
    turns = {split: iter(paths) for split, paths in below.items()}
    return [image._replace(below=next(turns[image.split])) for image in images]


def _is_for(folder: str, split: SplitName) -> bool:
    found = folder_role(folder)
    return found is not None and found.split == split


def _is_no_class(folder: str, others: list[str]) -> bool:
    """Says whether a folder of all images of a split, such as `images`, is none of the others' classes."""
    return is_generic_name(folder) and not any(path.startswith(f"{folder}/") for path in others)


def _common(paths: list[str]) -> str:
    """Returns the first folder of all paths, if it is one; empty otherwise."""
    start = paths[0][: paths[0].find("/") + 1] if paths else ""
    return start[:-1] if all(path.startswith(start) for path in paths) else ""


def _others(visible: list[str], verdicts: list[bool], labels: FileLabels | None) -> list[IgnoredFiles]:
    """Tells of the files that are no images and say nothing of labels."""
    read = set(labels.files) if labels else set()
    names = [name for name, verdict in zip(visible, verdicts, strict=True) if not verdict and name not in read]
    return (
        [IgnoredFiles(len(names), "file", f"other than images ({count_by_suffix(names)})", shorten(names[0]))]
        if names
        else []
    )


def _split(image: _Image) -> Split:
    return "test" if image.split == "test" else "train"
