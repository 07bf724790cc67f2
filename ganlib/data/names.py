"""Names of files as they come from folders, archives and buckets."""

from __future__ import annotations

import os

MAX_SHOWN = 200  # letters of a path in a message
LITTER = "__MACOSX"  # what a Mac puts into a zip file beside the files


def to_printable(path: str) -> str:
    """Returns a path as text of one line: names that are not UTF-8, or hold a line break, must not harm any output."""
    text = path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(map(_escaped, text))


def is_hidden(path: str) -> bool:
    """Says whether a file, or a folder that it is in, is hidden."""
    if "/." not in path and LITTER not in path and not path.startswith("."):  # as nearly all
        return False
    return any(part.startswith(".") or part == LITTER for part in path.split("/"))


def shorten(path: str) -> str:
    """Returns a path for a message, cut if it is long."""
    return path if len(path) <= MAX_SHOWN else f"{path[:MAX_SHOWN]}..."


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
