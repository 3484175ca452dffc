"""Batches: every request answered once and paid once, whatever the server and our own process do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.providers.batch_server import BatchServer, Orders, serving

from posttrain.errors import BudgetError, ProviderError, RecipeError
from posttrain.providers import Budget, Prices, Reply, Request, Teacher
from posttrain.providers.batch import BatchSettings, ask_batch
from posttrain.providers.batch_dialects import OpenAIFiles
from posttrain.providers.budget import bill
from posttrain.providers.journal import Journal

NAMES = ("Ada", "Grace", "Emmy", "Sofia", "Maryam", "Katherine", "Hypatia", "Rosalind", "Lise", "Chien")
THINGS = (
    "lanterns",
    "violins",
    "compasses",
    "kettles",
    "marbles",
    "ribbons",
    "anchors",
    "candles",
    "feathers",
    "pebbles",
)
PLACES = ("harbour", "orchard", "library", "foundry", "meadow", "lighthouse", "bakery", "quarry", "station", "museum")
KEY = "batch-key-4711-0815"


def question(i: int) -> str:
    return (
        f"{NAMES[i % 10]} has {i + 3} {THINGS[(i // 10 + i) % 10]} and finds {2 * i + 1} in the {PLACES[(3 * i) % 10]}."
    )


def requests(count: int) -> list[Request]:
    return [Request(({"role": "user", "content": question(i)},), {"max_tokens": 50}) for i in range(count)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setenv("BATCH_TEST_KEY", KEY)
    with serving(BatchServer()) as running:
        yield running


BASES = {"openai": "/v1", "gemini": "/v1beta/openai", "fireworks": "/inference/v1"}


def teacher_of(server: BatchServer, kind: str = "openai", **changes: Any) -> Teacher:
    values = {"prices": Prices(input=1.0, output=2.0, batch=0.5), "key_env": "BATCH_TEST_KEY", **changes}
    return Teacher(name="t", base_url=server.url + BASES[kind], model="scripted", **values)


def settings(kind: str = "openai", **changes: Any) -> BatchSettings:
    account = "me" if kind == "fireworks" else None
    return BatchSettings(kind=kind, account=account, poll=0.01, **changes)  # type: ignore[arg-type]


def run(server: BatchServer, journal: Path, count: int, kind: str = "openai", **changes: Any) -> dict[str, Reply]:
    teacher = teacher_of(server, kind)
    wanted = requests(count)
    found = list(ask_batch(teacher, wanted, journal, settings(kind, **changes)))
    by_question = {request.key(teacher): str(request.messages[-1]["content"]) for request in wanted}
    assert sorted(reply.key for reply in found) == sorted(by_question), "every request has one reply"
    return {by_question[reply.key]: reply for reply in found}


def belongs(asked: str, reply: Reply) -> bool:
    return reply.text.startswith(f"You asked: {asked} ")


@pytest.mark.parametrize("kind", ["openai", "gemini", "fireworks"])
def test_every_request_is_answered_once_in_every_dialect(server: BatchServer, tmp_path: Path, kind: str) -> None:
    found = run(server, tmp_path / "replies.jsonl", 12, kind, size=5)
    assert all(belongs(asked, reply) and reply.finish_reason == "stop" for asked, reply in found.items())
    assert [len(job.rows) for job in server.made] == [5, 5, 2]
    assert server.keys == {KEY if kind == "gemini" else f"Bearer {KEY}"}
    assert set(server.signed_with) <= {""}, "addresses that carry their own permission are not sent the key"
    one = found[question(0)]
    assert one.prompt_tokens == 8 + len(question(0)) // 4
    assert one.cost == pytest.approx(0.5 * (one.prompt_tokens * 1.0 + (one.completion_tokens or 0) * 2.0) / 1e6)
    assert (one.reasoning, one.reasoning_tokens) == (("A thought.", 3) if kind == "gemini" else (None, None))
    again = run(server, tmp_path / "replies.jsonl", 12, kind)
    assert all(reply.journaled for reply in again.values())
    assert len(server.made) == 3
    assert not any(KEY in p.read_text() for p in tmp_path.rglob("*") if p.is_file())


def test_replies_under_each_others_keys_are_found_out_and_asked_again(server: BatchServer, tmp_path: Path) -> None:
    server.orders = Orders(swap=((1, 7), (4, 5)))
    found = run(server, tmp_path / "replies.jsonl", 20)
    assert all(belongs(asked, reply) for asked, reply in found.items())
    assert [len(job.rows) for job in server.made] == [20, 4]
    assert {q for q, n in server.asked.items() if n == 2} == {question(i) for i in (1, 7, 4, 5)}
    with Journal(tmp_path / "replies.jsonl") as book:
        told = bill(book, teacher_of(server))
    assert (told.replies, told.doubtful) == (20, 4), "what came under a wrong key stands on the bill"


def test_a_server_that_mixes_up_its_keys_again_and_again_gives_errors_and_no_wrong_replies(
    server: BatchServer, tmp_path: Path
) -> None:
    server.orders = Orders(swap=((0, 1),), misdeeds=99)
    found = run(server, tmp_path / "replies.jsonl", 20)
    wrong = [asked for asked, reply in found.items() if reply.finish_reason == "error"]
    assert set(wrong) == {question(0), question(1)}
    assert "answers another question" in (found[question(0)].error or "")
    assert all(belongs(asked, reply) for asked, reply in found.items() if asked not in wrong)


def test_missing_failed_doubled_and_torn_lines_cost_only_what_is_missing(server: BatchServer, tmp_path: Path) -> None:
    server.orders = Orders(drop=(2,), fail=(3, 9), twice=(5, 6), torn=True)
    found = run(server, tmp_path / "replies.jsonl", 15)
    assert all(belongs(asked, reply) for asked, reply in found.items())
    assert [len(job.rows) for job in server.made] == [15, 3]
    kept = sorted(p.name.rpartition(".jsonl")[0][-1] for p in (tmp_path / "batches").iterdir())
    assert kept == ["0", "0", "1"], "the files are kept as they came: results, errors, and the second batch's results"


def test_an_expired_batch_keeps_what_came(server: BatchServer, tmp_path: Path) -> None:
    server.orders = Orders(expire=9)
    found = run(server, tmp_path / "replies.jsonl", 14)
    assert all(belongs(asked, reply) for asked, reply in found.items())
    assert [len(job.rows) for job in server.made] == [14, 5]


@pytest.mark.parametrize("kind", ["openai", "gemini", "fireworks"])
def test_a_batch_whose_making_was_never_answered_is_not_made_twice(
    server: BatchServer, tmp_path: Path, kind: str
) -> None:
    server.orders = Orders(deaf=1)
    run(server, tmp_path / "replies.jsonl", 6, kind, size=3)
    assert [len(job.rows) for job in server.made] == [3, 3]


class Killed(BaseException):
    """Our process ends here."""


@pytest.mark.parametrize("moment", ["before it is handed over", "before its id is known", "while it runs"])
def test_a_process_that_dies_pays_nothing_twice(
    server: BatchServer, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = OpenAIFiles.submit

    def dies(self: OpenAIFiles, http: Any, name: str, lines: bytes) -> str:
        if moment != "before it is handed over":
            whole(self, http, name, lines)
        raise Killed

    journal = tmp_path / "replies.jsonl"
    with monkeypatch.context() as patched:
        if moment == "while it runs":
            patched.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(Killed))
        else:
            patched.setattr(OpenAIFiles, "submit", dies)
        with pytest.raises(Killed):
            list(ask_batch(teacher_of(server), requests(8), journal, settings()))
    with Journal(journal) as book:
        assert bill(book, teacher_of(server)).doubtful == 8, "the bill shows what is under way"
    found = run(server, journal, 8)
    assert all(belongs(asked, reply) for asked, reply in found.items())
    assert len(server.made) == 1
    with Journal(journal) as book:
        told = bill(book, teacher_of(server))
    assert (told.replies, told.doubtful) == (8, 0)


KILLED = """
import sys
from pathlib import Path
from posttrain.providers.batch import ask_batch
from tests.unit.providers.test_batch import requests, settings, teacher_of
from tests.unit.providers.batch_server import BatchServer
server = BatchServer(url=sys.argv[1])
print("asking", flush=True)
def say(line):
    print(line, flush=True)
