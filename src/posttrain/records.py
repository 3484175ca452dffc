"""The words of the house as records: Problem, Completion, Verdict, Sample, and their Arrow schemas.

Records are plain frozen dataclasses. On disk they are Parquet: generations (`samples.parquet`) and judgements of them
(`verdicts.parquet`) are separate files joined by (problem_id, sample_index), so that regrading costs no generation.
pyarrow is imported inside the functions that need it: importing this module stays cheap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a checkable answer. `answer` is None only where no gold exists (open-ended, plain text)."""

    id: str
    question: str
    answer: str | None = None
    solution: str | None = None
    choices: tuple[str, ...] | None = None
    subject: str | None = None
    level: int | None = None
    split: str = "train"
    extra: Mapping[str, Any] = field(default_factory=dict)  # what the source gave beside; JSON-serialisable


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine sampled for one prompt.

    token_ids: the sampled ids, the stop token included when there was one.
    logprobs: natural-log probabilities [len(token_ids)] of the distribution actually sampled from.
    raw_logprobs, entropies [len(token_ids)]: where Sampling asked for them: log-probabilities of the model's own
    distribution at T = 1, and the entropy in nats of the distribution at the sampling temperature, before filters.
    """

    key: str  # the prompt's key (a problem id)
    index: int  # which of the n samples of that prompt
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    weights_version: int = 0
    prompt_ids: tuple[int, ...] = ()
    seconds: float = 0.0  # from admission to finish
    raw_logprobs: tuple[float, ...] | None = None
    entropies: tuple[float, ...] | None = None
    first_token_seconds: float = 0.0  # from admission to the first token
    text: str | None = None  # of an engine that answers in text and gives no ids


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says of a response. `correct` None = undecided, never silently wrong; `reason` is a code."""

    correct: bool | None
    format_ok: bool
    extracted: str | None
    reason: str
    isolation: str | None = None  # how a program was shut in while it was judged; None where nothing was run

    @property
    def parsed(self) -> bool:
        return self.extracted is not None


@dataclass(frozen=True, slots=True)
class Sample:
    """A Problem's id + a response (sampled or imported) + its Verdict + where it came from.

    A teacher's Sample is a trace, the policy's in training a rollout (with reward, advantage, step), a checkpoint's in
    an evaluation an answer. `source` names who wrote it.
    """

    problem_id: str
    index: int
    question: str
    response: str
    source: str
    gold: str | None = None
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    prompt_ids: tuple[int, ...] | None = None
    finish_reason: FinishReason | None = None
    weights_version: int | None = None
    verdict: Verdict | None = None
    reward: float | None = None
    advantage: float | None = None
    step: int | None = None
    split: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # usage, cost, model, timing ...

    @property
    def key(self) -> tuple[str, int]:
        return (self.problem_id, self.index)

    @property
    def truncated(self) -> bool:
        return self.finish_reason == "length"


def problem_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("question", pa.string(), nullable=False),
            pa.field("answer", pa.string()),
            pa.field("solution", pa.string()),
            pa.field("choices", pa.list_(pa.string())),
            pa.field("subject", pa.string()),
            pa.field("level", pa.int32()),
            pa.field("split", pa.string(), nullable=False),
            pa.field("extra", pa.string()),  # JSON
        ]
    )


