"""Times of day: `20:34`, `8:34 p.m.`, `20:34:00`; what looks like one is compared as one and not as a ratio."""

from __future__ import annotations

import re
from typing import NamedTuple

_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_HALF_DAY = 12 * 3600
_NOISE = re.compile(r"\\(?:text[a-z]*|mathrm|mbox)|[\s{}$~]|\\[,;:! ]")


class Clock(NamedTuple):
    """Seconds since midnight; where the half of the day isn't said, `half` is false and the time may be either."""

    seconds: int
    half: bool


def read(text: str) -> Clock | None:
    """The time of day that a text says, None if it is something else."""
    m = _CLOCK.fullmatch(_NOISE.sub("", text[:60]))
    if not m or int(m[1]) > 24:
        return None
    hour = int(m[1])
    if m[4]:
        hour = hour % 12 + (12 if m[4] in "pP" else 0)
    return Clock(hour * 3600 + int(m[2]) * 60 + int(m[3] or 0), bool(m[4]))


def same(gold: str, answer: str) -> bool | None:
    """Whether two times of day agree; None if one of the texts is none. 2:00 may be 2:00 p.m., but not 14:00."""
    one, other = read(gold), read(answer)
    if one is None or other is None:
        return None
    if one.half == other.half:
        return one.seconds == other.seconds
    unsaid = other if one.half else one
    apart = abs(one.seconds - other.seconds)
    return apart == 0 or (apart == _HALF_DAY and unsaid.seconds <= _HALF_DAY + 3599)
