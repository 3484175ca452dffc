"""The `curate` stages: rows in, the rows that are worth teaching out, and the ledger of all of them."""

from __future__ import annotations

from posttrain.curate.config import CurateConfig
from posttrain.curate.forecast import curate_forecast, curate_problems_forecast
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems, Samples


def curate(
    config: CurateConfig,
    of: Samples,
    work: Workspace,
    also: list[Samples] | None = None,
    problems: Problems | None = None,
    student: Checkpoint | None = None,
    attempts: Samples | None = None,
) -> Samples:
    """The traces that are worth teaching, with a ledger that says why for every row.

    also: further traces, curated together with those of `of`. problems: give subjects and levels by id, and their
    validation and test splits are what `held-out` means. student: who will learn; its tokens are counted, its answers
    scored. attempts: graded answers of it, or of any model, to the rows' problems. DataError where no row is left,
    RecipeError where a step needs what is not given.
    """
    from posttrain.curate.artifacts import read_samples
    from posttrain.curate.whole import curate_rows

    known = problems.read() if problems is not None else []
    rows = read_samples([of, *(also or [])], {p.id: p for p in known})
    curate_rows(config, rows, known, student, work, attempts)
    return Samples(work.dir)


def curate_problems(
    config: CurateConfig,
    of: Problems,
    work: Workspace,
    also: list[Problems] | None = None,
    student: Checkpoint | None = None,
    attempts: Samples | None = None,
) -> Problems:
    """The problems that are worth asking, with a ledger that says why for every row.

    Those of other splits pass untouched, and are what `held-out` means. Errors as in `curate`.
    """
    from posttrain.curate.artifacts import read_problems
    from posttrain.curate.whole import curate_rows

    rows = read_problems([of, *(also or [])])
    everything = [problem for one in [of, *(also or [])] for problem in one.read()]
    curate_rows(config, rows, everything, student, work, attempts)
    return Problems(work.dir)


curate.forecast = curate_forecast  # type: ignore[attr-defined]
curate_problems.forecast = curate_problems_forecast  # type: ignore[attr-defined]
