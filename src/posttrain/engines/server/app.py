"""The routes: /v1/models, /v1/completions, /v1/chat/completions, /health; and the server around them."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from posttrain.engines.native import NativeEngine
from posttrain.engines.server.loop import EngineLoop, Piece
from posttrain.engines.server.replies import Choice, envelope, error, usage
from posttrain.engines.server.requests import Asked, BadRequest, Limits, read_json, read_request
from posttrain.errors import EngineError, MissingExtraError

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
except ImportError:
    raise MissingExtraError(
        "`posttrain serve` needs starlette and uvicorn, and they are not installed. Install them: "
        "pip install 'posttrain[serve]'."
    ) from None


class Server:
    """The application over one engine. `key`: clients must send it as a bearer token; None = anybody may ask."""

    def __init__(
        self,
        engine: NativeEngine,
        tokenizer: Any,
        model: str,
        *,
        ends: tuple[int, ...],
        max_tokens: int | None = None,
        key: str | None = None,
    ) -> None:
        self.loop, self.tokenizer, self.model, self.ends, self.key = EngineLoop(engine), tokenizer, model, ends, key
        self.limits = Limits(engine.vocab, engine.context, max_tokens)
        routes = [
            Route("/health", self._health),
            Route("/v1/models", self._guarded(self._models)),
            Route("/v1/completions", self._guarded(self._completions), methods=["POST"]),
            Route("/v1/chat/completions", self._guarded(self._chat), methods=["POST"]),
        ]
        self.app = Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found})

    def close(self) -> None:
        self.loop.close()

    def _guarded(self, route: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Key and errors of every route."""

        async def run(request: Request) -> Response:
            if self.key is not None:
                sent = request.headers.get("authorization", "").removeprefix("Bearer ")
                if not hmac.compare_digest(sent.encode(), self.key.encode()):
                    return JSONResponse(error("the key is missing or wrong", 401), 401)
            try:
                response: Response = await route(request)
            except BadRequest as refused:
                return JSONResponse(error(refused.message, refused.status, refused.param), refused.status)
            except ClientDisconnect:
                return Response(status_code=499)
            return response

        return run

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok" if self.loop.alive else "stopped", "busy": self.loop.busy},
                            200 if self.loop.alive else 503)  # fmt: skip

    async def _models(self, request: Request) -> Response:
        entry = {"id": self.model, "object": "model", "owned_by": "posttrain", "max_model_len": self.limits.context}
        return JSONResponse({"object": "list", "data": [entry]})

    async def _completions(self, request: Request) -> Response:
        return await self._answer(request, chat=False)

    async def _chat(self, request: Request) -> Response:
        return await self._answer(request, chat=True)

    async def _answer(self, request: Request, *, chat: bool) -> Response:
        body = read_json(await self._body(request))
        asked = read_request(body, self.tokenizer, self.limits, self.model, self.ends, chat=chat)
        pieces: asyncio.Queue[Piece] = asyncio.Queue()
        here = asyncio.get_running_loop()

        def listen(piece: Piece) -> None:
            with suppress(RuntimeError):  # the server is stopping, and nobody listens any more
                here.call_soon_threadsafe(pieces.put_nowait, piece)

        if not self.loop.submit(asked.prompts, listen):
            refusal = JSONResponse(error("too many requests wait already: come again", 429), 429)
            refusal.headers["Retry-After"] = "1"
            return refusal
        choices = self._choices(asked)
        if asked.stream:
            return StreamingResponse(self._stream(asked, choices, pieces), media_type="text/event-stream")
        return await self._whole(request, asked, choices, pieces)

    async def _body(self, request: Request) -> bytes:
        """The body, refused as soon as it is too long."""
        received = bytearray()
        async for chunk in request.stream():
            received += chunk
            if len(received) > self.limits.body_bytes:
                raise BadRequest(f"the body is longer than {self.limits.body_bytes} bytes", status=413)
        return bytes(received)

    def _choices(self, asked: Asked) -> dict[tuple[str, int], Choice]:
        n = asked.sampling.n
        return {
            (prompt.key, index): Choice(number * n + index, asked, self.tokenizer)
            for number, prompt in enumerate(asked.prompts)
            for index in range(n)
        }

    async def _follow(
        self, asked: Asked, choices: dict[tuple[str, int], Choice], pieces: asyncio.Queue[Piece]
    ) -> AsyncIterator[Choice]:
        """Each choice as it gets new tokens, until all have ended. However this is left, the prompts are given up."""
        left = len(choices)
        try:
            while left:
                piece = await pieces.get()
                if piece.error is not None:
                    raise BadRequest(piece.error, status=500)
                choice = choices[piece.key, piece.index]
                if piece.done is None:
                    choice.add(piece.token_ids, piece.logprobs)
                else:
                    known, done = len(choice.ids), piece.done
                    choice.add(done.token_ids[known:], done.logprobs[known:], done.finish_reason)
                    left -= 1
                yield choice
            self.loop.forget(asked.prompts)
        finally:
            self.loop.cancel(asked.prompts)

    async def _whole(
        self,
        request: Request,
        asked: Asked,
        choices: dict[tuple[str, int], Choice],
        pieces: asyncio.Queue[Piece],
    ) -> Response:
        async def collect() -> None:
            async for _ in self._follow(asked, choices, pieces):
                pass

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        work, leaving = asyncio.ensure_future(collect()), asyncio.ensure_future(gone())
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientDisconnect
            work.result()
        finally:
            for task in (work, leaving):
                task.cancel()
            self.loop.cancel(asked.prompts)
        ordered = list(choices.values())
        body = envelope(asked, self.model, asked.prompts[0].key, part=False)
        body |= {"choices": [choice.whole() for choice in ordered], "usage": usage(asked, ordered)}
        if asked.token_ids:
            body["prompt_token_ids"] = list(asked.prompts[0].token_ids)
        return JSONResponse(body)

    async def _stream(
        self, asked: Asked, choices: dict[tuple[str, int], Choice], pieces: asyncio.Queue[Piece]
    ) -> AsyncIterator[str]:
        head = envelope(asked, self.model, asked.prompts[0].key, part=True)
        follow = self._follow(asked, choices, pieces)
        try:
            async for choice in follow:
                text = choice.delta()
                if text is not None:
                    yield _event(head | {"choices": [choice.part(text)]})
            if asked.usage_in_stream:
                yield _event(head | {"choices": [], "usage": usage(asked, list(choices.values()))})
            yield "data: [DONE]\n\n"
        except BadRequest as failed:
            yield _event(error(failed.message, failed.status))
        finally:
            await follow.aclose()  # type: ignore[attr-defined]


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


async def _not_found(request: Request, exception: Exception) -> Response:
    status = getattr(exception, "status_code", 404)
    routes = "/v1/models, /v1/completions and /v1/chat/completions"
    return JSONResponse(error(f"{request.method} {request.url.path} is not served; {routes} are", status), status)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a port that is taken is told before a model is loaded. EngineError where it is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as problem:
        bound.close()
        raise EngineError(
            f"serve: can't listen on {host} port {port}: {problem}. Take another --port; 0 is any that is free."
        ) from None
    return bound


def run(server: Server, bound: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(server.app, log_level="warning", lifespan="off", timeout_graceful_shutdown=5)
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        server.close()
