"""The settings of all training stages side by side, one row per key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.report.lineage import Made

TRAINING = ("pretrain", "sft", "rl", "dpo")
UNSAID: tuple[Any, ...] = (None, "", [], {})  # values of a key that is not set


@dataclass(frozen=True)
class Hyperparameters:
    """columns: stages, in the order that they were made. rows: key → its value in each, None where it has none."""

    columns: tuple[str, ...]
    rows: dict[str, tuple[Any, ...]]

    def differs(self, key: str) -> bool:
        """Whether stages that have the key disagree about it."""
        values = [v for v in self.rows[key] if v is not None]
        return any(v != values[0] for v in values)


def hyperparameters(made: Sequence[Made]) -> Hyperparameters | None:
    """What the training stages behind the scores were given. None where none was trained here."""
    stages = [m for m in made if m.manifest is not None and (m.stage in TRAINING or m.manifest.kind == "checkpoint")]
    if not stages:
        return None
    told = [{"stage": m.stage, **dict(_flat(m.manifest.config)), "seed": m.manifest.seed} for m in stages if m.manifest]
    keys = list(dict.fromkeys(key for values in told for key in values))
    rows = {key: tuple(values.get(key) for values in told) for key in keys}
    return Hyperparameters(
        tuple(m.name for m in stages), {k: row for k, row in rows.items() if set(map(str, row)) != {"None"}}
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``optimizer.lr`` → its value, for everything that is set."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in UNSAID:
            yield f"{prefix}{key}", value
