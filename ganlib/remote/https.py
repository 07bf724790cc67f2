"""Files of web servers, only over `https://` and with a verified certificate."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import re
import socket
import ssl
import string
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from ganlib.remote.file import CHUNK, TIMEOUT, RemoteFile, Sink, first_line

USER = re.compile("https://[^/?#]*@")
DENIED = {401: "the server requires a login", 403: "access is denied", 404: "no such file", 410: "the file is gone"}


@contextlib.contextmanager
def open_location(location: str) -> Iterator[RemoteFile]:
    """Opens a file; see `ganlib.remote.open_location`."""
    with _request(location) as response:
        if response.length is None and not response.chunked:
            raise OSError(f"the server does not report the size of the file. Received: path={location!r}")

        def copy(sink: Sink) -> None:
            try:
                while data := response.read(CHUNK):
                    sink.write(data)
            except (OSError, http.client.HTTPException) as error:
                raise OSError(f"the download failed: {first_line(error)}. Received: path={location!r}") from error

        yield RemoteFile(location, response.length, _modified(response.headers["Last-Modified"]), None, copy)


def _request(location: str) -> http.client.HTTPResponse:
    if USER.match(location):  # not shown, to keep passwords out of logs and manifests
        raise ValueError("expected an address without a user and password. Received: path='https://...@...'")
    address = urllib.parse.quote(location, safe=string.punctuation)
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "gan-pipelines"})  # noqa: S310  # it is https
    except ValueError as error:
        raise ValueError(f"not an address: {error}. Received: path={location!r}") from error
    try:
        return urllib.request.build_opener(_HttpsRedirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in DENIED:
            raise ValueError(f"{DENIED[error.code]} ({error.code}). Received: path={location!r}") from error
        raise OSError(f"the server answers {error.code} {error.reason}. Received: path={location!r}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise OSError(f"{_connection_problem(reason)}. Received: path={location!r}") from error


def _connection_problem(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return "host not found"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {reason.verify_message}"
    return f"the server cannot be reached: {first_line(reason)}"


def _modified(header: str | None) -> int | None:
    """Returns the time of the header Last-Modified in nanoseconds; its resolution is a second."""
    try:
        return int(email.utils.parsedate_to_datetime(header or "").timestamp()) * 10**9
    except ValueError:
        return None


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https:// addresses only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            fp.close()
            raise ValueError(f"the server redirects to an address without https://. Received: path={req.full_url!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
