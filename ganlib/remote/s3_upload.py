"""Uploads to S3: in one request, or in parts if the object is large."""

from __future__ import annotations

import base64
import contextlib
import mimetypes
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from etils import epy

from ganlib.remote import s3_errors as errors
from ganlib.remote.bucket import MD5, PART, checksum_error
from ganlib.remote.file import to_base64
from ganlib.remote.transfers import run_parallel

with epy.lazy_imports():
    import google_crc32c
    from botocore import exceptions as aws

CRC32C = "gan-pipelines-crc32c"  # name of the checksum in the metadata of an object
IF_ABSENT = {"IfNoneMatch": "*"}
CONTENT = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{32})?")
MOST_PARTS = 10_000
PARTS_AT_ONCE = 2  # of each object; they are in memory
ABANDONED = 24 * 3600.0  # seconds after which an upload that did not end is taken as interrupted


@dataclass(frozen=True, slots=True)
class Upload:
    """One object to be sent.

    Attributes:
        ask: Makes a request to the bucket, and repeats it if it fails for a transient reason.
        client: Client of botocore.
        bucket: Name of the bucket.
        stop: Set when the transfer should end.
        name: Name of the object.
        size: Number of bytes to send.
        crc32c: Their checksum.
        condition: Condition on the object that exists, as arguments of a request.
    """

    ask: Callable[..., Any]
    client: Any
    bucket: str
    stop: threading.Event
    name: str
    size: int
    crc32c: str
    condition: dict[str, str]

    @property
    def part_size(self) -> int:
        """Number of bytes of each part but the last one."""
        return max(PART, -(-self.size // MOST_PARTS))

    def send(self, file: BinaryIO) -> str:
        """Sends the first bytes of a file; returns the ETag of the object."""
        if self.size > PART:
            return self.send_parts(file)
        data = file.read(self.size)
        self._check(google_crc32c.value(data))
        answer = self.ask(
            self.client.put_object, Body=data, ContentMD5=_md5(data), **self._description(), **self.condition
        )
        return str(answer["ETag"])

    def _description(self) -> dict[str, Any]:
        kind = mimetypes.guess_type(self.name)[0] or "application/octet-stream"
        return {"Key": self.name, "ContentType": kind, "Metadata": {CRC32C: self.crc32c}}

    def _check(self, crc: int) -> None:
        if to_base64(crc) != self.crc32c:
            raise checksum_error(f"s3://{self.bucket}/{self.name}")  # the file was changed after it was read

    def send_parts(self, file: BinaryIO) -> str:
        """Sends several parts at a time. If that fails, the parts are removed, since they would cost money."""
        begun = self.ask(self.client.create_multipart_upload, **self._description())
        upload = {"Key": self.name, "UploadId": begun["UploadId"]}
        sent: dict[int, str] = {}

        def send(part: tuple[int, bytes]) -> None:
            number, data = part
            sent[number] = self.ask(
                self.client.upload_part, PartNumber=number, Body=data, ContentMD5=_md5(data), **upload
            )["ETag"]

        try:
            run_parallel(send, self._parts(file), threads=PARTS_AT_ONCE, stop=threading.Event())
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(sent.items())]
            answer = self.ask(
                self.client.complete_multipart_upload, MultipartUpload={"Parts": parts}, **upload, **self.condition
            )
        except BaseException:
            with contextlib.suppress(aws.BotoCoreError, aws.ClientError):  # `remove_abandoned` will remove them then
                self.client.abort_multipart_upload(Bucket=self.bucket, **upload)
            raise
        return str(answer["ETag"])

    def _parts(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        crc = 0
        for number, start in enumerate(range(0, self.size, self.part_size), 1):
            if self.stop.is_set():
                raise OSError("stopped")
            data = file.read(min(self.part_size, self.size - start))
            crc = google_crc32c.extend(crc, data)
            yield number, data
        self._check(crc)


def is_content(name: str) -> bool:
    """Returns whether an object is named by its content, as only mirrors do."""
    return CONTENT.fullmatch(name.rpartition("/")[2]) is not None


def remove_abandoned(ask: Callable[..., Any], client: Any, name: str) -> None:
    """Removes the parts of uploads of this program that began a day ago and never ended, since they cost money.

    These are uploads of the same object, and for an object named by its content, of such objects beside it. Others may
    belong to other programs.

    Args:
        ask: Makes a request to the bucket.
        client: Client of botocore.
        name: Name of the object that is going to be uploaded.
    """
    beside = name[: name.rfind("/") + 1] if is_content(name) else name
    before, place = time.time() - ABANDONED, {"Prefix": beside}
    try:
        while True:
            page = ask(client.list_multipart_uploads, **place)
            for upload in page.get("Uploads", ()):
                key = upload["Key"]
                is_own = key == name or (is_content(key) and is_content(name))
                if is_own and upload["Initiated"].timestamp() < before:
                    ask(client.abort_multipart_upload, Key=key, UploadId=upload["UploadId"])
            if not page.get("IsTruncated"):
                return
            place |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    except aws.ClientError as error:  # not permitted or not supported, which need not stop this upload
        reason = f"the server answers {errors.status(error)} {errors.code(error)}"
        print(f"upload: interrupted uploads of {beside!r} were not looked for: {reason}", flush=True)


def _md5(data: bytes) -> str:
    return base64.b64encode(MD5(data).digest()).decode()
