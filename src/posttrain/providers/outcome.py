"""What an HTTP answer means for its request and for the run. Pure.

- reply: read it. filtered: a filter refused, which is an answer. refused: this request is wrong, and would be again.
- closed: not now, and not this request's fault: it is asked again without counting. fault: asked again, so many times.
- fatal: everything after it would fail too, so the run stops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.providers.reply import excerpt, told
from posttrain.web import retry_after

Kind = Literal["reply", "filtered", "refused", "closed", "fault", "fatal"]
LONGEST_WAIT = 900.0  # seconds; a provider that asks for more has closed for the day

_CLOSED = (429, 502, 503, 504, 520, 522, 524, 529)  # 52x: Cloudflare can't reach the server; 529: overloaded
_FAULTS = (408, 409, 425)
_EMPTY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated")
_FILTERS = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "data_inspection_failed")
_UNKNOWN_MODEL = re.compile(
    r"model[^.]{0,120}?(?:not exist|not found|does not exist|is not a valid|not supported|unknown)"
    r"|(?:unknown|invalid) model|not a valid model",
    re.IGNORECASE,
)
_REMEDIES = {
    401: "Look at the key in {key_env}.",
    402: "The account has no money left: add some and run the same command again.",
    403: "Look at what the key in {key_env} may do, and from where.",
    404: "Look at base_url ({base_url}) and model ({model}); {base_url}/models lists the models.",
    407: "The proxy in HTTP_PROXY or HTTPS_PROXY wants a password.",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """why: one line for people. wait: seconds that the provider asks for. doubt: it may have been charged."""

    kind: Kind
    why: str = ""
    wait: float | None = None
    remedy: str = ""
    doubt: bool = False


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """What an answer means. headers: case-insensitive, as httpx has them."""
    if 200 <= status < 300:
        return Outcome("reply")
    value = _json(body)
    why = f"answered {status}: {excerpt(told(value) if value is not None else body.decode('utf-8', 'replace'))}"
    problem = value[0] if isinstance(value, list) and value else value
    problem = problem.get("error", problem) if isinstance(problem, dict) else {}
    problem = problem if isinstance(problem, dict) else {}
    codes = [str(problem.get(name)) for name in ("code", "type")]
    if status < 500:
        if any(code in _EMPTY for code in codes):
            return Outcome("fatal", why, remedy=_REMEDIES[402])
        if any(code in _FILTERS for code in codes) or (status == 403 and _is_moderation(problem)):
            return Outcome("filtered", why)
    if status in _CLOSED or (status >= 500 and "retry-after" in headers):
        return _closed(status, headers, problem, why)
    if status in _FAULTS or status >= 500:
        return Outcome("fault", why)
    if status < 400:
        return Outcome("fatal", f"answered {status}, a redirection to elsewhere", remedy=_REMEDIES[404])
    if status in (401, 402, 403, 404, 405, 407, 410):
        return Outcome("fatal", why, remedy=_REMEDIES.get(status, _REMEDIES[404]))
    if _UNKNOWN_MODEL.search(why):
        return Outcome("fatal", why, remedy=_REMEDIES[404])
    return Outcome("refused", why)


def _closed(status: int, headers: Mapping[str, str], problem: Mapping[str, Any], why: str) -> Outcome:
    wait = retry_after(headers)
    if wait is None:
        wait, daily = _google(problem)
        if daily:
            return Outcome("fatal", why, remedy="The day's quota is used up: run the same command again tomorrow.")
    if wait is not None and wait > LONGEST_WAIT:
        remedy = f"It asks to wait {wait / 60:.0f} minutes: run the same command again then."
        return Outcome("fatal", why, remedy=remedy)
    return Outcome("closed", why, wait=wait)


def _google(problem: Mapping[str, Any]) -> tuple[float | None, bool]:
    """(seconds to wait, whether it is a daily quota) from google.rpc details."""
    wait, daily = None, False
    details = problem.get("details")
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        match = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(detail.get("retryDelay", "")))
        if match:
            wait = float(match[1])
        daily = daily or "PerDay" in json.dumps(detail.get("violations", ""))
    return wait, daily


def _is_moderation(problem: Mapping[str, Any]) -> bool:
    """OpenRouter's 403 for a flagged input, which says nothing about the key."""
    metadata = problem.get("metadata")
    return isinstance(metadata, dict) and ("reasons" in metadata or "flagged_input" in metadata)


def _json(body: bytes) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None
