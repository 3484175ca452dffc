"""What an evaluation costs, told before. Answers are taken to be as long as solutions, where those are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.benchmarks.registry import BY_NAME
from posttrain.engines.base import Sampling
from posttrain.evals.config import AskingConfig, EvalConfig
from posttrain.forecast import QUESTION_TOKENS, Expected, answer_tokens, question_tokens, shape_behind
from posttrain.models.cost import STARTUP, loading_seconds, sampling_bytes, sampling_seconds
from posttrain.models.size import Shape

SAMPLE_SECONDS = 5e-4  # to grade, journal and measure one sample
SAMPLE_BYTES = 60  # of one sample on disk beside its tokens
UNKNOWN: dict[str, Any] = {"dollars": 0.0, "makes": {}}


def forecast(config: EvalConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Every model answers every problem: prompts computed once, answers sampled token by token."""
    shapes = [shape for model in inputs["models"] if (shape := shape_behind(model)) is not None]
    if len(shapes) < len(inputs["models"]) or config.suites or config.checkpoints == "all":
        return UNKNOWN
    if not isinstance(config.checkpoints, str):
        shapes = shapes * len(config.checkpoints)
    return of_models(config, shapes, inputs.get("problems"))


def of_models(config: AskingConfig, shapes: Sequence[Shape], problems: Expected | None) -> dict[str, Any]:
    """The same of models of these shapes."""
    asked = _asked(config, problems)
    if asked is None:
        return UNKNOWN
    samples = sum(n for n, _, _ in asked)
    tokens = sum(n * length for n, _, length in asked)
    longest = max(question + length for _, question, length in asked)
    seconds, memory = STARTUP, 0.0
    prompts = sum(n * question for n, question, _ in asked)
    for shape in shapes:
        seconds += loading_seconds(shape) - STARTUP + sampling_seconds(shape, prompts + tokens, config.dtype)
        seconds += SAMPLE_SECONDS * samples
        memory = max(memory, sampling_bytes(shape, config.batch * longest, config.dtype))
    return {
        "seconds": seconds,
        "memory_bytes": memory,
        "disk_bytes": len(shapes) * (SAMPLE_BYTES * samples + 4 * tokens),
        "dollars": 0.0,
        "makes": {"samples": len(shapes) * samples},
    }


def _asked(config: AskingConfig, problems: Expected | None) -> list[tuple[int, float, float]] | None:
    """(samples of one model, tokens of a question, tokens of an answer) per benchmark; None where not known."""
    found = []
    n = config.n or 1
    if problems is not None:
        count = problems.facts.get(config.split)
        if count is None:
            return None
        question = question_tokens(problems.facts)
        length = answer_tokens(problems.facts, config.max_tokens or 256)
        found.append((n * min(count, config.limit or count), question, length))
    for name in config.benchmarks:
        declared = BY_NAME.get(name)
        if declared is None or declared.items is None:
            return None  # unknown here: the run itself says what is meant, or the user's file says how many
        sampling: Sampling = declared.sampling
        count = min(declared.items, config.limit or declared.items)
        found.append(
            ((config.n or sampling.n) * count, QUESTION_TOKENS, float(config.max_tokens or sampling.max_tokens))
        )
    return found or None
