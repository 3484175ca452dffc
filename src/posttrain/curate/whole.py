"""A curation from rows to artifact: prepared, taken step by step, written with its ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from posttrain.curate.artifacts import apart, write
from posttrain.curate.ledger import CURATION, LEDGER, TIMING, curation, ledger
from posttrain.curate.page import in_words
from posttrain.curate.run import NoRowsError, Taken, prepare, take_steps
from posttrain.curate.tools import Toolbox

if TYPE_CHECKING:
    from posttrain.curate.config import CurateConfig
    from posttrain.curate.rows import Rows
    from posttrain.records import Problem
    from posttrain.stage import Workspace
    from posttrain.store import Checkpoint, Samples


def curate_rows(
    config: CurateConfig,
    rows: Rows,
    known: Sequence[Problem],
    student: Checkpoint | None,
    work: Workspace,
    attempts: Samples | None = None,
) -> None:
    """Writes the rows that are kept, `ledger.parquet`, `curation.json`, and `timing.json`, which no digest covers.

    The ledger is written too where no row is left, so that one can look up why; the stage is not finished then.
    """
    chosen, mask = apart(rows, config.split)
    steps = config.read()
    held_out = [problem for problem in known if problem.split != "train"]
    tools = Toolbox(work, student=student, held_out=held_out, max_batch=config.max_batch, attempts=attempts)
    prepare(steps, tools, len(chosen))
    try:
        left, taken = take_steps(chosen, steps, tools)
    except NoRowsError as error:
        _write_ledger(chosen, error.taken, int((~mask).sum()), tools, student, work)
        raise
    _write_ledger(chosen, taken, int((~mask).sum()), tools, student, work)
    out = left if mask.all() else left.joined(rows.take(~mask))
    write(out, [rows.responses[number] for number in out.numbers.tolist()], work)
    counts = dict(Counter(out.splits)) if out.kind == "problems" else {"rows": len(out)}
    dropped = {done.step.label: int((~done.decision.keep).sum()) for done in taken}
    if student is not None:
        # `contest` says by it whether two selections had equal budgets.
        texts = [*left.questions, *left.responses]
        counts["total_tokens"] = int(tools.token_counts(texts, "the summary counts tokens").sum())
    work.summarise(**counts, considered=len(chosen), kept=len(left), dropped=dropped)


def _write_ledger(
    rows: Rows, taken: Sequence[Taken], untouched: int, tools: Toolbox, student: Checkpoint | None, work: Workspace
) -> None:
    lengths, unit = _lengths(rows, tools, student)
    work.write_table(LEDGER, ledger(rows, taken, lengths))
    told = curation(rows, taken, lengths, unit, untouched=untouched)
    work.write_json(CURATION, told)
    work.write_json(TIMING, {"steps": [{"step": done.step.label, "seconds": done.seconds} for done in taken]})
    for line in in_words(told):
        work.note(line)


def _lengths(rows: Rows, tools: Toolbox, student: Checkpoint | None) -> tuple[NDArray[np.int64], str]:
    """What will be learned from, or asked: in the student's tokens where it is known, else in words."""
    texts = rows.texts("response" if rows.kind == "samples" else "question")
    if student is not None:
        return tools.token_counts(texts, "the ledger counts tokens"), "tokens"
    return np.array([len(text.split()) for text in texts], np.int64), "words"
