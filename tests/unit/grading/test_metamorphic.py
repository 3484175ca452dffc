"""Changes whose effect on a verdict is known: another number flips it, another spelling doesn't."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.grading import grade, grade_many
from posttrain.grading.parser import readings
from posttrain.records import Problem

GOLDS = [
    "42",
    "-7",
    "3.5",
    r"\frac{3}{4}",
    r"2\sqrt{3}",
    "x^2+3x+5",
    "(2,7)",
    "[1,5)",
    r"\{1,4,9\}",
    r"(-\infty,2)\cup(5,9)",
    "x=4",
    "x \\le 8",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"5\pi",
    "3+2i",
    r"\frac{x+2}{7}",
    r"e^{3}",
    r"\log_2 9",
    "3:8",
    r"6 \pm \sqrt{2}",
]
REWRITES = {
    "display fractions": lambda s: s.replace(r"\frac", r"\dfrac"),
    "sized brackets": lambda s: s.replace("(", r"\left(").replace(")", r"\right)"),
    "spaces": lambda s: re.sub(r"([+=,<>])", r" \1 ", s),
    "dollars": lambda s: f"${s}$",
    "thin spaces": lambda s: s.replace("+", r"\,+\,"),
    "trailing dot": lambda s: s + ".",
    "full-width digits": lambda s: s.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    "unicode signs": lambda s: s.replace("-", "−").replace(r"\pi", "π").replace(r"\le ", "≤").replace(r"\pm", "±"),
}


def correct(gold: str, answer: str) -> bool | None:
    return grade(Problem("p", "?", gold), f"\\boxed{{{answer}}}", "math").correct


@pytest.mark.parametrize("gold", GOLDS)
def test_another_number_flips_the_verdict(gold: str) -> None:
    assert correct(gold, gold) is True
    for number in re.finditer(r"\d+", gold):
        changed = f"{gold[: number.start()]}{int(number[0]) + 11}{gold[number.end() :]}"
        assert correct(changed, gold) is False, changed
        assert correct(gold, changed) is False, changed


@pytest.mark.parametrize("rewrite", REWRITES)
@pytest.mark.parametrize("gold", GOLDS)
def test_another_spelling_does_not(gold: str, rewrite: str) -> None:
    assert correct(gold, REWRITES[rewrite](gold)) is True


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6), st.integers(2, 99))
def test_a_fraction_equals_its_multiples(above: int, below: int, factor: int) -> None:
    assert correct(f"{above}/{below}", rf"\frac{{{above * factor}}}{{{below * factor}}}") is True
    assert correct(f"{above}/{below}", rf"\frac{{{above * factor + 1}}}{{{below * factor}}}") is False


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_sets_have_no_order_and_tuples_do(items: list[int], random: object) -> None:
    shuffled = items[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    listed, other = ",".join(map(str, items)), ",".join(map(str, shuffled))
    assert correct(rf"\{{{listed}\}}", rf"\{{{other}\}}") is True
    assert correct(f"({listed})", f"({other})") is (items == shuffled)


def _real_golds(count: int) -> list[str]:
    """Golds of MATH-500, spread over the set, where the mirror is."""
    folder = Path(os.environ.get("POSTTRAIN_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
    file = folder / "math500.jsonl"
    if not file.is_file():
        pytest.skip(f"no mirror of the real data: there is no {file}")
    golds = [str(json.loads(line)["answer"]) for line in file.read_bytes().splitlines()]
    return golds[:: max(1, len(golds) // count)]


def test_real_golds_keep_their_verdict_in_other_spellings_and_lose_it_with_another_number() -> None:
    same, other = [], []
    for gold in _real_golds(250):
        same += [(gold, rewrite(gold)) for rewrite in REWRITES.values()]
        for number in re.finditer(r"\d+", gold):
            other.append((gold, f"{gold[: number.start()]}{int(number[0]) + 1}{gold[number.end() :]}"))
        if "-" in gold:
            other.append((gold, gold.replace("-", "+", 1)))
    for pairs, expected in ((same, True), (other, False)):
        items = [(Problem("p", "?", gold), f"\\boxed{{{answer}}}", False) for gold, answer in pairs]
        verdicts = grade_many(items, "math")
        unlike = [pair for pair, v in zip(pairs, verdicts, strict=True) if v.correct is not expected]
        assert len(pairs) > 300
        assert unlike == []


_PIECES = st.sampled_from(
    r"\frac { } ( ) [ ] \{ \} | , ; = < > \le \cup \pm + - * / ^ _ ! % 1 23 4.5 .6 x y e i \pi \sqrt \sin log_"
    r" \text{and} \text{cm} \begin{pmatrix} \end{pmatrix} & \\ : $ \sum_{i=1}^ \infty \boxed or word ' \in"
    r" \mathbb \overline".split()
)


@given(st.lists(_PIECES, max_size=24), st.lists(_PIECES, max_size=12))
def test_no_text_makes_the_grader_fail(answer: list[str], gold: list[str]) -> None:
    for joiner in ("", " "):
        readings(joiner.join(answer))
        assert grade(Problem("p", "?", joiner.join(gold)), joiner.join(answer), "math").correct in (True, False, None)


@given(st.text(max_size=80))
def test_no_characters_make_the_grader_fail(text: str) -> None:
    for spec in ("gsm8k", "gsm8k_strict", "math", "r1_zero", "choice", "exact"):
        assert grade(Problem("p", "?", "12"), text, spec).correct in (True, False, None)
