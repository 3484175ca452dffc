"""A stand-in for the Hub that takes pushes: repositories, branches, large files and commits over its HTTP interface.

The requests are those of huggingface_hub: POST /api/repos/create, /api/models/R/branch/B, /api/models/R/preupload/B,
/R.git/info/lfs/objects/batch, PUT of each large file, POST /api/models/R/commit/B (a line of JSON per operation).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.listening import listening


@dataclass
class TakingHub:
    """token: the one that may write. quota: bytes of large files; None = no limit. branches: repository → branch →
    path → bytes. large: what was uploaded, by sha256. puts: uploads in all. authorisations: headers as they came.
    """

    url: str = ""
    token: str = "hf_writer"
    quota: int | None = None
    branches: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    puts: int = 0
    commits: list[tuple[str, str]] = field(default_factory=list)
    authorisations: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)  # model, dataset: what was committed to


@contextmanager
def taking(hub: TakingHub) -> Iterator[TakingHub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            if self.path.endswith("/refs"):
                self._send(200, {"branches": [], "converts": [], "tags": []})
            else:
                self._send(200, {"sha": "0" * 40, "id": "x", "siblings": []})

        def do_PUT(self) -> None:
            body = self._body()
            if hub.quota is not None and sum(map(len, hub.large.values())) + len(body) > hub.quota:
                self._send(403, {"error": "Private repository storage limit reached, please upgrade your plan."})
                return
            hub.puts += 1
            hub.large[hashlib.sha256(body).hexdigest()] = body
            self._send(200, {})

        def do_POST(self) -> None:
            path, body = self.path.partition("?")[0], self._body()
            given = self.headers.get("Authorization", "")
            hub.authorisations.add(given)
            if given != f"Bearer {hub.token}":
                self._send(403, {"error": "You don't have the rights to create a model under this namespace"})
            elif path == "/api/repos/create":
                self._create(json.loads(body))
            elif path == "/api/validate-yaml":  # of a README.md, before it is committed
                self._send(200, {"errors": [], "warnings": []})
            elif path.endswith("/info/lfs/objects/batch"):
                self._batch(json.loads(body))
            else:
                kind = path.split("/")[2]
                repository, action, branch = path.removeprefix(f"/api/{kind}/").rsplit("/", 2)
                hub.kinds.add(kind.removesuffix("s"))
                getattr(self, f"_{action}")(repository, branch, body)

        def _create(self, told: dict[str, Any]) -> None:
            name = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
            known = name in hub.branches
            hub.branches.setdefault(name, {"main": {}})
            self._send(409 if known else 200, {"url": f"{hub.url}/{name}", "id": name, "name": name})

        def _branch(self, repository: str, branch: str, body: bytes) -> None:
            known = branch in hub.branches[repository]
            hub.branches[repository].setdefault(branch, dict(hub.branches[repository]["main"]))
            self._send(409 if known else 200, {})

        def _preupload(self, repository: str, branch: str, body: bytes) -> None:
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for f in json.loads(body)["files"]
            ]
            self._send(200, {"files": files})

        def _batch(self, told: dict[str, Any]) -> None:
            objects = []
            for each in told["objects"]:
                wanted: dict[str, Any] = {"oid": each["oid"], "size": each["size"]}
                if each["oid"] not in hub.large:  # what is here already need not come again
                    wanted["actions"] = {"upload": {"href": f"{hub.url}/large/{each['oid']}", "header": {}}}
                objects.append(wanted)
            self._send(200, {"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")

        def _commit(self, repository: str, branch: str, body: bytes) -> None:
            files = dict(hub.branches[repository][branch])
            for line in body.splitlines():
                told = json.loads(line)
                value = told["value"]
                if told["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif told["key"] == "lfsFile":
                    files[value["path"]] = hub.large[value["oid"]]
            hub.branches[repository][branch] = files
            number = f"{len(hub.commits):040d}"
            hub.commits.append((repository, branch))
            url = f"{hub.url}/{repository}/commit/{number}"
            self._send(200, {"commitUrl": url, "commitOid": number, "pullRequestUrl": None, "success": True})

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _send(self, status: int, value: object, kind: str = "application/json") -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

    with listening(Handler) as hub.url:
        yield hub
