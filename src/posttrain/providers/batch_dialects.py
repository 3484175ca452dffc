"""How three families of servers take batches: OpenAI's files, Gemini's operations, Fireworks' data sets.

A dialect makes a file out of requests, hands it over, says how it is getting on, and gives the lines back as (key, raw
chat completion or None, what went wrong). Batches are named by us, so that one whose making was never confirmed can be
found again instead of being made, and paid, twice.

OpenAI: POST /files, POST /batches, GET /batches/{id}, GET /files/{id}/content (platform.openai.com/docs/guides/batch);
Together and others speak the same. Gemini: POST upload/v1beta/files, models/{model}:batchGenerateContent, GET
batches/{id}, download/v1beta/{file}:download (ai.google.dev/gemini-api/docs/batch-api). Fireworks: data sets and
batchInferenceJobs below accounts/{account} (docs.fireworks.ai/guides/batch-inference).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from posttrain.errors import RecipeError
from posttrain.providers.batch_gemini import as_gemini, from_gemini
from posttrain.providers.batch_http import BatchHTTP, BatchRefusedError

Status = Literal["running", "done", "expired", "failed"]


@dataclass(frozen=True, slots=True)
class State:
    """How a batch is getting on. files: where its lines can be fetched from, also of one that expired half-way."""

    status: Status
    completed: int = 0
    total: int = 0
    files: tuple[str, ...] = ()
    said: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a batch's files: a raw chat completion, or what went wrong with the request."""

    key: str
    raw: Mapping[str, Any] | None
    error: str = ""


class Dialect(Protocol):
    @property
    def limit(self) -> int: ...  # requests in one batch

    def headers(self, key: str | None) -> dict[str, str]: ...
    def line(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]: ...
    def submit(self, http: BatchHTTP, name: str, lines: bytes) -> str: ...
    def find(self, http: BatchHTTP, name: str) -> str | None: ...
    def poll(self, http: BatchHTTP, batch: str) -> State: ...
    def fetch(self, http: BatchHTTP, file: str) -> bytes: ...
    def read(self, line: Mapping[str, Any]) -> Line: ...


