"""Asking by a provider's batch interface: hours instead of minutes, at half the price. The journal is that of `ask`.

Requests are handed over under their keys, and a batch under a name of ours that is written down before (batch_ledger),
so that nothing is handed over twice. Files of replies are kept as they came before they are read. A reply counts for
its key only where it answers that key's question (batch_check); what is missing, misplaced or failed goes out again.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain.errors import ProviderError
from posttrain.providers.batch_check import Answered, misplaced
from posttrain.providers.batch_dialects import Dialect, State, dialect_of, file_of, read_lines
from posttrain.providers.batch_http import BatchHTTP, UncertainError
from posttrain.providers.batch_ledger import Batch, Ledger
from posttrain.providers.budget import Budget
from posttrain.providers.journal import Journal
from posttrain.providers.journal import error as error_record
from posttrain.providers.journal import intent as intent_record
from posttrain.providers.journal import reply as reply_record
from posttrain.providers.keys import find_key
from posttrain.providers.proof import Proof
from posttrain.providers.reply import Reply, UnreadableReply, failed, parse_reply
from posttrain.providers.teacher import Request, Teacher, worst_cost
from posttrain.store import write_atomic


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """kind: the dialect; auto: by the teacher's address. account: at Fireworks. poll: seconds between two looks."""

    kind: Literal["auto", "openai", "gemini", "fireworks"] = "auto"
    account: str | None = None
    size: int = 10_000
    poll: float = 60.0
    rounds: int = 3


def ask_batch(
    teacher: Teacher,
    requests: Iterable[Request],
    journal: Path,
    settings: BatchSettings | None = None,
    *,
    budget: Budget | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Reply]:
    """Every request's reply, once: those in the journal first, at no cost, then as batches come back.

    What stays without a reply after all rounds comes as a Reply with finish_reason `error`. ProviderError where the
    server refuses, BudgetError before a batch that might pass the budget. Interrupting it loses nothing: the next call
    goes on waiting for the same batches.
    """
    settings = settings or BatchSettings()
    wanted = {request.key(teacher): request for request in requests}
    dialect = dialect_of(settings.kind, teacher.base_url, teacher.model, settings.account)
    secret = find_key(teacher)
    headers = {**dialect.headers(secret), **teacher.quirks.headers}
    http = BatchHTTP(headers, secret=secret, timeout=teacher.limits.timeout, pause=min(1.0, settings.poll))
    with Journal(journal) as book, closing(http):
        desk = _Desk(
            teacher, wanted, book, Ledger(journal.with_name("batches.jsonl")), dialect, http, settings, budget, say
        )
        if budget is not None:
            budget.open(book, teacher)
        proof = Proof(teacher)
        for reply in desk.replies():
            if (error := proof.see(reply)) is not None:
                raise error
            yield reply
        for key in desk.missing():
            why = desk.why.get(key, "no reply")
            yield failed(teacher, key, wanted[key].sample, settings.rounds, 0.0, why)


