"""What making problems costs, and how many there will be, told before."""

from __future__ import annotations

from typing import Any

from posttrain.data.config import SPLITS, DataConfig, Split, asked

# Questions and solutions in tokens: the synthetic task's with its own small tokenizer, the others' with Qwen's.
TOKENS = {"synthetic": (45, 25), "synthetic-text": (30, 0), "gsm8k": (75, 140), "math": (100, 250)}
SIZES: dict[str, dict[Split, int]] = {"gsm8k": {"train": 7473, "test": 1319}, "math": {"train": 12_000, "test": 500}}

# A split keeps one made story in ten (test) to seven in ten (train), so a test problem takes longer. Levels 1 and 2,
# one core of a server's CPU.
SECONDS = {"train": 23e-6, "validation": 113e-6, "test": 70e-6}


def forecast(config: DataConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Of the synthetic task everything; of other datasets how many problems, where that is published."""
    counts = asked(config) if config.synthetic else _of_dataset(config)
    makes: dict[str, Any] = {str(split): count for split, count in counts.items()}
    if config.dataset in TOKENS:
        makes |= dict(zip(("question_tokens", "solution_tokens"), TOKENS[config.dataset], strict=True))
    total = sum(counts.values())
    seconds = 0.3 + sum(SECONDS[split] * count for split, count in counts.items()) if config.synthetic else None
    return {
        "seconds": seconds,  # reading takes seconds; how long a download takes nobody knows
        "memory_bytes": 1e8 + 2000 * total if counts else None,
        "disk_bytes": (40 if config.synthetic else 400) * total if counts else None,
        "dollars": 0.0,
        "makes": makes,
    }


def _of_dataset(config: DataConfig) -> dict[Split, int]:
    counts = dict(SIZES.get(config.dataset, {}))
    if not counts or config.levels is not None:
        return {}
    reserved: tuple[tuple[Split, int | None], ...] = (("validation", config.validation), ("test", config.test))
    for split, taken in reserved:
        if taken:
            counts["train"] -= taken
            counts[split] = counts.get(split, 0) + taken
    limit = config.limit
    for split in SPLITS:
        most = limit.get(split) if isinstance(limit, dict) else limit
        if most is not None and split in counts:
            counts[split] = min(counts[split], most)
    return counts
