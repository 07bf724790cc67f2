"""S3 for tests: moto's server as a real process, behind a proxy that adds faults and missing features.

moto checks no signatures and no MD5 of what it gets, and ignores If-Match when the parts of an object are put together.
The proxy adds the last two, so these are as its author understands Amazon's documentation, and it lets one conditional
write after the other through.
"""

import base64
import contextlib
import functools
import hashlib
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import botocore.session
from botocore.exceptions import ClientError
from bucket_proxy import Proxy, running
from ports import free_ports

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_REGION": "us-east-1"}
DAMAGED = b"<Error><Code>BadDigest</Code><Message>The Content-MD5 you specified did not match</Message></Error>"
CONFLICT = b"<Error><Code>PreconditionFailed</Code><Message>At least one condition did not hold</Message></Error>"
BY_METHOD = {"PUT": "upload", "GET": "download", "HEAD": "find", "DELETE": "delete"}


class S3Proxy(Proxy):
    def action(self, url, body):
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        name = urllib.parse.unquote(url.path.removeprefix("/").partition("/")[2])
        if not name:
            return "list uploads" if "uploads" in query else "list", query.get("prefix", "")
        if self.command == "POST":
            return "begin" if "uploads" in query else "complete", name
        if "uploadId" in query:
            return {"PUT": "part", "DELETE": "abort"}[self.command], name
        return BY_METHOD[self.command], name

    def refusal(self, action, name, url, body):
        sent = self.headers.get("Content-MD5")
        if sent and sent != base64.b64encode(hashlib.md5(body).digest()).decode():
            return 400, {}, DAMAGED
        wanted = None if "If-Match" in self.server.traffic.ignored else self.headers.get("If-Match")
        if action == "complete" and wanted and wanted != self.etag(url.path):
            return 412, {}, CONFLICT
        return None

    def etag(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.port}{path}", method="HEAD")
        try:
            with urllib.request.urlopen(request) as response:
                return response.headers["ETag"]
        except urllib.error.HTTPError as error:
            error.close()
            return None

    def forward(self, body):
        if "list-type=2" in self.path and "max-keys" not in self.path:
            self.path += f"&max-keys={self.server.traffic.page}"
        return super().forward(body)


class Objects:
    """The objects of a bucket, through AWS's own client, with as much of the interface of Google's as tests use."""

    def __init__(self, port, name):
        self.name = name
        self.client = client(port)

    def close(self):
        self.client.close()

    def list_blobs(self, prefix=""):
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", ())
        return [self.blob(item["Key"]) for item in found]

    def get_blob(self, name):
        try:
            head = self.client.head_object(Bucket=self.name, Key=name)
        except ClientError:
            return None
        return SimpleNamespace(content_type=head["ContentType"], generation=head["LastModified"])

    def blob(self, name):
        place = {"Bucket": self.name, "Key": name}
        return SimpleNamespace(
            name=name,
            upload_from_string=lambda data: self.client.put_object(**place, Body=data),
            upload_from_filename=lambda path: self.client.put_object(**place, Body=Path(path).read_bytes()),
            download_as_bytes=lambda: self.client.get_object(**place)["Body"].read(),
            delete=lambda: self.client.delete_object(**place),
        )

    def unfinished(self):
        """Returns the names of objects of which parts are stored that were never put together."""
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]


def client(port):
    """Returns AWS's client of a server on this machine."""
    return _session().create_client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@functools.cache
def _session():
    """AWS's description of S3 is read once, which takes 0.1 s."""
    return botocore.session.Session()


def emulator():
    """Runs moto's server, with its objects in memory, as a separate process; yields its port."""
    [port] = free_ports(1)
    return running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port)


def create(port, name):
    """Creates an empty bucket in a server without other objects."""
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")).close()
    with contextlib.closing(client(port)) as made:
        made.create_bucket(Bucket=name)
