"""Files and folders put into a bucket for others to read, under plain names.

A file is one object, which the storage keeps whole by itself. Beside the objects of a folder stands `.published.json`:

    {"format": 1, "whole": true, "files": {"saved_model/saved_model.pb": {"size": 1, "crc32c": "..."}}, ...}

While a publication runs, and after one that broke off, it says `"whole": false`. So a reader takes the folder for
whole if `whole` is true and every file that it names is there with its size and checksum. It is written first and
last, on the condition that nobody else has written it, and every file on the condition that it is what was there at
the start: of two writers at least one fails, and what the other leaves is its own. What an earlier publication left,
and the new one lacks, is removed; objects that none of them wrote stay.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganlib.progress import Progress
from ganlib.remote import gs
from ganlib.remote.file import RemoteError, checksum, crc32c
from ganlib.remote.gs import Bucket, Object, WriteConflict
from ganlib.remote.names import object_name

MANIFEST = ".published.json"
FORMAT = 1
MAX_MANIFEST = 256 * 2**20


class IncompleteFolder(RemoteError):  # noqa: N818  # it says what is there
    """A published folder that is being written, or whose writing broke off, or that others have changed."""


def publish(source: Path, location: str) -> None:
    """Puts a file or a folder into a bucket, in the place of what an earlier publication put there.

    Args:
        source: File or folder of this machine.
        location: `gs://` address of the object, or of the folder.

    Raises:
        ValueError: No such bucket, no permission, or a file's name cannot be an object's.
        WriteConflict: Another process publishes there at the same time.
        RemoteError: It could not be written. What is there is not taken for whole, and can be published again.
    """
    with gs.open_bucket(location) as (bucket, path):
        if source.is_dir():
            _Publication(bucket, gs.folder_prefix(path), source).run()
            return
        if not path or path.endswith("/"):
            raise ValueError(f"expected the address of an object, gs://bucket/name. Received: path={location!r}")
        there = bucket.find(path)
        bucket.upload(source, path, replaces=there, crc32c=crc32c(source))


def has_foreign_objects(location: str) -> bool:
    """Says whether something lies below an address of a bucket that no publication has put there.

    Raises:
        ValueError: No such bucket, or no permission.
        RemoteError: It could not be looked up.
    """
    with gs.open_bucket(location) as (bucket, path):
        prefix = gs.folder_prefix(path)
        return any(bucket.below(prefix, most=1)) and bucket.find(prefix + MANIFEST) is None


def published_files(bucket: Bucket, location: str, files: Mapping[str, Object]) -> Mapping[str, Object]:
    """Returns those of a folder's files that were published, or all if none were.

    Args:
        bucket: Where they lie.
        location: The folder's address.
        files: All its objects by their names below it.

    Raises:
        IncompleteFolder: They are not there as a whole.
        RemoteError: It could not be read what was published.
    """
    if MANIFEST not in files:
        return files
    manifest = _Manifest.read(bucket, files[MANIFEST])
    sound = manifest.whole and all(
        name in files and (files[name].size, files[name].crc32c) == expected
        for name, expected in manifest.files.items()
    )
    if not sound:
        raise IncompleteFolder(
            f"expected a folder that was published as a whole; it is being written, or that broke off. "
            f"Received: path={location!r}"
        )
    return {name: files[name] for name in manifest.files}


@dataclass(frozen=True)
class _Manifest:
    """What stands in `.published.json`.

    Attributes:
        whole: Whether the publication has come to its end.
        files: Size and checksum of each file.
        earlier: Names of files that other publications may have left.
    """

    whole: bool
    files: dict[str, tuple[int, str]]
    earlier: list[str]

    @classmethod
    def read(cls, bucket: Bucket, item: Object) -> _Manifest:
        try:
            value = json.loads(bucket.read(item, limit=MAX_MANIFEST))
            if value["format"] == FORMAT:
                files = {name: (file["size"], file["crc32c"]) for name, file in value["files"].items()}
                return cls(value["whole"] is True, files, list(value["earlier"]))
            problem = f"format {value['format']}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__} {error}"
        raise ValueError(
            f"expected a list of files that this program wrote: {problem}. Received: path={bucket.address(item.name)!r}"
        )

    def write(self, bucket: Bucket, name: str, *, replaces: Object | None) -> Object:
        files = {name: {"size": size, "crc32c": crc32c} for name, (size, crc32c) in self.files.items()}
        value = {"format": FORMAT, "whole": self.whole, "files": files, "earlier": self.earlier}
        data = json.dumps(value | {"written": uuid.uuid4().hex}, indent=1).encode()  # no two are equal
        return bucket.upload(data, name, replaces=replaces, crc32c=checksum(io.BytesIO(data)))


class _Publication:
    """One publication of a folder."""

    def __init__(self, bucket: Bucket, prefix: str, source: Path) -> None:
        self.bucket, self.prefix = bucket, prefix
        self.paths = {object_name(p.relative_to(source).as_posix()): p for p in source.rglob("*") if p.is_file()}
        self.paths.pop(MANIFEST, None)  # of the folder that this one was fetched from

    def run(self) -> None:
        self.files = {name: (path.stat().st_size, crc32c(path)) for name, path in sorted(self.paths.items())}
        self.there = self._listed()
        known = self.there.get(MANIFEST)
        before = _Manifest.read(self.bucket, known) if known else _Manifest(whole=False, files={}, earlier=[])
        earlier = sorted({*before.files, *before.earlier})
        begun = self._write(known, whole=False, earlier=earlier)
        changed = [name for name in self.files if not self._stands(name)]
        self.bucket.run_parallel(self._upload, changed, progress=Progress("publish", total=len(changed), unit="files"))
        self.there = self._listed()
        leftovers = [self.there[name] for name in earlier if name not in self.files and name in self.there]
        self.bucket.run_parallel(self.bucket.delete, leftovers)
        if not all(map(self._stands, self.files)):
            raise WriteConflict(f"another process publishes there. Received: path={self.bucket.address(self.prefix)!r}")
        self._write(begun, whole=True, earlier=[])

    def _write(self, replaces: Object | None, *, whole: bool, earlier: list[str]) -> Object:
        manifest = _Manifest(whole, self.files, earlier)
        return manifest.write(self.bucket, self.prefix + MANIFEST, replaces=replaces)

    def _listed(self) -> dict[str, Object]:
        return {item.name.removeprefix(self.prefix): item for item in self.bucket.below(self.prefix)}

    def _stands(self, name: str) -> bool:
        item = self.there.get(name)
        return item is not None and (item.size, item.crc32c) == self.files[name]

    def _upload(self, name: str) -> None:
        self.bucket.upload(
            self.paths[name], self.prefix + name, replaces=self.there.get(name), crc32c=self.files[name][1]
        )
