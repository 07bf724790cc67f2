"""Checks which file names are valid for objects, and which object names are valid for files."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable

LONGEST_OBJECT = 900  # bytes; Google's limit is 1,024 including the location
LONGEST_PART = 255  # bytes between two `/`, the limit of most file systems


def object_name(name: str) -> str:
    """Returns a file's name as the name of an object.

    Raises:
        ValueError: It is not valid for an object.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"expected a name in UTF-8. Received: file={os.fsencode(name)!r}") from error
    if "\n" in name or "\r" in name or length > LONGEST_OBJECT:
        raise ValueError(f"expected a name of one line and at most {LONGEST_OBJECT} bytes. Received: file={name!r}")
    return name


def find_invalid_name(names: Iterable[str], taken: Container[str]) -> str | None:
    """Returns the first name that is not valid for a file below a folder, or None.

    Args:
        names: Names of objects below a folder.
        taken: The same names, to check that none is at the same time the folder of another.
    """
    for name in names:
        parts = name.split("/")
        above = ("/".join(parts[:end]) for end in range(1, len(parts)))
        if not all(map(_is_part, parts)) or any(folder in taken for folder in above):
            return name
    return None


def _is_part(part: str) -> bool:
    size = len(part.encode(errors="surrogatepass"))
    return part not in ("", ".", "..") and size <= LONGEST_PART and not any(ord(letter) < ord(" ") for letter in part)
