"""What curation is made of: Rows, the Decision of a step about them, the Tools a step may use, and a table's Entry.

A step is a function over Rows. A filter judges every row by itself or against the others; a selector picks at most
`budget` of them. Both answer with a Decision, from which the ledger, the funnel and the output are made: a step writes
nothing itself.

Axis: n = rows that reach the step, in the order of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from posttrain.config import Config
from posttrain.curate.rows import Rows
from posttrain.errors import DataError
from posttrain.records import Problem, Sample, Verdict

if TYPE_CHECKING:
    from posttrain.engines.base import Engine
    from posttrain.tracking import Progress

__all__ = ["Decision", "Entry", "Filter", "Reference", "Rows", "Selector", "Tools", "decide"]

F = TypeVar("F")


@dataclass(frozen=True, eq=False)
class Decision:
    """What a step says of n rows.

    keep: bool [n]. score: float [n], what the rule looked at (NaN = it had nothing to look at).
    threshold: what the score was held against; None where the rule is no comparison.
    reason: n texts, "" where the row is kept, else why it is not.
    columns: further values per row for the ledger, each [n] (cluster, tier, the row that it doubles …); None = nothing.
    notes: JSON-able facts of the step for the curation page (evidence, clusters, warnings).
    responses, verdicts: by position in [0, n): what the step wrote anew (a pruned response) or found out.
    """

    keep: NDArray[np.bool_]
    score: NDArray[np.float64]
    threshold: float | None
    reason: tuple[str, ...]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    responses: Mapping[int, str] = field(default_factory=dict)
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)

    def check(self, n: int, step: str) -> None:
        """DataError for a kept row without a score where scores decide. AssertionError for what only a bug makes."""
        assert self.keep.dtype == np.bool_, f"{step}: keep is {self.keep.dtype}"
        assert self.keep.shape == self.score.shape == (n,), f"{step}: not one decision for every row"
        assert len(self.reason) == n, f"{step}: not one reason for every row"
        assert all(len(column) == n for column in self.columns.values()), f"{step}: a column is not [n]"
        said = np.array([bool(why) for why in self.reason], np.bool_)
        assert not (self.keep & said).any(), f"{step}: a reason to drop what is kept"
        assert (self.keep | said).all(), f"{step}: dropped for no reason"
        assert not np.isinf(self.score).any(), f"{step}: infinite scores"
        if self.threshold is None:
            return
        lost = np.flatnonzero(self.keep & np.isnan(self.score))
        if len(lost):
            raise DataError(
                f"{step}: {len(lost):,} of {n:,} rows have no score (NaN), the first is row {lost[0]} of those that "
                "reach it, so nothing says whether to keep them. Drop them in a step before, or give them a score."
            )


def decide(
    score: NDArray[np.float64],
    reason: Callable[[int], str],
    *,
    low: float | None = None,
    high: float | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Decision:
    """Keeps the rows with low <= score <= high; `reason(i)` says why row i went.

    The threshold is `low`, or `high` where only that is given. A row without a score (NaN) is kept here, and refused by
    `Decision.check`: a rule for which that is no error gives it a score.
    """
    keep = np.ones(len(score), dtype=np.bool_)
    if low is not None:
        keep &= ~(score < low)
    if high is not None:
        keep &= ~(score > high)
    reasons = tuple("" if kept else reason(i) for i, kept in enumerate(keep))
    threshold = high if low is None else low
    return Decision(keep, score, threshold, reasons, columns or {}, notes or {})


@dataclass(frozen=True)
class Reference:
    """Questions that must not be trained on: a benchmark, or a held-out split."""

    name: str
    problems: Sequence[Problem]


class Tools(Protocol):
    """What a step may ask for; opened when it is first asked for, and closed by the stage.

    state: a folder that survives an interruption and is removed at the end.
    """

    @property
    def state(self) -> Path: ...

    def embed(self, texts: Sequence[str], model: str) -> NDArray[np.float32]:
        """Unit vectors [n, d]; equal texts are embedded once, and never again."""
        ...

    def tokenizer(self, asks: str) -> Any:
        """The student's. RecipeError that begins with `asks` (who wants it, and what for) where there is no student."""
        ...

    def token_counts(self, texts: Sequence[str], asks: str) -> NDArray[np.int64]:
        """How many of the student's tokens each text has, [n]. RecipeError as `tokenizer`."""
        ...

    def student_parameters(self) -> int | None:
        """How large the student is; None where there is none, or its shape is not known."""
        ...

    def attempts(self, asks: str) -> Sequence[Sample]:
        """Graded answers of a model to the rows' problems: the stage's input `attempts`. RecipeError without one."""
        ...

    def engine(self, asks: str) -> Engine:
        """An engine that samples from the student and scores with it. RecipeError as `tokenizer`."""
        ...

    def grade(self, items: Sequence[tuple[Problem, str, bool]], spec: str) -> list[Verdict]:
        """Verdicts in order, with progress; what an interrupted attempt had graded is not graded again."""
        ...

    def references(self, names: Sequence[str], asks: str) -> list[Reference]:
        """Benchmarks by name; `held-out` = validation and test of the stage's `problems`."""
        ...

    def derive(self, purpose: str, *index: int | str) -> int:
        """A seed of the stage's own."""
        ...

    def progress(self, total: int | None, label: str, unit: str = "rows") -> Progress: ...

    def note(self, message: str) -> None:
        """One line for the person who watches."""
        ...


Filter = Callable[[Rows, Any, Tools], Decision]
"""(rows, config of the entry's class, tools) -> Decision"""
Selector = Callable[[Rows, int, Any, Tools, int], Decision]
"""(rows, budget, config, tools, seed) -> Decision with keep.sum() <= budget"""


def _nothing(config: Any, tools: Tools) -> None:
    """Most steps need nothing that could be missing."""


@dataclass(frozen=True)
class Entry(Generic[F]):
    """A row of FILTERS or SELECTORS. prepare: raises before any work is done where the step can't be had."""

    function: F
    config: type[Config]
    help: str
    prepare: Callable[[Any, Tools], None] = _nothing
