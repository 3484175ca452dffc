"""The stage with teachers that are asked: a real HTTP server answers."""

from __future__ import annotations

import dataclasses
import json
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.scripted_provider import Script, ScriptedProvider
from tests.unit.providers.batch_server import BatchServer, serving
from tests.unit.traces.scripted import KEY, ask, problem, some_problems, teacher

from posttrain.errors import ProviderError, RecipeError, StoreError
from posttrain.pipeline import run_stage
from posttrain.providers import Journal, Live
from posttrain.stage import Workspace
from posttrain.store import Manifest, Samples
from posttrain.traces import cleaning
from posttrain.traces.watch import Watch


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script(latency=0.0)) as running:
        yield running


def test_every_problem_gets_its_samples_graded_and_with_their_bill(provider: ScriptedProvider, tmp_path: Path) -> None:
    given = some_problems(tmp_path, [problem(0), dataclasses.replace(problem(1), answer="7"), problem(2)])
    samples = ask(tmp_path, given, teacher="t", define={"t": teacher(provider)}, samples=2, temperature=0.5)
    assert [(s.problem_id, s.index) for s in samples] == [(f"p{i}", k) for i in range(3) for k in range(2)]
    assert [s.verdict.correct if s.verdict else None for s in samples] == [True, True, False, False, True, True]
    one = samples[0]
    assert one.source == "teacher:t"
    assert one.response == f"You asked: {one.question}\nANSWER: {len(one.question)}"
    prompt = len(one.question) // 4 + 8
    assert one.extra["usage"] == {"prompt": prompt, "completion": 20, "reasoning": None, "cached": None}
    assert one.extra["cost"] == pytest.approx((prompt * 1.0 + 20 * 2.0) / 1e6)
    assert (one.extra["answer"], one.extra["reasoning_kind"], one.extra["model"]) == (one.gold, "none", "scripted")
    assert set(provider.ledger.asked.values()) == {2}
    certificate = json.loads((tmp_path / "traces/certificate.json").read_text())
    assert certificate["every question has one answer"] == {"ok": True, "asked": 6, "answered": 6}


