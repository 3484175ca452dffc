"""A teacher and a question to it, as declarations: `Teacher`, `Request`, and the key under which a reply is kept.

The key is the sha256 of the canonical effective request (who serves it, and the body as it is sent) and of the sample
index. Row positions, API keys, addresses, limits and retries are no part of it, so a journal stays good when any of
them changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from posttrain.config import Config
from posttrain.errors import ProviderError

ReasoningKind = Literal["raw", "summary", "tags", "none"]
_HOW: dict[str, Any] = {"fingerprint": False}  # how it is asked, not what comes out


class Prices(Config):
    """Dollars per million tokens, as they stood on a day."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    """Reasoning included."""
    cached: float | None = Field(None, ge=0)
    """Input that the provider had in its cache; None = as `input`."""
    batch: float = Field(1.0, ge=0)
    """What a batch costs of it: 0.5 is half."""
    as_of: date | None = None
    """The day on which these were the prices."""
    source: str | None = None
    """Where they were published."""

    def cost(self, prompt: int, completion: int, cached: int = 0) -> float:
        """Dollars for so many tokens; `cached` of the `prompt` tokens came from the cache."""
        cached = min(cached, prompt)
        of_cache = self.input if self.cached is None else self.cached
        return ((prompt - cached) * self.input + cached * of_cache + completion * self.output) / 1e6


class Limits(Config):
    """What a provider lets one account do. None: nothing is known, and the client finds out by itself."""

    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    """Prompt and completion together; a request counts with its max_tokens until its reply is there."""
    concurrency: int = Field(64, ge=1, le=4096)
    """Requests at once, at most."""
    timeout: float = Field(600.0, gt=0)
    """Seconds of one attempt, from connecting to the last byte."""
    retries: int = Field(6, ge=0)
    """Repeats of one request after faults of its own; waiting for a provider that is closed doesn't count."""
    waves: int = Field(8, ge=1)
    """How often in a row the provider must be found closed before the run stops …"""
    patience: float = Field(300.0, ge=0)
    """… and for how many seconds without a single reply."""


class Quirks(Config):
    """Where a provider or model differs from OpenAI's chat completions."""

    reasoning: bool = False
    """The model reasons and shows it: replies without any reasoning stop the run."""
    reasoning_kind: Literal["raw", "summary"] = "raw"
    """What the reasoning fields hold; tags are told by themselves."""
    max_tokens_field: str = "max_tokens"
    """What the model calls max_tokens."""
    drop: tuple[str, ...] = ()
    """Sampling settings that the model refuses."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Sent with every request, such as {reasoning: {effort: high}}."""
    headers: dict[str, str] = Field(default_factory=dict, json_schema_extra=_HOW)
    """Sent with every request; never the API key, which is key_env's."""

    @field_validator("headers")
    @classmethod
    def _hold_no_key(cls, headers: dict[str, str]) -> dict[str, str]:
        if secret := [name for name in headers if re.search("auth|key|token", name, re.IGNORECASE)]:
            raise ProviderError(
                f"quirks.headers has {secret[0]!r}, whose value would be stored in manifests. Put the key into an "
                "environment variable and its name into key_env; it is sent as Authorization: Bearer."
            )
        return headers


class Teacher(Config):
    """Who is asked, and how. The API key is not in it: `key_env` names the variable that holds it."""

    name: str
    base_url: str = Field(json_schema_extra=_HOW)
    """Base address, before /chat/completions, e.g. https://api.openai.com/v1."""
    model: str
    """The model's name at the provider."""
    provider: str = ""
    """Who serves it, as part of the key of every request; empty = the teacher's name."""
    key_env: str | None = Field(None, json_schema_extra=_HOW)
    """Name of the environment variable that holds the key; None = none is wanted."""
    prices: Prices | None = Field(None, json_schema_extra=_HOW)
    """None: unknown, which is not nothing."""
    limits: Limits = Field(Limits(), json_schema_extra=_HOW)
    quirks: Quirks = Quirks()

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query:
            # No ValueError, since its message would repeat the value: what stands here may be a secret.
            raise ProviderError(
                "a teacher's base_url holds a user, password or query, and would be stored in manifests. Put the key "
                "into an environment variable and its name into key_env."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http address; write e.g. https://api.openai.com/v1")
        return url.rstrip("/").removesuffix("/chat/completions")

    @field_validator("key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name):
            raise ProviderError(
                "a teacher's key_env is not the name of an environment variable. Put the key into a variable and write "
                "its NAME here, such as OPENAI_API_KEY; the key itself belongs into no file but .env."
            )
        return name


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `sample` tells several answers to the same question apart."""

    messages: tuple[Mapping[str, str], ...]
    sampling: Mapping[str, Any] = field(default_factory=dict)  # temperature, top_p, max_tokens, …
    sample: int = 0

    def body(self, teacher: Teacher) -> dict[str, Any]:
        """The JSON that is sent to `teacher`."""
        quirks = teacher.quirks
        settings = {k: v for k, v in self.sampling.items() if k not in quirks.drop and v is not None}
        if "max_tokens" in settings:
            settings[quirks.max_tokens_field] = settings.pop("max_tokens")
        messages = [dict(message) for message in self.messages]
        return {"model": teacher.model, "messages": messages, **settings, **quirks.extra_body}

    def key(self, teacher: Teacher) -> str:
        """sha256 (hex) of the canonical effective request and the sample index."""
        return key_of(teacher, self.body(teacher), self.sample)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens that a reply may have; None where the request doesn't say."""
        value = self.sampling.get("max_tokens", self.sampling.get("max_completion_tokens"))
        return int(value) if value is not None else None

    def most_prompt_tokens(self) -> int:
        """An upper bound: no byte-level vocabulary makes more tokens than bytes, and 16 per message frame it."""
        return sum(
            sum(len(value.encode("utf-8", "surrogatepass")) for value in message.values()) + 16
            for message in self.messages
        )


def key_of(teacher: Teacher, body: Mapping[str, Any], sample: int) -> str:
    """The key of a body that is ready to be sent, as `Request.key`."""
    canonical = json.dumps(
        {"provider": teacher.provider or teacher.name, "body": body, "sample": sample},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def worst_cost(teacher: Teacher, request: Request) -> float | None:
    """Dollars that `request` costs at most; None where the price or the length of the reply is unknown."""
    if teacher.prices is None or request.max_tokens is None:
        return None
    prices = teacher.prices
    dearest = max(prices.input, prices.cached or 0.0)
    return (request.most_prompt_tokens() * dearest + request.max_tokens * prices.output) / 1e6
