"""A proxy between a program and a server of objects, which adds faults and takes note of the requests.

The requests of all kinds of storage have the same names here: `upload`, `download`, `find`, `list`, `delete`; for large
objects `begin`, `part`, `complete`, `abort` (with Google's storage, `upload` begins and the last `part` completes).
"""

import contextlib
import http.client
import http.server
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

READ = ("find", "download", "list")


@dataclass
class Fault:
    """A fault that the proxy applies to the next requests of a kind.

    Attributes:
        kind: `status`: another answer, with `body`. `cut`: the connection breaks in the middle of the answer.
            `cut_request`: it breaks before the request is passed on. `lose`: it breaks after that. `spoil`: a bit of
            the answer's body is another. `spoil_request`: a bit of the request's. `wait`: nothing comes for `seconds`,
            or until `go_on` is set.
        times: How many requests it meets.
        action: Only requests of this name, or of one of these, if given.
        name: Only requests for objects, or below prefixes, with this text in their name.
        spared: No requests for objects with this text in their name, if given.
        met: Requests that it has met.
    """

    kind: str
    times: int = 1
    action: str | tuple = ""
    name: str = ""
    spared: str = ""
    status: int = 503
    body: bytes = b""
    seconds: float = 0.0
    met: int = 0
    go_on: threading.Event = field(default_factory=threading.Event)

    def meets(self, action, name):
        wanted = (self.action,) if isinstance(self.action, str) else self.action
        spared = self.spared and self.spared in name
        return self.times > self.met and (wanted == ("",) or action in wanted) and self.name in name and not spared


@dataclass
class Traffic:
    """The settings of the proxy and the requests that it has seen.

    Attributes:
        faults: Those to come.
        asked: Name of every request, and of its object, and the range that is asked for.
        page: Objects on a page of a listing.
        delay: Seconds that every request takes longer.
        pace: Seconds between the tenths of a download.
        refused: Preconditions that did not hold.
        ignored: Headers that are not passed on, as if the server did not know them.
    """

    faults: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    page: int = 1000
    delay: float = 0.0
    pace: float = 0.0
    refused: int = 0
    ignored: tuple = ()

    def fail(self, kind, **settings):
        self.faults.append(Fault(kind, **settings))
        return self.faults[-1]

    def count(self, action, name=""):
        return len(self.of(action, name))

    def of(self, action, name=""):
        """Returns the requests of a kind: the name of the object and the range."""
        asked = [line.partition(" ") for line in self.asked]
        return [rest for found, _, rest in asked if found == action and name in rest]


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes requests on; a class for each kind of storage says which action a request is and adds what is missing."""

    protocol_version = "HTTP/1.1"

    def action(self, url, body):
        """Returns the name of a request, and that of its object or the prefix of a listing."""
        raise NotImplementedError

    def refusal(self, action, name, url, body):
        """Answers a request that the server must refuse; returns None for any other."""
        raise NotImplementedError

    def page(self, action, url, data):
        """Returns one page of a listing."""
        return data

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
        action, name = self.action(url, body)
        time.sleep(traffic.delay)
        with self.server.lock:
            traffic.asked.append(f"{action} {name} {self.headers.get('Range', '')}".rstrip())
            fault = next((fault for fault in traffic.faults if fault.meets(action, name)), Fault("none"))
            fault.met += 1
        if fault.kind == "status":
            return self.answer(action, fault.status, {}, fault.body)
        if fault.kind == "cut_request":
            return self.hang_up()
        fault.go_on.wait(fault.seconds)
        body = spoilt(body) if fault.kind == "spoil_request" else body
        with self.server.lock:  # so that a precondition is still true when its request is passed on
            answer = self.refusal(action, name, url, body) or self.forward(body)
        status, headers, data = answer
        if fault.kind == "lose" or (fault.kind == "cut" and not data):
            return self.hang_up()
        traffic.refused += status == 412
        data = self.page(action, url, data) if status == 200 else data
        data = spoilt(data) if fault.kind == "spoil" else data
        return self.answer(action, status, headers, data, cut=fault.kind == "cut")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on  # noqa: N815

    def forward(self, body):
        headers = {name: value for name, value in self.headers.items() if name not in self.server.traffic.ignored}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as connection:
            connection.request(self.command, self.path, body=body or None, headers=headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def answer(self, action, status, headers, data, *, cut=False):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "server", "date", "transfer-encoding"):
                self.send_header(name, value)
        size = {name.lower(): value for name, value in headers.items()}.get("content-length", "0")
        self.send_header("Content-Length", size if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        data = b"" if self.command == "HEAD" else data[: len(data) // 2] if cut else data
        pace = self.server.traffic.pace if action == "download" else 0.0
        part = max(1, len(data) // 10 if pace else len(data))
        for start in range(0, len(data), part):
            time.sleep(pace)
            self.wfile.write(data[start : start + part])
        if cut:
            time.sleep(0.05)  # a reset takes what is on the way, too
            self.hang_up()

    def hang_up(self):
        self.wfile.flush()
        self.connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # a reset instead of a normal close
        self.close_connection = True
        self.connection.close()


def spoilt(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data


@contextlib.contextmanager
def proxy(port, kind, certificate=None):
    """Runs a proxy of a kind, with TLS if it has a certificate, in front of a server; yields address and traffic."""
    with http.server.ThreadingHTTPServer(("localhost" if certificate else "127.0.0.1", 0), kind) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # ignores handshakes that the client refuses
        server.port, server.traffic, server.lock = port, Traffic(), threading.RLock()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            scheme = "https://localhost" if certificate else "http://127.0.0.1"
            yield f"{scheme}:{server.server_port}", server.traffic
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def running(command, port):
    """Runs a server as a separate process until the context ends; yields its port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
