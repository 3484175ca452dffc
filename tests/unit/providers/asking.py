"""Shared by the tests of asking: a teacher at a scripted provider, questions, and a process that asks and may be
killed.

``python -m tests.unit.providers.asking URL JOURNAL COUNT PER_MINUTE``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posttrain.providers import Limits, Prices, Quirks, Request, Teacher, ask

# A tenth of all requests, of every kind that a provider shows.
FAULTS = {
    "500": 0.02,
    "reset": 0.02,
    "torn": 0.01,
    "torn_json": 0.01,
    "429": 0.01,
    "503": 0.01,
    "slow": 0.01,
    "blank_lines": 0.01,
}


def teacher_at(url: str, *, prices: Prices | None = None, quirks: Quirks | None = None, **limits: Any) -> Teacher:
    given = {"concurrency": 64, "timeout": 20.0, **limits}
    return Teacher(
        name="scripted",
        base_url=url,
        model="scripted",
        prices=prices,
        quirks=quirks or Quirks(),
        limits=Limits(**given),
    )


def question(number: int) -> Request:
    return Request(
        messages=({"role": "system", "content": "Answer."}, {"role": "user", "content": f"What is {number} + 1?"}),
        sampling={"temperature": 0.7, "max_tokens": 256},
    )


def questions(count: int) -> Iterator[Request]:
    return (question(number) for number in range(count))


def asked(request: Request) -> str:
    return request.messages[-1]["content"]


def records(journal: Path, kind: str) -> list[dict[str, Any]]:
    """The whole lines of a journal that are of one kind; what a killed process left half-written is no line."""
    whole = journal.read_bytes().rpartition(b"\n")[0].splitlines()[1:]
    return [record for record in map(json.loads, whole) if record["record"] == kind]


def main() -> None:
    url, journal, count, per_minute = sys.argv[1:]
    teacher = teacher_at(url, requests_per_minute=float(per_minute), concurrency=64)
    replies = list(ask(teacher, questions(int(count)), Path(journal)))
    print(len(replies), sum(reply.finish_reason == "stop" for reply in replies))


if __name__ == "__main__":
    main()