@dataclass
class _Desk:
    """Hands batches over and takes them back."""

    teacher: Teacher
    wanted: dict[str, Request]
    book: Journal
    ledger: Ledger
    dialect: Dialect
    http: BatchHTTP
    settings: BatchSettings
    budget: Budget | None
    say: Callable[[str], None]
    why: dict[str, str] = field(default_factory=dict)  # key → what went wrong the last time
    worst: dict[str, float | None] = field(default_factory=dict)  # key → dollars set aside for it

    def replies(self) -> Iterator[Reply]:
        """Those that are there, then those of each batch as it comes back."""
        yield from self.journaled()
        self.adopt()
        for _ in range(self.settings.rounds):
            self.hand_over()
            if not self.ledger.open():
                return
            yield from self.collect()

    def journaled(self) -> Iterator[Reply]:
        """Replies that are there already."""
        for key in self.wanted:
            if key in self.book:
                try:
                    yield dataclasses.replace(parse_reply(self.teacher, self.book.read(key)), journaled=True)
                except UnreadableReply as error:
                    self.book.forget(key)
                    self.why[key] = str(error)

    def missing(self) -> list[str]:
        """Keys without a reply that no open batch has."""
        waiting = {key for batch in self.ledger.open() for key in batch.keys}
        return [key for key in self.wanted if key not in self.book and key not in waiting]

    def adopt(self) -> None:
        """Batches of an earlier process: those that were being made are looked for at the server."""
        for batch in self.ledger.open():
            if batch.id is None:
                found = self.dialect.find(self.http, batch.name)
                if found is None:
                    self.ledger.ended(batch, "never made")
                    self._record(
                        [self._error(batch, key, "never handed over") for key in batch.keys if key not in self.book]
                    )
                    continue
                self.ledger.made(batch, found)
            self.say(f"batch {batch.name} of an earlier run is waited for ({len(batch.keys):,} requests)")
            for key in batch.keys:
                worst = self.book.open_intents.get(bytes.fromhex(key))
                self.worst[key] = worst
                if self.budget is not None and worst is not None:
                    # The journal counts an intent without a reply as spent; this one is only on its way.
                    self.budget.settle(None, -worst)
                    self.budget.reserve(worst)

    def hand_over(self) -> None:
        """Makes batches of what is missing. BudgetError where nothing more fits the budget."""
        chosen = self._affordable(self.missing())
        size = min(self.settings.size, self.dialect.limit)
        for start in range(0, len(chosen), size):
            self._make(chosen[start : start + size])

    def _affordable(self, keys: Sequence[str]) -> list[str]:
        chosen: list[str] = []
        for key in keys:
            worst = worst_cost(self.teacher, self.wanted[key])
            if worst is not None and self.teacher.prices is not None:
                worst *= self.teacher.prices.batch
            if self.budget is not None and not self.budget.reserve(worst):
                if not chosen and not self.ledger.open():
                    raise self.budget.used_up(worst)
                break  # what is under way costs less than the worst: the rest may fit afterwards
            self.worst[key] = worst
            chosen.append(key)
        return chosen

    def _make(self, keys: Sequence[str]) -> None:
        now = time.time()
        intents = [
            intent_record(key, self.wanted[key].sample, 1, self.teacher.name, now, self.worst[key]) for key in keys
        ]
        batch = self.ledger.intend(f"posttrain-{secrets.token_hex(8)}", {key: self.wanted[key].sample for key in keys})
        self.book.add(intents)
        lines = file_of(self.dialect, ((key, self.wanted[key].body(self.teacher)) for key in keys))
        try:
            made: str | None = self.dialect.submit(self.http, batch.name, lines)
        except UncertainError:
            made = self.dialect.find(self.http, batch.name)
            if made is None:
                raise
        except ProviderError:
            self.ledger.ended(batch, "refused")
            self._record([self._error(batch, key, "the batch was refused") for key in keys])
            raise
        assert made is not None
        self.ledger.made(batch, made)
        self.say(f"batch {batch.name}: {len(keys):,} requests handed over")

    def collect(self) -> Iterator[Reply]:
        """Waits until every open batch has ended, and takes back what it has."""
        shown: dict[str, int] = {}
        while open_batches := self.ledger.open():
            for batch in open_batches:
                assert batch.id is not None
                state = self.dialect.poll(self.http, batch.id)
                if state.status != "running":
                    yield from self._take(batch, state)
                elif shown.get(batch.name) != state.completed:
                    shown[batch.name] = state.completed
                    self.say(f"batch {batch.name}: {state.completed:,} of {state.total or len(batch.keys):,}")
            if self.ledger.open():
                time.sleep(self.settings.poll)

    def _take(self, batch: Batch, state: State) -> Iterator[Reply]:
        """Keeps a batch's files, reads them, checks them, journals them, and only then counts the batch as ended."""
        raws, wrong = self._lines(batch, state)
        parsed: dict[str, Reply] = {}
        records: dict[str, dict[str, Any]] = {}
        for key, body in raws.items():
            record = self._reply(key, body, batch)
            try:
                parsed[key] = parse_reply(self.teacher, record)
                records[key] = record
            except UnreadableReply as error:
                wrong[key] = str(error)
        doubts = self._doubts(parsed, batch)
        wrong |= doubts
        missing = [key for key in batch.keys if key not in records and key not in wrong]
        wrong |= dict.fromkeys(missing, f"the batch {state.status} without it")
        fresh = [key for key in parsed if key not in doubts and key not in self.book]
        self._record([records[key] for key in fresh])
        failures = [key for key in wrong if key not in self.book]
        self._record([self._error(batch, key, wrong[key], doubt=key in doubts) for key in failures])
        self._settle(batch, parsed, doubts)
        self.ledger.ended(batch, state.status)
        self.why |= wrong
        told = f"batch {batch.name} {state.status}: {len(fresh):,} replies"
        self.say(told + (f", {len(wrong):,} without, e.g. {next(iter(wrong.values()))}" if wrong else ""))
        if state.status == "failed" and not raws:
            raise ProviderError(
                f"teacher '{self.teacher.name}' could not run batch {batch.name}: {state.said or 'nothing is said'}. "
                "Correct that, or leave batch out."
            )
        yield from (parsed[key] for key in fresh if key in self.wanted)

    def _lines(self, batch: Batch, state: State) -> tuple[dict[str, Any], dict[str, str]]:
        """(raw completion by key, what went wrong by key) of a batch's files; a key's first line counts."""
        raws: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        strange = twice = 0
        for number, file in enumerate(state.files):
            content = self.dialect.fetch(self.http, file)
            with write_atomic(self.ledger.path.parent / "batches" / f"{batch.name}.{number}.jsonl") as kept:
                kept.write(content)
            for line in read_lines(self.dialect, content):
                if line.key not in batch.keys:
                    strange += 1
                elif line.raw is None:
                    wrong[line.key] = line.error
                elif line.key in raws:
                    twice += 1
                else:
                    raws[line.key] = line.raw
        if strange or twice:
            self.say(f"batch {batch.name}: {twice:,} replies come twice, {strange:,} under keys that it did not have")
        return raws, {key: why for key, why in wrong.items() if key not in raws}

    def _doubts(self, parsed: dict[str, Reply], batch: Batch) -> dict[str, str]:
        """Replies that don't answer their question. Those to requests of other stages are believed."""

        def question(key: str) -> str:
            return "\n".join(message["content"] for message in self.wanted[key].messages)

        looked_at = {
            key: Answered(question(key), f"{reply.reasoning or ''}\n{reply.text}", reply.prompt_tokens)
            for key, reply in parsed.items()
            if key in self.wanted
        }
        return misplaced(looked_at, {key: question(key) for key in batch.keys if key in self.wanted})

    def _settle(self, batch: Batch, parsed: dict[str, Reply], doubts: dict[str, str]) -> None:
        """Charges what each request has cost: what came under a wrong key may have cost the worst."""
        if self.budget is None:
            return
        for key in batch.keys:
            cost = None if key in doubts else parsed[key].cost if key in parsed else 0.0
            self.budget.settle(self.worst.pop(key, None), cost)

    def _reply(self, key: str, body: Any, batch: Batch) -> dict[str, Any]:
        made = reply_record(
            key, batch.keys[key], 1, self.teacher.name, time.time(), status=200, seconds=0.0, body="", batch=batch.name
        )
        return {**made, "body": body}

    def _error(self, batch: Batch, key: str, why: str, *, doubt: bool = False) -> dict[str, Any]:
        return error_record(key, batch.keys[key], 1, self.teacher.name, time.time(), why=why, doubt=doubt)

    def _record(self, records: Sequence[dict[str, Any]]) -> None:
        if records:
            self.book.add(records)
