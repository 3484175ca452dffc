"""`ask`: requests in, replies out, in the order of their arrival; nothing that was paid for is asked twice."""

from __future__ import annotations

import dataclasses
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from posttrain.errors import ProviderError
from posttrain.providers.budget import Budget
from posttrain.providers.jobs import Job, journaled, larger, make_job
from posttrain.providers.journal import Journal
from posttrain.providers.keys import find_key
from posttrain.providers.live import Live
from posttrain.providers.reply import Reply
from posttrain.providers.teacher import Request, Teacher

if TYPE_CHECKING:
    from posttrain.providers.run import Run

AHEAD = 256  # requests taken from the caller beyond those that may be in flight
SHOWN = 0.25  # seconds between two calls of `progress`


def ask(
    teacher: Teacher,
    requests: Iterable[Request],
    journal: Path,
    *,
    budget: Budget | None = None,
    progress: Callable[[Live], None] | None = None,
    retry_truncated: int | None = None,
) -> Iterator[Reply]:
    """One Reply for each request, in the order of arrival; one that is in the journal comes at once, and costs nothing.

    requests: pulled in the caller's thread as there is room, never more than `limits.concurrency` + AHEAD of them
    before their replies are taken, so any number of them runs in flat memory. Equal requests (same key) are asked
    once. journal: made where there is none; resuming is calling again with the same file. retry_truncated: max_tokens
    of one larger attempt for a reply that was cut.

    A request that fails for good yields a Reply with finish_reason `error`, and is asked again next time. What would
    fail for every request raises, after all replies in flight have been kept and yielded: ProviderError (key,
    address, model, account, a provider that stays closed, a reasoning teacher without reasoning), BudgetError,
    StoreError. Closing the generator early gives replies in flight two seconds. Calling needs a key at once:
    ProviderError.
    """
    secret = find_key(teacher)
    if retry_truncated is not None and retry_truncated < 1:
        raise ProviderError(f"retry_truncated is {retry_truncated}; give the max_tokens of the larger attempt.")
    return _stream(teacher, secret, requests, journal, budget or Budget(), progress or _nothing, retry_truncated)


def _stream(
    teacher: Teacher,
    secret: str | None,
    requests: Iterable[Request],
    path: Path,
    budget: Budget,
    progress: Callable[[Live], None],
    retry_truncated: int | None,
) -> Iterator[Reply]:
    from posttrain.providers.run import Run  # httpx and asyncio, which a config that names a teacher has no use for

    with Journal(path) as journal:
        budget.open(journal, teacher)
        run = Run(teacher, secret, journal, budget)
        shown = _Shown(run.live, progress)
        run.start()
        try:
            yield from _answers(teacher, run, shown, journal, iter(requests), retry_truncated)
            run.stop()
            if run.error is not None:  # the last reply brought it
                raise run.error
        finally:
            run.stop()
            shown.now()


def _answers(
    teacher: Teacher, run: Run, shown: _Shown, journal: Journal, source: Iterator[Request], retry_truncated: int | None
) -> Iterator[Reply]:
    waiting: dict[str, int] = {}  # key → requests that wait for its reply
    most = teacher.limits.concurrency + AHEAD
    more = True
    while more or waiting:
        shown.now_and_then()
        while more and len(waiting) < most and run.outbox.empty():
            request = next(source, None)
            if request is None:
                more = False
                break
            job = make_job(teacher, request, retry_truncated)
            known = _known(teacher, journal, job)
            if job.key in waiting:
                waiting[job.key] += 1
            elif isinstance(known, Reply):
                run.live.journaled += 1
                if (error := run.proof.see(known)) is not None:
                    raise error
                yield known
            else:
                waiting[job.key] = 1
                run.submit(known)
        if not waiting:
            continue
        try:
            item = run.outbox.get(timeout=SHOWN)
        except queue.Empty:
            continue
        if isinstance(item, BaseException):
            raise item
        for _ in range(waiting.pop(item.key)):
            yield item


def _known(teacher: Teacher, journal: Journal, job: Job) -> Reply | Job:
    """The journaled reply to a job, or the job that is to be done: itself, or its larger attempt."""
    reply = journaled(teacher, journal, job.key)
    if reply is None:
        return job
    if reply.finish_reason != "length" or larger(job.request, job.retry_truncated) is None:
        return reply
    again = job.larger(teacher, reply)
    assert again is not None
    second = journaled(teacher, journal, again.key)
    return again if second is None else dataclasses.replace(again.joined(second), journaled=True)


class _Shown:
    """Calls `progress` often enough for people, and not for every reply."""

    def __init__(self, live: Live, progress: Callable[[Live], None]) -> None:
        self._live, self._progress, self._last = live, progress, 0.0

    def now_and_then(self) -> None:
        if time.monotonic() - self._last >= SHOWN:
            self.now()

    def now(self) -> None:
        self._last = time.monotonic()
        self._progress(self._live.copy())


def _nothing(_: Live) -> None:
    """No one looks."""
