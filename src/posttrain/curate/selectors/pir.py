"""`pir`: traces without the checks and detours that their answers don't need (LIMOPro, arXiv 2505.19187).

Rows are drawn as `random` draws them, so that whatever differs afterwards comes from the cut. Two controls tell what
the cut is worth: as many steps cut at random, and no cut at all with as many tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.choosing import SelectConfig, choose, refuse_too_few, row_lengths
from posttrain.curate.selectors.importance import (
    Asked,
    Scored,
    by_lot,
    importances,
    least_important,
    thresholds,
)
from posttrain.curate.selectors.order import Positions, reach, shuffled
from posttrain.curate.selectors.reasoning import split_response
from posttrain.grading import get_spec, prepare
from posttrain.prompts import get_template
from posttrain.records import Problem

ASKS = "selector 'pir' scores answers with the student"


class PirConfig(SelectConfig):
    """How much is cut, by which measure, and which control this is."""

    ratio: float = Field(0.5, gt=0, le=1)
    """Share of each class of functional steps, over all rows drawn, that is cut: those that matter least."""
    control: Literal["none", "random", "uncut"] = "none"
    """random: as many steps of each class over the same rows, by lot. uncut: whole traces, as many tokens in all."""
    template: str = Field("chat", json_schema_extra={"file": True})
    """The prompt in which the student scores the answer."""
    grading: str = "math"
    """Grader that must call the answer right again after the cut."""
    near: float = Field(0.01, gt=0)
    """|PIR| below this counts as near 0, as it is where the answer already stands in the trace."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """What became of the rows that were drawn. cut: steps cut by row; responses: those that changed, by position;
    restored: rows whose cut was taken back because the answer was not right any more."""

    scored: dict[int, Scored]
    cut: dict[int, frozenset[int]]
    responses: dict[int, str]
    restored: frozenset[int]


def pir(rows: Rows, budget: int, config: PirConfig, tools: Tools, seed: int) -> Decision:
    """The score is a row's mean PIR over its functional steps (NaN: it has none, or was not drawn)."""
    order = shuffled(np.arange(len(rows)), seed)
    lengths = row_lengths(rows, tools, ASKS)
    refuse_too_few("pir", rows, order, budget, config, lengths, {})  # before the student works
    drawn, asked, pruned, shorter = _drawn(rows, order, budget, config, tools, seed, lengths)
    taken = reach(drawn, budget, config.tokens, shorter)
    score = np.full(len(rows), np.nan)
    for i, found in pruned.scored.items():
        if found.importance:
            score[i] = float(np.mean(list(found.importance.values())))
    common: dict[str, Any] = {
        "score": score,
        "columns": _columns(len(rows), asked, pruned, lengths, shorter),
        "notes": _notes(asked, pruned, config, lengths, shorter, taken),
    }
    # Rows that weren't drawn stand behind, beyond the budget.
    cut = choose("pir", rows, order, budget, config, tools, lengths=shorter, responses=pruned.responses, **common)
    if config.control != "uncut":
        return cut
    as_much = config.model_copy(update={"tokens": cut.notes["tokens"], "fewer": "take"})
    return choose("pir", rows, order, budget, as_much, tools, lengths=lengths, **common)


def pir_ready(config: PirConfig, tools: Tools) -> None:
    tools.tokenizer(ASKS)
    get_template(config.template)
    get_spec(config.grading)
    prepare(config.grading)


def _drawn(
    rows: Rows, order: Positions, budget: int, config: PirConfig, tools: Tools, seed: int, lengths: Positions
) -> tuple[Positions, list[Asked], Pruned, Positions]:
    """Rows that fill the budget after their cut, what was asked, what became of them, and tokens afterwards [n].

    How much a cut saves is known only afterwards, so with a budget of tokens more rows are drawn until they fill it;
    what has been measured is not measured again.
    """
    purse = None if config.tokens is None else int(config.tokens / max(1 - config.ratio, 0.2))
    while True:
        drawn = reach(order, budget, purse, lengths)
        asked = [Asked(int(i), rows.question(i), split_response(rows.response(i))) for i in drawn]
        pruned = _pruned(rows, asked, config, tools, seed)
        after, changed = lengths.copy(), list(pruned.responses)
        after[changed] += tools.token_counts([pruned.responses[i] for i in changed], ASKS)
        after[changed] -= tools.token_counts([rows.response(i) for i in changed], ASKS)
        enough = config.tokens is None or int(after[drawn].sum()) >= config.tokens
        if enough or len(drawn) == min(budget, len(order)):
            return drawn, asked, pruned, after
        assert purse is not None
        purse *= 2


