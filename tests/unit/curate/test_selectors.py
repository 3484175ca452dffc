"""Every selector: what it takes, what it says of what it doesn't, and what it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.choosing import RIGHT, WRONG, Words, kept, many, row, rows_of, select, tries

from posttrain.curate.selectors import SELECTORS
from posttrain.curate.selectors.attempts import pass_rates
from posttrain.curate.selectors.difficulty import complexity
from posttrain.curate.selectors.small import warning
from posttrain.curate.steps import read_steps
from posttrain.errors import DataError, RecipeError
from posttrain.records import Verdict


def graded_pool(n: int = 30) -> tuple[object, list]:
    """n rows; problem i is solved in i mod 5 of 4 attempts."""
    rows = many(n)
    return rows, [a for i in range(n) for a in tries(f"p{i}", i % 5, 4, response="w " * 10)]


@pytest.mark.parametrize("name", ["random", "difficulty", "diversity", "s1", "mix", "student_aware"])
def test_every_selector_keeps_its_budget_says_why_the_rest_went_and_repeats_itself(name: str, tmp_path: Path) -> None:
    rows, attempts = graded_pool()
    vectors = {q: np.eye(5)[i % 5] + 0.01 for i, q in enumerate(rows.questions)}
    more = {"s1": {"clusters": 4}, "diversity": {"clusters": 5}}.get(name, {})
    tools = Words(tmp_path, attempts=attempts, vectors=vectors)
    first = select(rows, tools, select=name, budget=5, seed=3, **more)
    assert first.keep.sum() == 5
    assert all(bool(why) != bool(keep) for why, keep in zip(first.reason, first.keep, strict=True))
    again = select(rows, tools, select=name, budget=5, seed=3, **more)
    assert (first.keep == again.keep).all()
    other = [select(rows, tools, select=name, budget=5, seed=s, **more).keep for s in range(5)]
    assert any((first.keep != keep).any() for keep in other), "another seed draws other rows"


@pytest.mark.parametrize("name", sorted({*SELECTORS} - {"pir"}))
def test_fewer_rows_than_the_budget_are_refused_or_taken_as_one_says(name: str, tmp_path: Path) -> None:
    rows, attempts = graded_pool(6)
    vectors = {q: [1.0, i] for i, q in enumerate(rows.questions)}
    tools = Words(tmp_path, attempts=attempts, vectors=vectors)
    with pytest.raises(DataError, match=r"fewer than budget: 50 rows\. Lower the budget"):
        select(rows, tools, select=name, budget=50)
    decision = select(rows, tools, select=name, budget=50, fewer="take")
    assert 0 < decision.keep.sum() <= 6


def test_random_takes_every_row_as_often_as_every_other(tmp_path: Path) -> None:
    rows, tools = many(10), Words(tmp_path)
    taken = Counter(
        id for seed in range(400) for id in kept(rows, select(rows, tools, select="random", budget=3, seed=seed))
    )
    assert all(90 <= taken[id] <= 150 for id in rows.ids)  # 120 ± 3 standard deviations of 9.2


def test_a_budget_of_tokens_ends_what_a_budget_of_rows_would_go_on_with(tmp_path: Path) -> None:
    rows, tools = many(20), Words(tmp_path)  # 2 words of question, 4 of response
    decision = select(rows, tools, select="random", budget=20, tokens=40)
    assert decision.keep.sum() == 6
    assert decision.notes["tokens"] == 36
    assert "beyond the budget of 40 tokens" in decision.reason
    with pytest.raises(DataError, match=r"tokens: 500 .they have 120."):
        select(rows, tools, select="random", budget=30, tokens=500)
    with pytest.raises(DataError, match="keeps no row: the first alone has more than tokens: 3"):
        select(rows, tools, select="random", budget=5, tokens=3)


def test_difficulty_takes_the_window_of_pass_rates_and_drops_what_nobody_tried(tmp_path: Path) -> None:
    rows = many(5)
    tools = Words(tmp_path, attempts=[a for i in range(4) for a in tries(f"p{i}", i, 3)])
    decision = select(rows, tools, select="difficulty", budget=2)
    assert kept(rows, decision) == ["p1", "p2"]
    assert decision.reason[0] == "pass_rate below 0.1"
    assert decision.reason[3] == "pass_rate above 0.9"
    assert decision.reason[4] == "nobody has tried this problem"
    assert decision.score.tolist()[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    hardest = select(rows, tools, select="difficulty", budget=2, window=[0, 1], prefer="hardest")
    assert kept(rows, hardest) == ["p0", "p1"]
    assert kept(rows, select(rows, tools, select="difficulty", budget=2, window=[0, 1], prefer="easiest")) == [
        "p2",
        "p3",
    ]
    with pytest.raises(DataError, match=r"can take 2 of the 5 rows that reach it .3 are unfit.*loosen the selector"):
        select(rows, tools, select="difficulty", budget=3)


def test_attempts_find_their_row_by_id_or_by_the_words_of_the_question() -> None:
    rows = rows_of([row("new-name", "How many  EGGS?"), row("b", "Two?")])
    attempts = [*tries("b", 1, 2), *tries("other", 3, 4)]
    moved = [a if a.problem_id == "b" else row("other", "how many eggs?", verdict=a.verdict) for a in attempts]
    assert pass_rates(rows, moved).rate.tolist() == [0.75, 0.5]


def test_undecided_attempts_count_neither_way_and_missing_ones_are_an_error(tmp_path: Path) -> None:
    rows = many(2)
    undecided = [row("p0", verdict=Verdict(None, False, None, "undecided")), row("p0", verdict=RIGHT)]
    assert pass_rates(rows, undecided).rate.tolist()[0] == 1.0
    with pytest.raises(DataError, match="none of the 1 attempts has a verdict"):
        pass_rates(rows, [row("p0")])
    with pytest.raises(DataError, match="none of them is one of these 2 rows"):
        pass_rates(rows, [row("far", "something else?", verdict=RIGHT)])
    for name in ("difficulty", "s1", "student_aware"):
        with pytest.raises(RecipeError, match=f"selector '{name}' .* needs 'attempts'"):
            select(rows, Words(tmp_path), select=name, budget=1)


def test_difficulty_by_length_and_complexity_takes_quantiles(tmp_path: Path) -> None:
    rows = rows_of([row(f"p{i}", response="w " * i + "x = 1 " * (9 - i)) for i in range(10)])
    tools = Words(tmp_path)
    by_length = select(rows, tools, select="difficulty", by="length", window=[0.5, 1], budget=5, fewer="take")
    assert all(by_length.score[i] >= np.median(by_length.score) for i in np.flatnonzero(by_length.keep))
    by_formulas = select(rows, tools, select="difficulty", by="complexity", prefer="hardest", window=[0, 1], budget=3)
    assert kept(rows, by_formulas) == ["p0", "p1", "p2"]


def test_complexity_counts_relations_operators_and_commands() -> None:
    assert complexity("We know.") == 0
    assert complexity("x = 3 + 4") == 2
    assert complexity(r"\frac{a}{b} \le c - d") == 3
    assert complexity("a well-known 3-digit number") == 1


def test_nan_scores_are_refused_with_the_row(tmp_path: Path) -> None:
    rows = rows_of([row("a", extra={"hard": 1.0}), row("b", extra={"hard": float("nan")}), row("c", extra={})])
    with pytest.raises(DataError, match=r"2 of 3 rows have no finite number in 'extra.hard', the first is row 1 .nan."):
        select(rows, Words(tmp_path), select="difficulty", by="extra.hard", budget=1)
    with pytest.raises(DataError, match=r"Did you mean 'extra.hard'"):
        select(rows, Words(tmp_path), select="difficulty", by="extra.herd", budget=1)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"select": "dificulty", "budget": 5}, "unknown selector 'dificulty'.*Did you mean 'difficulty'"),
        ({"select": "random"}, "budget is None"),
        ({"select": "random", "budget": 0}, "budget is 0"),
        ({"select": "difficulty", "budget": 5, "window": [0.9, 0.1]}, "window.*least, largest"),
        ({"select": "mix", "budget": 5, "long": 100}, "long_share go together"),
        ({"select": "mix", "budget": 5, "weights": {"a": 0.0}}, "one at least is above 0"),
        ({"select": "pir", "budget": 5, "ratio": 0}, "ratio"),
        ({"select": "diversity", "budget": 5, "cluster": 9}, "unknown key 'cluster'.*clusters"),
    ],
)
def test_what_a_step_gets_wrong_is_said_before_anything_runs(step: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_steps([step])


def test_diversity_gives_small_clusters_all_they_have_and_says_what_became_of_the_rest(tmp_path: Path) -> None:
    sizes = (3, 40, 40)
    group = np.repeat(np.arange(3), sizes)
    rows = many(83)
    vectors = {q: np.eye(3)[group[i]] for i, q in enumerate(rows.questions)}
    tools = Words(tmp_path, vectors=vectors)
    decision = select(rows, tools, select="diversity", clusters=3, budget=30)
    taken = Counter(group[decision.keep].tolist())
    assert taken[0] == 3
    assert sorted([taken[1], taken[2]]) in ([13, 14], [13, 13])
    assert tools.said == [
        "1 of 3 clusters are smaller than their share of 10 rows (3): the 7 rows they lack are taken from the others"
    ]
    notes = decision.notes
    assert notes["redistributed"] == 1
    assert sorted(c["size"] for c in notes["clusters"]) == [3, 40, 40]
    assert all(c["taken"] <= c["size"] and len(c["samples"]) == 3 for c in notes["clusters"])
    assert notes["silhouette"] == pytest.approx(1.0)
    assert Counter(decision.columns["cluster"]) == Counter({c["cluster"]: c["size"] for c in notes["clusters"]})


def test_more_clusters_than_rows_are_as_many_as_there_are(tmp_path: Path) -> None:
    rows = many(4)
    tools = Words(tmp_path, vectors={q: np.eye(4)[i] for i, q in enumerate(rows.questions)})
    assert select(rows, tools, select="diversity", clusters=50, budget=2).keep.sum() == 2


def test_s1_drops_what_is_broken_and_what_is_solved_and_prefers_long_traces(tmp_path: Path) -> None:
    samples = [row(f"p{i}", response="w " * (10 + i)) for i in range(20)]
    samples += [
        row("empty", response=" "),
        row("cut", cut=True),
        row("wrong", verdict=WRONG),
        row("drawn", question="[asy] draw(); [/asy]"),
        row("solved"),
        row("untried"),
    ]
    rows = rows_of(samples, subjects=["algebra"] * 10 + ["geometry"] * 16)
    attempts = [
        a for s in samples if s.problem_id != "untried" for a in tries(s.problem_id, s.problem_id == "solved", 2)
    ]
    tools = Words(tmp_path, attempts=attempts)
    decision = select(rows, tools, select="s1", domain="subject", budget=8)
    why = dict(zip(rows.ids, decision.reason, strict=True))
    assert [why[k] for k in ("empty", "cut", "wrong", "drawn", "solved", "untried")] == [
        "no response",
        "the response was cut off",
        "the answer is wrong",
        "it needs a picture",
        "solved already",
        "nobody has tried this problem",
    ]
    assert decision.notes["after_quality"] == 22
    assert decision.notes["after_difficulty"] == 20
    taken = np.flatnonzero(decision.keep)
    assert {0, 1} == {int(i >= 10) for i in taken}, "both domains"
    top = [i for i in taken if i % 10 >= 5]
    assert len(top) >= 5, "mostly the longest of each"


def test_s1_takes_first_what_is_always_wanted(tmp_path: Path) -> None:
    samples = [row(f"p{i}", response="w " * 10, verdict=RIGHT) for i in range(6)]
    rows = rows_of(samples, datasets=["math"] * 3 + ["aime"] * 3, subjects=["a"] * 6)
    tools = Words(tmp_path)
    decision = select(
        rows, tools, select="s1", domain="subject", difficulty=False, always={"aime": 0, "math": 50}, budget=3
    )
    assert kept(rows, decision) == ["p3", "p4", "p5"]
    assert decision.notes["taken_first"] == 3


def test_s1_without_domains_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row has a subject, so there are no domains"):
        select(many(4), Words(tmp_path), select="s1", domain="subject", difficulty=False, budget=2)


def test_mix_keeps_weights_and_the_share_of_long_traces(tmp_path: Path) -> None:
    samples = [row(f"p{i}", response="w " * (100 if i % 2 else 10)) for i in range(400)]
    rows = rows_of(samples, datasets=["a"] * 200 + ["b"] * 200)
    tools = Words(tmp_path)
    decision = select(rows, tools, select="mix", weights={"a": 3, "b": 1}, long=50, long_share=0.2, budget=100)
    taken = Counter(name for name, keep in zip(decision.columns["group"], decision.keep, strict=True) if keep)
    assert dict(taken) == pytest.approx({"a, short": 60, "a, long": 15, "b, short": 20, "b, long": 5}, abs=1)
    assert tools.said == []
    only = select(rows, tools, select="mix", weights={"b": 1}, budget=10)
    assert set(np.array(rows.datasets)[only.keep]) == {"b"}
    assert "a has no weight" in only.reason


def test_mix_says_which_data_set_ran_out(tmp_path: Path) -> None:
    rows = rows_of([row(f"p{i}") for i in range(60)], datasets=["small"] * 5 + ["large"] * 55)
    tools = Words(tmp_path)
    decision = select(rows, tools, select="mix", weights={"small": 1, "large": 1}, budget=40)
    assert Counter(np.array(rows.datasets)[decision.keep].tolist()) == {"small": 5, "large": 35}
    assert tools.said == ["small has only 5 rows: 12 % of the mix instead of 50 %; the others fill the rest"]


def test_a_small_student_gets_few_long_traces_and_few_problems_that_it_never_solves(tmp_path: Path) -> None:
    samples = [row(f"p{i}", response="w " * (100 if i % 2 else 10)) for i in range(600)]
    rows = rows_of(samples)
    # a third never, a third in half of the attempts, a third always: a mean pass rate of one half
    attempts = [a for i in range(600) for a in tries(f"p{i}", (0, 1, 2)[i % 3], 2, response="w " * 12)]
    small = select(
        rows, tools := Words(tmp_path, attempts=attempts, parameters=1_500_000_000), select="student_aware", budget=100
    )
    plan = small.notes["plan"]
    assert (plan["mean_pass_rate"], plan["never_solved"], plan["long_share"], plan["long"]) == (0.5, 0.5, 0.2, 24)
    groups = {g["group"]: g["taken"] for g in small.notes["groups"]}
    assert groups["sometimes solved, short"] == pytest.approx(40, abs=1)
    assert groups["sometimes solved, long"] == pytest.approx(10, abs=1)
    assert groups["never solved, short"] == pytest.approx(40, abs=1)
    assert groups["always solved, short"] == groups["always solved, long"] == 0
    assert "50 % of rows it never solves, 20 % of responses above 24 tokens" in tools.said[0]
    large = select(
        rows, Words(tmp_path, attempts=attempts, parameters=32_000_000_000), select="student_aware", budget=100
    )
    assert large.notes["plan"]["long_share"] == 0.5
    weak = [a for i in range(600) for a in tries(f"p{i}", int(i % 20 == 0), 1, response="w " * 12)]
    beginner = select(rows, Words(tmp_path, attempts=weak), select="student_aware", budget=20, fewer="take")
    assert beginner.notes["plan"]["long_share"] == pytest.approx(0.05), "no more long ones than it solves problems"


def test_rows_that_are_always_solved_only_fill_up(tmp_path: Path) -> None:
    rows = many(20)
    attempts = [a for i in range(20) for a in tries(f"p{i}", 1 if i < 5 else 2, 2)]
    decision = select(rows, Words(tmp_path, attempts=attempts), select="student_aware", budget=8)
    assert set(kept(rows, decision)) >= {f"p{i}" for i in range(5)}


@pytest.mark.parametrize(
    ("parameters", "budget", "warned"),
    [
        (1_500_000_000, 1_000, True),
        (3_090_000_000, 1_000, True),
        (3_000_000_000, 8_000, False),
        (7e9, 1_000, False),
        (None, 1_000, False),
    ],
)
def test_small_students_are_warned_of_a_thousand_hard_rows(parameters: int | None, budget: int, warned: bool) -> None:
    text = warning(parameters, budget, "select: s1")
    assert (text is not None) == warned
    if text:
        assert "arXiv 2502.12143: a 1.5B reached 27.0 and 34.2" in text


def test_whoever_asks_for_hard_and_long_is_warned_and_still_gets_it(tmp_path: Path) -> None:
    rows, attempts = graded_pool()
    tools = Words(
        tmp_path,
        attempts=attempts,
        parameters=1_500_000_000,
        vectors={q: [1.0, i] for i, q in enumerate(rows.questions)},
    )
    for step in (
        {"select": "s1", "clusters": 2},
        {"select": "difficulty", "prefer": "hardest"},
        {"select": "student_aware", "never_solved": 0.9, "long_share": 0.9},
    ):
        tools.said.clear()
        assert select(rows, tools, budget=4, **step).keep.sum() == 4
        assert [line for line in tools.said if line.startswith("warning: ")], step
