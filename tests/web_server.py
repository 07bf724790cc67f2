"""A TLS web server for tests, which misbehaves at some addresses."""

import contextlib
import datetime as dt
import http.server
import ssl
import threading
import time

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DATA = np.random.default_rng(0).bytes(2_500_000)
MODIFIED = "Tue, 03 Mar 2026 10:20:30 GMT"
SECONDS = 1772533230


class Cut(bytes):
    """Content of which the server sends only the first thousand bytes."""


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass


class Handler(Quiet):
    """Serves the files of `server.files`, and misbehaves at some addresses."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        behaviour = getattr(self, f"serve_{path[1:]}", None)
        if behaviour:
            behaviour()
        elif path in self.server.files:
            self.answer(200, self.server.files[path], {"Last-Modified": self.server.modified})
        else:
            self.answer(404)

    def answer(self, code, data=b"", headers=(), *, length=None):
        self.send_response(code)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        with contextlib.suppress(
            ConnectionError, ssl.SSLError
        ):  # a client that already has the file closes the connection
            self.wfile.write(data[:1000] if isinstance(data, Cut) else data)
        self.close_connection = isinstance(data, Cut)

    def serve_forbidden(self):
        self.answer(403)

    def serve_login(self):
        self.answer(401)

    def serve_broken(self):
        self.answer(500)

    def serve_cut(self):
        self.answer(200, Cut(DATA))

    def serve_slow(self):
        self.answer(200, DATA[:1_500_000], length=len(DATA))
        self.server.half.set()
        self.server.go_on.wait(60)
        self.close_connection = True

    def serve_late(self):
        time.sleep(1.0)
        self.answer(200, self.server.files["/late"], {"Last-Modified": self.server.modified})

    def serve_chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (DATA[:7], DATA[7:], b""):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")

    def serve_endless(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(DATA[:10])
        self.close_connection = True

    def serve_moved(self):
        self.answer(302, headers={"Location": "/data.npz"})

    def serve_downgrade(self):
        self.answer(302, headers={"Location": f"http://localhost:{self.server.server_port}/data.npz"})


def certificate(folder):
    """Writes a certificate for `localhost` with its key; returns the file that contains both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + private)
    return path


@contextlib.contextmanager
def serving(trusted):
    """Runs the server with a certificate file. Its `url` has no slash at the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.handle_error = lambda *_: None  # ignores handshakes that the client refuses
        running.files, running.asked, running.modified = {"/data.npz": DATA}, [], MODIFIED
        running.half, running.go_on = threading.Event(), threading.Event()
        running.url = f"https://localhost:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield running
        finally:
            running.go_on.set()
            running.shutdown()
            thread.join()
