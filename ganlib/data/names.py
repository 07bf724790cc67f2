"""Functions for names of files in folders, archives and buckets."""

from __future__ import annotations

import os

MAX_SHOWN = 200  # characters of a path in a message
MAC_FOLDER = "__MACOSX"  # folder of metadata that macOS adds to zip files


def to_printable(path: str) -> str:
    """Returns a path as one line of valid text: other bytes than UTF-8, line breaks and the like are escaped."""
    text = path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(map(_escape, text))


def is_hidden(path: str) -> bool:
    """Returns whether a file, or a folder that contains it, is hidden."""
    if "/." not in path and MAC_FOLDER not in path and not path.startswith("."):  # true for nearly all
        return False
    return any(part.startswith(".") or part == MAC_FOLDER for part in path.split("/"))


def common_folder(paths: list[str]) -> str:
    """Returns the first folder of the paths if all share it, otherwise an empty string."""
    start = paths[0][: paths[0].find("/") + 1] if paths else ""
    return start[:-1] if all(path.startswith(start) for path in paths) else ""


def shorten(path: str) -> str:
    """Shortens a long path for a message."""
    return path if len(path) <= MAX_SHOWN else f"{path[:MAX_SHOWN]}..."


def _escape(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
