"""`ask` against a real HTTP server that misbehaves: nothing is lost, asked twice, or sent too early."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from pathlib import Path

import pytest
from tests.scripted_provider import Script, ScriptedProvider, Storm
from tests.scripted_provider.replies import answer_to
from tests.unit.providers.asking import FAULTS, asked, question, questions, records, teacher_at

from posttrain.errors import ProviderError
from posttrain.providers import Budget, Journal, Live, Prices, Quirks, Reply, ask, bill


def answered_exactly_once(replies: list[Reply], count: int) -> None:
    teacher = teacher_at("http://127.0.0.1:1/v1")
    keys = {question(number).key(teacher): asked(question(number)) for number in range(count)}
    assert sorted(reply.key for reply in replies) == sorted(keys)
    assert all(reply.text == answer_to(keys[reply.key]) for reply in replies)


def test_every_question_is_answered_exactly_once_with_a_tenth_of_faults(tmp_path: Path) -> None:
    with ScriptedProvider(Script(faults=FAULTS, slow=0.3, latency=0.01)) as provider:
        teacher = teacher_at(provider.url, requests_per_minute=30_000, concurrency=128)
        replies = list(ask(teacher, questions(600), tmp_path / "j.jsonl"))
        ledger = provider.ledger
    answered_exactly_once(replies, 600)
    assert {ledger.answered[asked(question(n))] for n in range(600)} == {1}
    assert sum(ledger.outcomes[name] for name in FAULTS) > 40
    assert len(records(tmp_path / "j.jsonl", "reply")) == 600 + ledger.outcomes["torn_json"]
    assert len(records(tmp_path / "j.jsonl", "intent")) == sum(ledger.asked.values())


def test_the_allowed_rate_is_reached_and_never_passed(tmp_path: Path) -> None:
    with ScriptedProvider(Script(rate=12_000, latency=0.05)) as provider:
        replies = list(ask(teacher_at(provider.url, requests_per_minute=12_000), questions(600), tmp_path / "j.jsonl"))
        ledger = provider.ledger
    assert len(replies) == 600
    assert ledger.outcomes["over the rate"] == 0
    # By the client's clock: a server on a busy machine sees requests that left one by one arrive together.
    sent = sorted(line["at"] for line in records(tmp_path / "j.jsonl", "intent"))
    assert 599 / (sent[-1] - sent[0]) >= 0.95 * 200
    assert max(bisect_left(sent, at + 1.0) - first for first, at in enumerate(sent)) <= 200 * 1.25 + 10  # a burst


def test_a_second_run_asks_nothing_and_reparses_for_free(tmp_path: Path) -> None:
    with ScriptedProvider(Script(latency=0.0)) as provider:
        first = list(ask(teacher_at(provider.url), questions(40), tmp_path / "j.jsonl"))
        again = list(ask(teacher_at(provider.url), questions(40), tmp_path / "j.jsonl"))
        more = list(ask(teacher_at(provider.url), questions(50), tmp_path / "j.jsonl"))
        assert sum(provider.ledger.asked.values()) == 50
    assert sorted(r.text for r in first) == sorted(r.text for r in again)
    assert all(r.journaled for r in again)
    assert sum(r.journaled for r in more) == 40


def test_equal_requests_are_asked_once_and_answered_each(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        replies = list(ask(teacher_at(provider.url), [question(1), question(2), question(1)], tmp_path / "j.jsonl"))
        assert sum(provider.ledger.asked.values()) == 2
    assert len(replies) == 3


@pytest.mark.parametrize("as_date", [False, True])
def test_no_request_leaves_during_a_retry_after(tmp_path: Path, as_date: bool) -> None:
    storm = Storm(after=60, seconds=0.3, retry_after=1.5, as_date=as_date)
    with ScriptedProvider(Script(storms=[storm], latency=0.02)) as provider:
        teacher = teacher_at(provider.url, requests_per_minute=6000)
        assert len(list(ask(teacher, questions(150), tmp_path / "j.jsonl"))) == 150
        assert provider.ledger.outcomes["storm 429"] > 0
        assert provider.ledger.early == 0


def test_a_retry_after_on_connections_still_to_be_opened_is_honoured_too(tmp_path: Path) -> None:
    with ScriptedProvider(Script(storms=[Storm(after=1, seconds=0.2, retry_after=1.0)])) as provider:
        assert len(list(ask(teacher_at(provider.url), questions(200), tmp_path / "j.jsonl"))) == 200
        assert provider.ledger.early == 0


def test_a_storm_without_retry_after_passes(tmp_path: Path) -> None:
    with ScriptedProvider(Script(storms=[Storm(after=50, seconds=1.0)])) as provider:
        teacher = teacher_at(provider.url, requests_per_minute=6000)
        replies = list(ask(teacher, questions(150), tmp_path / "j.jsonl"))
    answered_exactly_once(replies, 150)


def test_googles_retry_info_is_a_retry_after(tmp_path: Path) -> None:
    told = {asked(question(0)): ["resource_exhausted", "ok"]}
    with ScriptedProvider(Script(questions=told)) as provider:
        (reply,) = ask(teacher_at(provider.url), questions(1), tmp_path / "j.jsonl")
        first, second = provider.ledger.arrivals
    assert reply.attempts == 2
    assert second - first >= 1.0


def test_a_truncated_reply_is_kept_and_bought_again_only_when_asked_once(tmp_path: Path) -> None:
    prices = Prices(input=1, output=1)
    with ScriptedProvider(Script(questions={asked(question(0)): ["length"]})) as provider:
        teacher = teacher_at(provider.url, prices=prices)
        (cut,) = ask(teacher, questions(1), tmp_path / "j.jsonl")
        (same,) = ask(teacher, questions(1), tmp_path / "j.jsonl")
        assert sum(provider.ledger.asked.values()) == 1
        (larger,) = ask(teacher, questions(1), tmp_path / "j.jsonl", retry_truncated=1024)
        assert sum(provider.ledger.asked.values()) == 2
        (known,) = ask(teacher, questions(1), tmp_path / "j.jsonl", retry_truncated=1024)
        assert sum(provider.ledger.asked.values()) == 2
    assert cut.finish_reason == same.finish_reason == larger.finish_reason == "length"
    assert cut.key == larger.key == known.key
    assert cut.cost is not None
    assert larger.cost == pytest.approx(2 * cut.cost)
    assert "ANSWER" not in cut.text


def test_filters_are_answers_and_are_not_asked_again(tmp_path: Path) -> None:
    kinds = ["content_filter", "filtered_400", "moderated"]
    told = {asked(question(n)): [kind] for n, kind in enumerate(kinds)}
    with ScriptedProvider(Script(questions=told)) as provider:
        for _ in range(2):
            replies = list(ask(teacher_at(provider.url), questions(3), tmp_path / "j.jsonl"))
            assert [reply.finish_reason for reply in replies] == ["content_filter"] * 3
        assert sum(provider.ledger.asked.values()) == 3


def test_a_refused_question_fails_alone_and_is_eligible_again(tmp_path: Path) -> None:
    told = {asked(question(3)): ["too_long"]}
    with ScriptedProvider(Script(questions=told)) as provider:
        replies = {r.key: r for r in ask(teacher_at(provider.url), questions(20), tmp_path / "j.jsonl")}
        again = list(ask(teacher_at(provider.url), questions(20), tmp_path / "j.jsonl"))
        assert sum(provider.ledger.asked.values()) == 21
    failed = [r for r in replies.values() if r.finish_reason == "error"]
    assert len(failed) == 1
    assert "maximum context length" in (failed[0].error or "")
    assert [r.finish_reason for r in again].count("error") == 1


def test_a_question_that_always_fails_is_given_up_after_its_retries(tmp_path: Path) -> None:
    told = {asked(question(0)): ["500"], asked(question(1)): ["bad_encoding"], asked(question(2)): ["error_in_200"]}
    with ScriptedProvider(Script(questions=told)) as provider:
        replies = list(ask(teacher_at(provider.url, retries=1), questions(10), tmp_path / "j.jsonl"))
        assert [provider.ledger.asked[asked(question(n))] for n in range(3)] == [2, 2, 2]
    assert sorted(r.finish_reason for r in replies) == ["error"] * 3 + ["stop"] * 7


def test_odd_but_whole_replies_are_read(tmp_path: Path) -> None:
    kinds = ["bom", "latin1_declared", "duplicate_id", "duplicate_id", "null_content", "empty_with_reasoning"]
    told = {asked(question(n)): [kind] for n, kind in enumerate(kinds)}
    with ScriptedProvider(Script(questions=told)) as provider:
        replies = {r.key: r for r in ask(teacher_at(provider.url), questions(6), tmp_path / "j.jsonl")}
        assert sum(provider.ledger.asked.values()) == 6
    teacher = teacher_at("http://127.0.0.1:1/v1")
    found = [replies[question(n).key(teacher)] for n in range(6)]
    assert [r.text for r in found[:4]] == [answer_to(asked(question(n))) for n in range(4)]
    assert found[4].text == ""
    assert (found[5].text, found[5].reasoning_kind) == ("", "raw")


def test_a_reasoning_teacher_without_reasoning_stops_after_five_replies(tmp_path: Path) -> None:
    with ScriptedProvider(Script(latency=0.05)) as provider:
        teacher = teacher_at(provider.url, quirks=Quirks(reasoning=True))
        with pytest.raises(ProviderError, match=r"first 5 replies carry no reasoning.*quirks\.reasoning: false"):
            list(ask(teacher, questions(100), tmp_path / "j.jsonl"))
        assert sum(provider.ledger.asked.values()) == 5


@pytest.mark.parametrize("kind", ["reasoning", "reasoning_content", "reasoning_details", "summary", "tags", "parts"])
def test_reasoning_is_found_under_each_of_its_names(tmp_path: Path, kind: str) -> None:
    with ScriptedProvider(Script(reasoning=kind)) as provider:
        teacher = teacher_at(provider.url, quirks=Quirks(reasoning=True))
        replies = list(ask(teacher, questions(8), tmp_path / "j.jsonl"))
    assert all((r.reasoning or "").startswith("Let me think") for r in replies)
    assert {r.reasoning_kind for r in replies} == {{"summary": "summary", "tags": "tags"}.get(kind, "raw")}
    assert all(r.text.startswith("You asked") for r in replies)


def test_a_server_that_never_refuses_is_not_buried(tmp_path: Path) -> None:
    with ScriptedProvider(Script(slots=8, latency=0.05)) as provider:
        teacher = teacher_at(provider.url, concurrency=512)
        assert len(list(ask(teacher, questions(600), tmp_path / "j.jsonl"))) == 600
        assert 8 <= provider.ledger.peak <= 128


def test_two_teachers_do_not_slow_one_another(tmp_path: Path) -> None:
    def seconds(url: str, name: str) -> float:
        began = time.monotonic()
        assert len(list(ask(teacher_at(url, requests_per_minute=6000), questions(150), tmp_path / name))) == 150
        return time.monotonic() - began

    with ScriptedProvider() as one, ScriptedProvider() as other:
        alone = seconds(one.url, "alone")
        together: list[float] = []
        threads = [
            threading.Thread(target=lambda url=url, name=name: together.append(seconds(url, name)))
            for url, name in ((one.url, "a"), (other.url, "b"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(together) == 2
    assert max(together) < 1.3 * alone + 0.3


def test_a_server_that_restarts_in_the_middle_is_waited_for(tmp_path: Path) -> None:
    first = ScriptedProvider(Script(latency=0.02)).__enter__()
    second = ScriptedProvider(Script(latency=0.02), port=first.port)
    replies = []
    teacher = teacher_at(first.url, concurrency=16, requests_per_minute=6000)
    for reply in ask(teacher, questions(200), tmp_path / "j.jsonl"):
        replies.append(reply)
        if len(replies) == 60:
            first.__exit__()
            threading.Timer(0.7, second.__enter__).start()
    second.__exit__()
    answered_exactly_once(replies, 200)


def test_leaving_early_keeps_what_arrives_and_loses_nothing(tmp_path: Path) -> None:
    with ScriptedProvider(Script(latency=0.05)) as provider:
        stream = ask(teacher_at(provider.url, requests_per_minute=60_000), questions(10_000), tmp_path / "j.jsonl")
        for _ in range(10):
            next(stream)
        stream.close()  # type: ignore[attr-defined]
        answered = sum(provider.ledger.answered.values())
    with Journal(tmp_path / "j.jsonl") as journal:
        assert len(journal) == answered
        assert journal.open_intents == {}


def test_requests_are_pulled_only_as_there_is_room(tmp_path: Path) -> None:
    pulled = 0

    def endless() -> object:
        nonlocal pulled
        for request in questions(100_000):
            pulled += 1
            yield request

    with ScriptedProvider(Script(latency=0.05)) as provider:
        stream = ask(teacher_at(provider.url, concurrency=8), endless(), tmp_path / "j.jsonl")  # type: ignore[arg-type]
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert pulled <= 8 + 256 + 1


def test_the_screen_and_the_bill_agree_with_the_provider(tmp_path: Path) -> None:
    seen: list[Live] = []
    prices = Prices(input=1.0, output=2.0)
    with ScriptedProvider(Script(faults={"500": 0.1}, latency=0.0)) as provider:
        teacher = teacher_at(provider.url, prices=prices)
        replies = list(ask(teacher, questions(60), tmp_path / "j.jsonl", budget=Budget(), progress=seen.append))
        sent = sum(provider.ledger.asked.values())
    cost = sum(reply.cost or 0.0 for reply in replies)
    last = seen[-1]
    assert (last.replies, last.sent, last.in_flight) == (60, sent, 0)
    assert last.faults == sent - 60
    assert last.cost == pytest.approx(cost)
    with Journal(tmp_path / "j.jsonl") as journal:
        paid = bill(journal, teacher)
    assert (paid.replies, paid.unknown, paid.doubtful) == (60, 0, 0)
    assert paid.cost == pytest.approx(cost)
    assert cost == pytest.approx(sum(prices.cost(r.prompt_tokens or 0, r.completion_tokens or 0) for r in replies))
