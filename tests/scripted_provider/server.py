"""The server: HTTP/1.1 with keep-alive over asyncio streams, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from tests.scripted_provider.replies import ANSWERS, REFUSALS, completion, error
from tests.scripted_provider.script import Ledger, Script, Storm

JSON = "application/json"


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter


class HangupError(Exception):
    """The connection ends here."""


class ScriptedProvider:
    """`url` to ask at, `ledger` to look at. `routes` may be given more: (method, path) → coroutine of a Call."""

    def __init__(self, script: Script | None = None, port: int = 0) -> None:
        self.script = script or Script()
        self.ledger = Ledger()
        self.port = port
        self.routes: dict[tuple[str, str], Callable[[Call], Awaitable[None]]] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("GET", "/v1/models"): self._models,
            ("GET", "/ledger"): self._tell,
            ("POST", "/script"): self._rewrite,
        }
        self._began = time.monotonic()
        self._storms: dict[Storm, float] = {}  # storm → when it began
        self._allowed: deque[float] = deque()  # times of requests that the rate let through, the last `window` seconds
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def now(self) -> float:
        return time.monotonic() - self._began

    # ---- life

    def __enter__(self) -> ScriptedProvider:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(started.set)), daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Until `__exit__`, or for ever in a process of its own."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._slots = asyncio.Semaphore(self.script.slots or 1_000_000)
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        ready()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                await self._one(reader, writer)
        except (HangupError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        call = Call(method, path, headers, body, writer)
        route = self.routes.get((method, path))
        if route is None:
            await self.send(call, *REFUSALS["404"])
        else:
            await route(call)

    # ---- writing

    async def send(self, call: Call, status: int, body: bytes, kind: str = JSON, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        call.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await call.writer.drain()

    async def _send_chunked(self, call: Call, chunks: list[bytes], pause: float) -> None:
        """Blank lines while the request waits, then the body: what DeepSeek does under load."""
        call.writer.write(
            f"HTTP/1.1 200 Scripted\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for chunk in chunks:
            call.writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await call.writer.drain()
            await asyncio.sleep(pause)
        call.writer.write(b"0\r\n\r\n")
        await call.writer.drain()

    def _reset(self, call: Call) -> None:
        call.writer.transport.abort()  # RST where something is unread or unsent, else a close without a word
        raise HangupError

    # ---- what is asked

    async def _models(self, call: Call) -> None:
        data = [{"id": name, "object": "model", "owned_by": "scripted"} for name in self.script.models]
        await self.send(call, 200, json.dumps({"object": "list", "data": data}).encode())

    async def _tell(self, call: Call) -> None:
        await self.send(call, 200, json.dumps(self.ledger.as_json()).encode())

    async def _rewrite(self, call: Call) -> None:
        self.script = Script.from_json(json.loads(call.body))
        await self.send(call, 200, b"{}")

    async def _chat(self, call: Call) -> None:
        asked = json.loads(call.body)
        question = asked["messages"][-1]["content"]
        ledger = self.ledger
        nth = ledger.arrive(self.now(), question)
        ledger.in_flight += 1
        ledger.peak = max(ledger.peak, ledger.in_flight)
        try:
            if await self._refused(call, asked):
                return
            outcome = self.script.outcome(question, nth)
            async with self._slots:
                await asyncio.sleep(self.script.latency + self.script.per_token * self.script.tokens)
                await self._answer(call, asked["model"], question, outcome)
        finally:
            ledger.in_flight -= 1

    async def _refused(self, call: Call, asked: dict[str, Any]) -> bool:
        """The account, the model and the limits come before any work."""
        script, ledger = self.script, self.ledger
        if script.key is not None and call.headers.get("authorization") != f"Bearer {script.key}":
            given = call.headers.get("authorization", "").removeprefix("Bearer ")
            told = f"Incorrect API key provided: {given}. You can find your API key at https://example.com/keys."
            await self._count(call, "401", 401, error(told, "invalid_request_error", "invalid_api_key"))
            return True
        if asked["model"] not in script.models:
            told = f"The model `{asked['model']}` does not exist or you do not have access to it."
            await self._count(call, "404", 404, error(told, "invalid_request_error", "model_not_found"))
            return True
        if script.quota is not None and sum(ledger.answered.values()) >= script.quota:
            await self._count(call, "insufficient_quota", *REFUSALS["insufficient_quota"])
            return True
        storm = self._storm()
        if storm is not None:
            more = {} if storm.retry_after is None else {"Retry_After": self._bar(storm.retry_after, storm.as_date)}
            await self._count(call, f"storm {storm.status}", storm.status, REFUSALS["429"][1], **more)
            return True
        if not self._within_rate():
            await self._count(call, "over the rate", *REFUSALS["429"])
            return True
        return False

    async def _count(self, call: Call, outcome: str, status: int, body: bytes, **headers: str) -> None:
        self.ledger.outcomes[outcome] += 1
        await self.send(call, status, body, **headers)

    def _bar(self, seconds: float, as_date: bool) -> str:
        """The Retry-After header; a date has whole seconds only, so it is the next one."""
        if not as_date:
            self.ledger.bar(self.now(), seconds)
            return f"{seconds:g}"
        until = int(time.time() + seconds) + 1
        self.ledger.bar(self.now(), until - time.time())
        return formatdate(until, usegmt=True)

    def _storm(self) -> Storm | None:
        count, now = len(self.ledger.arrivals), self.now()
        for storm in self.script.storms:
            if count < storm.after:
                continue
            if storm not in self._storms:
                self._storms[storm] = now
                self.ledger.storms.append((now, now + storm.seconds))
            if now < self._storms[storm] + storm.seconds:
                return storm
        return None

    def _within_rate(self) -> bool:
        if self.script.rate is None:
            return True
        now, window = self.now(), self.script.window
        while self._allowed and self._allowed[0] <= now - window:
            self._allowed.popleft()
        if len(self._allowed) >= self.script.rate * window / 60:
            return False
        self._allowed.append(now)
        return True

    async def _answer(self, call: Call, model: str, question: str, outcome: str) -> None:
        self.ledger.outcomes[outcome] += 1
        if outcome == "reset":
            self._reset(call)
        if outcome.startswith("429_retry_after"):  # 429_retry_after_2: two seconds
            seconds = float(outcome.rpartition("_")[2])
            await self.send(call, *REFUSALS["429"], Retry_After=self._bar(seconds, False))
            return
        if outcome in REFUSALS:
            status, body = REFUSALS[outcome]
            kind = "text/html" if body.startswith(b"<") else JSON
            await self.send(call, status, body, kind)
            return
        body = json.dumps(completion(self.script, model, question, len(self.ledger.arrivals), outcome)).encode()
        if outcome == "torn":  # the length is promised, and half of it comes
            head = f"HTTP/1.1 200 Scripted\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
            call.writer.write(head.encode() + body[: len(body) // 2])
            await call.writer.drain()
            raise HangupError
        if outcome == "torn_json":  # half of it, and nothing says so
            await self.send(call, 200, body[: len(body) // 2])
            return
        if outcome in ANSWERS:
            self.ledger.answered[question] += 1
        if outcome == "slow":
            await asyncio.sleep(self.script.slow)
        await self._whole(call, body, outcome)

    async def _whole(self, call: Call, body: bytes, outcome: str) -> None:
        if outcome == "blank_lines":
            await self._send_chunked(call, [b"\n", b"\n\n", b"\r\n", body], 0.01)
        elif outcome == "latin1_declared":
            text = json.dumps(json.loads(body), ensure_ascii=False)
            await self.send(call, 200, text.encode("latin-1", "replace"), f"{JSON}; charset=iso-8859-1")
        elif outcome == "bom":
            await self.send(call, 200, b"\xef\xbb\xbf" + body)
        else:
            await self.send(call, 200, body)
