"""The table under curation: samples or problems, as columns.

A Rows is never changed: `take` and `updated` give new ones. Texts are decoded from Arrow once; token ids and
log-probabilities stay in the Arrow table, untouched, until the output is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError, did_you_mean
from posttrain.records import Problem, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["samples", "problems"]
Part = Literal["question", "response", "both"]
"""Which text of a row a step looks at."""

COLUMNS = (
    "ids questions responses golds subjects levels splits cut datasets extras verdicts"
).split()  # of Rows, beside numbers and table


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows; sequences are [n] and in the order of the input.

    numbers: each row's place in the input, which is its name in the ledger and never changes.
    ids: problem ids. responses: a problem's is its solution, "" where it has none. cut: generation ended at its limit.
    datasets: the label of the artifact a row came from. extras: what the source gave beside; a problem's choices too.
    table: all columns as the artifact has them.
    """

    kind: Kind
    numbers: NDArray[np.int64]
    ids: Sequence[str]
    questions: Sequence[str]
    responses: Sequence[str]
    golds: Sequence[str | None]
    subjects: Sequence[str | None]
    levels: Sequence[int | None]
    splits: Sequence[str]
    cut: Sequence[bool]
    datasets: Sequence[str]
    extras: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Verdict | None]
    table: pa.Table

    def __len__(self) -> int:
        return len(self.ids)

    def question(self, i: int) -> str:
        return self.questions[i]

    def response(self, i: int) -> str:
        return self.responses[i]

    def text(self, i: int) -> str:
        """Question and response, as one text."""
        return f"{self.questions[i]}\n{self.responses[i]}" if self.responses[i] else self.questions[i]

    def texts(self, of: Part) -> list[str]:
        return [self.part(of, i) for i in range(len(self))]

    def part(self, of: Part, i: int) -> str:
        return self.text(i) if of == "both" else self.questions[i] if of == "question" else self.responses[i]

    def problem(self, i: int) -> Problem:
        """What a grader is given of row i: its gold, its choices, the tests of a program."""
        choices = self.extras[i].get("choices")
        return Problem(
            id=self.ids[i],
            question=self.questions[i],
            answer=self.golds[i],
            choices=tuple(choices) if choices else None,
            subject=self.subjects[i],
            level=self.levels[i],
            split=self.splits[i],
            extra=self.extras[i],
        )

    def column(self, name: str) -> list[Any]:
        """The values of a column of the table, or ``extra.KEY``, [n]. DataError where there is none."""
        if name == "subject":
            return list(self.subjects)
        if name == "level":
            return list(self.levels)
        if name in self.table.column_names:
            values: list[Any] = self.table.column(name).to_pylist()
            return values
        key = name.removeprefix("extra.")
        if key != name and any(key in extra for extra in self.extras):
            return [extra.get(key) for extra in self.extras]
        known = [*self.table.column_names, "subject", "level", *sorted({f"extra.{k}" for e in self.extras for k in e})]
        raise DataError(f"the rows have no column {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
        """The rows of a mask [n], or at these positions, in the order given."""
        at = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        positions: list[int] = at.tolist()
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            values = getattr(self, name)
            columns[name] = [values[i] for i in positions]
        return replace(self, numbers=self.numbers[at], table=self.table.take(at), **columns)

    def joined(self, other: Rows) -> Rows:
        """The rows of both, in the order of the input."""
        import pyarrow as pa

        columns: dict[str, Any] = {name: [*getattr(self, name), *getattr(other, name)] for name in COLUMNS}
        numbers = np.concatenate([self.numbers, other.numbers])
        both = replace(self, numbers=numbers, table=pa.concat_tables([self.table, other.table]), **columns)
        return both.take(np.argsort(numbers, kind="stable"))

    def updated(
        self, *, responses: Mapping[int, str] | None = None, verdicts: Mapping[int, Verdict] | None = None
    ) -> Rows:
        """With other responses or verdicts at these positions."""
        new_responses, new_verdicts = responses or {}, verdicts or {}
        return replace(
            self,
            responses=[new_responses.get(i, old) for i, old in enumerate(self.responses)],
            verdicts=[new_verdicts.get(i, old) for i, old in enumerate(self.verdicts)],
        )
