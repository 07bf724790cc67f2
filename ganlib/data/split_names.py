"""Which names of folders mean a split: `train`, `Testing`, `val_images`, `trainA`."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

SplitName = Literal["train", "validation", "test"]
WORDS: dict[SplitName, str] = {
    "train": "train training trainval",
    "validation": "val valid validation dev eval evaluation",
    "test": "test testing",
}
GLUED = ("", "set", "data", "images")  # what small letters write in one with such a word, as in `testdata`
SPLIT_BY_WORD = {word + end: split for split, words in WORDS.items() for word in words.split() for end in GLUED}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # of `train_images`, `trainA`, `TestSet` or `val2017`
SAYS_NOTHING = re.compile(r"(data)?set|data|split|folder|(image|img|photo|picture)s?", re.IGNORECASE)


class Role(NamedTuple):
    """What a folder is for.

    Attributes:
        split: The split.
        domain: What else its name says, such as the `A` of `trainA`; empty if that is nothing.
    """

    split: SplitName
    domain: str = ""


@functools.lru_cache(10_000)
def folder_role(folder: str) -> Role | None:
    """Returns what the name of a folder says of a split; None if that is nothing."""
    words = WORD.findall(folder) if folder.isascii() else []
    found = [SPLIT_BY_WORD[word.lower()] for word in words if word.lower() in SPLIT_BY_WORD]
    if len(found) != 1:
        return None
    others = ""
    for before, word in itertools.pairwise(["", *words]):
        if word.isdigit():  # `sensor1_train` is of sensor 1; `train1` and `01_train` are of nothing
            others += word if before and others.endswith(before) else ""
        elif word.lower() not in SPLIT_BY_WORD and not SAYS_NOTHING.fullmatch(word):
            others += f"_{word}"
    return Role(found[0], others[1:])


def is_generic_name(folder: str) -> bool:
    """Says whether a folder is called so that its name cannot be that of a class, such as `images`."""
    return SAYS_NOTHING.fullmatch(folder) is not None


def split_folders(folders: Iterable[str], *, place: str) -> dict[str, Role] | None:
    """Finds the splits among all folders of one level.

    A folder for testing beside others that are named after no split makes those the training images. A folder `train`
    beside such is one of them: trains are a class of some data sets.

    Args:
        folders: Names of the folders.
        place: Where they are, for messages.

    Returns:
        The split of each, and the class that its images get by its name, if any; None if the folders are no splits.

    Raises:
        ValueError: Some of them are splits for training and for testing, and others neither.
    """
    roles = {folder: folder_role(folder) for folder in folders}
    known = {folder: found for folder, found in roles.items() if found}
    trained = {found.domain for found in known.values() if found.split == "train"}
    tested = {found.domain for found in known.values() if found.split != "train"}
    if known and len(known) == len(roles) and _belong_together(trained, tested):
        if len(trained) > 1:
            return known
        return {folder: Role(found.split) for folder, found in known.items()}
    if "" not in tested and not trained & tested:
        return None
    others = sorted(set(roles) - set(known))
    if trained or len(tested) > 1 or not others:
        named = " or ".join(f"{folder}/" for folder in sorted(known))
        beside = f"folder={others[0]!r}" if others else f"folders={sorted(known)}"
        raise ValueError(f"expected every image below {named}, which are splits. Received: path={place!r}, {beside}")
    # One folder is that of all training images; several are classes.
    return {folder: roles[folder] or Role("train", folder if len(others) > 1 else "") for folder in roles}


def _belong_together(trained: set[str], tested: set[str]) -> bool:
    """Says whether what the names say beside their splits makes sense: `test_tube` and `train_station` are classes."""
    if not trained:
        return tested == {""}
    if not tested:
        return trained == {""} or all(len(domain) == 1 for domain in trained)
    if "" in trained | tested:
        return len(trained) == len(tested) == 1
    return tested <= trained
