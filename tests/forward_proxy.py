"""A forward proxy on this machine: it tunnels HTTPS and forwards HTTP, for those who log in."""

import base64
import contextlib
import select
import socket
import socketserver
from urllib.parse import urlsplit

from background_server import running

LOGIN = "me:secret-word"
NAME = "kfp.invalid"  # of this machine, which the proxy alone resolves


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (part := self.request.recv(65536)):
                return
            head += part
        lines, _, body = head.partition(b"\r\n\r\n")
        method, target, _ = lines.split(b"\r\n")[0].decode().split(" ")
        expected = b"proxy-authorization: basic " + base64.b64encode(LOGIN.encode()).lower()
        if expected not in lines.lower():
            self.request.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        self.server.targets.append((method, target))
        address = urlsplit(target if "://" in target else f"//{target}")
        host = "127.0.0.1" if address.hostname == NAME else address.hostname
        with socket.create_connection((host, address.port)) as other:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = target.partition("//")[2].partition("/")[2]
                request = lines.replace(target.encode(), f"/{path}".encode(), 1)
                other.sendall(request + b"\r\nConnection: close\r\n\r\n" + body)  # one request a connection
            self.tunnel(other)

    def tunnel(self, other):
        while True:
            ready, _, _ = select.select([self.request, other], [], [], 10)
            if not ready:
                return
            for one in ready:
                if not (part := one.recv(65536)):
                    return
                (other if one is self.request else self.request).sendall(part)


@contextlib.contextmanager
def run_proxy():
    """Runs a proxy; it has `url` without the login, and `targets`, what was asked of it."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.targets = []
    server.url = f"127.0.0.1:{server.server_address[1]}"
    with running(server):
        yield server
