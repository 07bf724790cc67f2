"""Opens the bucket of an address, of whichever storage."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from ganlib.remote.bucket import Bucket
from ganlib.remote.gs import GoogleBucket
from ganlib.remote.s3 import S3Bucket

STORAGES = {"gs": GoogleBucket, "s3": S3Bucket}
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]")  # of a bucket
VARIABLES = ("STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def is_bucket(location: str) -> bool:
    """Returns whether a location is an address of a bucket, `gs://` or `s3://`."""
    return location.partition("://")[0] in STORAGES and "://" in location


def connect(location: str) -> tuple[Bucket, str]:
    """Returns the bucket of an address, and the name within the bucket, which may be empty."""
    scheme, _, rest = location.partition("://")
    name, _, path = rest.partition("/")
    if not is_bucket(location) or not NAME.fullmatch(name):
        raise ValueError(
            f"expected an address of the form gs://bucket/name or s3://bucket/name. Received: path={location!r}"
        )
    return STORAGES[scheme].connect(name, location), path


@contextlib.contextmanager
def open_bucket(location: str) -> Iterator[tuple[Bucket, str]]:
    """Yields the bucket of an address, and the name within it. Closes the connections at the end."""
    bucket, path = connect(location)
    with contextlib.closing(bucket):
        yield bucket, path


def settings() -> tuple[str | None, ...]:
    """Returns what this process's connections depend on: itself, and the servers that its environment names."""
    return str(os.getpid()), *map(os.environ.get, VARIABLES)
