"""The records of judging: what is asked about an answer (Ask), what was read of the reply (Opinion), and both on
disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from posttrain.judge.config import Task

if TYPE_CHECKING:
    import pyarrow as pa

# ok: read. unparsed: twice not what was asked for. refused: a filter of the provider. failed: no reply came.
Status = Literal["ok", "unparsed", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about one answer.

    gold: the reference answer, for correctness. other, other_response: whose answer it is compared with, and that
    answer.
    order: 0 where the judged answer stands first, 1 where the other does. verdict: what the verifiable grader says of
    the answer, if it says anything; the judge is not told. step: of the checkpoint that answered, where it has one.
    """

    task: Task
    model: str
    benchmark: str
    problem_id: str
    index: int
    question: str
    response: str
    gold: str | None = None
    other: str | None = None
    other_response: str | None = None
    order: int = 0
    verdict: bool | None = None
    step: int | None = None

    @property
    def shown(self) -> tuple[str, str]:
        """For pairs: the answers as the judge sees them, first and second."""
        assert self.other_response is not None, "a single answer is shown alone"
        pair = (self.response, self.other_response)
        return pair if self.order == 0 else (pair[1], pair[0])


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a reply says.

    verdict: correct, or safe. preference: of a pair, for the judged answer: 1, 0, or ½ for a tie. scores: criterion → 1
    to 5.
    """

    verdict: bool | None = None
    preference: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A judge's reply as it came. judge: the model's name as it gives it. cost in dollars, None where nobody knows."""

    text: str
    status: Status = "ok"  # of the transport: what it says is read later
    judge: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """An Ask, the reply or replies to it, and the Opinion; None where neither reply could be read."""

    ask: Ask
    opinion: Opinion | None
    status: Status
    replies: tuple[Answered, ...]


def judgements_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("task", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("benchmark", pa.string(), nullable=False),
            pa.field("problem_id", pa.string(), nullable=False),
            pa.field("index", pa.int32(), nullable=False),
            pa.field("step", pa.int64()),
            pa.field("other", pa.string()),
            pa.field("order", pa.int32(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("verdict", pa.bool_()),
            pa.field("preference", pa.float64()),
            pa.field("scores", pa.string()),  # JSON
            pa.field("reason", pa.string()),
            pa.field("reply", pa.string(), nullable=False),
            pa.field("first_reply", pa.string()),  # where it was asked again
            pa.field("judge", pa.string()),
            pa.field("prompt_tokens", pa.int64()),
            pa.field("completion_tokens", pa.int64()),
            pa.field("cost", pa.float64()),
        ]
    )


def judgements_table(judged: Sequence[Judged]) -> pa.Table:
    """One row per Ask, in the order given."""
    import pyarrow as pa

    return pa.Table.from_pylist([_row(one) for one in judged], schema=judgements_schema())


def _row(one: Judged) -> dict[str, Any]:
    ask, opinion, last = one.ask, one.opinion or Opinion(), one.replies[-1]
    return {
        "task": ask.task,
        "model": ask.model,
        "benchmark": ask.benchmark,
        "problem_id": ask.problem_id,
        "index": ask.index,
        "step": ask.step,
        "other": ask.other,
        "order": ask.order,
        "status": one.status,
        "verdict": opinion.verdict,
        "preference": opinion.preference,
        "scores": json.dumps(dict(opinion.scores), sort_keys=True) if opinion.scores else None,
        "reason": opinion.reason,
        "reply": _storable(last.text),
        "first_reply": _storable(one.replies[0].text) if len(one.replies) > 1 else None,
        "judge": last.judge,
        "prompt_tokens": _sum([r.prompt_tokens for r in one.replies]),
        "completion_tokens": _sum([r.completion_tokens for r in one.replies]),
        "cost": _sum([r.cost for r in one.replies]),
    }


def _storable(text: str) -> str:
    """Half of a surrogate pair is no text that a table can hold."""
    return text.encode("utf-8", errors="replace").decode()


def _sum(values: Sequence[float | int | None]) -> Any:
    known = [v for v in values if v is not None]
    return sum(known) if known else None
