"""Whether a server of S3 honours the conditions of writes. Some ignore them, and then overwrite what they must not."""

from __future__ import annotations

import io
import threading
import uuid
from dataclasses import replace
from http import HTTPStatus

from etils import epy

from ganlib.remote import s3_errors as errors
from ganlib.remote.bucket import PART
from ganlib.remote.file import checksum
from ganlib.remote.s3_upload import IF_ABSENT, Upload

with epy.lazy_imports():
    from botocore import exceptions as aws

HONOURING: set[tuple[str, str, bool]] = set()  # servers and buckets that do; True for uploads in parts
WRONG_VERSION = {"IfMatch": f'"{"0" * 32}"'}
CONTENT = b"gan-pipelines tests with this object whether the server honours conditions. It may be removed.\n"
_LOCK = threading.Lock()


def check_conditions(upload: Upload) -> None:
    """Tests the conditions once for each bucket of a process, with a small object that is then removed.

    It is beside the object to be written, since permissions may end at a folder. Uploads in parts have a test of their
    own, since their condition is part of another request.

    Raises:
        ValueError: The server ignores conditions.
    """
    place = upload.client.meta.endpoint_url, upload.bucket, upload.size > PART
    with _LOCK:  # several threads begin to upload at the same time
        if place not in HONOURING:
            _test(upload)
            HONOURING.add(place)


def _test(upload: Upload) -> None:
    name = f"{upload.name[: upload.name.rfind('/') + 1]}.conditions-{uuid.uuid4().hex}"
    crc32c = checksum(io.BytesIO(CONTENT))
    written = replace(upload, name=name, size=len(CONTENT), crc32c=crc32c, condition={})
    written.send(io.BytesIO(CONTENT))
    try:
        for condition in (IF_ABSENT, WRONG_VERSION):
            again = replace(written, condition=condition)
            send = again.send_parts if upload.size > PART else again.send
            try:
                send(io.BytesIO(CONTENT))
            except aws.ClientError as error:
                if errors.status(error) != HTTPStatus.PRECONDITION_FAILED:
                    raise
            else:
                raise ValueError(f"{errors.NO_CONDITIONS}. Received: path={f's3://{upload.bucket}/{upload.name}'!r}")
    finally:
        _remove(written)


def _remove(written: Upload) -> None:
    try:
        written.ask(written.client.delete_object, Key=written.name)
    except aws.ClientError as error:  # not permitted, which need not stop the upload
        reason = f"the server answers {errors.status(error)} {errors.code(error)}"
        print(f"upload: the test object {written.name!r} was not removed: {reason}", flush=True)
