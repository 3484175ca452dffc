"""From a reply to a trace: cleaned, graded, written in the form asked for. Pure, so doing it again costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from posttrain.grading import grade_many
from posttrain.records import FinishReason, Problem, Sample, Verdict
from posttrain.traces.answers import normal
from posttrain.traces.cleaning import Cleaned, Cut, clean

if TYPE_CHECKING:
    from posttrain.providers import Reply

Form = Literal["solution", "r1_zero", "think", "boxed"]
BATCH = 512  # replies graded together, so that the symbolic workers are all busy


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was put to a teacher: which problem, who, and which of its samples (the trace's index)."""

    problem: Problem
    teacher: str
    index: int


def traces_of(
    replies: Sequence[tuple[Asked, Reply]], *, form: Form, spec: str, cleaning: bool, instructions: Sequence[str]
) -> list[Sample]:
    """The traces of replies, in order. The verdict is of what the teacher answered, before anything was cut.

    instructions: what the teacher was told beside the question; it is cut where a reply repeats it.
    """
    made: list[Sample] = []
    for start in range(0, len(replies), BATCH):
        part = replies[start : start + BATCH]
        items = [(asked.problem, reply.text, reply.finish_reason == "length") for asked, reply in part]
        for (asked, reply), verdict in zip(part, grade_many(items, spec), strict=True):
            made.append(_trace(asked, reply, verdict, form, cleaning, instructions))
    return made


def _trace(
    asked: Asked, reply: Reply, verdict: Verdict, form: Form, cleaning: bool, instructions: Sequence[str]
) -> Sample:
    text = clean(reply.text, instructions) if cleaning else Cleaned(reply.text, ())
    thought = clean(reply.reasoning or "", instructions) if cleaning else Cleaned(reply.reasoning or "", ())
    whole = reply.finish_reason == "stop"
    answer = (normal(verdict.extracted) or verdict.extracted) if verdict.extracted and whole else None
    problem = asked.problem
    return Sample(
        problem_id=problem.id,
        index=asked.index,
        question=problem.question,
        response=_written(form, text.text.strip(), thought.text.strip(), answer),
        source=f"teacher:{asked.teacher}",
        gold=problem.answer,
        finish_reason=_FINISHES[reply.finish_reason],
        verdict=verdict,
        split=problem.split,
        extra=_extra(asked, reply, text, thought, answer),
    )


_FINISHES: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "cancelled",
    "error": "cancelled",
}


def _written(form: Form, text: str, thought: str, answer: str | None) -> str:
    """The response that a student learns. A reply that has no answer is never given one."""
    if form == "r1_zero":
        body = thought or text
        return f" {body} </think> <answer> {answer} </answer>" if answer is not None else f" {body}"
    if form == "think":
        return f"<think>\n{thought}\n</think>\n\n{text}" if thought else text
    if form == "boxed" and answer is not None and "\\boxed" not in text:
        return f"{text}\n\n\\boxed{{{answer}}}"
    return text


def _extra(asked: Asked, reply: Reply, text: Cleaned, thought: Cleaned, answer: str | None) -> dict[str, Any]:
    """The record of a trace beside its text: who, what it cost, the reasoning, and what was cut from where."""
    cuts = {name: _as_lists(one.cuts) for name, one in (("response", text), ("reasoning", thought)) if one.cuts}
    facts: dict[str, Any] = {
        "teacher": asked.teacher,
        "model": reply.model,
        "key": reply.key,
        "answered": text.text if cuts.get("response") else None,
        "reasoning": thought.text or None,
        "reasoning_kind": reply.reasoning_kind,
        "answer": answer,
        "usage": {
            "prompt": reply.prompt_tokens,
            "completion": reply.completion_tokens,
            "reasoning": reply.reasoning_tokens,
            "cached": reply.cached_tokens,
        },
        "cost": reply.cost,
        "seconds": round(reply.seconds, 3),
        "attempts": reply.attempts,
        "cuts": cuts or None,
        "filtered": True if reply.finish_reason == "content_filter" else None,
        "choices": list(asked.problem.choices) if asked.problem.choices else None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _as_lists(cuts: Sequence[Cut]) -> list[list[Any]]:
    return [[cut.start, cut.removed, cut.rule] for cut in cuts]


def cuts_of(sample: Sample) -> dict[str, Cleaned]:
    """What was cut from a trace: of its response and of its reasoning, as `clean` left them."""
    told = sample.extra.get("cuts") or {}
    texts = {"response": sample.extra.get("answered", sample.response), "reasoning": sample.extra.get("reasoning", "")}
    return {
        name: Cleaned(texts[name], tuple(Cut(int(start), str(removed), str(rule)) for start, removed, rule in cuts))
        for name, cuts in told.items()
    }


def only_correct(samples: Sequence[Sample]) -> list[Sample]:
    """Those that the grader calls correct."""
    return [s for s in samples if s.verdict is not None and s.verdict.correct is True]
