"""The ledger: for every row what each step saw and decided (`ledger.parquet`), and the whole of it (`curation.json`).

The ledger has one row per row of the input. `row`, `dataset`, `id`, `question`, `response` (its beginning), `kept`,
`dropped_by`, `reason`, `length`, `level`, `subject`; then for every step ``1-correct.keep``, ``.score``,
``.threshold``, ``.reason`` and what else the step says of a row (``.twin``, ``.item``, ``.cluster``). A row that an
earlier step dropped has nulls there: nobody looked at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain.curate.rows import Rows
from posttrain.curate.run import Taken

if TYPE_CHECKING:
    import pyarrow as pa

LEDGER, CURATION, TIMING = "ledger.parquet", "curation.json", "timing.json"
RESPONSE = 500  # characters of a response that the ledger shows
BINS = 24
MOST = 40  # values of a column that a distribution tells apart
EXAMPLES = 5


def ledger(rows: Rows, taken: Sequence[Taken], lengths: NDArray[np.int64]) -> pa.Table:
    """`rows`: all that were curated, in their order; lengths: [n]."""
    import pyarrow as pa

    place = {int(number): i for i, number in enumerate(rows.numbers)}
    dropped_by: list[str | None] = [None] * len(rows)
    reason: list[str | None] = [None] * len(rows)
    steps: dict[str, pa.Array] = {}
    for done in taken:
        at = np.array([place[number] for number in done.numbers.tolist()], np.int64)
        for i, kept, why in zip(at.tolist(), done.decision.keep.tolist(), done.decision.reason, strict=True):
            if not kept:
                dropped_by[i], reason[i] = done.step.label, why
        steps |= _columns(done, at, len(rows))
    return pa.table(
        {
            "row": pa.array(rows.numbers),
            "dataset": pa.array(rows.datasets, pa.string()),
            "id": pa.array(rows.ids, pa.string()),
            "question": pa.array(rows.questions, pa.string()),
            "response": pa.array([text[:RESPONSE] for text in rows.responses], pa.string()),
            "kept": pa.array([step is None for step in dropped_by]),
            "dropped_by": pa.array(dropped_by, pa.string()),
            "reason": pa.array(reason, pa.string()),
            "length": pa.array(lengths, pa.int64()),
            "level": pa.array(rows.levels, pa.int32()),
            "subject": pa.array(rows.subjects, pa.string()),
            **steps,
        }
    )


def _columns(done: Taken, at: NDArray[np.int64], n: int) -> dict[str, pa.Array]:
    """A step's columns over all n rows; `at`: the places of those that reached it."""
    import pyarrow as pa

    decision, label = done.decision, done.step.label
    position = np.full(n, -1)
    position[at] = np.arange(len(at))
    reached = pa.array(np.where(position < 0, 0, position), mask=position < 0)

    def spread(values: pa.Array) -> pa.Array:
        return values.take(reached)

    own = {name: pa.array(_listed(values)) for name, values in decision.columns.items()}
    thresholds = pa.array([decision.threshold] * len(at), pa.float64())
    return {
        f"{label}.keep": spread(pa.array(decision.keep)),
        f"{label}.score": spread(pa.array(decision.score, mask=np.isnan(decision.score))),
        f"{label}.threshold": spread(thresholds),
        f"{label}.reason": spread(pa.array(decision.reason, pa.string())),
        **{f"{label}.{name}": spread(values) for name, values in own.items()},
    }


def _listed(values: Sequence[Any] | NDArray[Any]) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def curation(
    rows: Rows, taken: Sequence[Taken], lengths: NDArray[np.int64], unit: str, *, untouched: int
) -> dict[str, Any]:
    """What `curation.json` holds: no times, so that two equal curations are the same artifact.

    unit: of `lengths`. untouched: rows of other splits, that passed.
    """
    last = taken[-1]
    kept = set(last.numbers[last.decision.keep].tolist())
    after = np.array([number in kept for number in rows.numbers.tolist()], np.bool_)
    distributions = {"length": {"unit": unit, **_histogram(lengths, after)}}
    for name, values in (("level", rows.levels), ("subject", rows.subjects), ("dataset", rows.datasets)):
        if len(set(values)) > 1:
            distributions[name] = _counted(values, after)
    for done in taken:
        if "cluster" in done.decision.columns:
            stayed = np.array([number in kept for number in done.numbers.tolist()], np.bool_)
            distributions[f"{done.step.label}.cluster"] = _counted(_listed(done.decision.columns["cluster"]), stayed)
    return {
        "kind": rows.kind,
        "rows": len(rows),
        "kept": int(after.sum()),
        "untouched": untouched,
        "steps": [_told(done) for done in taken],
        "distributions": distributions,
    }


def _told(done: Taken) -> dict[str, Any]:
    decision = done.decision
    before, after = len(decision.keep), int(decision.keep.sum())
    known = decision.score[~np.isnan(decision.score)]
    return {
        "label": done.step.label,
        "verb": done.step.verb,
        "name": done.step.name,
        "config": done.step.values(),
        "before": before,
        "after": after,
        "dropped": before - after,
        "threshold": decision.threshold,
        "scores": dict(zip(("least", "median", "most"), np.quantile(known, [0, 0.5, 1]).tolist(), strict=True))
        if len(known)
        else None,
        "scored": len(known),
        "examples": [
            {"row": int(done.numbers[i]), "reason": decision.reason[i]}
            for i in np.flatnonzero(~decision.keep)[:EXAMPLES].tolist()
        ],
        "notes": dict(decision.notes),
    }


def _histogram(values: NDArray[np.int64], after: NDArray[np.bool_]) -> dict[str, Any]:
    """Counts between edges that grow by a constant factor: lengths spread over powers of ten."""
    top = max(int(values.max(initial=1)), 2)
    edges = np.unique(np.round(np.geomspace(1, top + 1, BINS + 1)).astype(np.int64))
    edges[0] = 0
    return {
        "edges": edges.tolist(),
        "before": np.histogram(values, edges)[0].tolist(),
        "after": np.histogram(values[after], edges)[0].tolist(),
        "median": [float(np.median(values)), float(np.median(values[after])) if after.any() else None],
    }


def _counted(values: Sequence[Any], after: NDArray[np.bool_]) -> dict[str, Any]:
    """How many rows have each value, the commonest MOST apart and the others together."""
    before = Counter(str(v) if v is not None else "unknown" for v in values)
    later = Counter(str(v) if v is not None else "unknown" for v, kept in zip(values, after, strict=True) if kept)
    names = [name for name, _ in before.most_common(MOST)]
    numeric = all(name.lstrip("-").isdigit() for name in names if name != "unknown")
    names.sort(key=lambda name: (name == "unknown", int(name) if numeric and name != "unknown" else 0, name))
    counts: dict[str, list[Any]] = {
        "values": names,
        "before": [before[n] for n in names],
        "after": [later[n] for n in names],
    }
    if len(before) > MOST:
        counts["values"] = [*names, "others"]
        counts["before"].append(before.total() - sum(counts["before"]))
        counts["after"].append(later.total() - sum(counts["after"]))
    return counts
