"""What traces cost, told before: from a pilot where one was made, else from limits, prices and lengths."""

from __future__ import annotations

import json
from typing import Any

from posttrain.forecast import SOLUTION_TOKENS, Expected, question_tokens
from posttrain.traces.config import BUILT_IN, COPYING, LOCAL, TracesConfig
from posttrain.traces.pilot import NAME, per_request

ANSWER_TOKENS = 300  # of an answer with its steps, where nothing is known of it; a reasoning model's are far longer
PROMPT_TOKENS = 30  # that chat markup and instructions add
SECONDS = 8.0  # of one reply


def forecast(config: TracesConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Copying a solution takes about 50 µs. Teachers are asked side by side, so the slowest says how long it takes."""
    problems: Expected = inputs["problems"]
    told = problems.facts
    rows = told.get(config.split)
    copied = set(config.teachers) <= set(COPYING)
    if rows is None:
        return {"dollars": None if config.asked else 0.0, "makes": {}}
    rows = min(rows, config.limit or rows)
    tokens = question_tokens(told) + told.get("solution_tokens", SOLUTION_TOKENS)
    if copied:
        return {
            "seconds": 0.1 + 5e-5 * rows,
            "memory_bytes": 1e8 + 4000 * rows,
            "disk_bytes": 1e4 + 2.5 * tokens * rows,
            "dollars": 0.0,
            "makes": {"rows": rows, "tokens": tokens},
        }
    requests = rows * config.samples
    parts = [_of_teacher(config, name, problems, requests) for name in config.asked]
    answers = requests * len(config.teachers)
    seconds = [part["seconds"] for part in parts]
    costs = [part["dollars"] for part in parts]
    local = any(name in BUILT_IN for name in config.teachers)
    known = LOCAL not in config.teachers and None not in seconds
    length = question_tokens(told) + (config.max_tokens or ANSWER_TOKENS if not local else tokens)
    return {
        "seconds": 1.0 + 1e-3 * answers + max(seconds, default=0.0) if known else None,
        "memory_bytes": 2e8 + 2e4 * answers,
        "disk_bytes": 3e4 + 12 * length * answers,
        "dollars": None if None in costs else sum(costs),
        "makes": {"rows": answers, "tokens": tokens},
    }


def _of_teacher(config: TracesConfig, name: str, problems: Expected, requests: int) -> dict[str, Any]:
    """Seconds and dollars of one teacher; None where nobody can know."""
    teacher = config.resolved(name)
    measured = _pilot(config, name, problems)
    given = sum(len(text) for text in (config.system, config.prompt) if text) / 4
    prompt = per_request(measured, "prompt_tokens") or question_tokens(problems.facts) + PROMPT_TOKENS + given
    completion = per_request(measured, "completion_tokens") or float(
        min(config.max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
    )
    if teacher.quirks.reasoning and not measured:
        completion = float(config.max_tokens or 10 * ANSWER_TOKENS)
    cost = per_request(measured, "dollars")
    if cost is None and teacher.prices is not None:
        cost = teacher.prices.cost(round(prompt), round(completion)) * (teacher.prices.batch if config.batch else 1.0)
    limits = teacher.limits
    bounds = [requests * SECONDS / limits.concurrency]
    if limits.requests_per_minute:
        bounds.append(60 * requests / limits.requests_per_minute)
    if limits.tokens_per_minute:
        bounds.append(60 * requests * (prompt + completion) / limits.tokens_per_minute)
    return {"seconds": None if config.batch else max(bounds), "dollars": None if cost is None else cost * requests}


def _pilot(config: TracesConfig, name: str, problems: Expected) -> dict[str, Any]:
    """What a pilot of this teacher told; the journals stand beside the problems' folder, where they are in one run."""
    from posttrain.traces.asking import folder_name, journals_folder

    path = journals_folder(config, problems.artifact.path) / folder_name(name) / NAME
    if not path.is_file():
        return {}
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told