def test_a_changed_cleaner_form_or_grader_asks_nothing_again(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = some_problems(tmp_path, 5)
    own = {"teacher": "t", "define": {"t": teacher(provider)}, "prompt": "{question}\nPut the number of the eggs."}
    inputs = {"problems": given}
    first = run_stage("traces", own, inputs, tmp_path / "run/traces", quiet=True)
    with pytest.raises(RecipeError, match=r"format: 'solution' → 'boxed'[\s\S]*--fresh traces"):
        run_stage("traces", {**own, "format": "boxed"}, inputs, tmp_path / "run/traces", quiet=True)
    again = run_stage("traces", {**own, "format": "boxed"}, inputs, tmp_path / "run/traces", quiet=True, fresh=True)
    monkeypatch.setattr("posttrain.traces.config.CLEANER", cleaning.CLEANER + 1)
    run_stage("traces", {**own, "grading": "math"}, inputs, tmp_path / "run/traces", quiet=True, fresh=True)
    assert set(provider.ledger.asked.values()) == {1}
    assert (tmp_path / "run/journals/t/replies.jsonl").is_file()
    assert (tmp_path / "run/traces@1").is_dir()
    assert isinstance(first, Samples)
    assert isinstance(again, Samples)


def test_the_same_question_of_two_problems_is_asked_once(provider: ScriptedProvider, tmp_path: Path) -> None:
    twin = dataclasses.replace(problem(0), id="twin")
    samples = ask(tmp_path, some_problems(tmp_path, [problem(0), twin]), teacher="t", define={"t": teacher(provider)})
    assert [s.problem_id for s in samples] == ["p0", "twin"]
    assert provider.ledger.asked.total() == 1


def test_what_is_cut_by_the_provider_is_never_given_an_answer(provider: ScriptedProvider, tmp_path: Path) -> None:
    outcomes = {problem(0).question: ["length"], problem(1).question: ["content_filter"], problem(2).question: ["ok"]}
    provider.script = Script(latency=0.0, questions=outcomes)
    given = some_problems(tmp_path, 3)
    forms = {}
    for form in ("solution", "boxed", "r1_zero"):
        forms[form] = ask(tmp_path, given, form, teacher="t", define={"t": teacher(provider)}, format=form)
    for samples in forms.values():
        cut, filtered, whole = samples
        assert (cut.finish_reason, cut.extra.get("answer"), cut.truncated) == ("length", None, True)
        assert cut.verdict is not None
        assert (cut.verdict.correct, cut.verdict.reason) == (False, "truncated")
        assert (filtered.finish_reason, filtered.extra["filtered"]) == ("cancelled", True)
        assert whole.extra["answer"] == whole.gold
    assert "boxed" not in forms["boxed"][0].response
    assert forms["boxed"][2].response.endswith(f"\\boxed{{{problem(2).answer}}}")
    assert "<answer>" not in forms["r1_zero"][0].response
    assert forms["r1_zero"][2].response.endswith(f"</think> <answer> {problem(2).answer} </answer>")
    assert provider.ledger.asked.total() == 3, "three forms of the same replies"


def test_reasoning_is_kept_in_its_place_and_kind(provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.script = Script(latency=0.0, reasoning="reasoning")
    given = some_problems(tmp_path, 1)
    own = {"teacher": "t", "define": {"t": teacher(provider)}}
    (plain,) = ask(tmp_path, given, "a", **own)
    (thinking,) = ask(tmp_path, given, "b", format="think", **own)
    (tagged,) = ask(tmp_path, given, "c", format="r1_zero", **own)
    thought = f"Let me think about: {plain.question}"
    assert (plain.extra["reasoning"], plain.extra["reasoning_kind"]) == (thought, "raw")
    assert "think about" not in plain.response
    assert thinking.response.startswith(f"<think>\n{thought}\n</think>\n\nYou asked:")
    assert tagged.response == f" {thought} </think> <answer> {plain.gold} </answer>"


def test_two_teachers_at_once_don_t_slow_one_another(tmp_path: Path) -> None:
    """One at a time, 10 replies of 0.1 s: one teacher takes a second, and two together must not take two."""
    script = Script(latency=0.1)
    with ScriptedProvider(script) as a, ScriptedProvider(script) as b:
        define = {name: teacher(p, limits={"concurrency": 1}) for name, p in (("a", a), ("b", b))}
        given = some_problems(tmp_path, 10)
        began = time.monotonic()
        ask(tmp_path, given, "alone", teacher="a", define=define)
        alone = time.monotonic() - began
        began = time.monotonic()
        samples = ask(tmp_path, given, "both", teacher=["a", "b"], define=define, journal=str(tmp_path / "anew"))
        both = time.monotonic() - began
    assert both < 1.5 * alone, f"{both:.2f} s for both, {alone:.2f} s for one"
    assert [(s.index, s.source) for s in samples[:2]] == [(0, "teacher:a"), (1, "teacher:b")]
    assert len(samples) == 20


def test_an_error_of_one_teacher_keeps_what_the_other_was_paid_for(provider: ScriptedProvider, tmp_path: Path) -> None:
    with ScriptedProvider(Script(latency=0.0, faults={"402": 1.0})) as poor:
        define = {"good": teacher(provider), "poor": teacher(poor)}
        given = some_problems(tmp_path, 20)
        with pytest.raises(ProviderError, match="poor"):
            ask(tmp_path, given, teacher=["good", "poor"], define=define)
    ask(tmp_path, given, "after", teacher="good", define=define)
    assert set(provider.ledger.answered.values()) == {1}


def test_teachers_beside_are_asked_once_for_all_their_stages(provider: ScriptedProvider, tmp_path: Path) -> None:
    with ScriptedProvider(Script(latency=0.0)) as other:
        define = {"a": teacher(provider), "b": teacher(other)}
        given = some_problems(tmp_path, 4)
        first = ask(tmp_path, given, "traces--a", teacher="a", beside=["a", "b"], define=define)
        asked = other.ledger.asked.total()
        second = ask(tmp_path, given, "traces--b", teacher="b", beside=["a", "b"], define=define)
        assert (asked, other.ledger.asked.total(), provider.ledger.asked.total()) == (4, 4, 4)
    assert {s.source for s in first} == {"teacher:a"}
    assert {(s.source, s.index) for s in second} == {("teacher:b", 0)}


def test_a_stage_waits_for_another_that_asks_the_same_teacher(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posttrain.traces.asking.LOOK", 0.05)
    journal = tmp_path / "journals/t/replies.jsonl"
    journal.parent.mkdir(parents=True)
    other = Journal(journal)
    release = threading.Timer(0.4, other.__exit__, (None, None, None))
    release.start()
    samples = ask(tmp_path, some_problems(tmp_path, 3), teacher="t", define={"t": teacher(provider)})
    release.join()
    assert len(samples) == 3


def test_what_is_seen_is_cost_tokens_errors_and_what_is_cut(tmp_path: Path) -> None:
    with Watch(Workspace(tmp_path / "w", quiet=True), "asking", {"a": 10, "b": 10}) as watch:
        watch.look("a")(
            Live(replies=8, sent=10, faults=1, refusals=1, truncated=2, cost=1.5, completion_tokens=900, seconds=3)
        )
        assert watch.facts() == {"cost": "$1.50", "tokens": "900 (300/s)", "errors": "20.0 %", "truncated": "25.0 %"}
        watch.look("b")(Live(replies=1, sent=1, unpriced=1, waves=1, closed_for=12.0))
        assert (watch.facts()["cost"], watch.facts()["closed"]) == ("unknown", "b for 12 s")


def test_requests_without_a_reply_stop_the_stage_and_alone_are_asked_again(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    bad = problem(3).question
    provider.script = Script(latency=0.0, questions={bad: ["too_long", "ok"]})
    given = some_problems(tmp_path, 6)
    own = {"teacher": "t", "define": {"t": teacher(provider)}}
    with pytest.raises(
        ProviderError, match=r"1 of 6 requests to teacher 't' stayed without a reply \(.*context length"
    ):
        ask(tmp_path, given, **own)
    assert len(ask(tmp_path, given, **own)) == 6
    assert {q: n for q, n in provider.ledger.asked.items() if n > 1} == {bad: 2}
    provider.script = Script(latency=0.0, questions={bad: ["too_long"]})
    fewer = ask(tmp_path, given, "fewer", journal=str(tmp_path / "anew"), allow_failed=0.2, **own)
    assert [s.problem_id for s in fewer] == ["p0", "p1", "p2", "p4", "p5"]
    line = json.loads((tmp_path / "fewer/certificate.json").read_text())["every question has one answer"]
    assert line == {"ok": False, "asked": 6, "answered": 5}


def test_a_pilot_tells_what_all_will_cost_and_is_part_of_it(
    provider: ScriptedProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = some_problems(tmp_path, 40)
    own = {"teacher": "t", "define": {"t": teacher(provider)}, "max_tokens": 64}
    samples = ask(tmp_path, given, quiet=False, pilot=10, max_cost=1.0, **own)
    shown = capsys.readouterr().out
    assert "t: 40 requests, told from 10" in shown
    bill = sum(s.extra["cost"] for s in samples)
    assert provider.ledger.asked.total() == 40
    kept = json.loads((tmp_path / "journals/t/pilot.json").read_text())
    assert kept["dollars"]["low"] <= bill * (1 + 1e-9)
    assert bill <= kept["dollars"]["high"] * (1 + 1e-9)
    assert kept["completion_tokens"]["value"] == 800


def test_a_budget_smaller_than_the_pilot_or_the_forecast_is_an_error(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    given = some_problems(tmp_path, 40)
    own = {"teacher": "t", "define": {"t": teacher(provider)}, "max_tokens": 64, "pilot": 10}
    with pytest.raises(RecipeError, match=r"max_cost: \$1e-06 is smaller than the pilot of 10.*[Rr]aise max_cost"):
        ask(tmp_path, given, max_cost=1e-6, **own)
    assert provider.ledger.asked.total() == 0
    # At most a request costs 64·2 and some of input, really 54 millionths: 10 fit into 0.8 thousandths, 40 don't.
    with pytest.raises(RecipeError, match=r"t will cost \$0\.002\d? .*and max_cost is \$0\.0008"):
        ask(tmp_path, given, max_cost=8e-4, **own)
    assert provider.ledger.asked.total() == 10


def test_max_cost_holds_and_raising_it_goes_on(provider: ScriptedProvider, tmp_path: Path) -> None:
    given = some_problems(tmp_path, 30)
    own = {"teacher": "t", "define": {"t": teacher(provider, limits={"concurrency": 2})}, "max_tokens": 25}
    with pytest.raises(ProviderError, match=r"budget is used up.*Raise max_cost"):
        ask(tmp_path, given, max_cost=6e-4, **own)
    spent = provider.ledger.answered.total()
    assert 0 < spent * (40 + 13) / 1e6 <= 6e-4
    ask(tmp_path, given, max_cost=1.0, **own)
    assert provider.ledger.answered.total() == 30


def test_the_key_is_in_no_file_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACES_TEST_KEY", KEY)
    with ScriptedProvider(Script(latency=0.0, key=KEY)) as provider:
        own = {"teacher": "t", "define": {"t": teacher(provider, key_env="TRACES_TEST_KEY")}}
        made = run_stage("traces", own, {"problems": some_problems(tmp_path, 3)}, tmp_path / "run/traces")
        monkeypatch.setenv("TRACES_TEST_KEY", KEY[::-1])
        with pytest.raises(ProviderError) as refused:
            ask(tmp_path, some_problems(tmp_path, 3), "other", **own)
    assert Manifest.read(made.path) is not None
    shown = capsys.readouterr()
    for text in (shown.out, shown.err, str(refused.value)):
        assert KEY not in text
        assert KEY[::-1] not in text
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
    for name in ("samples.parquet", "dataset/all.parquet"):
        assert KEY not in str(pq.read_table(made.path / name).to_pylist())


def test_a_missing_key_is_told_before_anything_is_asked(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACES_TEST_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProviderError, match="TRACES_TEST_KEY is neither in the environment nor in"):
        ask(
            tmp_path,
            some_problems(tmp_path, 1),
            teacher="t",
            define={"t": teacher(provider, key_env="TRACES_TEST_KEY")},
        )
    assert provider.ledger.asked.total() == 0


NOBODY = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown teacher": ({"teacher": "gpt-4o-mimi"}, r"'teacher' is 'gpt-4o-mimi': .*Did you mean 'gpt-4o-mini'"),
    "unknown beside": ({"teacher": "gpt-4o-mini", "beside": ["gbt"]}, "'beside' is 'gbt'"),
    "beside that asks none": ({"teacher": "gpt-4o-mini", "beside": ["solver"]}, "asks none"),
    "no prices for max_cost": (
        {"teacher": "mine", "define": {"mine": NOBODY}, "max_cost": 1, "max_tokens": 9},
        r"no price of teacher 'mine' is known\. Give it: define: \{mine: \{prices:",
    ),
    "no max_tokens for max_cost": ({"teacher": "gpt-4o-mini", "max_cost": 1}, "without max_tokens"),
    "a prompt without the question": ({"teacher": "gpt-4o-mini", "prompt": "Answer."}, r"\{question\}"),
    "several that copy": ({"teacher": ["reference", "gpt-4o-mini"]}, "copies alone"),
    "samples of a copy": ({"samples": 2}, "one solution of each problem"),
    "a form for asked ones": ({"format": "think"}, "for teachers that are asked"),
    "the same twice": ({"teacher": ["gpt-4o-mini", "gpt-4o-mini"]}, "several different ones"),
    "batches that ask again": (
        {"teacher": "gpt-4o-mini", "batch": {}, "retry_truncated": 9},
        "retry_truncated is not offered in batches",
    ),
}


@pytest.mark.parametrize(("config", "said"), BAD.values(), ids=BAD)
def test_a_config_that_can_t_work_is_refused(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        ask(tmp_path, some_problems(tmp_path, 1), **config)


def test_a_full_disk_stops_before_a_reply_is_lost(provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.script = Script(latency=0.0, text_bytes=20_000)
    own = {"teacher": "t", "define": {"t": teacher(provider, limits={"concurrency": 4})}, "max_tokens": 6_000}
    given = some_problems(tmp_path, 120)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_100_000, limit[1]))
    try:
        with pytest.raises(StoreError, match="free some space and run the same command again"):
            ask(tmp_path, given, **own)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert 0 < provider.ledger.answered.total() < 120
    assert len(ask(tmp_path, given, **own)) == 120
    twice = sum(n - 1 for n in provider.ledger.answered.values())
    assert twice <= 4, (
        "this limit is one per file, so the space held back beside the journal can't save those in flight"
    )


def test_batches_are_a_key_of_the_stage(tmp_path: Path) -> None:
    from tests.unit.providers.test_batch import question

    with serving(BatchServer()) as server:
        own = {"base_url": f"{server.url}/v1", "model": "m", "prices": {"input": 1, "output": 2, "batch": 0.5}}
        asked = [dataclasses.replace(problem(i), question=question(i)) for i in range(4)]
        samples = ask(
            tmp_path, some_problems(tmp_path, asked), teacher="t", define={"t": own}, batch={"poll": 0.01, "size": 3}
        )
        assert len(server.made) == 2
    assert [s.response.split(" That")[0] for s in samples] == [f"You asked: {p.question}" for p in asked]
    assert all(s.extra["cost"] > 0 for s in samples)
