"""Connections: httpx's transports, one connection each, the one used last taken first.

httpx's own pool looks at all of its connections for every request, which at some hundred of them costs more than the
request. A stack of single connections costs the same at any number, and leaves the idle ones to close.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

LARGEST = 64 << 20  # bytes of one reply; more is no reply
KEEP = 4.0  # seconds that an idle connection is kept: uvicorn, which vLLM stands on, closes after 5
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP)
# Silence is no sign: a reply that isn't streamed is silent until it is there. The caller limits the whole.
_TIMEOUT = httpx.Timeout(None, connect=30.0, write=60.0).as_dict()


class TooLargeError(httpx.TransportError):
    """A body beyond all measure."""


class Lanes:
    """POSTs to one address."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = httpx.URL(url)
        self._headers = httpx.Headers({"Content-Type": "application/json", "User-Agent": "posttrain", **headers})
        self._ssl: ssl.SSLContext = httpx.create_ssl_context()  # one for all: it takes longer than a request
        self._proxy = _proxy(url)
        self._idle: list[httpx.AsyncHTTPTransport] = []

    async def post(self, body: bytes, leaving: Callable[[], Awaitable[None]]) -> tuple[int, httpx.Headers, bytes]:
        """(status, headers, body). `leaving` is awaited on an open connection, before the first byte of the request
        leaves.

        httpx.TransportError or httpx.DecodingError where the connection or the body breaks.
        """

        async def trace(event: str, _: object) -> None:
            if event == "http11.send_request_headers.started":
                await leaving()

        extensions = {"timeout": _TIMEOUT, "trace": trace}
        request = httpx.Request("POST", self._url, headers=self._headers, content=body, extensions=extensions)
        lane = self._idle.pop() if self._idle else self._open()
        try:
            response = await lane.handle_async_request(request)
            try:
                data = await _read(response)
            finally:
                await response.aclose()
        except BaseException:
            await asyncio.shield(lane.aclose())
            raise
        self._idle.append(lane)
        return response.status_code, response.headers, data

    def _open(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._ssl, limits=_LIMITS, proxy=self._proxy)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()


async def _read(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > LARGEST:
            raise TooLargeError(f"more than {LARGEST >> 20} MB in one reply")
        parts.append(chunk)
    return b"".join(parts)


def _proxy(url: str) -> str | None:
    """The proxy of the environment for this address, as curl and pip would take it."""
    parts = urlsplit(url)
    proxies = getproxies()
    if proxy_bypass(parts.hostname or ""):
        return None
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"
