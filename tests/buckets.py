"""Google's storage for tests: an emulator as a real process, behind a proxy that adds faults and missing features.

The emulator (`gcp-storage-emulator`) answers one request at a time; it knows no preconditions, no pages, and takes no
part of an upload twice; a download brings the present content whatever generation is asked for. The proxy adds
preconditions, pages and generations, so these are as its author understands Google's documentation.
"""

import contextlib
import http.client
import http.server
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from ports import free_ports


@dataclass
class Fault:
    """A fault that the proxy applies to the next requests of a kind.

    Attributes:
        kind: `status`: another answer, without a body. `cut`: the connection breaks in the middle of the answer.
            `cut_request`: it breaks before the request is passed on. `lose`: it breaks after that. `spoil`: a bit of
            the answer's body is another. `spoil_request`: a bit of the request's. `wait`: nothing comes for `seconds`,
            or until `go_on` is set.
        times: How many requests it meets.
        method: Only requests of this method, if given.
        path: Only requests with this text in their address, or in the first part of their body.
        met: Requests that it has met.
    """

    kind: str
    times: int = 1
    method: str = ""
    path: str = ""
    status: int = 503
    seconds: float = 0.0
    met: int = 0
    go_on: threading.Event = field(default_factory=threading.Event)

    def meets(self, method, asked):
        return self.times > self.met and self.method in ("", method) and self.path in asked


@dataclass
class Traffic:
    """The settings of the proxy and the requests that it has seen.

    Attributes:
        faults: Those to come.
        asked: Method and path of every request, the name of its object, and the range that is asked for.
        page: Objects on a page of a listing.
        delay: Seconds that every request takes longer.
        pace: Seconds between the tenths of a download.
        refused: Preconditions that did not hold.
    """

    faults: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    page: int = 1000
    delay: float = 0.0
    pace: float = 0.0
    refused: int = 0

    def fail(self, kind, **settings):
        self.faults.append(Fault(kind, **settings))
        return self.faults[-1]

    def count(self, word):
        return sum(word in asked for asked in self.asked)


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError, ValueError):  # closed by either side
            super().handle()

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def pass_on(self):
        traffic = self.server.traffic
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        asked = f"{urllib.parse.unquote(url.path)} {_named(url, body)}"
        time.sleep(traffic.delay)
        with self.server.lock:
            traffic.asked.append(f"{self.command} {asked} {self.headers.get('Range', '')}".rstrip())
            fault = next((fault for fault in traffic.faults if fault.meets(self.command, asked)), Fault("none"))
            fault.met += 1
        if fault.kind == "status":
            return self.answer(fault.status, {}, b"")
        if fault.kind == "cut_request":
            return self.hang_up()
        fault.go_on.wait(fault.seconds)
        with self.server.lock:  # so that a precondition is still true when its request is passed on
            answer = self.refusal(url, body) or self.forward(_spoilt(body) if fault.kind == "spoil_request" else body)
        if fault.kind == "lose":
            return self.hang_up()
        status, headers, data = answer
        data = self.page(url, data) if status == 200 and self.command == "GET" and url.path.endswith("/o") else data
        return self.answer(status, headers, _spoilt(data) if fault.kind == "spoil" else data, cut=fault.kind == "cut")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on  # noqa: N815

    def forward(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body=body or None, headers=dict(self.headers))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def refusal(self, url, body):
        """Answers a request for a generation that does not exist; returns None for any other."""
        query = dict(urllib.parse.parse_qsl(url.query))
        name = _named(url, body)
        if "ifGenerationMatch" in query and self.generation(name) != query["ifGenerationMatch"]:
            self.server.traffic.refused += 1
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

    def page(self, url, data):
        """Returns one page of a listing."""
        query = dict(urllib.parse.parse_qsl(url.query))
        listing = json.loads(data)
        start, items = int(query.get("pageToken", 0)), listing.get("items", [])
        end = start + min(int(query.get("maxResults", 1000)), self.server.traffic.page)
        listing["items"] = items[start:end]
        if end < len(items):
            listing["nextPageToken"] = str(end)
        return json.dumps(listing).encode()

    def answer(self, status, headers, data, *, cut=False):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        data = data[: len(data) // 2] if cut else data
        pace = self.server.traffic.pace if self.path.startswith("/download") else 0.0
        part = max(1, len(data) // 10 if pace else len(data))
        for start in range(0, len(data), part):
            time.sleep(pace)
            self.wfile.write(data[start : start + part])
        if cut:
            self.hang_up()

    def hang_up(self):
        self.wfile.flush()
        self.connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # a reset instead of a normal close
        self.close_connection = True
        self.connection.close()


def _named(url, body):
    """Returns the name of the object of a request, or "" if there is none."""
    query = dict(urllib.parse.parse_qsl(url.query))
    if "upload_id" in query:  # the emulator forms it from the bucket, the name and the time
        return query["upload_id"].partition(":")[2].rsplit(":", 3)[0]
    if "uploadType" in query:
        metadata = body if body.startswith(b"{") else body[body.find(b"{") :]
        return json.JSONDecoder().raw_decode(metadata.decode("utf-8", "replace"))[0]["name"]
    return urllib.parse.unquote(url.path.partition("/o/")[2])


def _spoilt(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data


@contextlib.contextmanager
def emulator():
    """Runs an emulator, with its objects in memory, as a separate process; yields its port."""
    [port] = free_ports(1)
    words = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "-q"]
    process = subprocess.Popen([sys.executable, "-m", "gcp_storage_emulator", *words], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert process.poll() is None
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def proxy(port):
    """Runs a proxy in front of an emulator; yields its address and its traffic."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.port, server.traffic, server.lock = port, Traffic(), threading.RLock()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.traffic
        finally:
            server.shutdown()
            thread.join()


def create(port, name):
    """Creates an empty bucket in an emulator without other objects."""
    urllib.request.urlopen(f"http://127.0.0.1:{port}/wipe").close()
    data = json.dumps({"name": name}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/storage/v1/b?project=test", data=data)
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request).close()
