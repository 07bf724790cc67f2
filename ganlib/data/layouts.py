"""Derives splits, classes and domains from the paths of files, and decides which files are ignored.

All sources use the same function, so that a folder, an archive and a bucket with the same files give the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ganlib.data.base import IgnoredFiles, Split, assign_splits
from ganlib.data.kinds import FIRST_BYTES, are_images, count_by_suffix
from ganlib.data.labels import FileLabels, read_labels, sort_classes
from ganlib.data.locations import FileLocation
from ganlib.data.names import common_folder, is_hidden, shorten
from ganlib.data.split_names import Role, SplitName, folder_role, is_generic_name, split_folders

PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz", ".7z", ".rar")
SHOWN_PACKED = 3
ONE_FOLDER = "no classes, since {} is the only folder beside the images"
STRAYS = 0.05  # share of images that may be outside of the folders of splits or classes; one image always may


@dataclass(frozen=True)
class Layout:
    """The images among some files.

    Attributes:
        names: Paths of the images, sorted, below `top`.
        splits: The split of each image.
        labels: The class index of each image, or None without classes.
        classes: Names of the classes.
        top: The folder that contains all images, with its `/`; empty if there is no such folder.
        ignored: Files that are not used.
        notes: Other remarks for the user.
        drawn: Whether the test images were drawn from all images.
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
    """An image: its path, its path without the folder of its split, and its split."""

    name: str
    below: str
    split: SplitName = "train"


