"""One teacher is asked: an event loop in a thread of its own, one task per request in flight.

A request's way: taken (retries that are due first) → admitted (pace, window, budget, room on the disk) → its intent
journaled → sent, unless the gate has closed meanwhile → its reply journaled on the disk → parsed → delivered → its
place given away.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque

import httpx

from posttrain.errors import BudgetError, ProviderError, StoreError
from posttrain.providers import journal as records
from posttrain.providers.ballast import room_for
from posttrain.providers.budget import Budget
from posttrain.providers.commit import Committer
from posttrain.providers.jobs import Job, Jobs, journaled
from posttrain.providers.lanes import Lanes
from posttrain.providers.live import Live
from posttrain.providers.outcome import Outcome, classify
from posttrain.providers.pace import Pacer
from posttrain.providers.proof import Proof
from posttrain.providers.reply import Reply, UnreadableReply, excerpt, failed, parse_reply
from posttrain.providers.teacher import Teacher
from posttrain.web import hide

GRACE = 2.0  # seconds that replies on their way have, when the caller leaves before the end
REFUSALS = 5  # requests refused before any reply: then it isn't the requests
UNREACHED = 3  # connections that failed before any stood: then nobody is there


class WithdrawnError(Exception):
    """The run ended before the request left."""


class Run:
    """`submit` jobs, get from `outbox` one Reply for each, or the error that ended the run; `stop` in any case."""

    def __init__(self, teacher: Teacher, secret: str | None, journal: records.Journal, budget: Budget) -> None:
        self.outbox: queue.SimpleQueue[Reply | BaseException] = queue.SimpleQueue()
        self.live = Live()
        self.proof = Proof(teacher)
        self._teacher, self._secret, self._journal, self._budget = teacher, secret, journal, budget
        self._fresh: deque[Job] = deque()
        self._jobs = Jobs()
        self._tasks: set[asyncio.Task[None]] = set()
        self.error: BaseException | None = None
        self._stopped = False
        self._answered = self._refused = self._unreached = 0
        self._connected = False
        self._room = 0  # bytes that the replies in flight may need
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"ask {teacher.name}", daemon=True)

    # ---- the caller's thread

    def start(self) -> None:
        self._thread.start()
        self._up.wait()

    def submit(self, job: Job) -> None:
        self._fresh.append(job)
        with contextlib.suppress(RuntimeError):  # the loop has ended: the error that ended it is in the outbox
            self._loop.call_soon_threadsafe(self._wake.set)

    def stop(self) -> None:
        """Ends the run; what is in flight has a moment to arrive. Returns when everything is written."""
        self._stopped = True
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._wake.set)
        self._thread.join()

    # ---- its own thread

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # to be raised in the caller's thread
            self.error = self.error or error
        finally:
            self._up.set()
        if self.error is not None:
            self.outbox.put(self.error)

    async def _serve(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._began = self._loop.time()
        self._pacer = Pacer(self._teacher.limits, self._began)
        self._committer = Committer(self._journal, self._fail)
        headers = dict(self._teacher.quirks.headers)
        if self._secret is not None:
            headers["Authorization"] = f"Bearer {self._secret}"
        self._lanes = Lanes(f"{self._teacher.base_url}/chat/completions", headers)
        self._up.set()
        try:
            await self._dispatch()
            await self._drain()
            self._say_what_is_kept()
        finally:
            await self._lanes.close()
            await self._committer.close()

    @property
    def _over(self) -> bool:
        return self._stopped or self.error is not None

    def _fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
        self._wake.set()

    def _stop_with(self, why: str, remedy: str) -> None:
        teacher = self._teacher
        remedy = remedy.format(key_env=teacher.key_env or "key_env", base_url=teacher.base_url, model=teacher.model)
        text = f"teacher '{teacher.name}' at {teacher.base_url} {why}. {remedy}"
        self._fail(ProviderError(hide(text, self._secret)))

    def _say_what_is_kept(self) -> None:
        if type(self.error) is ProviderError:
            end = f"{len(self._journal)} replies are kept in {self._journal.path}: the same command goes on from there."
            self.error = ProviderError(f"{self.error} {end}")

    async def _rest(self, seconds: float | None) -> None:
        """Until something happens, at most so long."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _dispatch(self) -> None:
        while not self._over:
            job = self._jobs.due(self._loop.time()) or (self._fresh.popleft() if self._fresh else None)
            if job is None:
                await self._rest(self._jobs.wait(self._loop.time()))
            elif await self._admitted(job):
                self._launch(job)

    async def _admitted(self, job: Job) -> bool:
        """Waits until `job` may leave; False when the run has ended before."""
        while not self._over:
            if not self.proof.allows(len(self._tasks)):
                await self._rest(None)
                continue
            self._look()
            delay = self._pacer.delay(self._loop.time(), job.tokens, len(self._tasks))
            if delay > 0:
                await self._rest(min(delay, 1.0))
                continue
            try:
                if self._budget.reserve(job.worst):
                    return self._has_room(job)
                if not self._budget.in_flight:
                    self._fail(self._budget.used_up(job.worst))
            except BudgetError as error:
                self._fail(error)
            await self._rest(0.1)  # the next reply gives something back, here or at another teacher
        return False

    def _has_room(self, job: Job) -> bool:
        room = self._room + room_for(job.request.max_tokens)
        try:
            self._journal.ballast.hold(room)
        except StoreError as error:
            self._budget.settle(job.worst, 0.0)
            self._fail(error)
            return False
        return True

    def _launch(self, job: Job) -> None:
        self._room += room_for(job.request.max_tokens)
        self._pacer.sent(self._loop.time(), job.tokens)
        task = asyncio.create_task(self._attempt(job))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, job))

    def _ended(self, task: asyncio.Task[None], job: Job) -> None:
        self._tasks.discard(task)
        self._room -= room_for(job.request.max_tokens)
        self._look()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self._wake.set()

    def _look(self) -> None:
        now = self._loop.time()
        self.live.in_flight = len(self._tasks)
        self.live.waves = self._pacer.all_waves
        self.live.seconds = now - self._began
        self.live.closed_for = max(0.0, self._pacer.closed_until - now)

    async def _drain(self) -> None:
        """What is in flight is paid for, so it is waited for; a caller who has left gets a moment only."""
        while self._tasks:
            _, waiting = await asyncio.wait(self._tasks, timeout=GRACE if self._stopped else 0.2)
            if waiting and self._stopped:
                for task in waiting:
                    task.cancel()
                await asyncio.wait(waiting)
            await asyncio.sleep(0)  # lets the last `_ended` run

    # ---- one request

    async def _attempt(self, job: Job) -> None:
        job.attempts += 1
        job.sent_at = self._loop.time()
        line = records.intent(job.key, job.request.sample, job.attempts, self._teacher.name, time.time(), job.worst)
        await self._committer.written(records.encode(line))
        try:
            async with asyncio.timeout(None) as limit:
                status, headers, body = await self._lanes.post(job.body, lambda: self._leaving(job, limit))
        except WithdrawnError:
            self._give_up(job, Outcome("closed", "not sent: the run ended"))
        except TimeoutError:
            self._pacer.refused(self._loop.time(), job.sent_at, None)
            self._failed(job, Outcome("fault", f"no reply within {self._teacher.limits.timeout:g} s", doubt=True))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as problem:
            self._unreached += not self._connected
            self._failed(job, Outcome("closed", f"can't be reached: {excerpt(str(problem) or type(problem).__name__)}"))
        except (httpx.TransportError, httpx.DecodingError) as problem:
            why = f"the connection broke: {excerpt(str(problem) or type(problem).__name__)}"
            self._failed(job, Outcome("fault", why, doubt=True))
        else:
            outcome = classify(status, headers, body)
            if outcome.kind in ("reply", "filtered"):
                await self._keep(job, status, headers, body)
            else:
                self._failed(job, outcome)

    async def _leaving(self, job: Job, limit: asyncio.Timeout) -> None:
        """The connection stands. No request leaves while the provider has asked for silence."""
        self._connected = True
        while not self._over and (wait := self._pacer.closed_until - self._loop.time()) > 0:
            await asyncio.sleep(min(wait, 0.2))
        if self._over:
            raise WithdrawnError
        self.live.sent += 1
        job.sent_at = self._loop.time()
        limit.reschedule(job.sent_at + self._teacher.limits.timeout)

    async def _keep(self, job: Job, status: int, headers: httpx.Headers, body: bytes) -> None:
        """A reply: first onto the disk, then read."""
        seconds = self._loop.time() - job.sent_at
        if self._secret is not None:
            body = body.replace(self._secret.encode(), b"***")
        fields = records.body_fields(body, _charset(headers))
        record = records.reply(
            job.key, job.request.sample, job.attempts, self._teacher.name, time.time(),
            status=status, seconds=seconds, worst=job.worst, **fields,
        )  # fmt: skip
        line = records.encode(record)
        place = await self._committer.durable(line)
        self._journal.keep(job.key, place, len(line))
        try:
            reply = parse_reply(self._teacher, record)
        except UnreadableReply as problem:
            self._journal.forget(job.key)
            strange = not self._answered and str(problem).startswith("HTML")
            remedy = "This is no API: look at base_url ({base_url})."
            why = f"answered {status} with {problem}"
            self._failed(job, Outcome("fatal" if strange else "fault", why, remedy=remedy, doubt=True))
        else:
            self._succeeded(job, reply, seconds)

    def _succeeded(self, job: Job, reply: Reply, seconds: float) -> None:
        self._answered += 1
        now = self._loop.time()
        self._pacer.succeeded(now, seconds, reply.completion_tokens, len(self._tasks))
        if reply.prompt_tokens is not None and reply.completion_tokens is not None:
            self._pacer.refund(now, job.tokens - reply.prompt_tokens - reply.completion_tokens)
        self._budget.settle(job.worst, reply.cost)
        self.live.count(reply)
        if (error := self.proof.see(reply)) is not None:
            self._fail(error)
        again = job.larger(self._teacher, reply)
        known = journaled(self._teacher, self._journal, again.key) if again is not None else None
        if again is None or self._over:
            self._deliver(job.joined(reply))
        elif known is not None:
            self._deliver(again.joined(known))
        else:
            self._fresh.appendleft(again)

    def _deliver(self, reply: Reply) -> None:
        self.outbox.put(reply)

    def _give_up(self, job: Job, outcome: Outcome) -> None:
        """The attempt brought nothing: the journal and the budget are told."""
        why = hide(outcome.why, self._secret)
        record = records.error(
            job.key, job.request.sample, job.attempts, self._teacher.name, time.time(), why=why, doubt=outcome.doubt
        )
        self._committer.put(records.encode(record))
        self._budget.settle(job.worst, None if outcome.doubt else 0.0)
        if not outcome.doubt:
            self._pacer.refund(self._loop.time(), job.tokens)

    def _failed(self, job: Job, outcome: Outcome) -> None:
        self._give_up(job, outcome)
        now, limits = self._loop.time(), self._teacher.limits
        if outcome.kind == "fatal":
            self._stop_with(outcome.why, outcome.remedy)
            return
        if outcome.kind == "refused":
            self._refused += 1
            self.live.faults += 1
            if not self._answered and self._refused >= REFUSALS:
                self._stop_with(f"{outcome.why}, {REFUSALS} times and nothing else", "Look at the sampling settings.")
            self._give_in(job, outcome.why)
            return
        if outcome.kind == "closed":
            self.live.refusals += 1
            self._pacer.refused(now, job.sent_at, outcome.wait)
            again = job.closed(now, limits.retries)
        else:
            self.live.faults += 1
            self._pacer.faulted(now, job.sent_at)
            again = job.faulted(now, limits.retries)
        self._look_whether_closed(now, outcome.why)
        if again:
            self._jobs.put(job)
        else:
            self._give_in(job, outcome.why)

    def _look_whether_closed(self, now: float, why: str) -> None:
        """The breaker."""
        since, limits = self._pacer.closed_since, self._teacher.limits
        if self._unreached >= UNREACHED and not self._connected:
            self._stop_with(why, "Is the server up, and base_url ({base_url}) right?")
        elif since is not None and self._pacer.waves >= limits.waves and now - since >= limits.patience:
            times = f"{self._pacer.waves} times in a row, for {now - since:.0f} s"
            self._stop_with(f"stays closed ({why}; {times})", "Wait, or lower its limits.")

    def _give_in(self, job: Job, why: str) -> None:
        """No reply for this request; it is asked again by the next run."""
        self.live.failed += 1
        reply = failed(
            self._teacher,
            job.key,
            job.request.sample,
            job.attempts,
            self._loop.time() - job.began,
            hide(why, self._secret),
        )
        self._deliver(job.joined(reply))


def _charset(headers: httpx.Headers) -> str | None:
    """The encoding that a Content-Type names."""
    for part in headers.get("content-type", "").split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name.lower() == "charset":
            return value.strip("\"' ")[:40] or None
    return None
