"""One request to a compatible server: retries with Retry-After, errors in plain words, the key in no message."""

from __future__ import annotations

import os
import random
import threading
from typing import Any

import httpx

from posttrain.engines.openai.config import ServerConfig
from posttrain.errors import EngineError
from posttrain.web import hide, retry_after, sendable

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
LONGEST_WAIT = 120.0  # seconds; a server that asks for more has closed for the day


class Client:
    """A pool of connections to one server. EngineError when the key's environment variable is not set."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._key = os.environ.get(config.key_env, "").strip() if config.key_env else ""
        if config.key_env and not self._key:
            raise EngineError(
                f"the environment variable {config.key_env} (server.key_env) is not set, so {config.url} can't be "
                f"asked. Set it to the key, e.g. export {config.key_env}=…, or leave key_env out."
            )
        if not sendable(self._key):
            raise EngineError(
                f"the key in {config.key_env} (server.key_env) holds characters that no HTTP header can carry. Copy it "
                "again, whole and alone."
            )
        limits = httpx.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency)
        timeout = httpx.Timeout(config.timeout, connect=min(30.0, config.timeout))
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx.Client(timeout=timeout, limits=limits, headers=headers)
        self._closed = threading.Event()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The server's JSON answer. EngineError where it refuses, or still fails after all retries."""
        url = f"{self.config.url}{path}"
        for attempt in range(self.config.retries + 1):
            wait: float | None = None
            try:
                answer = self._http.post(url, json=body)
            except httpx.TransportError as problem:
                fact = f"{type(problem).__name__}: {problem}"
            else:
                if answer.status_code == 200:
                    value = _json(answer)
                    if value is not None:
                        return value
                    fact = "answered 200 with a body that is not JSON"
                else:
                    fact = f"answered {answer.status_code}: {self._said(answer)}"
                    if answer.status_code not in AGAIN or "insufficient_quota" in fact:
                        raise EngineError(f"{url} {fact}. {_remedy(answer.status_code)}")
                    wait = retry_after(answer.headers)
            if attempt == self.config.retries:
                break
            if wait is not None and wait > LONGEST_WAIT:
                raise EngineError(f"{url} {fact}, and asks to wait {wait:.0f} s. Run the same command again then.")
            # Full jitter (Brooker 2015, "Exponential backoff and jitter"), never less than the server asks for.
            pause = (wait or 0.0) + random.uniform(0, min(30.0, 0.5 * 2**attempt))
            if self._closed.wait(pause):
                raise EngineError(f"{url}: the engine was closed while a request waited.")
        raise EngineError(
            f"{hide(f'{url} {fact}', self._key)}, {self.config.retries + 1} times. Look whether the server is up, "
            "lower server.concurrency, or raise server.retries; what is finished is kept."
        )

    def _said(self, answer: httpx.Response) -> str:
        value = _json(answer)
        problem = value.get("error", value) if value is not None else answer.text
        text = problem.get("message", problem) if isinstance(problem, dict) else problem
        kind = f" ({problem['code']})" if isinstance(problem, dict) and isinstance(problem.get("code"), str) else ""
        return hide(" ".join(str(text).split())[:300] + kind, self._key)

    def close(self) -> None:
        """Requests that wait or run end with an error in their threads."""
        self._closed.set()
        self._http.close()


def _json(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        value = answer.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Look at the key in the variable that server.key_env names."
    if status == 404:
        return "Look at server.url and server.model."
    return "Look at what it says; server.mode, the sampling settings or the prompt may not be to its liking."
