from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.evals.conftest import Evaluate
from tests.unit.evals.fakes import right, wrong

from posttrain.errors import DataError, RecipeError
from posttrain.evals import EvalConfig, read_answers
from posttrain.records import Problem, Verdict, problems_to_table
from posttrain.store import Problems, write_table

DIGESTED = ("scores.json", "base/sums-test/samples.parquet", "base/sums-test/verdicts.parquet")


def sampled(problem_id: str, index: int) -> str:
    return right(problem_id, 0) if (hash_of(problem_id) + index) % 3 else wrong(problem_id, 0)


def hash_of(problem_id: str) -> int:
    return int(problem_id.split("/")[1]) * 7


def rambling(problem_id: str, _: int) -> str:
    return "and then " * 20


def test_a_score_comes_with_n_interval_truncation_and_unparsed_rates(run_eval: Evaluate) -> None:
    scores = run_eval({"base": wrong, "sft": right, "rambling": rambling}).read()
    base, sft, rambling_entry = scores["entries"]
    assert (base["accuracy"], sft["accuracy"], sft["n"]) == (0.0, 1.0, 40)
    assert sft["interval"][0] == pytest.approx(1 / (1 + 1.959963985**2 / 40))  # Wilson at n of n
    assert rambling_entry["truncation_rate"] == 1.0
    assert rambling_entry["unparsed_rate"] == 1.0
    assert sft["undecided_rate"] == 0.0
    assert sft["bounds"] == [1.0, 1.0]


@pytest.mark.parametrize("dies_after", [0, 1, 17, 55, 119])
@pytest.mark.parametrize("block", [512, 16])
def test_an_interrupted_evaluation_ends_with_the_bytes_of_an_uninterrupted_one(
    run_eval: Evaluate, tmp_path: Path, dies_after: int, block: int
) -> None:
    settings = {"n": 3, "temperature": 1.0, "block": block}
    run_eval({"base": sampled}, "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        run_eval({"base": sampled}, "broken", dies_after=dies_after, **settings)
    journal = tmp_path / "broken/.work/base/sums-test.jsonl"
    finished = len(journal.read_bytes().splitlines()) - 1
    assert finished == dies_after
    with journal.open("ab") as file:
        file.write(b'{"problem_id":"sum/3","ind')  # what a process killed in a write leaves
    run_eval({"base": sampled}, "broken", **settings)
    for name in DIGESTED:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_finished_blocks_are_not_generated_again(run_eval: Evaluate) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_eval({"base": right}, dies_after=20, block=16)
    run_eval({"base": right}, block=16)
    again = {key for key, _ in run_eval.engines["base"].generated}  # type: ignore[attr-defined]
    assert len(again) == 24  # the second and third of the blocks of 16, 16 and 8


def test_a_journal_of_other_settings_is_not_continued(run_eval: Evaluate) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_eval({"base": right}, dies_after=20)
    scores = run_eval({"base": wrong}, max_tokens=41)
    assert scores.read()["entries"][0]["accuracy"] == 0.0


def test_the_noise_of_a_problem_depends_on_no_other_problem(run_eval: Evaluate) -> None:
    run_eval({"base": right}, "all")
    everyone = run_eval.engines["base"].seeds  # type: ignore[attr-defined]
    run_eval({"base": right}, "few", limit=7)
    few = run_eval.engines["base"].seeds  # type: ignore[attr-defined]
    assert len(few) == 7
    assert few == {key: everyone[key] for key in few}


def test_special_tokens_stay_in_the_response_but_the_end_of_turn_does_not(run_eval: Evaluate) -> None:
    run = run_eval({"base": lambda problem_id, _: "5\x03"})
    samples = next(iter(read_answers([run]))).samples
    assert samples[0].response == "5<3>"
    assert samples[0].token_ids == (ord("5"), 3, 1)


def test_pass_at_k_and_majority_come_with_several_samples(run_eval: Evaluate) -> None:
    entry = run_eval({"base": sampled}, n=3, temperature=1.0).read()["entries"][0]
    assert entry["accuracy"] == pytest.approx(2 / 3)
    assert entry["pass_at"]["2"] == 1.0  # two of three are right, so any two hold one
    assert entry["maj_at"]["3"] == 1.0


def test_several_greedy_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="same answer 4 times"):
        EvalConfig(n=4, temperature=0.0)


def test_nothing_to_evaluate_on_is_refused(run_eval: Evaluate) -> None:
    with pytest.raises(RecipeError, match="nothing to evaluate on"):
        run_eval({"base": right}, source=None)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([Problem("a", "?", "1", split="test"), Problem("a", "??", "2", split="test")], "'a' comes twice"),
        ([Problem("a", "?", "no number here", split="test")], "can't read 1 of 1 gold"),
        ([Problem("a", "?", "1", split="train")], "no problems in split 'test'"),
    ],
)
def test_unusable_problems_are_refused_before_anything_is_generated(
    run_eval: Evaluate, tmp_path: Path, rows: list[Problem], complaint: str
) -> None:
    write_table(tmp_path / "bad" / "problems.parquet", problems_to_table(rows))
    with pytest.raises(DataError, match=complaint):
        run_eval({"base": right}, source=Problems(tmp_path / "bad", name="bad"))
    assert not run_eval.engines["base"].generated  # type: ignore[attr-defined]


def test_an_undecided_grader_turns_the_certificate_red(
    run_eval: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_eval({"base": right})
    line = json.loads((tmp_path / "scores/certificate.json").read_text())["the grader decides"]
    assert (line["ok"], line["undecided"]) == (True, 0.0)
    monkeypatch.setattr("posttrain.evals.answering.grade", lambda *_, **__: Verdict(None, False, None, "timeout"))
    scores = run_eval({"base": right}, "unsure").read()
    assert not json.loads((tmp_path / "unsure/certificate.json").read_text())["the grader decides"]["ok"]
    assert scores["entries"][0]["bounds"] == [0.0, 1.0]
    assert scores["entries"][0]["accuracy"] == 0.0


def test_nul_bytes_and_megabytes_survive_journal_and_tables_and_are_not_right(
    run_eval: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.evals import fakes

    hostile = ["\x00\x00 the answer is \x00", "7 " * 1_000_000, "\u202e\x1b[2J\r\n\u2028", ""]
    monkeypatch.setattr(fakes.CharTokenizer, "decode", lambda self, ids, **_: hostile[next(iter(ids), 3) % 4])
    script = {"base": lambda problem_id, _: chr(int(problem_id.split("/")[1]) % 4)}
    settings = {"limit": 8, "grading": "gsm8k_strict"}
    with pytest.raises(KeyboardInterrupt):
        run_eval(script, "hostile", dies_after=5, **settings)
    scores = run_eval(script, "hostile", **settings)
    samples = next(iter(read_answers([scores]))).samples
    assert {s.response for s in samples} <= set(hostile)
    assert scores.read()["entries"][0]["accuracy"] == 0.0
    run_eval(script, "whole", **settings)
    for name in DIGESTED:
        assert (tmp_path / "hostile" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
