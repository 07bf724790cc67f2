"""The snapshot of a mirror, as JSON. All names in it are checked to stay below a folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ganlib.remote.names import find_invalid_name

FORMAT = 1
DIGEST = re.compile("[0-9a-f]{64}")
OBJECT = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{32}")


@dataclass(frozen=True)
class Snapshot:
    """The files of one push.

    Attributes:
        files: SHA-256 and size of each file, by its name relative to the folder.
        objects: Names of the objects with the contents, by SHA-256, where they have another name than that.
        writer: Random identifier of the process that wrote it.
        version: Version of the snapshot's object.
        modified: Time when it was written, by the server's clock, in nanoseconds.
    """

    files: dict[str, tuple[str, int]]
    objects: dict[str, str]
    writer: str
    version: str | None
    modified: int

    @property
    def digests(self) -> set[str]:
        """The SHA-256 of all contents."""
        return {digest for digest, _ in self.files.values()}

    @property
    def object_names(self) -> set[str]:
        """The names of all objects with contents."""
        return {self.object_name(digest) for digest in self.digests}

    def object_name(self, digest: str) -> str:
        """Returns the name of the object with a content."""
        return self.objects.get(digest, digest)


def serialize_snapshot(files: dict[str, tuple[str, int]], objects: dict[str, str], *, writer: str, after: str) -> bytes:
    """Returns the JSON text of a snapshot that follows the version `after`. Each text is unique."""
    named: dict[str, dict[str, Any]] = {
        name: {"sha256": digest, "size": size} | ({"object": objects[digest]} if digest in objects else {})
        for name, (digest, size) in files.items()
    }
    return json.dumps({"format": FORMAT, "writer": writer, "after": after, "files": named}, indent=1).encode()


def parse_snapshot(data: bytes, *, version: str | None, modified: int) -> Snapshot:
    """Reads a snapshot.

    Raises:
        ValueError: It is malformed, or a name in it does not stay below a folder.
    """
    try:
        value = json.loads(data)
        files = {name: (str(file["sha256"]), int(file["size"])) for name, file in value["files"].items()}
        objects = {file["sha256"]: str(file["object"]) for file in value["files"].values() if "object" in file}
        snapshot = Snapshot(files, objects, str(value["writer"]), version, modified)
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
    for name in objects.values():
        if not OBJECT.fullmatch(name):
            raise ValueError(f"object {name!r}")
    return snapshot
