"""``posttrain contamination TRAINING --against BENCHMARK``: which training rows are a benchmark's own questions?"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

WIDTH = 100
TIERS = {
    "drop": "the same text, half of the question's 8-grams (numbers as they are or masked), or its figures and 4-grams",
    "review": "13 words in a row in common: a passage, or a long phrase",
    "note": "8 words in a row in common: mostly a phrase of the genre",
}


@click.command()
@click.argument("training", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--against", multiple=True, required=True, metavar="BENCHMARK", help="A benchmark's name; may be repeated."
)
@click.option("--column", help="Column of TRAINING with the question; its usual names are looked for.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Share of 8-grams of tier drop."
)
@click.option("--show", type=click.IntRange(0), default=5, show_default=True, help="Pairs shown of each tier.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all pairs included.")
def contamination(
    training: Path, against: tuple[str, ...], column: str | None, threshold: float, show: int, as_json: bool
) -> None:
    """Compare the questions of TRAINING with those of benchmarks, and show every pair that is too alike.

    TRAINING: a folder of problems or traces, or rows as JSONL, JSON, CSV or Parquet.
    """
    rows = questions(training, column)
    found = [_scan(rows, name, threshold) for name in against]
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for result in found:
        click.echo("\n".join(in_words(result, show)))


def questions(path: Path, column: str | None = None) -> list[str]:
    """The questions behind a path. DataError where it holds none."""
    from posttrain.data.columns import Columns, to_problems
    from posttrain.data.rows import read_rows
    from posttrain.errors import DataError
    from posttrain.store import Problems, Samples

    if path.is_file():
        columns = Columns(question=column) if column else Columns()
        return [p.question for p in to_problems(read_rows(path), columns, prefix="row", split="train")]
    if (path / "problems.parquet").is_file():
        return [p.question for p in Problems(path).read("train")]
    if (path / "samples.parquet").is_file():
        return [s.question for s in Samples(path).read()]
    raise DataError(
        f"{path} holds neither problems.parquet nor samples.parquet. Name the folder of a data or traces stage, or a "
        "file of rows."
    )


def _scan(rows: list[str], name: str, threshold: float) -> dict[str, Any]:
    from posttrain.benchmarks import get_benchmark
    from posttrain.data.contamination import scan

    benchmark = get_benchmark(name)
    items = [p.question for p in benchmark.problems]
    pairs = [
        {
            **dataclasses.asdict(finding),
            "item": benchmark.problems[finding.item].id,
            "row_text": rows[finding.row],
            "item_text": items[finding.item],
        }
        for finding in scan(rows, items, threshold=threshold)
    ]
    counts = Counter(pair["tier"] for pair in pairs)
    return {
        "benchmark": name,
        "fingerprint": benchmark.fingerprint,
        "rows": len(rows),
        "items": len(items),
        "tiers": {tier: counts[tier] for tier in TIERS},
        "pairs": pairs,
    }


def in_words(result: dict[str, Any], show: int) -> list[str]:
    """Lines for a person: a count of each tier, and its first pairs, one above the other."""
    lines = [f"{result['benchmark']}: {result['rows']:,} training rows against {result['items']:,} questions"]
    for tier, meaning in TIERS.items():
        lines.append(f"  {tier:<7} {result['tiers'][tier]:>6,}  {meaning}")
        for pair in [p for p in result["pairs"] if p["tier"] == tier][:show]:
            lines.append(f"    row {pair['row']}: {_short(pair['row_text'])}")
            lines.append(f"    {pair['item']}: {_short(pair['item_text'])}")
    return lines


def _short(text: str) -> str:
    """One line without control characters: the text is somebody's data."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= WIDTH else plain[: WIDTH - 1] + "…"
