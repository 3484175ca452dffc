"""The table under curation: samples or problems, as columns.

A Rows is never changed: `take` and `updated` give new ones. Text is decoded from Arrow once and shared by what is taken
from it; token ids and log-probabilities stay in the Arrow table, untouched, until the output is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError, did_you_mean
from posttrain.records import Problem, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["samples", "problems"]


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows; sequences are [n] and in the order of the input.

    numbers: each row's place in the input, which is its name in the ledger and never changes.
    ids: problem ids. datasets: the label of the artifact a row came from. responses: "" where a problem has no
    solution. table: the rest of the columns, as the artifact has them.
    """

    kind: Kind
    numbers: NDArray[np.int64]
    ids: Sequence[str]
    questions: Sequence[str]
    responses: Sequence[str]
    golds: Sequence[str | None]
    subjects: Sequence[str | None]
    levels: Sequence[int | None]
    splits: Sequence[str | None]
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

    def texts(self, of: Literal["question", "response", "both"]) -> list[str]:
        if of == "both":
            return [self.text(i) for i in range(len(self))]
        return list(self.questions if of == "question" else self.responses)

    def problem(self, i: int) -> Problem:
        """What a grader is given of row i: its gold, its choices, the tests of a program."""
        extra = self.extras[i]
        choices = extra.get("choices")
        if self.kind == "problems":
            choices = self.table.column("choices")[i].as_py()
        return Problem(
            id=self.ids[i],
            question=self.questions[i],
            answer=self.golds[i],
            choices=tuple(choices) if choices else None,
            subject=self.subjects[i],
            level=self.levels[i],
            split=self.splits[i] or "train",
            extra=extra,
        )

    def truncated(self, i: int) -> bool:
        """Whether generation stopped at its limit."""
        return self.kind == "samples" and self.table.column("finish_reason")[i].as_py() == "length"

    def column(self, name: str) -> list[Any]:
        """A column of the table, or ``extra.KEY``. DataError where there is none."""
        if name.startswith("extra."):
            key = name.removeprefix("extra.")
            if not any(key in extra for extra in self.extras):
                known = {f"extra.{k}" for extra in self.extras for k in extra}
                raise DataError(
                    f"no row has {name!r}.{did_you_mean(name, known)} Name what the rows' extra has: "
                    f"{', '.join(sorted(known)[:20]) or 'it is empty'}."
                )
            return [extra.get(key) for extra in self.extras]
        if name in ("subject", "level"):
            return list(self.subjects if name == "subject" else self.levels)
        if name not in self.table.column_names:
            known = {*self.table.column_names, "subject", "level"}
            raise DataError(f"the rows have no column {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
        values: list[Any] = self.table.column(name).to_pylist()
        return values

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
        """The rows of a mask [n], or at these positions, in their order."""
        at = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        positions: list[int] = at.tolist()

        def some(values: Sequence[Any]) -> list[Any]:
            return [values[i] for i in positions]

        return Rows(
            self.kind,
            self.numbers[at],
            *(some(column) for column in self._lists()),
            table=self.table.take(at),
        )

    def _lists(self) -> Iterator[Sequence[Any]]:
        yield from (self.ids, self.questions, self.responses, self.golds, self.subjects, self.levels)
        yield from (self.splits, self.datasets, self.extras, self.verdicts)

    def updated(
        self, *, responses: Mapping[int, str] | None = None, verdicts: Mapping[int, Verdict] | None = None
    ) -> Rows:
        """With other responses or verdicts at these positions."""
        return replace(
            self,
            responses=[(responses or {}).get(i, old) for i, old in enumerate(self.responses)],
            verdicts=[(verdicts or {}).get(i, old) for i, old in enumerate(self.verdicts)],
        )


def parsed_extras(column: Sequence[str | None]) -> list[Mapping[str, Any]]:
    return [json.loads(text) if text else {} for text in column]
