"""What the snapshot of a mirror says, as JSON; its names lead nowhere but below a folder."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

FORMAT = 1
LONGEST = 900  # bytes of a name; Google takes 1,024, the location included
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Snapshot:
    """The files of one push.

    Attributes:
        files: SHA-256 and bytes of each, by its name below the folder.
        writer: Word that only the process knows that wrote it.
        generation: The object's generation.
        modified: When it was written, by the server's clock, in nanoseconds.
    """

    files: dict[str, tuple[str, int]]
    writer: str
    generation: int
    modified: int

    @property
    def digests(self) -> set[str]:
        """The contents."""
        return {digest for digest, _ in self.files.values()}


def written(files: dict[str, tuple[str, int]], *, writer: str, after: int) -> bytes:
    """Returns the JSON text of a snapshot that follows on the generation `after`; no two are equal."""
    named = {name: {"sha256": digest, "size": size} for name, (digest, size) in files.items()}
    return json.dumps({"format": FORMAT, "writer": writer, "after": after, "files": named}, indent=1).encode()


def parsed(data: bytes, *, generation: int, modified: int) -> Snapshot:
    """Reads a snapshot.

    Raises:
        ValueError: It is none, or a name in it does not stay below a folder.
    """
    try:
        value = json.loads(data)
        files = {name: (str(file["sha256"]), int(file["size"])) for name, file in value["files"].items()}
        snapshot = Snapshot(files, str(value["writer"]), generation, modified)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']}")
    for name, (digest, size) in files.items():
        if not _stays_below(name, files) or not DIGEST.fullmatch(digest) or size < 0:
            raise ValueError(f"file {name!r}")
    return snapshot


def storable(name: str) -> str:
    """Returns a name that an object can bear.

    Raises:
        ValueError: It cannot.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"expected a name in UTF-8. Received: file={os.fsencode(name)!r}") from error
    if "\n" in name or "\r" in name or length > LONGEST:
        raise ValueError(f"expected a name of one line and at most {LONGEST} bytes. Received: file={name!r}")
    return name


def _stays_below(name: str, names: dict[str, Any]) -> bool:
    """Says whether a name is a visible file's below a folder, and needs no other file to be a folder."""
    parts = name.split("/")
    above = ("/".join(parts[:end]) for end in range(1, len(parts)))
    hidden_or_empty = any(not part or part.startswith(".") for part in parts)
    return not (hidden_or_empty or "\0" in name or any(folder in names for folder in above))
