"""A server that takes batches and misbehaves on command: OpenAI's files, Gemini's operations, Fireworks' data sets.

Written from the providers' documentation (batch_dialects names it). All is kept in memory and outlives its clients;
`Orders` says what goes wrong, `made` and `asked` what was paid for.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Orders:
    """polls: looks before a batch has ended. refuse: status of every making. deaf: so many makings are done and never
    answered. To the first `misdeeds` batches: swap, drop, fail, twice: numbers of requests (in a batch) under each
    other's keys, without a line, with an error, with two lines; expire: only so many of its requests are done.
    """

    polls: int = 1
    swap: tuple[tuple[int, int], ...] = ()
    drop: tuple[int, ...] = ()
    fail: tuple[int, ...] = ()
    twice: tuple[int, ...] = ()
    torn: bool = False
    expire: int | None = None
    invalid: str | None = None
    misdeeds: int = 1
    deaf: int = 0
    refuse: int | None = None
    terse: bool = False


@dataclass
class Job:
    name: str
    id: str
    rows: list[dict[str, Any]]
    looks: int = 0


@dataclass
class BatchServer:
    """url: without a path. made: batches, in order. asked: question → how often it was in a batch."""

    orders: Orders = field(default_factory=Orders)
    url: str = ""
    made: list[Job] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)  # Authorization or x-goog-api-key, as they came
    signed_with: list[str] = field(default_factory=list)  # Authorization on signed addresses

    def make(self, name: str, content: bytes) -> Job:
        rows = [json.loads(line) for line in content.splitlines()]
        job = Job(name, f"batch_{len(self.made)}", rows)
        self.made.append(job)
        self.asked.update(question_of(row) for row in rows)
        return job

    def results(self, job: Job) -> tuple[list[tuple[dict[str, Any], str]], list[dict[str, Any]]]:
        """((row, text) of those that were answered, rows that failed)."""
        orders = self.orders if self.made.index(job) < self.orders.misdeeds else Orders(terse=self.orders.terse)
        texts = [answer_to(question_of(row), terse=orders.terse) for row in job.rows]
        for a, b in orders.swap:
            texts[a], texts[b] = texts[b], texts[a]
        done = len(job.rows) if orders.expire is None else orders.expire
        kept = [i for i in range(done) if i not in orders.drop and i not in orders.fail]
        answered = [(job.rows[i], texts[i]) for i in kept for _ in range(2 if i in orders.twice else 1)]
        answered.reverse()  # in no order that anybody promised
        return answered, [job.rows[i] for i in range(done) if i in orders.fail]

    def ended(self, job: Job) -> str | None:
        """None while it runs, else completed, expired or failed."""
        job.looks += 1
        if job.looks <= self.orders.polls:
            return None
        if self.orders.invalid:
            return "failed"
        first = self.made.index(job) < self.orders.misdeeds
        return "expired" if first and self.orders.expire is not None else "completed"


def question_of(row: dict[str, Any]) -> str:
    if "request" in row:
        return str(row["request"]["contents"][-1]["parts"][0]["text"])
    return str(row["body"]["messages"][-1]["content"])


def answer_to(question: str, *, terse: bool = False) -> str:
    number = sum(map(int, re.findall(r"\d+", question)))
    return str(number) if terse else f"You asked: {question} That makes {number}. ANSWER: {number}"


def completion(question: str, text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 8 + len(question) // 4, "completion_tokens": len(text) // 4 + 1}
    return {
        "model": "scripted",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": usage,
    }


def generated(question: str, text: str) -> dict[str, Any]:
    """Gemini's answer."""
    return {
        "candidates": [
            {"content": {"parts": [{"text": "A thought.", "thought": True}, {"text": text}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {
            "promptTokenCount": 8 + len(question) // 4,
            "candidatesTokenCount": len(text) // 4 + 1,
            "thoughtsTokenCount": 3,
        },
        "modelVersion": "gemini-scripted",
    }


@contextmanager
def serving(server: BatchServer) -> Iterator[BatchServer]:
    class Handler(_Handler):
        state = server

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: BatchServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        if not parts.path.startswith("/signed/"):
            self.state.keys.add(self.headers.get("Authorization") or self.headers.get("x-goog-api-key") or "")
        for verb, pattern, handle in _ROUTES:
            match = re.fullmatch(pattern, parts.path)
            if verb == method and match:
                handle(self, *match.groups(), body, parse_qs(parts.query))
                return
        self._send(404, {"error": {"message": f"no such path: {method} {parts.path}"}})

    def _send(self, status: int, value: Any, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, told in headers.items():
            self.send_header(name.replace("_", "-"), told)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)

    def _made(self, name: str, content: bytes, told: Any) -> None:
        """A batch is made; the answer may be lost."""
        orders = self.state.orders
        if orders.refuse:
            self._send(orders.refuse, {"error": {"message": "Batches are not for this model"}})
            return
        job = self.state.make(name, content)
        if orders.deaf:
            orders.deaf -= 1
            self.close_connection = True
            self.connection.close()
            return
        self._send(200, told(job))

    # OpenAI

    def openai_file(self, body: bytes, query: Any) -> None:
        name = f"file-{len(self.state.files)}"
        self.state.files[name] = _part(body)
        self._send(200, {"id": name, "object": "file", "purpose": "batch"})

    def openai_make(self, body: bytes, query: Any) -> None:
        told = json.loads(body)
        assert told["endpoint"] == "/v1/chat/completions"
        assert told["completion_window"] == "24h"
        content = self.state.files[told["input_file_id"]]
        self._made(told["metadata"]["posttrain"], content, lambda job: {"id": job.id, "status": "validating"})

    def openai_list(self, body: bytes, query: Any) -> None:
        """One to a page, so that pages are turned."""
        after = query.get("after", [None])[0]
        jobs = self.state.made
        start = next((i + 1 for i, job in enumerate(jobs) if job.id == after), 0)
        page = [{"id": job.id, "metadata": {"posttrain": job.name}} for job in jobs[start : start + 1]]
        self._send(200, {"object": "list", "data": page, "has_more": start + 1 < len(jobs)})

    def openai_poll(self, name: str, body: bytes, query: Any) -> None:
        job = next(job for job in self.state.made if job.id == name)
        ended = self.state.ended(job)
        told: dict[str, Any] = {"id": name, "status": ended or "in_progress", "metadata": {"posttrain": job.name}}
        told["request_counts"] = {"total": len(job.rows), "completed": 0, "failed": 0}
        if ended == "failed":
            told["errors"] = {"object": "list", "data": [{"code": "invalid", "message": self.state.orders.invalid}]}
        elif ended:
            answered, failed = self.state.results(job)
            rows = [
                {
                    "id": f"r{i}",
                    "custom_id": row["custom_id"],
                    "response": {"status_code": 200, "body": completion(question_of(row), text)},
                    "error": None,
                }
                for i, (row, text) in enumerate(answered)
            ]
            errors = [
                {"custom_id": r["custom_id"], "response": {"status_code": 500, "body": {"error": {"message": "oops"}}}}
                for r in failed
            ]
            torn = b'{"custom_id": "torn' if self.state.orders.torn and self.state.made.index(job) == 0 else b""
            self.state.files[f"{name}-out"] = _jsonl(rows) + torn
            told["output_file_id"] = f"{name}-out"
            if errors:
                self.state.files[f"{name}-err"] = _jsonl(errors)
                told["error_file_id"] = f"{name}-err"
        self._send(200, told)

    def openai_content(self, name: str, body: bytes, query: Any) -> None:
        self._send(200, self.state.files[name])

    # Gemini

    def gemini_start(self, body: bytes, query: Any) -> None:
        assert self.headers["X-Goog-Upload-Command"] == "start"
        self._send(200, {}, X_Goog_Upload_URL=f"{self.state.url}/uploading/1")

    def gemini_upload(self, body: bytes, query: Any) -> None:
        assert self.headers["X-Goog-Upload-Command"] == "upload, finalize"
        name = f"files/f{len(self.state.files)}"
        self.state.files[name] = body
        self._send(200, {"file": {"name": name}})

    def gemini_make(self, model: str, body: bytes, query: Any) -> None:
        told = json.loads(body)["batch"]
        content = self.state.files[told["input_config"]["file_name"]]
        self._made(told["display_name"], content, lambda job: {"name": f"batches/{job.id}"})

    def gemini_list(self, body: bytes, query: Any) -> None:
        found = [{"name": f"batches/{j.id}", "metadata": {"displayName": j.name}} for j in self.state.made]
        self._send(200, {"operations": found})

    def gemini_poll(self, name: str, body: bytes, query: Any) -> None:
        job = next(job for job in self.state.made if job.id == name)
        ended = self.state.ended(job)
        words = {"completed": "SUCCEEDED", "expired": "EXPIRED", "failed": "FAILED", None: "RUNNING"}
        told: dict[str, Any] = {"name": f"batches/{name}", "metadata": {"state": f"BATCH_STATE_{words[ended]}"}}
        if ended == "failed":
            told["error"] = {"code": 3, "message": self.state.orders.invalid}
        elif ended:
            answered, failed = self.state.results(job)
            rows = [{"key": row["key"], "response": generated(question_of(row), text)} for row, text in answered]
            rows += [{"key": row["key"], "error": {"code": 13, "message": "oops"}} for row in failed]
            self.state.files[f"files/{name}-out"] = _jsonl(rows)
            told |= {"done": True, "response": {"responsesFile": f"files/{name}-out"}}
        self._send(200, told)

    def gemini_content(self, name: str, body: bytes, query: Any) -> None:
        assert query["alt"] == ["media"]
        self._send(200, self.state.files[name])

    # Fireworks

    def fireworks_dataset(self, body: bytes, query: Any) -> None:
        told = json.loads(body)
        assert told["dataset"]["exampleCount"].isdigit()
        known = told["datasetId"] in self.state.files
        self.state.files.setdefault(told["datasetId"], b"")
        self._send(409 if known else 200, {"name": told["datasetId"]})

    def fireworks_upload(self, name: str, body: bytes, query: Any) -> None:
        self.state.files[name] = _part(body)
        self._send(200, {"filename": "x.jsonl"})

    def fireworks_make(self, body: bytes, query: Any) -> None:
        told, name = json.loads(body), query["batchInferenceJobId"][0]
        assert told["inputDatasetId"] == f"accounts/me/datasets/{name}-in"
        assert told["outputDatasetId"] == f"accounts/me/datasets/{name}-out"
        job_name = f"accounts/me/batchInferenceJobs/{name}"
        self._made(
            name, self.state.files[f"{name}-in"], lambda job: {"name": job_name, "state": "JOB_STATE_VALIDATING"}
        )

    def fireworks_poll(self, name: str, body: bytes, query: Any) -> None:
        job = next((job for job in self.state.made if job.name == name), None)
        if job is None:
            self._send(404, {"error": {"message": "not found"}})
            return
        ended = self.state.ended(job)
        word = ended.upper() if ended else "RUNNING"
        told = {"name": name, "state": f"JOB_STATE_{word}", "outputDatasetId": f"accounts/me/datasets/{name}-out"}
        if ended == "failed":
            told["status"] = {"code": "INVALID_ARGUMENT", "message": self.state.orders.invalid}
        self._send(200, told)

    def fireworks_links(self, name: str, body: bytes, query: Any) -> None:
        job = next(job for job in self.state.made if f"{job.name}-out" == name)
        answered, failed = self.state.results(job)
        rows = [{"custom_id": r["custom_id"], "response": completion(question_of(r), text)} for r, text in answered]
        self.state.files["BIJOutputSet.jsonl"] = _jsonl(rows)
        self.state.files["error-data"] = _jsonl(
            [{"custom_id": r["custom_id"], "error": {"message": "oops"}} for r in failed]
        )
        urls = {f"{name}/{f}": f"{self.state.url}/signed/{f}" for f in ("BIJOutputSet.jsonl", "error-data")}
        self._send(200, {"filenameToSignedUrls": urls})

    def signed(self, name: str, body: bytes, query: Any) -> None:
        self.state.signed_with.append(self.headers.get("Authorization") or "")
        self._send(200, self.state.files[name])


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _part(body: bytes) -> bytes:
    """The file in a multipart body: the part with a file name."""
    boundary = body.split(b"\r\n", 1)[0]
    part = next(part for part in body.split(boundary) if b"filename=" in part)
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


_ROUTES = (
    ("POST", "/v1/files", _Handler.openai_file),
    ("POST", "/v1/batches", _Handler.openai_make),
    ("GET", "/v1/batches", _Handler.openai_list),
    ("GET", "/v1/batches/([^/]+)", _Handler.openai_poll),
    ("GET", "/v1/files/([^/]+)/content", _Handler.openai_content),
    ("POST", "/upload/v1beta/files", _Handler.gemini_start),
    ("POST", "/uploading/1", _Handler.gemini_upload),
    ("POST", "/v1beta/models/([^/]+):batchGenerateContent", _Handler.gemini_make),
    ("GET", "/v1beta/batches", _Handler.gemini_list),
    ("GET", "/v1beta/batches/([^/]+)", _Handler.gemini_poll),
    ("GET", "/download/v1beta/(files/[^/]+):download", _Handler.gemini_content),
    ("POST", "/v1/accounts/me/datasets", _Handler.fireworks_dataset),
    ("POST", "/v1/accounts/me/datasets/([^/:]+):upload", _Handler.fireworks_upload),
    ("POST", "/v1/accounts/me/batchInferenceJobs", _Handler.fireworks_make),
    ("GET", "/v1/accounts/me/batchInferenceJobs/([^/]+)", _Handler.fireworks_poll),
    ("GET", "/v1/accounts/me/datasets/([^/:]+):getDownloadEndpoint", _Handler.fireworks_links),
    ("GET", "/signed/([^/]+)", _Handler.signed),
)
