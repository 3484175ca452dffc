"""Filters that ask a grader: is the answer right, is it in its place, do several answers agree?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from posttrain.config import Config
from posttrain.curate.base import Decision, Tools
from posttrain.curate.rows import Rows
from posttrain.errors import DataError
from posttrain.grading import get_spec, prepare
from posttrain.records import Verdict


class CorrectConfig(Config):
    grading: str = "gsm8k"
    """The grader of rows that have no verdict yet."""
    regrade: bool = False
    """Grade also those that have one."""
    undecided: Literal["drop", "keep"] = "drop"


def correct(rows: Rows, config: CorrectConfig, tools: Tools) -> Decision:
    """Drops what the grader doesn't call correct. Score: 1 correct, 0 not, none where the grader is undecided."""
    verdicts, new = _judged(rows, config.grading, tools, regrade=config.regrade)
    score = np.array([np.nan if v.correct is None else float(v.correct) for v in verdicts])
    keep = np.array(
        [v.correct is True or (v.correct is None and config.undecided == "keep") for v in verdicts], np.bool_
    )
    why = (
        f"{v.reason}: answered {_shown(v.extracted)}, gold {_shown(g)}"
        for v, g in zip(verdicts, rows.golds, strict=True)
    )
    notes = {"verdicts": dict(Counter(v.reason for v in verdicts).most_common()), "graded": len(new)}
    reasons = tuple("" if k else w for k, w in zip(keep, why, strict=True))
    return Decision(keep, score, None, reasons, notes=notes, verdicts=new)


class FormatConfig(Config):
    style: Literal["answer", "think", "r1_zero", "boxed"] = "answer"
    """answer: the grader finds the answer where it belongs. think: one closed thought, then text. r1_zero: a thought,
    then <answer>…</answer>, and nothing else. boxed: a \\boxed{} behind the thought."""
    grading: str = "gsm8k"
    """The grader of style answer."""


def format(rows: Rows, config: FormatConfig, tools: Tools) -> Decision:
    """Drops responses that are not in the form asked for. Score: 1 in form, 0 not."""
    new: dict[int, Verdict] = {}
    if config.style == "answer":
        verdicts, new = _judged(rows, config.grading, tools)
        why = ["" if v.format_ok else f"no answer where it belongs ({v.reason})" for v in verdicts]
    else:
        why = [_misshapen(response, config.style) for response in rows.responses]
    score = np.array([float(not reason) for reason in why])
    return Decision(score > 0, score, None, tuple(why), verdicts=new)


def _misshapen(response: str, style: str) -> str:
    """What is wrong with a response's form; "" for nothing. Tags that the prompt has opened may be absent."""
    thought, closed, rest = response.partition("</think>")
    if style == "boxed":
        return "" if "\\boxed{" in (rest if closed else response) else "no \\boxed{} behind the thought"
    if not closed:
        return "no </think>"
    if "</think>" in rest or "<think>" in rest or "<think>" in thought.lstrip().removeprefix("<think>"):
        return "more than one thought"
    answer = rest.strip()
    if style == "think":
        return "" if answer else "nothing behind the thought"
    if not (answer.startswith("<answer>") and answer.endswith("</answer>") and answer.count("<answer>") == 1):
        return "no <answer>…</answer> right behind the thought"
    return "" if answer.removeprefix("<answer>").removesuffix("</answer>").strip() else "an empty <answer>"


class AgreementConfig(Config):
    min: float = Field(0.5, ge=0, le=1)
    """Least share of a problem's answered traces that give the same answer."""
    traces: int = Field(2, ge=2)
    """A problem with fewer answered traces can't agree with itself."""
    alone: Literal["keep", "drop"] = "keep"
    """What becomes of traces of such a problem."""
    grading: str = "gsm8k"


def agreement(rows: Rows, config: AgreementConfig, tools: Tools) -> Decision:
    """Self-consistency (Wang et al. 2023, arXiv 2203.11171): keeps the traces with their problem's commonest answer.

    The score is the share of the problem's answered traces that give this trace's answer; a trace with no answer scores
    0. Answers are the same where the grader calls both correct, or reads the same text in both.
    """
    if rows.kind != "samples":
        raise DataError(
            "filter 'agreement' compares several traces of one problem, and problems have none. Leave it out."
        )
    verdicts, new = _judged(rows, config.grading, tools)
    answers = ["\0gold" if v.correct else v.extracted for v in verdicts]
    groups: dict[str, list[int]] = defaultdict(list)
    for i, id in enumerate(rows.ids):
        groups[id].append(i)
    score, why = np.zeros(len(rows)), [""] * len(rows)
    lonely = 0
    for group in groups.values():
        counts = Counter(answers[i] for i in group if answers[i] is not None)
        total = sum(counts.values())
        if total < config.traces:
            lonely += len(group)
            for i in group:
                score[i] = np.nan
                why[i] = "" if config.alone == "keep" else f"{total} of its problem's traces have an answer"
            continue
        most = max(counts.values())
        tied = list(counts.values()).count(most) > 1
        for i in group:
            votes = counts[answers[i]] if answers[i] is not None else 0
            score[i] = votes / total
            why[i] = _outvoted(votes, most, total, config.min, tied)
    keep = np.array([not reason for reason in why], np.bool_)
    notes = {"problems": len(groups), "rows of problems with too few traces": lonely}
    return Decision(keep, score, None, tuple(why), notes=notes, verdicts=new)


def _outvoted(votes: int, most: int, total: int, least: float, tied: bool) -> str:
    if votes == 0:
        return "has no answer"
    if votes < most:
        return f"{votes} of {total} traces give its answer, {most} another"
    if tied:
        return f"{votes} of {total} traces give its answer, and as many another"
    return f"{votes} of {total} traces agree, less than {least:.0%}" if votes < least * total else ""


def grading_ready(config: CorrectConfig | FormatConfig | AgreementConfig, tools: Tools) -> None:
    """GradingError for an unknown grader, or one that this machine can't run."""
    get_spec(config.grading)
    prepare(config.grading)


def _judged(
    rows: Rows, spec: str, tools: Tools, *, regrade: bool = False
) -> tuple[Sequence[Verdict], dict[int, Verdict]]:
    """(a verdict for every row, those that are new by position). DataError where rows have no gold and no verdict."""
    open_rows = [i for i, verdict in enumerate(rows.verdicts) if regrade or verdict is None]
    needs_gold = get_spec(spec).judge is None  # programs are judged by their tests
    without = [i for i in open_rows if needs_gold and not rows.golds[i]]
    if without:
        raise DataError(
            f"{len(without):,} of {len(rows):,} rows have neither a verdict nor a gold answer, the first is row "
            f"{rows.numbers[without[0]]} ({rows.ids[without[0]]}), so no grader can judge them. Leave filters that "
            "grade out, or give traces of problems that have answers."
        )
    items = [(rows.problem(i), rows.responses[i], rows.cut[i]) for i in open_rows]
    new = dict(zip(open_rows, tools.grade(items, spec), strict=True)) if items else {}
    found = [new.get(i) or verdict for i, verdict in enumerate(rows.verdicts)]
    assert all(v is not None for v in found)
    return [v for v in found if v is not None], new


def _shown(text: str | None) -> str:
    return "nothing" if text is None else repr(text if len(text) <= 40 else text[:39] + "…")
