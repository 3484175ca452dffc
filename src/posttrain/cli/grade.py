"""``posttrain grade FILE.jsonl`` and ``posttrain grade --gold G --response R``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import click


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE.jsonl]")
@click.option("--spec", default="math", show_default=True, help="How answers are found and compared.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the rows with their verdicts here.")
@click.option("--gold", help="Grade one response: its gold answer …")
@click.option("--response", help="… and the response.")
def grade(file: Path | None, spec: str, out: Path | None, gold: str | None, response: str | None) -> None:
    """Judge responses against golds.

    FILE.jsonl: rows with `gold` and `response`; other columns are kept, `verdict` is added. Without --out the rows go
    to standard output and the summary to standard error. Specs: gsm8k, gsm8k_strict, math, r1_zero, choice, exact;
    and code, ifeval, ifeval_loose, which grade by the row's other columns (tests, instructions) and need no gold.
    """
    from posttrain.grading import get_spec, rows
    from posttrain.records import Problem

    if (file is None) == (gold is None and response is None):
        raise click.UsageError("give FILE.jsonl, or --gold and --response.")
    needs = ("response",) if get_spec(spec).judge else ("gold", "response")
    if file is None:
        from posttrain.grading import grade as grade_one

        if gold is None or response is None:
            raise click.UsageError("--gold and --response go together.")
        verdict = grade_one(Problem("command line", "", gold), response, spec)
        click.echo(json.dumps(rows.verdict_as_json(verdict), ensure_ascii=False))
        return
    counts: Counter[str] = Counter()
    if out is None:
        for row, verdict in rows.grade_rows(rows.read_rows(file, needs), spec):
            counts[verdict.reason] += 1
            sys.stdout.write(rows.row_as_line(row, verdict))
        click.echo(summary(counts), err=True)
        return
    from posttrain.store import write_atomic

    with write_atomic(out) as written:
        for row, verdict in rows.grade_rows(rows.read_rows(file, needs), spec):
            counts[verdict.reason] += 1
            written.write(rows.row_as_line(row, verdict).encode())
    click.echo(summary(counts))


def summary(counts: Counter[str]) -> str:
    """`412 of 500 correct (82.4 %): 412 correct, 80 wrong, 8 no_answer`."""
    total = counts.total()
    if not total:
        return "0 rows"
    parts = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
    return f"{counts['correct']} of {total} correct ({counts['correct'] / total:.1%}): {parts}"
