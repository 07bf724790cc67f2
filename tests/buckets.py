"""Google's storage for tests: an emulator as a real process, behind a proxy that adds faults and missing features.

The emulator (`gcp-storage-emulator`) answers one request at a time; it knows no preconditions, no pages, and takes no
part of an upload twice; a download brings the present content whatever generation is asked for. The proxy adds
preconditions, pages and generations, so these are as its author understands Google's documentation.
"""

import json
import re
import sys
import urllib.parse
import urllib.request

from bucket_proxy import Proxy, running
from ports import free_ports

BUCKET = re.compile("/storage/v1/b/[^/]+")


class GoogleProxy(Proxy):
    def action(self, url, body):
        query = dict(urllib.parse.parse_qsl(url.query))
        if self.command == "GET" and url.path.startswith("/download"):
            return "download", _named(url, body)
        if self.command in ("POST", "PUT"):
            return {"POST": "upload", "PUT": "part"}[self.command], _named(url, body)
        if BUCKET.fullmatch(url.path):
            return "bucket", ""
        if url.path.endswith("/o"):
            return "list", query.get("prefix", "")
        return {"GET": "find", "DELETE": "delete"}[self.command], _named(url, body)

    def refusal(self, action, name, url, body):
        """Answers a request for a generation that does not exist; returns None for any other."""
        query = dict(urllib.parse.parse_qsl(url.query))
        if "ifGenerationMatch" in query and self.generation(name) != query["ifGenerationMatch"]:
            return 412, {}, b'{"error": {"code": 412, "message": "conditionNotMet"}}'
        if "generation" in query and self.generation(name) != query["generation"]:
            return 404, {}, b'{"error": {"code": 404, "message": "No such object"}}'
        return None

    def generation(self, name):
        """Returns the generation of an object according to the emulator; "0" if it does not exist."""
        bucket = self.path.partition("/b/")[2].partition("/")[0]
        address = f"http://127.0.0.1:{self.server.port}/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}"
        try:
            with urllib.request.urlopen(address) as response:
                return json.load(response)["generation"]
        except urllib.error.HTTPError as error:
            error.close()
            return "0"

    def page(self, action, url, data):
        """Returns one page of a listing."""
        if action != "list":
            return data
        query = dict(urllib.parse.parse_qsl(url.query))
        listing = json.loads(data)
        start, items = int(query.get("pageToken", 0)), listing.get("items", [])
        end = start + min(int(query.get("maxResults", 1000)), self.server.traffic.page)
        listing["items"] = items[start:end]
        if end < len(items):
            listing["nextPageToken"] = str(end)
        return json.dumps(listing).encode()


def _named(url, body):
    """Returns the name of the object of a request, or "" if there is none."""
    query = dict(urllib.parse.parse_qsl(url.query))
    if "upload_id" in query:  # the emulator forms it from the bucket, the name and the time
        return query["upload_id"].partition(":")[2].rsplit(":", 3)[0]
    if "uploadType" in query:
        metadata = body if body.startswith(b"{") else body[body.find(b"{") :]
        return json.JSONDecoder().raw_decode(metadata.decode("utf-8", "replace"))[0]["name"]
    return urllib.parse.unquote(url.path.partition("/o/")[2])


def emulator():
    """Runs an emulator, with its objects in memory, as a separate process; yields its port."""
    [port] = free_ports(1)
    words = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "-q"]
    return running([sys.executable, "-m", "gcp_storage_emulator", *words], port)


def create(port, name):
    """Creates an empty bucket in an emulator without other objects."""
    urllib.request.urlopen(f"http://127.0.0.1:{port}/wipe").close()
    data = json.dumps({"name": name}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/storage/v1/b?project=test", data=data)
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request).close()