@dataclass(frozen=True)
class OpenAIFiles:
    """`base` ends in /v1."""

    base: str
    limit: int = 50_000

    def headers(self, key: str | None) -> dict[str, str]:
        return _bearer(key)

    def line(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": dict(body)}

    def submit(self, http: BatchHTTP, name: str, lines: bytes) -> str:
        file = http.json(
            "POST",
            f"{self.base}/files",
            data={"purpose": "batch"},
            files={"file": (f"{name}.jsonl", lines, "application/jsonl")},
        )
        made = http.json(
            "POST",
            f"{self.base}/batches",
            repeat=False,
            json={
                "input_file_id": file["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "metadata": {"posttrain": name},
            },
        )
        return str(made.get("job", made)["id"])  # Together wraps it

    def find(self, http: BatchHTTP, name: str) -> str | None:
        after: str | None = None
        while True:
            query = {"limit": "100", **({"after": after} if after else {})}
            page = http.json("GET", f"{self.base}/batches", params=query)
            for one in page.get("data", ()):
                if (one.get("metadata") or {}).get("posttrain") == name:
                    return str(one["id"])
            if not page.get("has_more") or not page.get("data"):
                return None
            after = str(page["data"][-1]["id"])

    def poll(self, http: BatchHTTP, batch: str) -> State:
        told = http.json("GET", f"{self.base}/batches/{batch}")
        counts = told.get("request_counts") or {}
        files = tuple(str(f) for f in (told.get("output_file_id"), told.get("error_file_id")) if f)
        words: dict[str, Status] = {
            "completed": "done",
            "expired": "expired",
            "cancelled": "expired",
            "failed": "failed",
        }
        listed = (told.get("errors") or {}).get("data") or ()
        said = "; ".join(str(e.get("message", e)) for e in listed if isinstance(e, dict))[:300]
        status = words.get(str(told.get("status")).lower(), "running")
        return State(status, int(counts.get("completed") or 0), int(counts.get("total") or 0), files, said)

    def fetch(self, http: BatchHTTP, file: str) -> bytes:
        return http.request("GET", f"{self.base}/files/{file}/content").content

    def read(self, line: Mapping[str, Any]) -> Line:
        key = str(line.get("custom_id", ""))
        response, error = line.get("response"), line.get("error")
        told = response if isinstance(response, dict) else {}
        body = told.get("body")
        if isinstance(body, dict) and int(told.get("status_code") or 200) == 200 and body.get("choices"):
            return Line(key, body)
        return Line(key, None, _said(error or body or response))


@dataclass(frozen=True)
class Gemini:
    """`host` without a path. Answers are rewritten as chat completions, so that they are parsed like all others."""

    host: str
    model: str
    limit: int = 50_000

    def headers(self, key: str | None) -> dict[str, str]:
        return {"x-goog-api-key": key} if key else {}

    def line(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"key": key, "request": as_gemini(body)}

    def submit(self, http: BatchHTTP, name: str, lines: bytes) -> str:
        begun = http.request(
            "POST",
            f"{self.host}/upload/v1beta/files",
            headers={
                "X-Goog-Upload-Protocol": "resumable",
                "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": str(len(lines)),
                "X-Goog-Upload-Header-Content-Type": "application/jsonl",
            },
            json={"file": {"display_name": name}},
        )
        where = begun.headers.get("x-goog-upload-url")
        if not where:
            raise BatchRefusedError(
                f"{self.host} named no address to upload a batch to. Look at the teacher's base_url."
            )
        uploaded = http.json(
            "POST",
            where,
            headers={"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize"},
            content=lines,
        )
        made = http.json(
            "POST",
            f"{self.host}/v1beta/models/{self.model}:batchGenerateContent",
            repeat=False,
            json={"batch": {"display_name": name, "input_config": {"file_name": uploaded["file"]["name"]}}},
        )
        return str(made["name"])

    def find(self, http: BatchHTTP, name: str) -> str | None:
        token: str | None = None
        while True:
            query = {"pageSize": "100", **({"pageToken": token} if token else {})}
            page = http.json("GET", f"{self.host}/v1beta/batches", params=query)
            for one in page.get("operations", page.get("batches", ())):
                told = one.get("metadata") or one
                if told.get("displayName") == name:
                    return str(one["name"])
            token = page.get("nextPageToken")
            if not token:
                return None

    def poll(self, http: BatchHTTP, batch: str) -> State:
        told = http.json("GET", f"{self.host}/v1beta/{batch}")
        facts = told.get("metadata") or told
        word = str(facts.get("state", "")).rpartition("STATE_")[2]
        words: dict[str, Status] = {
            "SUCCEEDED": "done",
            "EXPIRED": "expired",
            "CANCELLED": "expired",
            "FAILED": "failed",
        }
        result = told.get("response") or facts.get("output") or facts.get("dest") or {}
        file = result.get("responsesFile") or result.get("fileName")
        stats = facts.get("batchStats") or {}
        done = int(stats.get("successfulRequestCount") or 0) + int(stats.get("failedRequestCount") or 0)
        said = str((told.get("error") or {}).get("message", ""))[:300]
        status = words.get(word, "failed" if told.get("error") else "running")
        return State(status, done, int(stats.get("requestCount") or 0), (str(file),) if file else (), said)

    def fetch(self, http: BatchHTTP, file: str) -> bytes:
        return http.request("GET", f"{self.host}/download/v1beta/{file}:download", params={"alt": "media"}).content

    def read(self, line: Mapping[str, Any]) -> Line:
        key = str(line.get("key", ""))
        response = line.get("response")
        if not isinstance(response, dict) or not (response.get("candidates") or response.get("promptFeedback")):
            return Line(key, None, _said(line.get("error") or line.get("status") or response))
        return Line(key, from_gemini(response, self.model))


@dataclass(frozen=True)
class Fireworks:
    """`base` ends in /v1/accounts/{account}. Names of jobs and data sets are ours, so making one twice is refused."""

    base: str
    model: str
    limit: int = 50_000

    def headers(self, key: str | None) -> dict[str, str]:
        return _bearer(key)

    def line(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"custom_id": key, "body": {name: value for name, value in body.items() if name != "model"}}

    def submit(self, http: BatchHTTP, name: str, lines: bytes) -> str:
        given, back = f"{name}-in", f"{name}-out"
        account = urlsplit(self.base).path.partition("/v1/")[2]
        count = lines.count(b"\n")
        dataset = {"datasetId": given, "dataset": {"userUploaded": {}, "exampleCount": str(count)}}
        try:
            http.json("POST", f"{self.base}/datasets", json=dataset)
        except BatchRefusedError as error:
            if "409" not in str(error):  # made in an attempt that ended before the job was
                raise
        http.request(
            "POST",
            f"{self.base}/datasets/{given}:upload",
            files={"file": (f"{name}.jsonl", lines, "application/jsonl")},
        )
        made = http.json(
            "POST",
            f"{self.base}/batchInferenceJobs",
            repeat=False,
            params={"batchInferenceJobId": name},
            json={
                "model": self.model,
                "displayName": name,
                "inputDatasetId": f"{account}/datasets/{given}",
                "outputDatasetId": f"{account}/datasets/{back}",
            },
        )
        return str(made.get("name", name)).rpartition("/")[2]

    def find(self, http: BatchHTTP, name: str) -> str | None:
        try:
            http.json("GET", f"{self.base}/batchInferenceJobs/{name}")
        except BatchRefusedError as error:
            if "answered 404" in str(error):
                return None
            raise
        return name

    def poll(self, http: BatchHTTP, batch: str) -> State:
        told = http.json("GET", f"{self.base}/batchInferenceJobs/{batch}")
        words: dict[str, Status] = {
            "COMPLETED": "done",
            "EXPIRED": "expired",
            "CANCELLED": "expired",
            "FAILED": "failed",
        }
        status = words.get(str(told.get("state", "")).removeprefix("JOB_STATE_"), "running")
        progress = told.get("jobProgress") or {}
        files: tuple[str, ...] = ()
        if status in ("done", "expired"):
            back = str(told.get("outputDatasetId", f"{batch}-out")).rpartition("/")[2]
            listed = http.json("GET", f"{self.base}/datasets/{back}:getDownloadEndpoint")
            files = tuple(str(url) for url in (listed.get("filenameToSignedUrls") or {}).values())
        said = str((told.get("status") or {}).get("message", ""))[:300]
        done = int(progress.get("totalProcessedRequests") or 0)
        return State(status, done, int(progress.get("totalInputRequests") or 0), files, said)

    def fetch(self, http: BatchHTTP, file: str) -> bytes:
        return http.signed(file)

    def read(self, line: Mapping[str, Any]) -> Line:
        key = str(line.get("custom_id", ""))
        response = line.get("response")
        body = response.get("body", response) if isinstance(response, dict) else None
        if isinstance(body, dict) and body.get("choices"):
            return Line(key, body)
        return Line(key, None, _said(line.get("error") or response))


def read_lines(dialect: Dialect, content: bytes) -> Iterator[Line]:
    """The lines of a batch's file; what is no JSON object is left out, and its request counts as missing."""
    for text in content.splitlines():
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield dialect.read(value)


def file_of(dialect: Dialect, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """The file of a batch: one line per (key, request body)."""
    rows = (json.dumps(dialect.line(key, body), ensure_ascii=False) for key, body in requests)
    return "".join(f"{row}\n" for row in rows).encode()


def dialect_of(kind: str, base_url: str, model: str, account: str | None) -> Dialect:
    """The dialect `kind` (openai, gemini, fireworks; auto: by the address). RecipeError where one is not complete."""
    parts = urlsplit(base_url)
    host = f"{parts.scheme}://{parts.netloc}"
    if kind == "auto":
        kind = next((k for k in ("gemini", "fireworks") if _OF_HOST[k] in parts.netloc), "openai")
    if kind == "gemini":
        return Gemini(host, model.removeprefix("models/"))
    if kind == "fireworks":
        if not account:
            raise RecipeError(
                "batches at Fireworks belong to an account, and none is named. Add batch: {account: NAME} (its page "
                "shows the name), or leave batch out."
            )
        return Fireworks(f"{host}/v1/accounts/{account}", model)
    return OpenAIFiles(base_url.rstrip("/"))


_OF_HOST = {"gemini": "generativelanguage.googleapis.com", "fireworks": "fireworks.ai"}


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _said(problem: Any) -> str:
    if isinstance(problem, dict):
        inner = problem.get("error", problem)
        problem = inner.get("message", inner.get("code", inner)) if isinstance(inner, dict) else inner
    return " ".join(str(problem or "no answer").split())[:200]
