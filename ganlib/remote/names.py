"""Which names of files can be those of objects, and which names of objects can be those of files."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable

LONGEST_OBJECT = 900  # bytes; Google takes 1,024, the location included
LONGEST_PART = 255  # bytes between two `/`, as most file systems take


def object_name(name: str) -> str:
    """Returns a file's name that an object can bear.

    Raises:
        ValueError: It cannot.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"expected a name in UTF-8. Received: file={os.fsencode(name)!r}") from error
    if "\n" in name or "\r" in name or length > LONGEST_OBJECT:
        raise ValueError(f"expected a name of one line and at most {LONGEST_OBJECT} bytes. Received: file={name!r}")
    return name


def find_invalid_name(names: Iterable[str], taken: Container[str]) -> str | None:
    """Returns the first name that is not that of a file below a folder, or None.

    Args:
        names: Names of objects below a folder.
        taken: The same names; none may be the folder that another one lies in.
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
