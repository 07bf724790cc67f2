"""The server of the page: the page itself, images of seeds, and pictures that are sent to it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import uvicorn
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.telemetry import TelemetryConfig

from ganlib.demo import generation, pictures
from ganlib.demo.generation import ImagesChoice, WalkChoice
from ganlib.demo.guard import LOOPBACK, Guard
from ganlib.demo.model import DemoModel
from ganlib.inference import FunctionError, RefusedError
from ganlib.inference.generate import Animation

MOST_BYTES = 100_000_000  # of what is sent
SCRIPTS = ("page.js", "generation.js", "pictures.js", "brush.js", "server.js", "dom.js")
PAGE = {"/": "page.html", **{f"/{name}": name for name in ("page.css", *SCRIPTS)}}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
Result = TypeVar("Result")
EXPECTED = (ValueError, FunctionError, MemoryError)
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
FILES = {"zip": "application/zip", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}


def build_app(model: DemoModel, *, hosts: tuple[str, ...] | None = LOOPBACK) -> FastAPI:
    """Returns the application.

    Args:
        model: The model that people play with.
        hosts: See `Guard`.
    """
    # No pages of docs, which load scripts from elsewhere; no traces, which the environment may export.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry=NO_TELEMETRY)
    _add_errors(app)
    app.add_middleware(Guard, hosts=hosts)
    for path, name in PAGE.items():
        app.add_api_route(path, _file(Path(__file__).with_name(name)), methods=["GET"], response_class=Response)
    app.add_api_route("/api/model", lambda: {**model.facts, "most_bytes": MOST_BYTES}, methods=["GET"])
    _add_generation(app, model)
    _add_pictures(app, model)
    return app


def _file(path: Path) -> Callable[[], Response]:
    """Returns what answers with a file. It has no parameters, since FastAPI lets a request set those."""
    content = Response(path.read_bytes(), media_type=TYPES[path.suffix])

    def send() -> Response:
        return content

    return send


def _add_generation(app: FastAPI, model: DemoModel) -> None:
    async def download(request: Request, make: Callable[[], bytes], kind: str, name: str) -> Response:
        content = await _in_turn(model, request, make)
        disposition = f'attachment; filename="{name}.{kind}"'
        return Response(content, media_type=FILES[kind], headers={"Content-Disposition": disposition})

    @app.get("/api/images")
    async def images(request: Request, choice: Annotated[ImagesChoice, Query()]) -> Response:
        made = await _in_turn(model, request, lambda: generation.seed_images(model.generator, choice))
        return JSONResponse(generation.addresses(made))

    @app.get("/api/images.zip")
    async def archive(request: Request, choice: Annotated[ImagesChoice, Query()]) -> Response:
        return await download(
            request, lambda: generation.archive(model.generator, choice), "zip", f"seed-{choice.seed}"
        )

    @app.get("/api/images.png")
    async def sheet(request: Request, choice: Annotated[ImagesChoice, Query()]) -> Response:
        return await download(request, lambda: generation.sheet(model.generator, choice), "png", f"seed-{choice.seed}")

    @app.get("/api/walk")
    async def walk(request: Request, choice: Annotated[WalkChoice, Query()]) -> Response:
        made = await _in_turn(model, request, lambda: list(generation.walk(model.generator, choice)))
        return JSONResponse(generation.addresses(made))

    @app.get("/api/walk.{kind}")
    async def animation(request: Request, kind: Animation, choice: Annotated[WalkChoice, Query()]) -> Response:
        name = f"seed-{choice.seed}-to-{choice.to}"
        return await download(request, lambda: generation.animation(model.generator, choice, kind), kind, name)


async def _in_turn(model: DemoModel, request: Request, work: Callable[[], Result]) -> Result:
    """Uses the network in a thread, when it is free, and unless nobody waits for the result any more.

    A page whose slider moves asks again and again; only the last answer is wanted.
    """
    stop = threading.Event()

    def run() -> Result:
        with model.alone(stop):
            return work()

    task = asyncio.ensure_future(anyio.to_thread.run_sync(run))
    try:
        while not (await asyncio.wait([task], timeout=0.3))[0]:
            if await request.is_disconnected():
                stop.set()
        return task.result()
    finally:
        stop.set()


def _add_pictures(app: FastAPI, model: DemoModel) -> None:
    @app.post("/api/show")
    async def show(request: Request, function: str) -> Response:
        chosen, data = model.function(function), await _body(request)
        return Response(_framed(await anyio.to_thread.run_sync(pictures.show, chosen, data)))

    @app.post("/api/make")
    async def make(request: Request, function: str, picture: Annotated[int, Query(ge=0)]) -> Response:
        """Takes the bytes of the picture, whose number is `picture`, and behind them those of its mask.

        What was sent is read before the answer begins, so what can be read to be wrong has the status 400. The status
        of an answer that has begun cannot change: if the network fails, or itself refuses the picture, the last line
        says so instead of the sizes.
        """
        chosen, data = model.function(function), await _body(request)
        given = await anyio.to_thread.run_sync(pictures.read, chosen, data[:picture], data[picture:])

        def work(report: Callable[[float], None], stop: threading.Event) -> pictures.Answer:
            return pictures.make(model, chosen, given, report=report, stop=stop)

        return StreamingResponse(_progress(work), media_type="application/octet-stream")


async def _progress(
    work: Callable[[Callable[[float], None], threading.Event], pictures.Answer],
) -> AsyncIterator[bytes]:
    """Yields a line of JSON for each part that is done, and then the answer. The work stops when nobody reads it."""
    loop, stop = asyncio.get_running_loop(), threading.Event()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(line: bytes | None) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    def run() -> None:
        try:
            put(_framed(work(lambda share: put(_line({"share": share})), stop)))
        except InterruptedError:
            pass
        except Exception as error:  # noqa: BLE001  # the page shows it in words
            if not isinstance(error, EXPECTED):
                traceback.print_exception(error)
            put(_line({"error": _words(error)}))
        put(None)

    done = loop.run_in_executor(None, run)
    try:
        while (line := await lines.get()) is not None:
            yield line
        await done
    finally:
        stop.set()


def _framed(answer: pictures.Answer) -> bytes:
    """Returns an answer as a line of JSON with the sizes of the files, and behind it the files."""
    return _line({"notes": answer.notes, "sizes": [len(file) for file in answer.files]}) + b"".join(answer.files)


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


async def _body(request: Request) -> bytes:
    """Returns what was sent, as long as that is not too much."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise ValueError(f"expected a file of at most {MOST_BYTES // 10**6} MB")
    return bytes(data)


def _words(error: Exception) -> str:
    """Returns one line for the page; the terminal of the server has what nobody expects."""
    if isinstance(error, MemoryError):
        return "too little memory"
    if isinstance(error, EXPECTED):
        return " ".join(str(error).split())
    return f"the server failed: {type(error).__name__}; its terminal says more"


def _problem(item: Mapping[str, Any]) -> str:
    """Returns what is wrong with a field of a request."""
    name = item["loc"][-1]
    return f"{name}: {item['msg'].lower()}. Received: {name}={str(item.get('input'))[:80]}"


def _add_errors(app: FastAPI) -> None:
    async def mistake(_request: Request, error: Exception) -> Response:
        text = "; ".join(map(_problem, error.errors())) if isinstance(error, RequestValidationError) else _words(error)
        return JSONResponse({"error": text}, status_code=400)

    async def failure(_request: Request, error: Exception) -> Response:
        return JSONResponse({"error": _words(error)}, status_code=500)

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    handlers = {mistake: (RequestValidationError, RefusedError, ValueError), gone: (InterruptedError,)}
    for handler, kinds in {**handlers, failure: (FunctionError, MemoryError, Exception)}.items():
        for kind in kinds:
            app.add_exception_handler(kind, handler)


def serve(model: DemoModel, *, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serves the page until the process is told to stop.

    Args:
        model: The model that people play with.
        host: Name or number of this machine to listen at.
        port: Port to listen at, 0 for a free one.
        ready: Called with the address of the page.

    Raises:
        ValueError: The address is not free, or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"expected a free address of this machine ({reason}). Received: {host=!s}, {port=}") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        app = build_app(model, hosts=LOOPBACK if host in LOOPBACK else None)
        config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=2)
        ready(f"http://{shown}:{listening.getsockname()[1]}")
        sys.stdout.flush()
        uvicorn.Server(config).run(sockets=[listening])
