"""What every client of somebody else's HTTP server needs: how long it asks to wait, and a key that is in no text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MASKED = re.compile(r"\S*\*{3,}\S*")  # OpenAI repeats a wrong key with its middle starred out
_LONG = re.compile(r"[\w\-]{8,}")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that the server asks for: Retry-After (RFC 9110, 10.2.3), a number or a date, or retry-after-ms.

    headers: case-insensitive, as httpx has them. None where they ask for nothing, or for what can't be read.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < 1e9 else None
    try:
        when = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, TypeError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())


def hide(text: str, key: str | None) -> str:
    """`text` without the key, or any long part of it: servers repeat keys in their errors."""
    if not key:
        return text
    text = text.replace(key, "***")
    text = _LONG.sub(lambda word: "***" if word[0] in key else word[0], text)
    return _MASKED.sub("***", text)


def sendable(key: str) -> bool:
    """Whether an HTTP header can carry the key: a copied one may have an invisible character in it."""
    return key.isascii() and key.isprintable() and " " not in key
