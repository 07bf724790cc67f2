"""Publishes files and folders in a bucket under plain names, for others to read.

A file is one object, whose upload is atomic. A folder has one more object, `.published.json`:

    {"format": 1, "whole": true,
     "files": {"saved_model/saved_model.pb": {"size": 1, "crc32c": "...", "version": "..."}}, ...}

While a publication runs, and after one that was interrupted, it has `"whole": false`. A reader considers the folder
complete if `whole` is true and every listed file exists with its size and checksum. It is written first and last, on
the condition that no other process has written it. Every file is written on the condition that it has not changed since
the start. So of two concurrent writers, at least one fails, and the other publishes only its own files. Files of an
earlier publication that are not in the new one are removed. Objects from other sources stay.

The listing of S3 has no checksums. There, an object has the checksum in `.published.json` if it still has the version
(the ETag) in it. An object of another version, such as a copy in another bucket, is looked up.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganlib.progress import Progress
from ganlib.remote.bucket import Bucket, Object, WriteConflict, folder_prefix, with_checksums
from ganlib.remote.connection import open_bucket
from ganlib.remote.file import RemoteError, checksum, crc32c
from ganlib.remote.names import object_name

MANIFEST = ".published.json"
FORMAT = 1
MAX_MANIFEST = 256 * 2**20


class IncompleteFolder(RemoteError):  # noqa: N818  # the name says what was found
    """A published folder is still being written, or was interrupted, or was changed by others."""


def publish(source: Path, location: str) -> None:
    """Publishes a local file or folder in a bucket, replacing an earlier publication.

    Args:
        source: Local file or folder.
        location: Address of the object, or of the folder, in a bucket.

    Raises:
        ValueError: The bucket does not exist, permission is missing, or a file's name is not valid for an object.
        WriteConflict: Another process publishes there at the same time.
        RemoteError: It could not be written. The folder is then marked as incomplete, and can be published again.
    """
    with open_bucket(location) as (bucket, path):
        if source.is_dir():
            _Publication(bucket, folder_prefix(path), source).run()
            return
        if not path or path.endswith("/"):
            raise ValueError(
                f"expected the address of an object, {bucket.scheme}://bucket/name. Received: path={location!r}"
            )
        existing = bucket.find(path)
        bucket.upload(source, path, replaces=existing, crc32c=crc32c(source))


def has_foreign_objects(location: str) -> bool:
    """Returns whether there are objects below an address, but no publication.

    Raises:
        ValueError: The bucket does not exist, or permission is missing.
        RemoteError: The objects could not be listed.
    """
    with open_bucket(location) as (bucket, path):
        prefix = folder_prefix(path)
        return any(bucket.list_objects(prefix, most=1)) and bucket.find(prefix + MANIFEST) is None


def published_files(bucket: Bucket, location: str, files: Mapping[str, Object]) -> Mapping[str, Object]:
    """Returns the published files of a folder, or all its files if it is not a publication.

    Args:
        bucket: Bucket of the folder.
        location: Address of the folder.
        files: All its objects by name, relative to the folder.

    Raises:
        IncompleteFolder: The publication is not complete.
        RemoteError: Its `.published.json` could not be read.
    """
    if MANIFEST not in files:
        return files
    manifest = _Manifest.read(bucket, files[MANIFEST])
    found = {name: files[name] for name in manifest.files if name in files}
    complete = manifest.whole and {name: item.size for name, item in found.items()} == manifest.sizes
    if complete:
        found = _look_up(bucket, with_checksums(found, manifest.files))
        complete = all(item.crc32c == manifest.files[name].crc32c for name, item in found.items())
    if not complete:
        raise IncompleteFolder(
            f"expected a completely published folder; it is still being written, or that was interrupted. "
            f"Received: path={location!r}"
        )
    return found


def _look_up(bucket: Bucket, files: dict[str, Object]) -> dict[str, Object]:
    """Returns the objects of a listing with checksums, as far as the server knows them."""

    def look_up(name: str) -> None:
        files[name] = bucket.find(files[name].name) or files[name]

    bucket.for_each(look_up, [name for name, item in files.items() if item.crc32c is None])
    return files


@dataclass(frozen=True)
class _Manifest:
    """The content of `.published.json`.

    Attributes:
        whole: Whether the publication is complete.
        files: The objects by name, of which size, checksum and version are known; the version once it is whole.
        earlier: Names of files that earlier publications may have left.
    """

    whole: bool
    files: dict[str, Object]
    earlier: list[str]

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each file in bytes."""
        return {name: file.size for name, file in self.files.items()}

    @classmethod
    def read(cls, bucket: Bucket, item: Object) -> _Manifest:
        try:
            value = json.loads(bucket.read(item, limit=MAX_MANIFEST))
            if value["format"] == FORMAT:
                files = {
                    name: Object(name, file["size"], crc32c=file["crc32c"], version=file.get("version"))
                    for name, file in value["files"].items()
                }
                return cls(value["whole"] is True, files, list(value["earlier"]))
            problem = f"format {value['format']}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__} {error}"
        raise ValueError(
            f"expected a list of files that this program wrote: {problem}. Received: path={bucket.address(item.name)!r}"
        )

    def write(self, bucket: Bucket, name: str, *, replaces: Object | None) -> Object:
        files = {
            name: {"size": file.size, "crc32c": file.crc32c} | ({"version": file.version} if file.version else {})
            for name, file in self.files.items()
        }
        value = {"format": FORMAT, "whole": self.whole, "files": files, "earlier": self.earlier}
        data = json.dumps(value | {"written": uuid.uuid4().hex}, indent=1).encode()  # makes each upload unique
        return bucket.upload(data, name, replaces=replaces, crc32c=checksum(io.BytesIO(data)))


