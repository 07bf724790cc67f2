"""Keeps the page by itself: nothing outside may call its server, and it calls nothing outside."""

from __future__ import annotations

import re

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # The browser itself refuses every address outside of the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")  # names of this machine alone
PORT = re.compile(r":\d{1,5}$")


class Guard:
    """Refuses what other pages of the web send, and adds the headers that bind the browser to this server.

    It is plain ASGI, since Starlette's `BaseHTTPMiddleware` hides that a browser has left.

    Args:
        app: The application.
        hosts: Names by which browsers may call the server; None for any. Otherwise a page of the web could reach a
            local server by a name of its own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self._refused(Request(scope))
        app = self._app if refused is None else JSONResponse({"error": f"refused: {refused}"}, status_code=403)
        await app(scope, receive, send_with_headers)

    def _refused(self, request: Request) -> str | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return origin
        # Pictures and scripts of other pages come without an origin. A link to the page is no harm.
        site = request.headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and request.url.path != "/":
            return f"a request of another page ({site})"
        # Not `request.url`: it takes the server's own address in place of a name that it cannot parse.
        name = PORT.sub("", host).removeprefix("[").removesuffix("]")
        return host or "no host" if self._hosts is not None and name not in self._hosts else None