def sample_schema() -> pa.Schema:
    """Generations only; verdicts stand beside them (`verdict_schema`)."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("problem_id", pa.string(), nullable=False),
            pa.field("index", pa.int32(), nullable=False),
            pa.field("question", pa.string(), nullable=False),
            pa.field("response", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("gold", pa.string()),
            pa.field("token_ids", pa.list_(pa.int32())),
            pa.field("logprobs", pa.list_(pa.float32())),
            pa.field("prompt_ids", pa.list_(pa.int32())),
            pa.field("finish_reason", pa.string()),
            pa.field("weights_version", pa.int64()),
            pa.field("reward", pa.float64()),
            pa.field("advantage", pa.float64()),
            pa.field("step", pa.int64()),
            pa.field("split", pa.string()),
            pa.field("extra", pa.string()),  # JSON
        ]
    )


def verdict_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("problem_id", pa.string(), nullable=False),
            pa.field("index", pa.int32(), nullable=False),
            pa.field("step", pa.int64()),
            pa.field("correct", pa.bool_()),
            pa.field("format_ok", pa.bool_(), nullable=False),
            pa.field("extracted", pa.string()),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("isolation", pa.string()),
        ]
    )


def problems_to_table(problems: Sequence[Problem]) -> pa.Table:
    import pyarrow as pa

    rows = [
        {
            "id": p.id,
            "question": p.question,
            "answer": p.answer,
            "solution": p.solution,
            "choices": list(p.choices) if p.choices is not None else None,
            "subject": p.subject,
            "level": p.level,
            "split": p.split,
            "extra": json.dumps(dict(p.extra), sort_keys=True, ensure_ascii=False) if p.extra else None,
        }
        for p in problems
    ]
    return pa.Table.from_pylist(rows, schema=problem_schema())


def problems_from_table(table: pa.Table) -> list[Problem]:
    return [
        Problem(
            id=r["id"],
            question=r["question"],
            answer=r["answer"],
            solution=r["solution"],
            choices=tuple(r["choices"]) if r["choices"] is not None else None,
            subject=r["subject"],
            level=r["level"],
            split=r["split"],
            extra=json.loads(r["extra"]) if r["extra"] else {},
        )
        for r in table.to_pylist()
    ]


def samples_to_tables(samples: Iterable[Sample]) -> tuple[pa.Table, pa.Table]:
    """(generations, verdicts). Samples without a verdict have no row in the second table."""
    import pyarrow as pa

    generations: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    for s in samples:
        generations.append(
            {
                "problem_id": s.problem_id,
                "index": s.index,
                "question": s.question,
                "response": s.response,
                "source": s.source,
                "gold": s.gold,
                "token_ids": list(s.token_ids) if s.token_ids is not None else None,
                "logprobs": list(s.logprobs) if s.logprobs is not None else None,
                "prompt_ids": list(s.prompt_ids) if s.prompt_ids is not None else None,
                "finish_reason": s.finish_reason,
                "weights_version": s.weights_version,
                "reward": s.reward,
                "advantage": s.advantage,
                "step": s.step,
                "split": s.split,
                "extra": json.dumps(dict(s.extra), sort_keys=True, ensure_ascii=False) if s.extra else None,
            }
        )
        if s.verdict is not None:
            verdicts.append(
                {
                    "problem_id": s.problem_id,
                    "index": s.index,
                    "step": s.step,
                    "correct": s.verdict.correct,
                    "format_ok": s.verdict.format_ok,
                    "extracted": s.verdict.extracted,
                    "reason": s.verdict.reason,
                    "isolation": s.verdict.isolation,
                }
            )
    return (
        pa.Table.from_pylist(generations, schema=sample_schema()),
        pa.Table.from_pylist(verdicts, schema=verdict_schema()),
    )


def samples_from_tables(generations: pa.Table, verdicts: pa.Table | None = None) -> Iterator[Sample]:
    judged: dict[tuple[str, int, int | None], Verdict] = {}
    for v in verdicts.to_pylist() if verdicts is not None else ():
        judged[(v["problem_id"], v["index"], v["step"])] = Verdict(
            v["correct"], v["format_ok"], v["extracted"], v["reason"], v.get("isolation")
        )

    def optional_tuple(value: list[Any] | None) -> tuple[Any, ...] | None:
        return tuple(value) if value is not None else None

    for r in generations.to_pylist():
        yield Sample(
            problem_id=r["problem_id"],
            index=r["index"],
            question=r["question"],
            response=r["response"],
            source=r["source"],
            gold=r["gold"],
            token_ids=optional_tuple(r["token_ids"]),
            logprobs=optional_tuple(r["logprobs"]),
            prompt_ids=optional_tuple(r["prompt_ids"]),
            finish_reason=r["finish_reason"],
            weights_version=r["weights_version"],
            verdict=judged.get((r["problem_id"], r["index"], r["step"])),
            reward=r["reward"],
            advantage=r["advantage"],
            step=r["step"],
            split=r["split"],
            extra=json.loads(r["extra"]) if r["extra"] else {},
        )
