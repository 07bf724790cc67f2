"""Objects of Amazon S3, or of another server with its API, such as MinIO and SeaweedFS.

Address, region, credentials and certificates come from where all tools of AWS take them: AWS_ENDPOINT_URL_S3,
AWS_REGION, AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_CA_BUNDLE, the files in `~/.aws`, the role of a pod.

Only what every such server has is used: MD5 for what is sent, and the conditions If-None-Match and If-Match of
`PutObject` and `CompleteMultipartUpload`, which are tested before the first write (`s3_conditions`). The CRC32C of an
object is kept in its metadata, since other checksums differ between servers. A listing has no checksum, but an ETag,
which identifies the content. Objects of other programs have the checksum MD5 if their ETag is one: not if they were
sent in parts, or are encrypted with a key of KMS or of the customer.

botocore's own repetitions are off: they have no limit in seconds, and draw their pauses from Python's `random`, from
which Keras draws the seeds of weights. The transfers of `boto3` know no conditions, and do not resume a download.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import io
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any, BinaryIO, TypeVar

from etils import epy

from ganlib.remote import bucket as limits
from ganlib.remote import s3_errors as errors
from ganlib.remote.bucket import PART, THREADS, Bucket, Object, changed_error, conflict_error
from ganlib.remote.s3_conditions import check_conditions
from ganlib.remote.s3_upload import CRC32C, IF_ABSENT, Upload, is_content, remove_abandoned
from ganlib.remote.transfers import DownloadSink

with epy.lazy_imports():
    import botocore.config
    import botocore.loaders
    import botocore.session
    from botocore import exceptions as aws

PLAIN_MD5 = re.compile('"([0-9a-f]{32})"')
MD5_ENCRYPTIONS = (None, "AES256")  # with which the ETag is still the MD5 of the content
CONFLICTS = {"NoSuchKey", "NoSuchUpload"}  # what was to be replaced, or the parts of an upload, are gone
SECOND = 10**9
READ = 2**16  # bytes at a time; those of a read that fails are lost
TIDIED: set[tuple[str, str, str]] = set()  # servers, buckets and places where interrupted uploads were removed

T = TypeVar("T")


class S3Bucket(Bucket):
    """A bucket of Amazon S3, or of another server with its API."""

    scheme = "s3"

    def __init__(self, name: str, session: botocore.session.Session) -> None:
        super().__init__(name)
        self._session = session

    @classmethod
    def connect(cls, name: str, location: str) -> S3Bucket:
        """Connects to a bucket; the location is for messages."""
        with errors.translate_errors(location):
            session = botocore.session.get_session()
            session.register_component("data_loader", _loader())
            bucket = cls(name, session)
            try:
                bucket._reader  # noqa: B018  # reports invalid settings
            except ValueError as error:
                if isinstance(error, aws.BotoCoreError):
                    raise
                address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "of a profile"
                raise ValueError(
                    "expected an address such as https://minio:9000 in AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL. "
                    f"Received: endpoint={address.rpartition('@')[2]!r}"  # without a password
                ) from error
        return bucket

    def close(self) -> None:
        """Closes the connections."""
        for name in ("_reader", "_writer"):
            if name in self.__dict__:
                self.__dict__[name].close()

    @functools.cached_property
    def _reader(self) -> Any:
        return self._client(limits.READ_TIMEOUT)

    @functools.cached_property
    def _writer(self) -> Any:
        return self._client(limits.WRITE_TIMEOUT)

    def _client(self, timeout: float) -> Any:
        config = botocore.config.Config(
            connect_timeout=timeout,  # also the time for the whole body of a request
            read_timeout=timeout,
            max_pool_connections=THREADS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            request_checksum_calculation="when_required",  # older servers know no trailing checksums
            response_checksum_validation="when_required",
        )
        region = os.environ.get("AWS_REGION") or None  # botocore itself reads AWS_DEFAULT_REGION and the files
        return self._session.create_client("s3", region_name=region, config=config)

    def translate_errors(self, location: str, *, done: str = "read") -> contextlib.AbstractContextManager[None]:
        """Translates the errors of AWS's library into errors with one-line messages."""
        return errors.translate_errors(location, done=done)

    def find(self, name: str) -> Object | None:
        """Looks up an object; returns None if it, or the bucket, does not exist."""
        with self.translate_errors(self.address(name)):
            try:
                head = self._ask(self._reader.head_object, Key=name)
            except aws.ClientError as error:
                if errors.status(error) == HTTPStatus.NOT_FOUND:
                    return None
                raise self._explained(error, name) from error
        return _to_object(name, head["ContentLength"], head["LastModified"], head["ETag"], **_checksum(head))

    def _explained(self, error: aws.ClientError, name: str) -> aws.ClientError:
        """Returns the error of a request for a byte of the object: the answer to HEAD has no body, and so no reason."""
        if errors.status(error) in errors.UNEXPLAINED:
            try:
                self._ask(self._reader.get_object, Key=name, Range="bytes=0-0")["Body"].close()
            except aws.ClientError as explained:
                if errors.status(explained) == errors.status(error):
                    return explained
        return error

    def list_objects(self, prefix: str, *, most: int | None = None) -> Iterator[Object]:
        """Lists the objects whose names begin with a prefix. The listing has no checksums."""
        options: dict[str, Any] = {"Prefix": prefix} | ({"MaxKeys": most} if most else {})
        with self.translate_errors(self.address(prefix).rstrip("/")):
            while True:
                page = self._ask(self._reader.list_objects_v2, **options)
                for item in page.get("Contents", ()):
                    yield _to_object(item["Key"], item["Size"], item["LastModified"], item["ETag"])
                if most or not page.get("IsTruncated"):
                    return
                options["ContinuationToken"] = page["NextContinuationToken"]

    def start(self, item: Object, count: int) -> bytes:
        """Returns the first `count` stored bytes of an object, or all if there are fewer."""
        sink = io.BytesIO()
        with self.translate_errors(self.address(item.name)):
            self._get(item, sink.write, lambda: f"bytes={sink.tell()}-{count - 1}")
        return sink.getvalue()

    def delete(self, item: Object) -> None:
        """Removes an object of this version, if it still exists.

        The same content has the same version (ETag), so a repetition looks at the time first: another process may have
        written the content again. Servers that do not know the condition (If-Match) remove any version.
        """
        tried = False

        def remove(**options: Any) -> None:
            nonlocal tried
            found = self.find(item.name) if tried else item
            tried = True
            if found is None:
                return
            if (found.version, found.modified) != (item.version, item.modified):
                raise conflict_error(self.address(item.name))
            self._writer.delete_object(**options, **_condition(item))

        with self.translate_errors(self.address(item.name), done="removed"):
            try:
                self._ask(remove, Key=item.name)
            except aws.ClientError as error:
                if errors.status(error) != HTTPStatus.NOT_FOUND:
                    raise

    def _ask(self, call: Callable[..., T], **options: Any) -> T:
        """Makes a request, and repeats it for TIMEOUT seconds while it fails for a transient reason."""
        deadline, pause = time.monotonic() + limits.TIMEOUT, limits.FIRST_PAUSE
        while True:
            try:
                return call(Bucket=self.name, **options)
            except Exception as error:
                if not errors.is_transient(error) or self._stop.is_set():
                    raise
                if time.monotonic() + pause > deadline:
                    raise errors.GaveUp from error
            self._stop.wait(pause)
            pause = min(2 * pause, limits.LONGEST_PAUSE)

    def _receive(self, item: Object, sink: DownloadSink) -> Object:
        before = sink.done
        try:
            return self._get(item, sink.write, lambda: f"bytes={sink.done}-" if sink.done else None)
        except errors.GaveUp:  # the time of a new attempt begins now
            if sink.done == before:
                raise
        return item

    def _get(self, item: Object, write: Callable[[bytes], object], missing: Callable[[], str | None]) -> Object:
        """Passes on the bytes of an object; returns it with the checksum that the server reports.

        Args:
            item: The object.
            write: Takes some bytes.
            missing: Returns the range of bytes that are still to come, None for all.
        """

        def get(**options: Any) -> Any:
            wanted = missing()
            answer = self._reader.get_object(**options, **({"Range": wanted} if wanted else {}))
            with contextlib.closing(answer["Body"]) as body:
                if wanted and answer["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.PARTIAL_CONTENT:
                    raise OSError("the server does not send a part of an object")
                while data := body.read(READ):
                    write(data)
            return answer

        try:
            answer = self._ask(get, Key=item.name, **_condition(item))
        except aws.ClientError as error:
            if item.version is not None and errors.status(error) in {
                HTTPStatus.NOT_FOUND,
                HTTPStatus.PRECONDITION_FAILED,
            }:
                raise changed_error(self.address(item.name)) from error
            raise
        return item if item.has_checksum else replace(item, **_checksum(answer))

    def check_writes(self, name: str) -> None:
        """Checks that the server honours the conditions of uploads, in one request and in parts."""
        with self.translate_errors(self.address(name), done="written"):
            for size in (0, PART + 1):
                check_conditions(Upload(self._ask, self._writer, self.name, self._stop, name, size, "", IF_ABSENT))

    def _send(self, file: BinaryIO, name: str, *, replaces: Object | None, crc32c: str, size: int) -> Object | None:
        condition = _condition(replaces) or IF_ABSENT
        upload = Upload(self._ask, self._writer, self.name, self._stop, name, size, crc32c, condition)
        try:
            if size > PART:
                self._remove_abandoned(name)
            check_conditions(upload)
            version = upload.send(file)
        except aws.ClientError as error:
            if errors.code(error) in errors.DAMAGED:
                return None
            if errors.status(error) == HTTPStatus.PRECONDITION_FAILED or errors.code(error) in CONFLICTS:
                raise conflict_error(self.address(name)) from error
            raise
        return Object(name, size, crc32c=crc32c, version=version)

    def _remove_abandoned(self, name: str) -> None:
        place = self._writer.meta.endpoint_url, self.name, name.rpartition("/")[0] if is_content(name) else name
        if place not in TIDIED:
            TIDIED.add(place)
            remove_abandoned(self._ask, self._writer, name)


@functools.cache
def _loader() -> Any:
    """Returns what reads AWS's description of S3 from the disk, which takes 0.1 s, once for each process."""
    return botocore.loaders.create_loader()


def _condition(item: Object | None) -> dict[str, str]:
    return {"IfMatch": item.version} if item and item.version else {}


def _checksum(answer: Any) -> dict[str, Any]:
    """Returns the checksum that an answer about an object reports, as arguments of `Object`."""
    crc32c = answer["Metadata"].get(CRC32C)
    plain = PLAIN_MD5.fullmatch(answer["ETag"]) if answer.get("ServerSideEncryption") in MD5_ENCRYPTIONS else None
    own_key = answer.get("SSECustomerAlgorithm")
    return {"crc32c": crc32c, "md5": plain[1] if plain and not crc32c and not own_key else None}


def _fraction(version: str) -> int:
    """Returns whole microseconds, since some file systems have no nanoseconds."""
    return zlib.crc32(version.encode()) % 10**6 * 1000


def _to_object(name: str, size: int, modified: dt.datetime, version: str, **checksum: Any) -> Object:
    seconds = int(modified.timestamp())  # some servers have milliseconds in listings only
    return Object(name, size, seconds * SECOND, version=version, fraction=_fraction(version), **checksum)