class _Publication:
    """One publication of a folder."""

    def __init__(self, bucket: Bucket, prefix: str, source: Path) -> None:
        self.bucket, self.prefix = bucket, prefix
        self.paths = {object_name(p.relative_to(source).as_posix()): p for p in source.rglob("*") if p.is_file()}
        self.paths.pop(MANIFEST, None)  # left if this folder was itself fetched from a publication

    def run(self) -> None:
        self.files = {
            name: Object(name, path.stat().st_size, crc32c=crc32c(path)) for name, path in sorted(self.paths.items())
        }
        self.existing = self._list()
        known = self.existing.get(MANIFEST)
        before = _Manifest.read(self.bucket, known) if known else _Manifest(whole=False, files={}, earlier=[])
        self.existing = with_checksums(self.existing, before.files)
        self.existing |= _look_up(self.bucket, {n: o for n, o in self.existing.items() if o.size == self._size(n)})
        earlier = sorted({*before.files, *before.earlier})
        begun = self._write(known, whole=False, earlier=earlier)
        changed = [name for name in self.files if not self._is_current(name)]
        self.bucket.for_each(self._upload, changed, progress=Progress("publish", total=len(changed), unit="files"))
        self.existing = with_checksums(self._list(), self.existing)
        leftovers = [self.existing[name] for name in earlier if name not in self.files and name in self.existing]
        self.bucket.for_each(self.bucket.delete, leftovers)
        if not all(map(self._is_current, self.files)):
            raise WriteConflict(f"another process publishes there. Received: path={self.bucket.address(self.prefix)!r}")
        self.files = {name: self.existing[name] for name in self.files}
        self._write(begun, whole=True, earlier=[])

    def _write(self, replaces: Object | None, *, whole: bool, earlier: list[str]) -> Object:
        manifest = _Manifest(whole, self.files, earlier)
        return manifest.write(self.bucket, self.prefix + MANIFEST, replaces=replaces)

    def _list(self) -> dict[str, Object]:
        return {item.name.removeprefix(self.prefix): item for item in self.bucket.list_objects(self.prefix)}

    def _size(self, name: str) -> int | None:
        return self.files[name].size if name in self.files else None

    def _is_current(self, name: str) -> bool:
        item = self.existing.get(name)
        return item is not None and (item.size, item.crc32c) == (self.files[name].size, self.files[name].crc32c)

    def _upload(self, name: str) -> None:
        crc32c = str(self.files[name].crc32c)
        self.existing[name] = self.bucket.upload(
            self.paths[name], self.prefix + name, replaces=self.existing.get(name), crc32c=crc32c
        )
