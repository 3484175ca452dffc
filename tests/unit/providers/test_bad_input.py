"""What goes wrong at the client: one message with fact, reason and remedy, and what was paid for is kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.scripted_provider import Script, ScriptedProvider, Storm
from tests.unit.providers.asking import asked, question, questions, records, teacher_at

from posttrain.errors import BudgetError, PosttrainError, ProviderError
from posttrain.providers import Budget, Prices, Request, Teacher, ask


def stopped(teacher: Teacher, folder: Path, count: int = 30, **more: object) -> str:
    """The message that ends an attempt to ask; the error is one for users."""
    with pytest.raises(ProviderError) as caught:
        list(ask(teacher, questions(count), folder / "j.jsonl", **more))  # type: ignore[arg-type]
    assert isinstance(caught.value, PosttrainError)
    return str(caught.value)


def test_no_key_is_said_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRIPTED_KEY", raising=False)
    teacher = teacher_at("http://127.0.0.1:1/v1").model_copy(update={"key_env": "SCRIPTED_KEY"})
    with pytest.raises(ProviderError, match=r"SCRIPTED_KEY is neither in the environment nor in .*\.env"):
        ask(teacher, questions(1), tmp_path / "j.jsonl")
    assert not (tmp_path / "j.jsonl").exists()


def test_a_wrong_key_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_KEY", "wrong-wrong-wrong")
    with ScriptedProvider(Script(key="right")) as provider:
        teacher = teacher_at(provider.url, concurrency=8).model_copy(update={"key_env": "SCRIPTED_KEY"})
        message = stopped(teacher, tmp_path, 500)
        assert sum(provider.ledger.asked.values()) <= 8
    assert "answered 401" in message
    assert "SCRIPTED_KEY" in message
    assert "wrong-wrong" not in message


def test_a_wrong_port_is_a_server_that_can_not_be_reached(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = stopped(teacher_at(f"http://127.0.0.1:{port}/v1"), tmp_path)
    assert "can't be reached" in message
    assert "base_url" in message


def test_a_wrong_path_is_a_404_that_names_the_address(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        message = stopped(teacher_at(provider.url + "/v2"), tmp_path)
    assert "404" in message
    assert "base_url" in message


@pytest.mark.parametrize("outcome", ["404", "unknown_model_400"])
def test_a_model_that_the_provider_does_not_know_stops_the_run(tmp_path: Path, outcome: str) -> None:
    with ScriptedProvider(
        Script(models=("another",) if outcome == "404" else ("scripted",), faults={outcome: 1.0})
    ) as p:
        message = stopped(teacher_at(p.url, concurrency=4), tmp_path, 100)
        assert sum(p.ledger.asked.values()) <= 4
    assert "model (scripted)" in message


@pytest.mark.parametrize("outcome", ["402", "403", "insufficient_quota"])
def test_an_empty_account_stops_at_once_and_keeps_what_came(tmp_path: Path, outcome: str) -> None:
    told = {asked(question(20)): [outcome]}
    with ScriptedProvider(Script(questions=told)) as provider:
        message = stopped(teacher_at(provider.url, concurrency=4), tmp_path, 400)
        answered = sum(provider.ledger.answered.values())
        assert provider.ledger.asked[asked(question(20))] == 1
    assert len(records(tmp_path / "j.jsonl", "reply")) == answered < 400
    assert f"{answered} replies are kept" in message
    assert "the same command goes on" in message


def test_html_instead_of_json_says_that_this_is_no_api(tmp_path: Path) -> None:
    with ScriptedProvider(Script(faults={"html": 1.0})) as provider:
        message = stopped(teacher_at(provider.url), tmp_path)
    assert "HTML" in message
    assert "This is no API: look at base_url" in message


def test_one_page_of_html_among_good_replies_is_asked_again(tmp_path: Path) -> None:
    told = {asked(question(9)): ["html", "502", "ok"]}
    with ScriptedProvider(Script(questions=told, latency=0.0)) as provider:
        replies = list(ask(teacher_at(provider.url, concurrency=2), questions(10), tmp_path / "j.jsonl"))
    assert [r.finish_reason for r in replies] == ["stop"] * 10


@pytest.mark.parametrize("outcome", ["not_json", "python_dict", "bad_encoding", "no_choices", "torn_json"])
def test_replies_in_another_language_than_json_are_faults_with_their_beginning(tmp_path: Path, outcome: str) -> None:
    with ScriptedProvider(Script(questions={asked(question(0)): [outcome]})) as provider:
        replies = list(ask(teacher_at(provider.url, retries=0), questions(4), tmp_path / "j.jsonl"))
    (failed,) = [r for r in replies if r.finish_reason == "error"]
    assert failed.error
    assert failed.text == ""
    raw = [r for r in records(tmp_path / "j.jsonl", "reply") if r["key"] == failed.key]
    assert len(raw) == 1  # what came is kept, whatever it is


def test_settings_that_the_model_refuses_stop_the_run_after_a_few(tmp_path: Path) -> None:
    with ScriptedProvider(Script(faults={"400": 1.0})) as provider:
        message = stopped(teacher_at(provider.url, concurrency=4), tmp_path, 500)
        assert sum(provider.ledger.asked.values()) <= 5 + 4
    assert "'messages' is a required property" in message


def test_a_provider_that_stays_closed_ends_the_run_with_everything_kept(tmp_path: Path) -> None:
    with ScriptedProvider(Script(storms=[Storm(after=40, seconds=60.0)])) as provider:
        teacher = teacher_at(provider.url, requests_per_minute=6000, waves=3, patience=1.0)
        message = stopped(teacher, tmp_path, 200)
        answered = sum(provider.ledger.answered.values())
    assert "stays closed" in message
    assert f"{answered} replies are kept" in message
    assert len(records(tmp_path / "j.jsonl", "reply")) == answered > 0


def test_a_missing_price_table_and_a_cap_refuse_before_anything_is_sent(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        with pytest.raises(BudgetError, match="prices of teacher 'scripted' are unknown"):
            list(ask(teacher_at(provider.url), questions(3), tmp_path / "j.jsonl", budget=Budget(max_cost=1.0)))
        assert provider.ledger.arrivals == []
        (reply,) = ask(teacher_at(provider.url), questions(1), tmp_path / "j.jsonl")
    assert reply.cost is None  # unknown, and not 0


def test_a_cap_without_max_tokens_is_refused(tmp_path: Path) -> None:
    open_ended = Request(messages=({"role": "user", "content": "hello"},))
    with ScriptedProvider() as provider:
        teacher = teacher_at(provider.url, prices=Prices(input=1, output=1))
        with pytest.raises(BudgetError, match="names no max_tokens"):
            list(ask(teacher, [open_ended], tmp_path / "j.jsonl", budget=Budget(max_cost=1.0)))
        assert provider.ledger.arrivals == []


def test_the_cap_holds_counting_what_is_in_flight_at_its_worst(tmp_path: Path) -> None:
    prices = Prices(input=0, output=1_000_000)  # a dollar per token: 20 per reply, 256 at most
    with ScriptedProvider(Script(latency=0.03)) as provider:
        teacher = teacher_at(provider.url, prices=prices, concurrency=32)
        paid = []
        with pytest.raises(BudgetError, match=r"the budget is used up: \$"):  # noqa: PT012 - what came before counts
            for reply in ask(teacher, questions(500), tmp_path / "j.jsonl", budget=Budget(max_cost=1000.0)):
                paid.append(reply.cost or 0.0)
        assert provider.ledger.peak <= 1000 // 256
        assert sum(provider.ledger.answered.values()) == len(paid)
    assert 1000 - 256 < sum(paid) <= 1000
    with pytest.raises(BudgetError, match="used up"):  # the journal remembers what was spent
        list(ask(teacher, questions(500), tmp_path / "j.jsonl", budget=Budget(max_cost=1000.0)))


def test_requests_in_doubt_count_at_their_worst(tmp_path: Path) -> None:
    prices = Prices(input=0, output=1_000_000)
    with ScriptedProvider(Script(faults={"torn": 1.0}, latency=0.0)) as provider:
        teacher = teacher_at(provider.url, prices=prices, concurrency=1)
        with pytest.raises(BudgetError, match=r"\$768\.0000 of max_cost \$1000"):
            list(ask(teacher, questions(5), tmp_path / "j.jsonl", budget=Budget(max_cost=1000.0)))
        assert sum(provider.ledger.asked.values()) == 3


def test_a_journal_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\nare here")
    with pytest.raises(PosttrainError, match="is not a journal of replies"):
        list(ask(teacher_at("http://127.0.0.1:1/v1"), questions(1), path))
    assert path.read_text() == "my notes\nare here"
