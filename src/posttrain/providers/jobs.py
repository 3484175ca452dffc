"""A request on its way through a run, and the queue of those that wait for another attempt."""

from __future__ import annotations

import dataclasses
import heapq
import json
import random
from dataclasses import dataclass

from posttrain.providers.journal import Journal
from posttrain.providers.reply import Reply, UnreadableReply, parse_reply
from posttrain.providers.teacher import Request, Teacher, key_of, worst_cost

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds: full jitter below min(LONGEST, FIRST · 2^n) (Brooker 2015)
CLOSED = 4  # times `retries`: how often a request may meet a closed provider that others find open
UNSAID = 1024  # tokens that a request without max_tokens is taken to need of the tokens per minute


@dataclass(slots=True, eq=False)
class Job:
    """A request with what it needs and what became of it so far. Times are of the run's clock."""

    request: Request
    key: str
    body: bytes
    worst: float | None  # dollars
    tokens: float  # that it takes of the tokens per minute
    retry_truncated: int | None = None  # max_tokens of one larger attempt
    cut: Reply | None = None  # the truncated reply that this is the larger attempt for
    attempts: int = 0
    began: float = 0.0
    sent_at: float = 0.0
    due: float = 0.0
    own: int = 0  # faults of its own
    met_closed: int = 0

    def faulted(self, now: float, retries: int) -> bool:
        """After a fault: whether it may try again, when it is `due`."""
        self.own += 1
        self.due = now + random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**self.own))
        return self.own <= retries

    def closed(self, now: float, retries: int) -> bool:
        """After meeting a closed provider; when the gate opens is the pacer's affair."""
        self.met_closed += 1
        self.due = now + random.uniform(0, FIRST_WAIT)
        return self.met_closed <= CLOSED * max(1, retries) + 8

    def larger(self, teacher: Teacher, reply: Reply) -> Job | None:
        """The one larger attempt after a truncated reply, where it is asked for."""
        if reply.finish_reason != "length" or self.cut is not None:
            return None
        request = larger(self.request, self.retry_truncated)
        return None if request is None else make_job(teacher, request, None, cut=self.joined(reply), began=self.began)

    def joined(self, reply: Reply) -> Reply:
        """What the caller gets: under the key of what was asked, with the cost of everything that was paid for it."""
        first = self.cut
        if first is None:
            return reply
        if reply.finish_reason == "error":
            return first  # cut, and that is better than nothing
        cost = None if first.cost is None or reply.cost is None else first.cost + reply.cost
        return dataclasses.replace(
            reply,
            key=first.key,
            cost=cost,
            seconds=first.seconds + reply.seconds,
            attempts=first.attempts + reply.attempts,
        )


def make_job(
    teacher: Teacher, request: Request, retry_truncated: int | None, *, cut: Reply | None = None, began: float = 0.0
) -> Job:
    """A job for `request`."""
    body = request.body(teacher)
    prompt = sum(len(message.get("content", "")) for message in request.messages) / 4
    return Job(
        request=request,
        key=key_of(teacher, body, request.sample),
        body=json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode("ascii"),
        worst=worst_cost(teacher, request),
        tokens=prompt + (request.max_tokens or UNSAID),
        retry_truncated=retry_truncated,
        cut=cut,
        began=began,
    )


def larger(request: Request, max_tokens: int | None) -> Request | None:
    """`request` with more room for its reply; None where that is no more than it had."""
    if max_tokens is None or request.max_tokens is None or max_tokens <= request.max_tokens:
        return None
    name = "max_tokens" if "max_tokens" in request.sampling else "max_completion_tokens"
    return dataclasses.replace(request, sampling={**request.sampling, name: max_tokens})


def journaled(teacher: Teacher, journal: Journal, key: str) -> Reply | None:
    """The reply that the journal has under `key`; None where there is none that can be read."""
    if key not in journal:
        return None
    try:
        return dataclasses.replace(parse_reply(teacher, journal.read(key)), journaled=True)
    except UnreadableReply:
        return None  # the process died before it could say so: asked again


class Jobs:
    """Jobs that wait until they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Job]] = []
        self._serial = 0

    def put(self, job: Job) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (job.due, self._serial, job))

    def due(self, now: float) -> Job | None:
        """The first that is due."""
        return heapq.heappop(self._heap)[2] if self._heap and self._heap[0][0] <= now else None

    def wait(self, now: float) -> float | None:
        """Seconds until one is due; None where none waits."""
        return max(0.0, self._heap[0][0] - now) if self._heap else None
