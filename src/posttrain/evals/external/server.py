"""What a running OpenAI-compatible server calls its model."""

from __future__ import annotations

import httpx

from posttrain.errors import EngineError

SECONDS = 10.0


def served_model(address: str) -> str:
    """The first model that the server lists. EngineError where nothing answers there as such a server does."""
    root = address.rstrip("/").removesuffix("/completions").removesuffix("/chat")
    try:
        reply = httpx.get(f"{root}/models", timeout=SECONDS)
        reply.raise_for_status()
        listed = reply.json()["data"]
        return str(listed[0]["id"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise EngineError(
            f"no OpenAI-compatible server answers at {root}/models ({type(error).__name__}). Start it, or correct "
            "server: …"
        ) from error
