"""What can be set about a compatible server. No torch here."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from posttrain.config import Config
from posttrain.errors import EngineError

_HOW: dict[str, Any] = {"fingerprint": False}  # how it is asked, not what comes out


class ServerConfig(Config):
    """Where the server is, and what to call the model there. The key itself is never written into a config."""

    url: str = Field(json_schema_extra=_HOW)
    """Base address, e.g. https://api.openai.com/v1 or http://127.0.0.1:8000/v1."""
    model: str | None = None
    """The model's name at that server; None = what the evaluation's `models` call it."""
    key_env: str | None = Field(None, json_schema_extra=_HOW)
    """Name of the environment variable that holds the key; None = the server wants none."""
    mode: Literal["chat", "tokens"] = "chat"
    """chat: conversations as text, for any server. tokens: token ids in and out (vLLM, posttrain serve), made by the
    model's own tokenizer."""
    concurrency: int = Field(16, ge=1, le=1024, json_schema_extra=_HOW)
    """Requests at once."""
    timeout: float = Field(600.0, gt=0, json_schema_extra=_HOW)
    """Seconds of silence after which a request counts as lost."""
    retries: int = Field(6, ge=0, json_schema_extra=_HOW)
    """How often a request is repeated after 408, 429, 5xx or a broken connection."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http address; write e.g. https://api.openai.com/v1")
        if parts.username or parts.password or parts.query:
            raise EngineError(
                "server.url holds a user, password or query, and would be stored in manifests. Put the key into an "
                "environment variable and its name into server.key_env."
            )
        return url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        # No ValueError, since pydantic repeats the value in it: what stands here by mistake may be the key itself.
        if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name):
            raise EngineError(
                "server.key_env is not the name of an environment variable. Put the key into a variable and write its "
                "NAME here, such as OPENAI_API_KEY; the key itself belongs into no recipe."
            )
        return name
