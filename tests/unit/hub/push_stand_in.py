"""A stand-in for the Hub that takes pushes: repositories, branches, large files and commits over its HTTP interface.

The requests are those of huggingface_hub: GET /api/whoami-v2, POST /api/repos/create, /api/validate-yaml (of a card),
GET /api/models/R/refs, /api/models/R/tree/B, POST /api/models/R/branch/B, /api/models/R/preupload/B,
/R.git/info/lfs/objects/batch, PUT of each large file, POST /api/models/R/commit/B (a line of JSON per operation), and
HEAD and GET of /R/resolve/B/PATH; for data sets the same below /api/datasets and /datasets.
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

LARGE = (".safetensors", ".parquet")
FULL = {"error": "Private repository storage limit reached, please upgrade your plan."}


@dataclass
class TakingHub:
    """token: the one that may write. roles: what other tokens may do, by token. owners: those whose repositories the
    token may make; None = anybody's.

    quota: bytes of large files; None = no limit. full_after, cut_after: commits after which the storage is full, or the
    line is cut. branches: repository → branch → path → bytes. heads: repository → branch → commit. large: what was
    uploaded, by sha256. puts: uploads in all. authorisations: headers as they came.
    """

    url: str = ""
    token: str = "hf_writer"
    roles: dict[str, str] = field(default_factory=dict)
    owners: tuple[str, ...] | None = None
    quota: int | None = None
    full_after: int | None = None
    cut_after: int | None = None
    branches: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    heads: dict[str, dict[str, str]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    puts: int = 0
    commits: list[tuple[str, str]] = field(default_factory=list)
    authorisations: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)  # model, dataset: what was committed to

    def holds(self, repository: str, files: dict[str, bytes], branch: str = "main") -> None:
        """A repository that is there already."""
        self.branches[repository] = {"main": {}, branch: files}
        self.heads[repository] = {"main": "0" * 40, branch: "f" * 40}


@contextmanager
def taking(hub: TakingHub) -> Iterator[TakingHub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

        def do_HEAD(self) -> None:
            self._file(body=False)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/api/whoami-v2":
                self._whoami()
            elif path.endswith("/refs"):
                heads = hub.heads[path.removesuffix("/refs").split("/", 3)[3]]
                refs = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in heads.items()]
                self._send(200, {"branches": refs, "converts": [], "tags": []})
            elif "/tree/" in path and path.startswith("/api/"):
                repository, _, branch = path.split("/", 3)[3].partition("/tree/")
                files = hub.branches[repository][branch].items()
                self._send(200, [_entry(name, content) for name, content in files])
            elif "/resolve/" in path:
                self._file(body=True)
            elif path.startswith("/api/") and path.split("/", 3)[3] in hub.branches:
                self._send(200, {"sha": "0" * 40, "id": "x", "siblings": []})
            else:
                self._send(404, {}, headers={"X-Error-Code": "RepoNotFound"})

        def do_PUT(self) -> None:
            body = self._body()
            if hub.quota is not None and sum(map(len, hub.large.values())) + len(body) > hub.quota:
                self._send(403, FULL)
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
            elif path == "/api/validate-yaml":  # of a README.md, before it is committed
                self._send(200, {"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                self._create(json.loads(body))
            elif path.endswith("/info/lfs/objects/batch"):
                self._batch(json.loads(body))
            else:
                kind = path.split("/")[2]
                repository, action, branch = path.removeprefix(f"/api/{kind}/").rsplit("/", 2)
                hub.kinds.add(kind.removesuffix("s"))
                getattr(self, f"_{action}")(repository, branch, body)

        def _whoami(self) -> None:
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            role = "write" if given == hub.token else hub.roles.get(given)
            if role is None:
                self._send(401, {"error": "Invalid credentials in Authorization header"})
            else:
                told = {"displayName": "here", "role": role}
                self._send(200, {"type": "user", "name": "someone", "orgs": [], "auth": {"accessToken": told}})

        def _create(self, told: dict[str, Any]) -> None:
            name = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
            if hub.owners is not None and name.partition("/")[0] not in hub.owners:
                self._send(403, {"error": "You don't have the rights to create a model under this namespace"})
                return
            known = name in hub.branches
            hub.branches.setdefault(name, {"main": {}})
            hub.heads.setdefault(name, {"main": "0" * 40})
            self._send(409 if known else 200, {"url": f"{hub.url}/{name}", "id": name, "name": name})

        def _branch(self, repository: str, branch: str, body: bytes) -> None:
            known = branch in hub.branches[repository]
            hub.branches[repository].setdefault(branch, dict(hub.branches[repository]["main"]))
            hub.heads[repository].setdefault(branch, hub.heads[repository]["main"])
            self._send(409 if known else 200, {})

        def _preupload(self, repository: str, branch: str, body: bytes) -> None:
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
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
            if hub.cut_after is not None and len(hub.commits) >= hub.cut_after:
                self.close_connection = True  # without a word
                return
            if hub.full_after is not None and len(hub.commits) >= hub.full_after:
                self._send(403, FULL)
                return
            files = dict(hub.branches[repository][branch])
            for line in body.splitlines():
                told = json.loads(line)
                value = told["value"]
                if told["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif told["key"] == "lfsFile":
                    files[value["path"]] = hub.large[value["oid"]]
                elif told["key"] == "deletedFile":
                    del files[value["path"]]
            hub.branches[repository][branch] = files
            number = f"{len(hub.commits) + 1:040d}"
            hub.heads[repository][branch] = number
            hub.commits.append((repository, branch))
            url = f"{hub.url}/{repository}/commit/{number}"
            self._send(200, {"commitUrl": url, "commitOid": number, "pullRequestUrl": None, "success": True})

        def _file(self, *, body: bool) -> None:
            repository, _, rest = self.path.partition("?")[0].lstrip("/").partition("/resolve/")
            branch, _, name = rest.partition("/")
            repository = repository.removeprefix("datasets/")
            content = hub.branches.get(repository, {}).get(branch, {}).get(name)
            if content is None:
                code = "EntryNotFound" if repository in hub.branches else "RepoNotFound"
                self._send(404, {}, headers={"X-Error-Code": code}, body=body)
                return
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": hub.heads[repository][branch]}
            self._send(200, content, "application/octet-stream", headers, body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _send(
            self,
            status: int,
            value: object,
            kind: str = "application/json",
            headers: dict[str, str] | None = None,
            body: bool = True,
        ) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, told in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, told)
            self.end_headers()
            if body:
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content)

    with listening(Handler) as hub.url:
        yield hub


def _entry(name: str, content: bytes) -> dict[str, Any]:
    """A file as the Hub lists it: git's SHA-1, and of a large one, which git knows as a pointer, its SHA-256."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    told: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if name.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        told |= {"oid": "1" * 40, "lfs": {"oid": digest, "size": len(content), "pointerSize": 130}}
    return told
