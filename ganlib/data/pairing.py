"""Finds the pairs among the files of two folders, by equal names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ganlib.data.base import Entry, IgnoredFiles, Listing, Split
from ganlib.data.file_set import FileSet
from ganlib.data.kinds import FIRST_BYTES, are_images, count_by_suffix
from ganlib.data.layouts import arrange
from ganlib.data.locations import FileLocation, ImageLocation
from ganlib.data.names import is_hidden, shorten
from ganlib.data.pairs import TwoFiles, Unpaired
from ganlib.data.split_names import folder_role

SIDES = ("A", "B")
NO_TARGET = "no target of its name"


@dataclass(frozen=True)
class Side:
    """The files of all images, or those of all targets.

    Attributes:
        files: The files, perhaps among others.
        paths: Their paths among the files, by the name that an image and its target share but for the suffix.
        ignored: Files that are of neither side.
    """

    files: FileSet
    paths: Mapping[str, str]
    ignored: tuple[IgnoredFiles, ...] = ()

    @classmethod
    def of(cls, files: FileSet) -> Side:
        """Returns all files as those of one side."""
        return cls(files, {name: name for name in files.names if not is_hidden(name)}, files.ignored)

    def locate(self, name: str) -> FileLocation:
        """Returns the location of a file."""
        return self.files.locate(self.paths[name])

    def entry(self, name: str, split: Split, label: int | None) -> Entry:
        """Returns the entry of a file in a listing."""
        return Entry(self.paths[name], split, label, *self.files.status(self.paths[name]))

    def images(self) -> list[str]:
        """Returns the names of the images."""
        names = list(self.paths)
        verdicts = are_images(names, lambda name: self.locate(name).start(FIRST_BYTES))
        return [name for name, verdict in zip(names, verdicts, strict=True) if verdict]


def split_sides(files: FileSet, *, inputs_in_a: bool) -> tuple[Side, Side]:
    """Divides files into those of images and those of targets by the names of their folders.

    Args:
        files: The files.
        inputs_in_a: Whether the images are in A and the targets in B, or the other way round.

    Returns:
        The images, then the targets.

    Raises:
        ValueError: There are no files of a side.
    """
    sides: dict[str, dict[str, str]] = {side: {} for side in SIDES}
    beside, repeated = [], []
    for path in files.names:
        if is_hidden(path):
            continue
        side, name = _side(path)
        if not side:
            beside.append(path)
        elif name in sides[side]:
            repeated.append(path)
        else:
            sides[side][name] = path
    empty = [side for side in SIDES if not sides[side]]
    if empty:
        raise ValueError(
            "expected folders A and B, or trainA, trainB and so on (other names need data.source.target_path; pairs in "
            f"one picture are the layout side_by_side). Received: path={files.place!r}, without {' and '.join(empty)}"
        )
    ignored = [
        IgnoredFiles(len(paths), "file", reason, shorten(min(paths)))
        for paths, reason in ((beside, "beside the folders A and B"), (repeated, "with the name of another one"))
        if paths
    ]
    first, second = SIDES if inputs_in_a else SIDES[::-1]
    return Side(files, sides[first], (*files.ignored, *ignored)), Side(files, sides[second])


def _side(path: str) -> tuple[str, str]:
    """Returns the side of a file, empty if none, and its path without the side: `trainA/1.png` is `train/1.png`."""
    *folders, name = path.split("/")
    for index, folder in enumerate(folders):
        role = folder_role(folder)
        side = role.domain if role else folder
        if side in SIDES:
            split = [role.split] if role else []
            return side, "/".join([*folders[:index], *split, *folders[index + 1 :], name])
    return "", path


def pair_listing(inputs: Side, targets: Side, *, test_fraction: float) -> Listing:
    """Lists the pairs of two sides. Images without a partner are listed too, with the reason why they are unusable.

    Args:
        inputs: The files of the images.
        targets: The files of their targets.
        test_fraction: Share of the pairs held out for testing, if there is no test folder.

    Raises:
        ValueError: There are no pairs.
    """
    names = inputs.images(), targets.images()
    matches, reasons = match(*names)
    if not matches:
        image, target = (repr(shorten(min(own))) if own else "none" for own in names)
        raise ValueError(
            "expected images and targets of equal names, but for the suffix. "
            f"Received: path={inputs.files.place!r}, with image={image} and target={target}"
        )
    alone = {name: targets for name in names[1] if name in reasons and name not in inputs.paths}
    sides = {**alone, **dict.fromkeys(inputs.paths, inputs)}
    layout = arrange(
        sides, locate=lambda name: sides[name].locate(name), test_fraction=test_fraction, place=inputs.files.place
    )
    listed = [layout.top + name for name in layout.names]

    # Both hold the files, which stay open as long as the listing exists.
    def locate_target(index: int) -> ImageLocation:
        name = listed[index]
        return targets.locate(matches[name]) if name in matches else Unpaired(reasons.get(name, NO_TARGET))

    def locate(index: int) -> ImageLocation:
        name, target = listed[index], locate_target(index)
        return TwoFiles(inputs.locate(name), target) if name in matches else target

    entries = [
        sides[name].entry(name, split, label)
        for name, split, label in zip(listed, layout.splits, layout.labels, strict=True)
    ]
    target_entries = [
        targets.entry(matches[name], entry.split, entry.label) if name in matches else entry._replace(name="", size=0)
        for name, entry in zip(listed, entries, strict=True)
    ]
    without = [entry.name for name, entry in zip(listed, entries, strict=True) if name not in matches]
    return Listing(
        entries,
        layout.classes,
        locate,
        files=tuple(dict.fromkeys((*inputs.files.descriptors, *targets.files.descriptors))),
        ignored=(*layout.ignored, *inputs.ignored, *targets.ignored, *_others(targets, set(names[1]))),
        notes=(*layout.notes, *_notes(without)),
        drawn=layout.drawn,
        paired=True,
        targets=Listing(target_entries, layout.classes, locate_target),
    )


def match(inputs: Sequence[str], targets: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Finds the target of each image: one of the same name, or else the only one of this name with another suffix.

    Args:
        inputs: Names of the images.
        targets: Names of the targets.

    Returns:
        The target of each image that has one, and the reason for each other image and each other target.
    """
    matches = {name: name for name in set(inputs) & set(targets)}
    rest = [_by_stem(name for name in names if name not in matches) for names in (inputs, targets)]
    reasons = {}
    for stem in rest[0].keys() | rest[1].keys():
        own, others = (side.get(stem, []) for side in rest)
        if len(own) == len(others) == 1:
            matches[own[0]] = others[0]
        elif own and others:
            both = ", ".join(sorted(name.rpartition("/")[2] for name in {*own, *others}))
            reasons.update(dict.fromkeys((*own, *others), f"several images or targets have its name: {both}"))
        else:
            reasons.update(dict.fromkeys(own, NO_TARGET))
            reasons.update(dict.fromkeys(others, "a target without an image of its name"))
    return matches, reasons


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """Groups names that differ only in the suffix."""
    groups: dict[str, list[str]] = {}
    for name in names:
        folder, slash, file = name.rpartition("/")
        stem = file.rpartition(".")[0] or file
        groups.setdefault(f"{folder}{slash}{stem}", []).append(name)
    return groups


def _others(targets: Side, images: set[str]) -> list[IgnoredFiles]:
    """Returns the files among the targets that are not images."""
    others = [path for name, path in targets.paths.items() if name not in images]
    reason = f"among the targets, other than images ({count_by_suffix(others)})"
    return [IgnoredFiles(len(others), "file", reason, shorten(min(others)))] if others else []


def _notes(names: Sequence[str]) -> list[str]:
    """Returns a note on the images without a partner, which the preparation skips."""
    return [f"without a partner of the same name: {len(names)}, such as {shorten(min(names))}"] if names else []
