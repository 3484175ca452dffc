"""A stand-in for the Hub: a few files per repository behind the parts of its HTTP interface that a download uses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.listening import listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """files: ``models/org/name`` or ``datasets/org/name`` → path → bytes. requests: (method, path) as they came.

    stalled: the file whose content does not arrive while it is set. down: every request is answered with 503.
    """

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    revisions: list[str] = field(default_factory=lambda: ["main", "v1", COMMIT])
    stalled: str | None = None
    down: bool = False


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((self.command, path))
            if hub.down:
                self._send(503, b"", {}, body)
            elif path.startswith("/api/"):
                self._describe(path.removeprefix("/api/"), body)
            else:
                self._file(path.lstrip("/"), body)

        def _describe(self, path: str, body: bool) -> None:
            repository, mark, revision = path.partition("/revision/")
            repository, tree, tree_revision = repository.partition("/tree/")
            revision = revision if mark else tree_revision.partition("/")[0] or "main"
            if repository not in hub.files:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            elif revision not in hub.revisions:
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
            else:
                names = hub.files[repository]
                facts: object = {
                    "id": repository.partition("/")[2],
                    "sha": COMMIT,
                    "siblings": [{"rfilename": name} for name in names],
                }
                if tree:
                    facts = [
                        {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                        for n, c in names.items()
                    ]
                self._send(200, json.dumps(facts).encode(), {"Content-Type": "application/json"}, body)

        def _file(self, path: str, body: bool) -> None:
            repository, _, rest = path.partition("/resolve/")
            if not repository.startswith("datasets/"):
                repository = f"models/{repository}"
            content = hub.files.get(repository, {}).get(rest.partition("/")[2])
            if content is None:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
                return
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self._send(206 if start else 200, content[start:], headers, body)

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                while hub.stalled is not None and self.path.endswith(hub.stalled):
                    time.sleep(0.02)
                with contextlib.suppress(ConnectionError):  # whoever asked may be gone
                    self.wfile.write(content)

    with listening(Handler) as hub.url:
        yield hub