def arrange(paths: Iterable[str], *, locate: Callable[[str], FileLocation], test_fraction: float, place: str) -> Layout:
    """Finds images, splits and classes. Hidden files are ignored without a remark.

    Args:
        paths: Paths of the files relative to the source, with `/` between their parts.
        locate: Returns the location of a file, used to read its content if its name does not say enough.
        test_fraction: Share of the images held out for testing, if there is no test folder.
        place: Location of the files, for messages.

    Raises:
        ValueError: There are no images, only some are in folders of splits, or a label file is malformed.
    """
    # Sorted folder by folder: a null character sorts before all others, and no name contains it.
    visible = sorted((path for path in paths if not is_hidden(path)), key=lambda path: path.replace("/", "\0"))
    files = read_labels(visible, lambda name: locate(name).content())
    verdicts = are_images(visible, lambda name: locate(name).start(FIRST_BYTES))
    images = [name for name, verdict in zip(visible, verdicts, strict=True) if verdict]
    if not images:
        packed = [shorten(path) for path in visible if path.lower().endswith(PACKED)]
        if packed:
            some = ", ".join([*packed[:SHOWN_PACKED], *["..."] * (len(packed) > SHOWN_PACKED)])
            raise ValueError(f"expected images, found archives ({some}): unpack them first. Received: path={place!r}")
        content = f"with {count_by_suffix(visible)}" if visible else "which has no files"
        raise ValueError(f"expected images, such as .png or .jpg, found none. Received: path={place!r}, {content}")
    work = _Arrangement(images, files, place)
    arranged, classes, labels = work.run()
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
    """The work of `arrange`: assigns splits, then classes, and ignores images that fit nowhere."""

    def __init__(self, images: list[str], labels: FileLabels | None, place: str) -> None:
        self._all, self._place = images, place
        self._label_files = labels
        # Labels of other images are of no use; an empty file states that there are no labels.
        unrelated = labels is not None and labels.labels and labels.labels.keys().isdisjoint(images)
        self._labels = None if unrelated else labels
        self._has_splits = False
        self._all_below = "", images  # the top and the images below it, before any image was ignored
        self.top = ""
        self.ignored: list[IgnoredFiles] = []
        self.notes: list[str] = []

    def run(self) -> tuple[list[_Image], tuple[str, ...], list[int | None]]:
        """Returns the images that are used, the classes, and the class index of each image."""
        images = self._assign_splits()
        if self._has_splits:
            images = self._merge_validation(_without_common_folders(images))
        images, classes, labels = self._assign_classes(images)
        if self.ignored and not classes and not self._has_splits:  # then there is no reason to ignore images
            self.notes.append(ONE_FOLDER.format(shorten(self.top.rstrip("/"))))
            (self.top, names), self.ignored = self._all_below, []
            images, labels = _as_images(names), [None] * len(names)
        if self._label_files:
            missing = sorted(self._label_files.labels.keys() - set(self._all))
            if missing:
                total = len(self._label_files.labels)
                note = f"{len(missing)} of {total} are of images that do not exist, such as {shorten(missing[0])}"
                self.notes.append(f"labels in {self._label_files.files[0]}: {note}")
        return images, classes, labels

    def _labels_of(self, images: list[_Image]) -> list[str]:
        """Returns the class of each image; an empty string if it has none."""
        if self._labels:
            return [self._labels.labels.get(self.top + name, "") for name, _, _ in images]
        return [below[:end] if (end := below.find("/")) > 0 else "" for _, below, _ in images]

    def _assign_splits(self) -> list[_Image]:
        """Descends into folders that contain everything, down to the folders of splits or classes."""
        rest = self._all
        while True:
            loose = [name for name in rest if "/" not in name]
            tops = list(dict.fromkeys([name[: name.find("/")] for name in rest if "/" in name]))
            few, roles = self._few(loose, rest), split_folders(tops, place=self._place)
            if roles is not None and (few or any(split != "train" for split, _ in roles.values())):
                self._has_splits = True
                return self._by_folder(rest, roles, loose, few=few)
            if roles is not None or len(tops) != 1 or not few:
                return self._by_inner_folder(rest) or _as_images(rest)
            if not self.ignored:
                self._all_below = self.top, rest
            self._ignore(loose, f"beside the folder {shorten(tops[0])}")
            self.top += f"{tops[0]}/"
            rest = [name[len(tops[0]) + 1 :] for name in rest if "/" in name]

    def _by_folder(self, names: list[str], roles: dict[str, Role], loose: list[str], *, few: bool) -> list[_Image]:
        """Gives each image the split of its folder. Loose images must be few, or be all the training images."""
        alone = all(split != "train" for split, _ in roles.values())
        if not alone and not few:
            raise ValueError(
                f"expected every image in a folder of a split, {' or '.join(f'{name}/' for name in sorted(roles))}. "
                f"Received: path={self._place!r}, with {len(loose)} images beside them, such as {shorten(loose[0])!r}"
            )
        if not alone:
            self._ignore(loose, "beside the folders of the splits")
        images = []
        for name in names:
            folder, slash, below = name.partition("/")
            if slash:
                split, domain = roles[folder]
                images.append(_Image(name, f"{domain}/{below}" if domain else below, split))
            elif alone:
                images.append(_Image(name, name))
        return images

    def _by_inner_folder(self, names: list[str]) -> list[_Image] | None:
        """Gives each image the split of its second folder, as in `cat/train/1.png`; None if those are not splits."""
        if not any(name.count("/") > 1 for name in names):
            return None
        images, without, parts = [], [], dict[str, set[bool]]()
        for name in names:
            folder, _, inside = name.partition("/")
            inner, _, below = inside.partition("/")
            role = folder_role(inner) if below else None
            if role and not role.domain:
                images.append(_Image(name, f"{folder}/{below}", role.split))
                parts.setdefault(folder, set()).add(role.split == "train")
            elif inside:
                without.append(name)
            else:
                images.append(_Image(name, name))
        if without and any(len(both) == 2 for both in parts.values()):
            raise ValueError(
                "expected folders of splits below every class folder, or below none. "
                f"Received: path={self._place!r}, image={shorten(without[0])!r}"
            )
        if without or not parts:
            return None
        self._has_splits = True
        return images

    def _merge_validation(self, images: list[_Image]) -> list[_Image]:
        """Turns the validation split into the test split if no labelled test split exists, and else ignores it."""
        labels = self._labels_of(images)
        if {image.split for image, label in zip(images, labels, strict=True) if label} == {"train", "validation"}:
            images = self._without_tests(images)
        if not any(image.split == "test" for image in images):
            return [image._replace(split="test") if image.split == "validation" else image for image in images]
        used = [image for image in images if image.split != "validation"]
        unused = [image.name for image in images if image.split == "validation"]
        self._ignore(unused, "for validation, since others are for testing")
        return used

    def _without_tests(self, images: list[_Image]) -> list[_Image]:
        """Ignores the test images, which have no labels."""
        self._ignore([image.name for image in images if image.split == "test"], "for testing, which have no label")
        return [image for image in images if image.split != "test"]

    def _assign_classes(self, images: list[_Image]) -> tuple[list[_Image], tuple[str, ...], list[int | None]]:
        """Finds the classes, and ignores images without a class if most others have one."""
        labels = self._labels_of(images)
        names = set(labels) - {""}
        if len(names) < 2:
            if self._labels:
                self.notes.append(f"no classes, since {self._labels.files[0]} has {len(names) or 'none'}")
            elif names and "" in labels:
                self.notes.append(ONE_FOLDER.format(shorten(self.top + min(names))))
            return images, (), [None] * len(images)
        tests = [image for image in images if image.split == "test"]
        if tests and not any(self._labels_of(tests)):
            images = self._without_tests(images)
            labels = self._labels_of(images)
        without = [image.name for image, label in zip(images, labels, strict=True) if not label]
        if len(without) > max(1, STRAYS * len(images)):
            reason = f"{len(without)} of {len(images)} images have no label, such as {shorten(without[0])}"
            if self._labels:
                raise ValueError(
                    f"expected a label for every image. Received: file={self._labels.files[0]!r}, {reason}"
                )
            self.notes.append(f"no classes, since {reason}")
            return images, (), [None] * len(images)
        self._ignore(without, "without a label" if self._labels else "beside the class folders")
        classes = sort_classes(names) if self._labels else tuple(sorted(names))
        index = {name: position for position, name in enumerate(classes)}
        used = [image for image, label in zip(images, labels, strict=True) if label] if without else images
        return used, classes, [index[label] for label in labels if label]

    def _few(self, loose: list[str], names: list[str]) -> bool:
        """Returns whether the images beside folders are so few that they probably do not belong to the data."""
        if self._labels and any(self.top + name in self._labels.labels for name in loose):
            return False
        return not loose or (len(loose) < len(names) and len(loose) <= max(1, STRAYS * len(names)))

    def _ignore(self, names: list[str], reason: str) -> None:
        if names:
            self.ignored.append(IgnoredFiles(len(names), "image", reason, shorten(names[0])))


