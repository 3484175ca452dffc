"""``posttrain benchmarks``."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def benchmarks(name: str | None, as_json: bool) -> None:
    """List the benchmarks: items, licence, and whether the mirror holds them; with NAME, everything about that one."""
    from posttrain.benchmarks.listing import listing, measured
    from posttrain.benchmarks.load import find

    wanted = find(name).name if name else None
    facts = [f for f in listing() if wanted in (None, f["name"])]
    if wanted and facts[0]["here"] in ("yes", "made"):
        facts[0] |= measured(wanted)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    elif wanted:
        for key, value in facts[0].items():
            if value not in (None, [], {}):
                click.echo(f"{key}: {_text(value)}")
    else:
        _table(facts)


def _table(facts: list[dict[str, Any]]) -> None:
    rows = [("name", "items", "here", "grading", "licence")]
    rows += [
        (f["name"], f"{f['items']:,}" if f["items"] else "?", f["here"], f["grading"], f["licence"]) for f in facts
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        left, items, here, grading, licence = row
        click.echo(f"{left:<{widths[0]}}  {items:>{widths[1]}}  {here:<{widths[2]}}  {grading:<{widths[3]}}  {licence}")
    click.echo(
        "\nhere: yes = in the mirror that POSTTRAIN_DATA names, as declared; changed = other bytes; yours = a file of "
        "your own;\nmade = needs no file. gsm8k and math500 are read from the Hub where there is no mirror. "
        "posttrain benchmarks NAME says more."
    )


def _text(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