for reply in ask_batch(teacher_of(server), requests(10), Path(sys.argv[2]), settings(), say=say):
    print("reply", flush=True)
"""


def test_sigkill_while_a_batch_runs_loses_nothing(server: BatchServer, tmp_path: Path) -> None:
    server.orders = Orders(polls=10_000)
    journal = tmp_path / "replies.jsonl"
    command = [sys.executable, "-c", KILLED, server.url, str(journal)]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "handed over" in line:
                os.kill(process.pid, signal.SIGKILL)
    assert len(server.made) == 1, seen
    server.orders = Orders(polls=0)
    found = run(server, journal, 10)
    assert all(belongs(asked, reply) for asked, reply in found.items())
    assert len(server.made) == 1


def test_a_batch_that_might_pass_the_budget_is_not_handed_over(server: BatchServer, tmp_path: Path) -> None:
    teacher = teacher_of(server)
    with pytest.raises(BudgetError, match="budget is used up"):
        list(ask_batch(teacher, requests(4), tmp_path / "replies.jsonl", settings(), budget=Budget(1e-6)))
    assert server.made == []
    # At most 0.5·((bytes + 16)·1 + 50·2) millionths each, about 0.1 of a thousandth: this buys some at a time.
    budget = Budget(4e-4)
    found = list(ask_batch(teacher, requests(6), tmp_path / "replies.jsonl", settings(), budget=budget))
    assert {reply.finish_reason for reply in found} == {"stop"}
    assert len(server.made) > 1
    assert budget.spent == pytest.approx(sum(reply.cost or 0 for reply in found))
    assert budget.reserved == pytest.approx(0)


def test_another_stages_batch_is_collected_for_it_and_not_repeated(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "replies.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            list(ask_batch(teacher_of(server), requests(10), journal, settings()))
    assert len(run(server, journal, 4)) == 4
    assert len(server.made) == 1
    assert all(reply.journaled for reply in run(server, journal, 10).values())


def test_what_the_server_says_of_an_invalid_batch_is_told(server: BatchServer, tmp_path: Path) -> None:
    server.orders = Orders(invalid="line 3: unknown parameter 'top_k'")
    with pytest.raises(ProviderError, match=r"could not run batch .*unknown parameter 'top_k'"):
        list(ask_batch(teacher_of(server), requests(3), tmp_path / "replies.jsonl", settings()))


@pytest.mark.parametrize(
    ("status", "said"), [(400, "Batches are not for this model"), (401, "key_env"), (404, "base_url"), (402, "credit")]
)
def test_a_refusal_ends_the_run_and_the_next_one_starts_anew(
    server: BatchServer, tmp_path: Path, status: int, said: str
) -> None:
    server.orders = Orders(refuse=status)
    with pytest.raises(ProviderError, match=said):
        list(ask_batch(teacher_of(server), requests(3), tmp_path / "replies.jsonl", settings()))
    server.orders = Orders()
    assert len(run(server, tmp_path / "replies.jsonl", 3)) == 3


def test_no_key_and_no_account_are_told_before_anything_is_sent(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_account = BatchSettings(kind="fireworks")
    with pytest.raises(RecipeError, match="account"):
        list(ask_batch(teacher_of(server, "fireworks"), requests(1), tmp_path / "a.jsonl", no_account))
    monkeypatch.delenv("BATCH_TEST_KEY")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProviderError, match="BATCH_TEST_KEY"):
        list(ask_batch(teacher_of(server), requests(1), tmp_path / "b.jsonl", settings()))
    assert server.keys == set()


def test_a_reasoning_teacher_whose_batch_shows_no_reasoning_stops_the_run(server: BatchServer, tmp_path: Path) -> None:
    teacher = teacher_of(server, quirks={"reasoning": True})
    with pytest.raises(ProviderError, match="replies carry no reasoning"):
        list(ask_batch(teacher, requests(8), tmp_path / "replies.jsonl", settings()))
    with Journal(tmp_path / "replies.jsonl") as book:
        assert len(book) == 8, "what was paid for is kept"


def test_a_torn_last_line_of_the_ledger_is_dropped(server: BatchServer, tmp_path: Path) -> None:
    run(server, tmp_path / "replies.jsonl", 2)
    ledger = tmp_path / "batches.jsonl"
    with ledger.open("ab") as file:
        file.write(b'{"event": "intent", "name": "posttr')
    assert all(reply.journaled for reply in run(server, tmp_path / "replies.jsonl", 2).values())
    assert all(json.loads(line)["event"] for line in ledger.read_text().splitlines())


def test_a_terse_reply_is_believed_and_a_wrong_length_is_not() -> None:
    from posttrain.providers.batch_check import Answered, misplaced

    asked = {str(i): question(i) + " Tell it in detail." * (i % 7) for i in range(40)}
    batch = {k: Answered(q, "17", 8 + len(q) // 4) for k, q in asked.items()}
    assert misplaced(batch) == {}
    batch["3"], batch["7"] = (Answered(asked[a], "17", 8 + len(asked[b]) // 4) for a, b in (("3", "7"), ("7", "3")))
    assert set(misplaced(batch)) == {"3", "7"}


def test_replies_to_small_questions_are_not_suspected() -> None:
    """`What is 7 + 1?` and `The answer is 8.`: the reply shares its only figure with another question."""
    from posttrain.providers.batch_check import Answered, misplaced

    batch = {str(i): Answered(f"What is {i} + 1?", f"The answer is {i + 1}.") for i in range(100)}
    assert misplaced(batch) == {}
