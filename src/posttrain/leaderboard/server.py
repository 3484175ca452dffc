"""The board over HTTP, read-only: a request is a look-up among pages that were made before, and touches no file."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from posttrain.errors import PosttrainError, RecipeError
from posttrain.leaderboard.pages import Page, Site

READ = ("GET", "HEAD")
LONGEST_PATH = 300
PATIENCE = 10.0  # seconds that a connection may be silent


class BoardServer(ThreadingHTTPServer):
    """Serves a Site. Bound before it serves, so that a taken port is told at once; ends with `shutdown`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, site: Site, host: str, port: int) -> None:
        self.site = site
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise RecipeError(
                f"can't listen on {host} port {port}: {error}. Take another --port; 0 is any that is free."
            ) from None

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback

    @property
    def url(self) -> str:
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: BoardServer
    server_version = "posttrain"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def __getattr__(self, name: str) -> Any:
        """Every other method is refused, not unknown: the board is read-only."""
        if name.startswith("do_"):
            return lambda: self._say(405, "This board is read-only.")
        raise AttributeError(name)

    def _answer(self) -> None:
        if not self._is_asked_as_itself():
            self._say(421, "This board is not served under that name.")
            return
        path = unquote(urlsplit(self.path).path) if len(self.path) <= LONGEST_PATH else ""
        page = self.server.site.pages.get(path.removeprefix("/") or "index.html") if path.startswith("/") else None
        if page is None:
            self._say(404, "There is no such page.")
        else:
            self._send(200, page)

    def _is_asked_as_itself(self) -> bool:
        """On this machine's own address no other name is answered, so that no page of another site can read it."""
        if not self.server.local:
            return True
        host = (
            (self.headers.get("Host") or "").rsplit(":", 1)[0] if "]" not in (self.headers.get("Host") or "") else "::1"
        )
        return host in ("localhost", "127.0.0.1", "::1", str(self.server.server_address[0]))

    def _say(self, status: int, text: str) -> None:
        self.close_connection = True
        self._send(status, Page("text/plain; charset=utf-8", f"{text}\n".encode()))

    def _send(self, status: int, page: Page) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", page.kind),
            ("Content-Length", str(len(page.body))),
            ("Content-Security-Policy", self.server.site.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-cache"),
            *((("Allow", ", ".join(READ)),) if status == 405 else ()),
            *((("Connection", "close"),) if self.close_connection else ()),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what strangers ask for is no text for a terminal."""


def keep_fresh(
    server: BoardServer, make: Callable[[], Site], every: float, told: Callable[[str], None], stop: threading.Event
) -> threading.Thread:
    """Makes the site again every so many seconds in a thread of its own, until `stop` is set.

    A board that can't be made just then (a submission half copied) is told once, and the last one stays.
    """

    def work() -> None:
        last = ""
        while not stop.wait(every):
            try:
                server.site = make()
                last = ""
            except PosttrainError as error:
                if str(error) != last:
                    told(str(error))
                last = str(error)

    thread = threading.Thread(target=work, daemon=True, name="leaderboard")
    thread.start()
    return thread
