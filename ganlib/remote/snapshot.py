"""The snapshot of a mirror, as JSON. All names in it are checked to stay below a folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ganlib.remote.names import find_invalid_name

FORMAT = 1
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Snapshot:
    """The files of one push.

    Attributes:
        files: SHA-256 and size of each file, by its name relative to the folder.
        writer: Random identifier of the process that wrote it.
        generation: Generation of the snapshot's object.
        modified: Time when it was written, by the server's clock, in nanoseconds.
    """

    files: dict[str, tuple[str, int]]
    writer: str
    generation: int
    modified: int

    @property
    def digests(self) -> set[str]:
        """The SHA-256 of all contents."""
        return {digest for digest, _ in self.files.values()}


def serialize_snapshot(files: dict[str, tuple[str, int]], *, writer: str, after: int) -> bytes:
    """Returns the JSON text of a snapshot that follows generation `after`. Each text is unique."""
    named = {name: {"sha256": digest, "size": size} for name, (digest, size) in files.items()}
    return json.dumps({"format": FORMAT, "writer": writer, "after": after, "files": named}, indent=1).encode()


def parse_snapshot(data: bytes, *, generation: int, modified: int) -> Snapshot:
    """Reads a snapshot.

    Raises:
        ValueError: It is malformed, or a name in it does not stay below a folder.
    """
    try:
        value = json.loads(data)
        files = {name: (str(file["sha256"]), int(file["size"])) for name, file in value["files"].items()}
        snapshot = Snapshot(files, str(value["writer"]), generation, modified)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']}")
    invalid = find_invalid_name(files, files)
    if invalid is not None:
        raise ValueError(f"file {invalid!r}")
    for name, (digest, size) in files.items():
        if any(part.startswith(".") for part in name.split("/")) or not DIGEST.fullmatch(digest) or size < 0:
            raise ValueError(f"file {name!r}")
    return snapshot
