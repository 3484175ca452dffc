"""What validation asks of a model, and the answer: the same code in the trainer's process, beside it, and afterwards.

Generated: greedy answers to problems of the validation split, graded. Teacher-forced: loss, entropy and token accuracy
on held-out responses. Nothing here draws from a random generator or touches a gradient.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from posttrain.engines.base import Engine, Sampling
from posttrain.engines.hf import HFEngine
from posttrain.engines.native import NativeEngine
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.evals import answer
from posttrain.models import token_stats
from posttrain.prompts import Example, get_template, tagged, worked
from posttrain.records import Problem, Sample, problems_to_table
from posttrain.store import Problems, write_json, write_table
from posttrain.training.batches import micro_batches
from posttrain.training.tokenise import examples_table

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FORCED_TOKENS = 8192  # padded tokens of one teacher-forced batch


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions, how they are put and judged, and the held-out responses (none: no teacher-forced numbers)."""

    problems: Sequence[Problem]
    examples: Sequence[Example]
    template: str
    system: str | None
    grading: str
    max_tokens: int
    engine: str
    vllm: VLLMConfig

    def write(self, folder: Path) -> None:
        """As files that `read_asked` reads, in another process or another week."""
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "problems.parquet", problems_to_table(self.problems))
        write_table(folder / "examples.parquet", examples_table(self.examples))
        plain = {name: getattr(self, name) for name in ("template", "system", "grading", "max_tokens", "engine")}
        write_json(folder / "asked.json", {**plain, "vllm": self.vllm.model_dump(mode="json")})


def read_asked(folder: Path) -> Asked:
    """What `Asked.write` wrote."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "examples.parquet").to_pylist()
    plain = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    return Asked(
        problems=Problems(folder).read(),
        examples=[Example(tuple(r["ids"]), tuple(r["mask"])) for r in rows],
        vllm=VLLMConfig.model_validate(plain.pop("vllm")),
        **plain,
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """What validation of one set of weights says: numbers, and a row for every answer."""

    step: int
    scores: dict[str, float]
    samples: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def held_out_examples(
    problems: Sequence[Problem], template: str, tokenizer: PreTrainedTokenizerBase, system: str | None = None
) -> list[Example]:
    """The problems' own solutions as responses in the template's format; those without a solution give none."""
    form = get_template(template, system=system)
    write = tagged if form.name == "r1_zero" else worked
    return [form.example(p.question, write(p), tokenizer) for p in problems if p.solution is not None]


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Asked,
    step: int,
    engine: Engine | None = None,
) -> Answered:
    """Validates `model` as it is. It is left in evaluation mode. engine: one that serves these weights already."""
    model.eval()
    samples = answer(
        engine or _engine(asked.engine, model, tokenizer),
        tokenizer,
        asked.problems,
        get_template(asked.template, system=asked.system),
        Sampling(temperature=0.0, max_tokens=asked.max_tokens),
        asked.grading,
        seed=0,
        source="validation",
    )
    scores = generated_scores(samples) | forced_scores(model, asked.examples, int(tokenizer.pad_token_id))
    return Answered(step, scores, [_row(s) for s in samples])


def generated_scores(samples: Sequence[Sample]) -> dict[str, float]:
    """Shares over the answers; an undecided verdict is not a correct one."""
    verdicts = [s.verdict for s in samples if s.verdict is not None]
    n = len(samples)
    return {
        "val_accuracy": sum(v.correct is True for v in verdicts) / n,
        "val_format": sum(v.format_ok for v in verdicts) / n,
        "val_truncated": sum(s.truncated for s in samples) / n,
        "val_n": n,
    }


@torch.no_grad()
def forced_scores(model: PreTrainedModel, examples: Sequence[Example], pad_id: int) -> dict[str, float]:
    """Per supervised token of the held-out responses: loss and entropy in nats, share of argmax hits."""
    if not examples:
        return {}
    nll = entropy = top1 = 0.0
    tokens = 0
    for micro in micro_batches(examples, FORCED_TOKENS, pad_id, str(model.device)):
        stats = token_stats(model, micro.ids, micro.row, micro.col)
        nll -= float(stats.logprobs.sum())
        entropy += float(stats.entropy.sum())
        top1 += float(stats.top1.sum())
        tokens += int(micro.row.shape[0])
    return {"val_loss": nll / tokens, "val_entropy": entropy / tokens, "val_token_accuracy": top1 / tokens}


def _engine(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Engine:
    pad = int(tokenizer.pad_token_id)
    if name == "hf":
        return HFEngine(model, pad_id=pad, tokenizer=tokenizer)
    return NativeEngine(model, pad_id=pad, tokenizer=tokenizer)


def _row(sample: Sample) -> dict[str, Any]:
    """What a person wants to read of one answer."""
    verdict = sample.verdict
    return {
        "problem_id": sample.problem_id,
        "question": sample.question,
        "response": sample.response,
        "gold": sample.gold,
        "extracted": verdict.extracted if verdict else None,
        "correct": verdict.correct if verdict else None,
        "reason": verdict.reason if verdict else None,
        "tokens": len(sample.token_ids or ()),
        "truncated": sample.truncated,
    }
