"""One task of one suite on one model, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from posttrain.evals.external.config import SuiteConfig
from posttrain.evals.metrics import SCORED
from posttrain.records import Sample, Verdict
from posttrain.store import Checkpoint


@dataclass(frozen=True)
class Job:
    """served: the name under which the server knows its model, where one is asked."""

    suite: SuiteConfig
    task: str
    model: Checkpoint
    dtype: str = "float32"
    served: str | None = None

    @property
    def name(self) -> str:
        return f"{self.suite.suite}/{self.task}"


@dataclass(frozen=True)
class Scored:
    """One metric of a task, item by item.

    metric: as the suite calls it, with the filter of the answers that it was taken on.
    digests: of each item's question and key, as the suite hashes them: what makes two evaluations comparable.
    """

    metric: str
    samples: tuple[Sample, ...]
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """A finished job.

    scored: metrics between 0 and 1 per item. measures: every number as the suite aggregates it (perplexities stand only
    here). version: of the suite. settings: what the suite itself did with the task: version, shots.
    """

    scored: tuple[Scored, ...]
    measures: dict[str, float]
    version: str
    settings: dict[str, Any] = field(default_factory=dict)


def judged_by_suite(value: float, extracted: str | None) -> Verdict:
    """A suite's score of one item as a Verdict; a share of a point (a sum of probabilities) is `scored`, not true."""
    if 0 < value < 1:
        return Verdict(False, True, extracted, SCORED)
    reason = "correct" if value == 1 else "wrong" if extracted is not None else "no_answer"
    return Verdict(value == 1, extracted is not None, extracted, reason)


def option(key: str, value: Any, *, dashes: str = "_") -> list[str]:
    """A command-line option; True stands alone, a mapping is key=value pairs, a list is repeated with commas."""
    name = "--" + key.replace("-", "_").replace("_", dashes)
    if value is True:
        return [name]
    if value in (None, False):
        return []
    return [name, joined(value)]


def joined(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
