"""PIR on a tiny model: what it measures, what it may cut, and what its controls hold equal."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.choosing import Words, kept, row, rows_of, select

from posttrain.curate.selectors.importance import (
    Asked,
    Scored,
    by_lot,
    context_ids,
    importance,
    importances,
    least_important,
    thresholds,
)
from posttrain.curate.selectors.reasoning import FUNCTIONAL, split_response
from posttrain.engines import NativeEngine
from posttrain.errors import DataError
from posttrain.models import TinyConfig, tiny_model, token_stats, train_tokenizer
from posttrain.prompts import get_template

CHECKS = (
    "Wait, let me check: {c} - {b} = {a}.",
    "Alternatively, {b} + {a} = {c}.",
    "Let me double-check. {a} + {b} = {c}.",
    "This is wrong? No, {a} + {b} is {c}.",
)


def trace(a: int, b: int, checks: int) -> str:
    said = [text.format(a=a, b=b, c=a + b) for text in CHECKS[:checks]]
    return "\n".join([f"We have {a} and {b}. We add them. {a} + {b} = {a + b}.", *said, f"The answer is {a + b}."])


def pool(n: int = 12) -> Any:
    samples = [
        row(f"p{i}", f"What is {i} plus {i + 3}?", trace(i, i + 3, i % 5), gold=str(2 * i + 3)) for i in range(n)
    ]
    return rows_of(samples)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    rows = pool(40)
    return train_tokenizer([*rows.questions, *rows.responses], 400)


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return tiny_model(tokenizer, TinyConfig(hidden=32, layers=2, heads=2, vocabulary=400, context=512), seed=0)


@pytest.fixture
def tools(model: Any, tokenizer: Any, tmp_path: Path) -> Words:
    engine = NativeEngine(model, pad_id=tokenizer.pad_token_id)
    return Words(tmp_path, engine=engine, tokenizer=tokenizer)


def asked(response: str, question: str = "What is 2 plus 5?") -> Asked:
    return Asked(0, question, split_response(response))


def test_pir_is_the_difference_of_mean_answer_nlls(model: Any, tokenizer: Any, tools: Words) -> None:
    """log(PPL(answer | without) / PPL(answer | with)), both perplexities from models/logprobs, token by token."""
    template = get_template("chat")
    one = asked(trace(2, 5, 4))
    found = importance(tools.engine(""), one, template, tokenizer).importance
    answer = template.response_ids(one.parts.answer, tokenizer)[:-1]

    def perplexity(cut: frozenset[int]) -> float:
        context = context_ids(one, cut, template, tokenizer)
        ids = torch.tensor([[*context, *answer]])
        col = torch.arange(len(context), ids.shape[1])
        with torch.no_grad():
            stats = token_stats(model, ids, torch.zeros_like(col), col)
        return math.exp(-float(stats.logprobs.mean()))

    whole = perplexity(frozenset())
    assert list(found) == [i for i, s in enumerate(one.parts.steps) if s.functional]
    assert len(found) == 4
    for step, value in found.items():
        assert value == pytest.approx(math.log(perplexity(frozenset([step])) / whole), abs=2e-5)
    assert any(abs(value) > 1e-4 for value in found.values()), "they are not all zero"


def test_the_context_is_the_trace_without_the_step_and_the_answer_keeps_its_tokens(tokenizer: Any) -> None:
    template = get_template("chat")
    one = asked(trace(2, 5, 2))
    whole = tokenizer.decode(context_ids(one, frozenset(), template, tokenizer))
    cut = one.functional[0]
    without = tokenizer.decode(context_ids(one, frozenset([cut]), template, tokenizer))
    assert whole.replace(one.parts.steps[cut].text, "") == without
    assert whole.endswith("Alternatively, 5 + 2 = 7.\n")


def test_an_answer_without_a_token_is_refused(tokenizer: Any, tools: Words) -> None:
    empty = Asked(7, "What?", split_response(""))
    with pytest.raises(DataError, match=r"row 7 .*has no final answer"):
        importance(tools.engine(""), empty, get_template("chat"), tokenizer)


def test_each_class_loses_its_least_important_steps_and_progression_none() -> None:
    rows = [asked(trace(2, 5, 4)), asked(trace(3, 5, 4))]
    scored = [
        Scored(0, dict(zip(r.functional, values, strict=True)))
        for r, values in zip(rows, ([4, 3, 2, 1], [1, 2, 3, 4]), strict=True)
    ]
    limits = thresholds(rows, scored, 0.5)
    # verification has four steps (4, 2 | 1, 3), multi-method two (3 | 2), error correction two (1 | 4)
    assert limits == {"verification": 2, "multi_method": 2, "error_correction": 1}
    cuts = [least_important(r, s, limits) for r, s in zip(rows, scored, strict=True)]
    kinds = [[r.parts.steps[i].kind for i in sorted(cut)] for r, cut in zip(rows, cuts, strict=True)]
    assert kinds == [["verification", "error_correction"], ["verification", "multi_method"]]
    assert thresholds(rows, scored, 0.1) == dict.fromkeys(FUNCTIONAL, -math.inf), "a tenth of four is none"
    everything = thresholds(rows, scored, 1.0)
    left = rows[0].parts.without(least_important(rows[0], scored[0], everything))
    assert left == "We have 2 and 5. We add them. 2 + 5 = 7.\nThe answer is 7."


def test_the_random_control_cuts_as_many_of_each_class_wherever_chance_finds_them() -> None:
    """Also where every trace has one step only, whose row the control must be free to choose."""
    for checks, each in ((4, {"verification": 6, "multi_method": 3, "error_correction": 3}), (1, {"verification": 3})):
        rows = [Asked(i, "What?", split_response(trace(i, 5, checks))) for i in range(6)]
        scored = [Scored(i, dict.fromkeys(row.functional, float(i))) for i, row in enumerate(rows)]
        cuts = set()
        for seed in range(10):
            drawn = by_lot(scored, np.random.default_rng(seed))
            limits = thresholds(rows, drawn, 0.5)
            cut = [least_important(row, one, limits) for row, one in zip(rows, drawn, strict=True)]
            kinds = Counter(row.parts.steps[i].kind for row, some in zip(rows, cut, strict=True) for i in some)
            assert kinds == each
            cuts.add(tuple(cut))
        assert len(cuts) > 5


def test_what_was_measured_is_not_measured_again(tools: Words, tokenizer: Any, tmp_path: Path) -> None:
    class Counting:
        def __init__(self, inner: Any) -> None:
            self.inner, self.scored = inner, 0

        def score(self, sequences: Sequence[Sequence[int]]) -> Any:
            self.scored += len(sequences)
            return self.inner.score(sequences)

    engine = Counting(tools.engine(""))
    rows = [Asked(i, "What?", split_response(trace(i, 4, i))) for i in range(4)]
    journal = tmp_path / "pir.jsonl"
    first = list(importances(engine, rows[:3], get_template("chat"), tokenizer, journal))
    assert engine.scored == 0 + 2 + 3, "a row without functional steps costs nothing"
    with journal.open("a") as file:
        file.write('[3, {"1": 0.')  # torn
    again = list(importances(engine, rows, get_template("chat"), tokenizer, journal))
    assert engine.scored == 5 + 4
    assert [a.importance for a in again[:3]] == [f.importance for f in first]
    assert [json.loads(line)[0] for line in journal.read_text().splitlines()] == [1, 2, 3]


def test_the_selector_cuts_grades_again_and_says_what_it_did(tools: Words) -> None:
    rows = pool()
    decision = select(rows, tools, select="pir", budget=12, ratio=0.5, grading="gsm8k")
    assert decision.keep.all()
    assert decision.responses
    for i, text in decision.responses.items():
        before, after = split_response(rows.response(i)), split_response(text)
        assert after.answer == before.answer
        progress = [s.text for s in before.steps if not s.functional]
        assert [s.text for s in after.steps if not s.functional] == progress, "progression is never cut"
        assert len(text) < len(rows.response(i))
    notes = decision.notes
    assert notes["restored"] == 0
    assert sum(notes["steps_cut"].values()) == sum(decision.columns["cut"])
    assert (
        notes["steps"]["verification"] == 2 * notes["steps_cut"]["verification"] or notes["steps"]["verification"] % 2
    )
    assert notes["tokens_after"] < notes["tokens_before"]
    assert 0 <= notes["near_zero"] <= 1
    assert np.isnan(decision.score[0]), "p0 has no functional step"


def test_a_cut_after_which_the_answer_is_wrong_is_taken_back(tools: Words) -> None:
    """A numeric grader reads the last number of a text without a marked answer; here it stands in a check."""
    told = "We add 2 and 5.\nWait, let me check: the answer is 7.\nDone"
    rows = rows_of(
        [row("a", "What is 2 plus 5?", told, gold="7"), row("b", "What is 1 plus 2?", trace(1, 2, 4), gold="3")]
    )
    decision = select(rows, tools, select="pir", budget=2, ratio=1.0, grading="gsm8k")
    assert 0 not in decision.responses
    assert decision.notes["restored"] == 1
    assert decision.responses[1] == "We have 1 and 2. We add them. 1 + 2 = 3.\nThe answer is 3."


def test_without_a_gold_the_answer_must_stay_what_it_was(tools: Words) -> None:
    rows = rows_of([row("a", "What is 2 plus 5?", trace(2, 5, 4), gold=None)])
    decision = select(rows, tools, select="pir", budget=1, ratio=1.0, grading="math")
    assert decision.responses[0].endswith("The answer is 7.")
    assert decision.notes["restored"] == 0


def test_controls_draw_the_same_rows_and_the_uncut_one_has_as_many_tokens(tools: Words, tmp_path: Path) -> None:
    rows = pool(40)
    found = {
        control: select(rows, tools, select="pir", budget=20, control=control, grading="gsm8k")
        for control in ("none", "random", "uncut")
    }
    assert kept(rows, found["none"]) == kept(rows, found["random"])
    assert found["none"].responses.keys()
    assert found["none"].responses != found["random"].responses
    assert sum(found["none"].columns["cut"][i] or 0 for i in range(40)) == sum(
        found["random"].columns["cut"][i] or 0 for i in range(40)
    )
    assert not found["uncut"].responses
    assert found["uncut"].keep.sum() < 20
    most = max(len(rows.response(i).split()) for i in range(40)) * 3
    assert 0 <= found["none"].notes["tokens"] - found["uncut"].notes["tokens"] <= most, "within one row"


def test_a_budget_of_tokens_is_filled_with_what_the_cut_leaves(tools: Words) -> None:
    rows = pool(40)
    decision = select(rows, tools, select="pir", budget=40, tokens=600, ratio=1.0, grading="gsm8k")
    assert 480 <= decision.notes["tokens"] <= 600
    assert all(why == "beyond the budget of 600 tokens" for why in decision.reason if why)


def test_a_student_whose_likelihoods_are_not_numbers_is_refused(tokenizer: Any) -> None:
    class Broken:
        def score(self, sequences: Sequence[Sequence[int]]) -> Any:
            return [[math.nan] * len(s) for s in sequences]

    with pytest.raises(DataError, match=r"no finite likelihood \(NaN\)"):
        importance(Broken(), asked(trace(2, 5, 1)), get_template("chat"), tokenizer)  # type: ignore[arg-type]


def test_too_few_rows_are_told_before_the_student_works(tools: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Words, "engine", lambda self, asks: pytest.fail("scored in vain"))
    with pytest.raises(DataError, match="fewer than budget: 100 rows"):
        select(pool(), tools, select="pir", budget=100, grading="gsm8k")
