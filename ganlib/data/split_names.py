"""Recognises folder names that mean a split, such as `train`, `Testing`, `val_images` and `trainA`."""

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
GLUED = ("", "set", "data", "images")  # suffixes in the same word, as in `testdata`
SPLIT_BY_WORD = {word + end: split for split, words in WORDS.items() for word in words.split() for end in GLUED}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # splits `train_images`, `trainA`, `TestSet` and `val2017`
GENERIC = re.compile(r"(data)?set|data|split|folder|(image|img|photo|picture)s?", re.IGNORECASE)


class Role(NamedTuple):
    """The meaning of a folder's name.

    Attributes:
        split: The split.
        domain: The rest of the name, such as the `A` of `trainA`; may be empty.
    """

    split: SplitName
    domain: str = ""


@functools.lru_cache(10_000)
def folder_role(folder: str) -> Role | None:
    """Returns the role that the name of a folder means; None if it does not name a split."""
    words = WORD.findall(folder) if folder.isascii() else []
    splits = [SPLIT_BY_WORD[word.lower()] for word in words if word.lower() in SPLIT_BY_WORD]
    if len(splits) != 1:
        return None
    others = ""
    for before, word in itertools.pairwise(["", *words]):
        if word.isdigit():  # `sensor1_train` has the domain `sensor1`; `train1` and `01_train` have none
            others += word if before and others.endswith(before) else ""
        elif word.lower() not in SPLIT_BY_WORD and not GENERIC.fullmatch(word):
            others += f"_{word}"
    return Role(splits[0], others[1:])


def is_generic_name(folder: str) -> bool:
    """Returns whether a folder has a generic name, such as `images`, which cannot be that of a class."""
    return GENERIC.fullmatch(folder) is not None


def split_folders(folders: Iterable[str], *, place: str) -> dict[str, Role] | None:
    """Finds the splits among all folders of one level.

    If there is a test folder and the other folders are not splits, the others contain the training images. If there is
    a folder `train` and the other folders are not splits, it is a class: some data sets have a class of trains.

    Args:
        folders: Names of the folders.
        place: Their location, for messages.

    Returns:
        The role of each folder, with the class of its images as domain, if any; None if the folders are not splits.

    Raises:
        ValueError: There are folders for training and for testing, and others that are neither.
    """
    roles = {folder: folder_role(folder) for folder in folders}
    known = {folder: role for folder, role in roles.items() if role}
    trained = {role.domain for role in known.values() if role.split == "train"}
    tested = {role.domain for role in known.values() if role.split != "train"}
    if known and len(known) == len(roles) and _belong_together(trained, tested):
        if len(trained) > 1:
            return known
        return {folder: Role(role.split) for folder, role in known.items()}
    if "" not in tested and not trained & tested:
        return None
    others = sorted(set(roles) - set(known))
    if trained or len(tested) > 1 or not others:
        named = " or ".join(f"{folder}/" for folder in sorted(known))
        beside = f"folder={others[0]!r}" if others else f"folders={sorted(known)}"
        raise ValueError(f"expected every image below {named}, which are splits. Received: path={place!r}, {beside}")
    # A single other folder contains all training images; several are classes.
    return {folder: roles[folder] or Role("train", folder if len(others) > 1 else "") for folder in roles}


def _belong_together(trained: set[str], tested: set[str]) -> bool:
    """Returns whether the domains fit together. Those of `test_tube` and `train_station` do not: they are classes."""
    if not trained:
        return tested == {""}
    if not tested:
        return trained == {""} or all(len(domain) == 1 for domain in trained)
    if "" in trained | tested:
        return len(trained) == len(tested) == 1
    return tested <= trained