def _as_images(names: list[str]) -> list[_Image]:
    return list(map(_Image, names, names))


def _without_common_folders(images: list[_Image]) -> list[_Image]:
    """Removes folders that contain all images, or all of a split if they are named after it or have a generic name."""
    splits = {image.split for image in images}
    below = {split: [image.below for image in images if image.split == split] for split in splits}
    for split, paths in below.items():
        others = [path for other, those in below.items() if other != split for path in those]
        while (folder := common_folder(paths)) and (_is_split(folder, split) or _is_not_class(folder, others)):
            paths[:] = [path.partition("/")[2] for path in paths]
    deep = [paths for paths in below.values() if any("/" in path for path in paths)]
    while common_folder([path for paths in deep for path in paths]):
        for paths in deep:
            paths[:] = [path.partition("/")[2] for path in paths]
    next_path = {split: iter(paths) for split, paths in below.items()}
    return [image._replace(below=next(next_path[image.split])) for image in images]


def _is_split(folder: str, split: SplitName) -> bool:
    role = folder_role(folder)
    return role is not None and role.split == split


def _is_not_class(folder: str, others: list[str]) -> bool:
    """Returns whether a folder has a generic name, such as `images`, that is not a class of the other splits."""
    return is_generic_name(folder) and not any(path.startswith(f"{folder}/") for path in others)


def _others(visible: list[str], verdicts: list[bool], labels: FileLabels | None) -> list[IgnoredFiles]:
    """Returns the files that are neither images nor label files."""
    read = set(labels.files) if labels else set()
    names = [name for name, verdict in zip(visible, verdicts, strict=True) if not verdict and name not in read]
    reason = f"other than images ({count_by_suffix(names)})"
    return [IgnoredFiles(len(names), "file", reason, shorten(names[0]))] if names else []


def _split(image: _Image) -> Split:
    return "test" if image.split == "test" else "train"
