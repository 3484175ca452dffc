"""One server's batch interface over HTTP: JSON in and out, repeated where that is harmless, the key in no message."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from posttrain.errors import ProviderError
from posttrain.web import hide

AGAIN = (408, 425, 429, 500, 502, 503, 504)
TRIES = 6
LONGEST_PAUSE = 60.0  # seconds


class BatchRefusedError(ProviderError):
    """A server does not take a batch, or does not give it back."""


class BatchHTTP:
    """Requests below one address. `repeat` says whether a request may be sent again after an answer that never came:
    reading may, making a batch may not (it would be paid twice)."""

    def __init__(self, headers: Mapping[str, str], *, secret: str | None, timeout: float, pause: float = 1.0) -> None:
        self._http = httpx.Client(headers=dict(headers), timeout=httpx.Timeout(timeout, connect=30.0))
        self._secret = secret
        self.pause = pause  # seconds before the first repetition; doubled every time

    def json(self, method: str, url: str, *, repeat: bool = True, **content: Any) -> dict[str, Any]:
        """The JSON object that the server answers. BatchRefusedError where it refuses or is not reached."""
        answer = self.request(method, url, repeat=repeat, **content)
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BatchRefusedError(f"{url} answered with something that is not JSON. Look at the teacher's base_url.")
        return value

    def request(self, method: str, url: str, *, repeat: bool = True, **content: Any) -> httpx.Response:
        """The server's answer of status 2xx."""
        fact = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(min(LONGEST_PAUSE, self.pause * 2 ** (attempt - 1)))
            try:
                answer = self._http.request(method, url, follow_redirects=method == "GET", **content)
            except httpx.TransportError as problem:
                fact = self._hidden(f"{type(problem).__name__}: {problem}")
                if not repeat:
                    raise UncertainError(
                        f"{url}: {fact}. Whether the batch was made is asked at the next start."
                    ) from None
                continue
            if answer.is_success:
                return answer
            fact = f"answered {answer.status_code}: {self._hidden(' '.join(answer.text.split())[:300])}"
            if answer.status_code not in AGAIN:
                raise BatchRefusedError(f"{url} {fact}. {_remedy(answer.status_code)}")
            if not repeat and answer.status_code >= 500:
                raise UncertainError(f"{url} {fact}. Whether the batch was made is asked at the next start.")
        raise BatchRefusedError(
            f"{url} {fact}, {TRIES} times. Run the same command again later: nothing is paid twice."
        )

    def signed(self, url: str) -> bytes:
        """What stands at an address that carries its own permission; it is not sent the key."""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(min(LONGEST_PAUSE, self.pause * 2 ** (attempt - 1)))
            try:
                answer = httpx.get(url, follow_redirects=True, timeout=self._http.timeout)
            except httpx.TransportError:
                continue
            if answer.is_success:
                return answer.content
            if answer.status_code not in AGAIN:
                break
        raise BatchRefusedError(
            "a batch's results can't be fetched from the address that the server gave. Run again later."
        )

    def _hidden(self, text: str) -> str:
        return hide(text, self._secret)

    def close(self) -> None:
        self._http.close()


class UncertainError(BatchRefusedError):
    """A batch was asked for and no answer came: it may have been made."""


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Look at the key in the environment variable that the teacher's key_env names."
    if status == 404:
        return "Look at the teacher's base_url and model; not every model takes batches."
    if status == 402:
        return "The account has no credit left."
    return "Look at what it says; leave out batch: true where this model takes no batches."
