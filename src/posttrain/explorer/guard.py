"""Who may ask: only this person's own browser, on this machine's own address.

The address that `posttrain explore` prints carries a token; it is exchanged for a cookie that only this server's pages
send back. A page of another site can neither read nor steer (no cookie, foreign Origin), and a foreign name that
resolves to 127.0.0.1 is refused by its Host.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from markupsafe import escape

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
ENTER = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>posttrain</title>'
    '<link rel="icon" type="image/svg+xml" href="/assets/icon.svg">'
    '<meta http-equiv="refresh" content="0;url={}"></head><body><p><a href="{}">Open the run</a></p>'
    "</body></html>"
)


class Guard:
    """ASGI middleware. `hosts`: what the Host header may say."""

    def __init__(self, app: App, token: str, hosts: frozenset[str], cookie: str) -> None:
        self.app, self.token, self.hosts, self.cookie = app, token, hosts, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for key, value in query if key == "token"), None)
        if given is not None:
            await self._enter(send, scope["path"], query, given)
        elif not self._known(headers.get("cookie", "")):
            await _answer(send, 403, "This page needs the address that `posttrain explore` printed, with its token.")
        else:
            await self.app(scope, receive, _with_headers(send))

    def _refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("host", "") not in self.hosts:
            return 421, "This server answers to its own address only."
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            return 403, "Pages of other sites may not ask here."
        own = headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        if not own and headers.get("sec-fetch-dest", "document") != "document":
            return 403, "Pages of other sites may not ask here."
        if method not in ("GET", "HEAD"):
            return 405, "This server is for reading."
        return None

    def _known(self, written: str) -> bool:
        try:
            morsel = SimpleCookie(written).get(self.cookie)
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self.token.encode())

    async def _enter(self, send: Send, path: str, query: list[tuple[str, str]], given: str) -> None:
        """The cookie for the right token, and on to the same page without it: a page of ours leads there, since a
        SameSite=Strict cookie is not sent along a redirect that began elsewhere."""
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            await _answer(
                send, 403, "The token in this address is wrong. Take the one that `posttrain explore` printed."
            )
            return
        rest = urlencode([(k, v) for k, v in query if k != "token"])
        target = escape("/" + quote(path.lstrip("/\\")) + (f"?{rest}" if rest else ""))
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 200, ENTER.format(target, target), "text/html", ((b"set-cookie", cookie.encode()),))


async def _answer(
    send: Send, status: int, text: str, kind: str = "text/plain", more: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    body = text.encode()
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *HEADERS,
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return wrapped
