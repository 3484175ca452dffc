"""The rollout store, and what a resume reuses of it.

Every step's graded rollouts are written as soon as they stand, before anything is learned from them. A resumed run
takes them from here: it neither samples nor grades again, so that no grader's clock and no reward function's dice can
make it another run; and with `staleness` the weights they were sampled with may be gone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.records import Sample, samples_from_tables, samples_to_tables
from posttrain.seeding import derive
from posttrain.store import write_json, write_table

FILES = ("samples.parquet", "verdicts.parquet")
Key = tuple[str, int]  # (problem id, index)
FACTS = "batch.json"  # written last: a folder with it is whole


@dataclass(frozen=True, slots=True)
class Journal:
    """`state`: batches that a resume may need; `kept`: those that stay."""

    state: Path
    kept: Path

    def read(self, step: int) -> tuple[list[Sample], dict[str, Any]] | None:
        """(samples, facts) of a step's batch, or None where it was not written to its end."""
        import pyarrow.parquet as pq

        folder = self._folder(step)
        if not (folder / FACTS).exists():
            return None
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return list(samples_from_tables(*(pq.read_table(folder / name) for name in FILES))), facts

    def write(self, step: int, samples: Sequence[Sample], facts: dict[str, Any]) -> None:
        folder = self._folder(step)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in zip(FILES, samples_to_tables(samples), strict=True):
            write_table(folder / name, table)
        write_json(folder / FACTS, facts)

    def keep(self, step: int) -> Path:
        """The step's files in the artifact; returns their folder."""
        target = self.kept / f"step-{step:06d}"
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if not (target / name).exists():
                try:
                    os.link(self._folder(step) / name, target / name)
                except OSError:  # a file system without hard links
                    _copy(self._folder(step) / name, target / name)
        return target

    def forget(self, before: int) -> None:
        """A saved state stands at step `before`: no resume asks for what was learned earlier."""
        for folder in self.state.glob("step-*"):
            if int(folder.name.removeprefix("step-")) <= before:
                (folder / FACTS).unlink(missing_ok=True)  # first: what is half removed must not look whole
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, step: int) -> Path:
        return self.state / f"step-{step:06d}"


@dataclass(frozen=True, slots=True)
class Watched:
    """What the trainer said of a rollout's response tokens before the first update: logπ and entropy in nats."""

    logprobs: list[float]
    entropy: list[float]


def chosen_keys(keys: Sequence[Key], count: int, seed: int, step: int) -> set[Key]:
    """Which rollouts of a stored step keep their tokens' numbers: a draw of `count`."""
    order = np.random.Generator(np.random.Philox(derive(seed, "tokens", step))).permutation(len(keys))
    return {keys[i] for i in order[:count]}


def write_tokens(folder: Path, step: int, watched: Mapping[Key, Watched]) -> None:
    """`tokens.parquet` beside a stored step's samples: problem_id, index, step, logprobs, entropy."""
    import pyarrow as pa

    keys = sorted(watched)
    table = pa.table(
        {
            "problem_id": pa.array([problem for problem, _ in keys], pa.string()),
            "index": pa.array([index for _, index in keys], pa.int32()),
            "step": pa.array([step] * len(keys), pa.int64()),
            "logprobs": pa.array([watched[key].logprobs for key in keys], pa.list_(pa.float32())),
            "entropy": pa.array([watched[key].entropy for key in keys], pa.list_(pa.float32())),
        }
    )
    write_table(folder / "tokens.parquet", table)


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    temporary.rename(target)