def _pruned(rows: Rows, asked: Sequence[Asked], config: PirConfig, tools: Tools, seed: int) -> Pruned:
    """Measures, cuts (the least important, or as many at random) and grades again what was cut."""
    template, tokenizer = get_template(config.template), tools.tokenizer(ASKS)
    engine = tools.engine(ASKS)
    scored: list[Scored] = []
    with tools.progress(len(asked), "pir") as bar:
        for found in importances(engine, asked, template, tokenizer, tools.state / f"pir-{seed}.jsonl"):
            scored.append(found)
            bar.update()
    judged = by_lot(scored, np.random.default_rng(seed)) if config.control == "random" else scored
    limits = thresholds(asked, judged, config.ratio)
    cut = {
        one.row: chosen
        for one, found in zip(asked, judged, strict=True)
        if (chosen := least_important(one, found, limits))
    }
    responses = {one.row: one.parts.without(cut[one.row]) for one in asked if one.row in cut}
    right = _still_right(rows, responses, config.grading, tools)
    restored = frozenset(i for i in responses if i not in right)
    return Pruned(
        scored={one.row: found for one, found in zip(asked, scored, strict=True)},
        cut={i: some for i, some in cut.items() if i in right},
        responses={i: text for i, text in responses.items() if i in right},
        restored=restored,
    )


def _still_right(rows: Rows, responses: dict[int, str], spec: str, tools: Tools) -> frozenset[int]:
    """Which pruned responses the grader calls right: as the gold says, or, without one, as the response said before."""
    problems = {}
    for i in responses:
        problem = rows.problem(i)
        gold = problem.answer or rows.response(i)
        problems[i] = Problem(problem.id, problem.question, gold, choices=problem.choices, extra=problem.extra)
    items = [(problems[i], text, False) for i, text in responses.items()]
    verdicts = tools.grade(items, spec)
    return frozenset(i for i, verdict in zip(responses, verdicts, strict=True) if verdict.correct)


def _columns(
    n: int, asked: Sequence[Asked], pruned: Pruned, before: Positions, after: Positions
) -> dict[str, list[Any]]:
    """Per row: steps, functional steps, steps cut, tokens before and after; None for rows that weren't drawn."""
    columns: dict[str, list[Any]] = {k: [None] * n for k in ("steps", "functional", "cut", "tokens", "tokens_cut")}
    for one in asked:
        i = one.row
        columns["steps"][i] = len(one.parts.steps)
        columns["functional"][i] = len(one.functional)
        columns["cut"][i] = len(pruned.cut.get(i, ()))
        columns["tokens"][i] = int(after[i])
        columns["tokens_cut"][i] = int(before[i] - after[i])
    return columns


def _notes(
    asked: Sequence[Asked], pruned: Pruned, config: PirConfig, before: Positions, after: Positions, taken: Positions
) -> dict[str, Any]:
    values = np.array([v for s in pruned.scored.values() for v in s.importance.values()])
    steps = Counter(step.kind for one in asked for step in one.parts.steps)
    cut = Counter(one.parts.steps[i].kind for one in asked for i in pruned.cut.get(one.row, ()))
    return {
        "control": config.control,
        "steps": dict(steps),
        "steps_cut": dict(cut),
        "near_zero": float((np.abs(values) < config.near).mean()) if len(values) else None,
        "near": config.near,
        "restored": len(pruned.restored),
        "tokens_before": int(before[taken].sum()),
        "tokens_after": int(after[taken].sum()),
    }
