"""What judging costs, told before: tokens of questions and replies at the teacher's prices."""

from __future__ import annotations

from typing import Any

from posttrain.judge.config import LOCAL, SCRIPTED, JudgeConfig

PROMPT_TOKENS = 900  # of a question about one answer, with the answer; a pair has both
REPLY_TOKENS = 80
SCRIPTED_SECONDS = 2e-3  # of one question


def forecast(config: JudgeConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """The number of questions is the answers', where it is known: one of each problem, two for pairs in both orders."""
    samples = [scores.facts.get("samples") for scores in inputs["of"]]
    free = config.judge in (SCRIPTED, LOCAL)
    if None in samples:
        return {"dollars": 0.0, "makes": {}} if free else {"makes": {}}
    per_sample = sum(2 if t.task in ("preference", "win_rate") and t.orders == "both" else 1 for t in config.tasks) or 1
    questions = sum(samples) * per_sample
    found: dict[str, Any] = {"disk_bytes": 2000.0 * questions, "memory_bytes": 3e8 + 2e4 * questions, "makes": {}}
    if config.judge == SCRIPTED:
        found["seconds"] = SCRIPTED_SECONDS * questions
    return {**found, "dollars": 0.0 if free else _dollars(config, questions)}


def _dollars(config: JudgeConfig, questions: int) -> float | None:
    from posttrain.providers import get_teacher

    prices = get_teacher(config.judge, config.teacher, config.registry).prices
    if prices is None:
        return None
    return questions * (PROMPT_TOKENS * prices.input + REPLY_TOKENS * prices.output) / 1e6
