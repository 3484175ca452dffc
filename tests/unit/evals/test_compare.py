from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.evals.conftest import Evaluate
from tests.unit.evals.fakes import right, wrong

from posttrain.cli.compare import compare as compare_verb
from posttrain.errors import DataError, PosttrainError
from posttrain.evals import Answers, compare, compare_family, read_answers
from posttrain.evals.decompose import decompose
from posttrain.evals.regrade import RegradeConfig, regrade
from posttrain.evals.select import select_answers
from posttrain.records import Sample, Verdict
from posttrain.stage import Workspace
from posttrain.store import Samples


def first_half(problem_id: str, index: int) -> str:
    return right(problem_id, index) if int(problem_id.split("/")[1]) < 20 else wrong(problem_id, index)


def answers_of(run_eval: Evaluate, **config: object) -> dict[str, Answers]:
    scores = run_eval({"base": wrong, "half": first_half, "sft": right}, **config)
    return {a.model: a for a in read_answers([scores])}


def test_the_difference_is_b_minus_a(run_eval: Evaluate) -> None:
    found = answers_of(run_eval)
    comparison = compare(found["base"], found["half"])
    assert comparison.paired.difference == 0.5
    assert (comparison.paired.won, comparison.paired.lost, comparison.verdict) == (20, 0, "better")
    assert compare(found["half"], found["base"]).verdict == "worse"
    assert compare(found["base"], found["base"]).verdict.startswith("cannot tell")


def test_items_are_matched_by_id_whatever_their_order(run_eval: Evaluate) -> None:
    found = answers_of(run_eval)
    turned = dataclasses.replace(found["half"], samples=list(reversed(found["half"].samples)))
    assert compare(found["half"], turned).paired.lost == 0
    assert compare(found["base"], turned).paired == compare(found["base"], found["half"]).paired


def test_a_family_is_judged_by_holm(run_eval: Evaluate) -> None:
    found = answers_of(run_eval)
    alone = compare(found["base"], found["half"])
    family = compare_family([(found["base"], found["half"]), (found["base"], found["sft"])])
    assert family[0].p_adjusted >= alone.p_adjusted == alone.paired.p
    assert family[0].family == 2


def test_other_settings_are_refused_and_named(run_eval: Evaluate) -> None:
    found, longer = answers_of(run_eval), answers_of(run_eval, folder="longer", max_tokens=39, limit=30)
    with pytest.raises(DataError, match=r"differ in .*n_problems \(40 and 30\).*sampling"):
        compare(found["base"], longer["sft"])


def test_other_items_are_refused_and_counted(run_eval: Evaluate) -> None:
    found = answers_of(run_eval)
    fewer = dataclasses.replace(found["sft"], samples=found["sft"].samples[2:])
    with pytest.raises(DataError, match="2 only the first, 0 only the second"):
        compare(found["base"], fewer)


def test_above_one_percent_undecided_a_comparison_refuses(run_eval: Evaluate) -> None:
    found = answers_of(run_eval)
    doubtful = dataclasses.replace(found["sft"].samples[0], verdict=Verdict(None, False, None, "timeout"))
    unsure = dataclasses.replace(found["sft"], samples=[doubtful, *found["sft"].samples[1:]])
    with pytest.raises(DataError, match=r"2.5 % of the verdicts on sft are undecided"):
        compare(found["base"], unsure)


def answer(item: str, correct: bool, text: str = "", finish: str = "stop", extracted: str | None = "1") -> Sample:
    verdict = Verdict(correct, True, extracted, "correct" if correct else "wrong")
    return Sample(item, 0, "?", text, "m", gold="5", finish_reason=finish, verdict=verdict)  # type: ignore[arg-type]


def test_the_parts_of_a_difference_add_up_and_name_the_cause() -> None:
    a = [
        answer("reasoned", False, "it is 4"),
        answer("cut", False, finish="length"),
        answer("unread", False, "no idea", extracted=None),
        answer("form", False, "so 5"),
        answer("lost", True),
        answer("same", True),
    ]
    b = [answer(s.problem_id, s.problem_id != "lost", "it is 4") for s in a]
    parts = decompose(a, b, "r1_zero")
    assert parts is not None
    sixth = pytest.approx(1 / 6)
    assert (parts["truncation"], parts["extraction"], parts["format"]) == (sixth, sixth, sixth)
    assert parts["reasoning"] == 0  # one won, one lost
    assert sum(parts.values()) == pytest.approx(3 / 6)


def test_regrading_changes_verdicts_and_fingerprint_but_no_generation(run_eval: Evaluate, tmp_path: Path) -> None:
    scores = run_eval({"base": wrong, "sft": right})
    again = regrade(RegradeConfig(), scores, Workspace(tmp_path / "again", quiet=True))
    assert again.read()["entries"] == scores.read()["entries"]
    strict = regrade(RegradeConfig(grading="gsm8k_strict"), scores, Workspace(tmp_path / "strict", quiet=True))
    old, new = scores.read()["entries"][1], strict.read()["entries"][1]
    assert (old["accuracy"], new["accuracy"]) == (1.0, 0.0)  # "The answer is 5." has no ####
    assert old["fingerprint"] != new["fingerprint"]
    for folder in ("base/sums-test", "sft/sums-test"):
        kept = [dataclasses.replace(s, verdict=None) for s in Samples(scores.path / folder).read()]
        assert [dataclasses.replace(s, verdict=None) for s in Samples(strict.path / folder).read()] == kept


def test_the_verb_compares_what_it_is_given(run_eval: Evaluate) -> None:
    scores = run_eval({"base": wrong, "half": first_half, "sft": right})
    result = CliRunner().invoke(compare_verb, [f"{scores.path}:base", f"{scores.path}:half", "--json"])
    found = json.loads(result.output)
    assert [(c["a"], c["b"], c["verdict"]) for c in found["comparisons"]] == [("base", "half", "better")]
    table = CliRunner().invoke(compare_verb, [str(scores.path)]).output
    assert "half − base" in table
    assert "by cause: reasoning +50.0" in table


def test_models_of_one_name_are_told_apart_by_their_folders(run_eval: Evaluate) -> None:
    first, second = run_eval({"base": wrong}, "before"), run_eval({"base": right}, "after")
    names = [a.model for a in select_answers([str(first.path), str(second.path)])]
    assert names == ["before:base", "after:base"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["{scores}"], "needs two models"), (["{scores}:bse"], "Did you mean 'base'"), (["nowhere"], "no evaluation")],
)
def test_bad_selections_are_refused(run_eval: Evaluate, arguments: list[str], complaint: str) -> None:
    scores = run_eval({"base": wrong})
    with pytest.raises(PosttrainError, match=complaint):
        select_answers([a.format(scores=scores.path) for a in arguments])
