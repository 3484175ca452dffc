"""The server: routes over one Site, on this machine's own address."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from posttrain.errors import DataError, MissingExtraError, PosttrainError, StoreError
from posttrain.explorer.guard import App, Guard
from posttrain.explorer.index import Index, place_of
from posttrain.explorer.keeper import Keeper
from posttrain.explorer.library import Library
from posttrain.explorer.pages.table import PAGES
from posttrain.explorer.render import assets, render, render_error
from posttrain.explorer.site import Site

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route
except ImportError:
    raise MissingExtraError(
        "`posttrain explore` needs starlette and uvicorn, and they are not installed. Install them: "
        "pip install 'posttrain[explore]'. (--static DIR writes the pages without them.)"
    ) from None

HOST = "127.0.0.1"
KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
Answer = Callable[[Request], Any]


def bind(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1. StoreError where the port is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
        bound.listen(128)
    except (OSError, OverflowError) as problem:
        bound.close()
        raise StoreError(
            f"explore: can't listen on {HOST} port {port}: {problem}. Take another --port; 0 is any that is free."
        ) from None
    return bound


def open_site(root: Path) -> Site:
    """The folder's library with an index that a thread keeps; `site.keeper` is started by whoever serves it."""
    library = Library(root)
    index = Index(place_of(library.root))
    return Site(library, index, Keeper(library, index))


def application(site: Site, token: str, port: int) -> App:
    """The guarded app. `port`: where it listens, for the Host check."""
    routes = [
        Route("/", _home),
        *(Route(f"/{name}", _page(site, name)) for name in PAGES),
        Route("/raw", _raw(site)),
        Route("/assets/{name:path}", _asset),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _unknown(site)})
    hosts = frozenset({f"{HOST}:{port}", f"localhost:{port}"})
    return Guard(app, token, hosts, f"posttrain-explorer-{port}")


def serve(site: Site, bound: socket.socket, token: str) -> None:
    """Until interrupted."""
    config = uvicorn.Config(
        application(site, token, bound.getsockname()[1]),
        log_level="warning",
        lifespan="off",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    assert site.keeper is not None
    site.keeper.start()
    site.spare.wanted = True
    threading.Thread(target=_warm, args=(site,), name="explorer-warm", daemon=True).start()
    try:
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            uvicorn.Server(config).run(sockets=[bound])
    finally:
        site.keeper.close()
        site.spare.close()


def _warm(site: Site) -> None:
    """Makes the pages that count most once, so that the first person to open them finds everything counted."""
    for name in ("map", "compare"):
        _rendered(site, name, {})
    site.spare.prepare()


def new_token() -> str:
    return secrets.token_urlsafe(24)


async def _home(request: Request) -> Response:
    del request
    return RedirectResponse("/runs", 302)


def _page(site: Site, name: str) -> Answer:
    async def answer(request: Request) -> Response:
        params = dict(request.query_params)
        began = time.perf_counter()
        status, body = await run_in_threadpool(_rendered, site, name, params)
        background = BackgroundTask(site.spare.prepare) if name == "sql" else None
        spent = f"page;dur={1000 * (time.perf_counter() - began):.1f}"
        return HTMLResponse(body, status, {"cache-control": "no-store", "server-timing": spent}, background=background)

    return answer


def _rendered(site: Site, name: str, params: dict[str, str]) -> tuple[int, str]:
    part = "live" if name == "runs" and params.get("part") == "live" else None
    try:
        return 200, render(site, name, PAGES[name].make(site, params), part=part)
    except DataError as error:
        return 404, render_error(site, str(error))
    except PosttrainError as error:
        return 500, render_error(site, str(error))


def _raw(site: Site) -> Answer:
    """One response as it is, as plain text."""

    async def answer(request: Request) -> Response:
        params = request.query_params
        try:
            found = site.set(params.get("set", ""))
        except DataError as error:
            return PlainTextResponse(str(error), 404)
        rows = await run_in_threadpool(site.answers, [found], params.get("problem", ""))
        for row in rows.get(found.name, ()):
            if str(row.index) == params.get("sample", "0"):
                return PlainTextResponse(row.response, headers={"cache-control": "no-store"})
        return PlainTextResponse("There is no such sample here.", 404)

    return answer


async def _asset(request: Request) -> Response:
    path = assets().get(request.path_params["name"])
    if path is None:
        return PlainTextResponse("There is no such file.", 404)
    kept = {"cache-control": "private, max-age=31536000, immutable"} if request.query_params.get("v") else {}
    return Response(path.read_bytes(), media_type=KINDS.get(path.suffix, "application/octet-stream"), headers=kept)


def _unknown(site: Site) -> Callable[[Request, Exception], Any]:
    async def answer(request: Request, error: Exception) -> Response:
        del request, error
        return HTMLResponse(render_error(site, "There is no such page. The bar above has those that there are."), 404)

    return answer
