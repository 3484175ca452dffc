"""``posttrain cuts FOLDER``: what cleaning cut out of traces, before and after."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--limit", default=10, show_default=True, help="Show so many traces; 0 = the counts alone.")
@click.option("--problem", help="Only the traces of this problem.")
@click.option("--rule", help="Only cuts of this rule.")
def cuts(folder: Path, limit: int, problem: str | None, rule: str | None) -> None:
    """Show what cleaning cut out of the traces in FOLDER: the raw text, with every cut in [-brackets-].

    The rules with their counts come last. Nothing is changed: traces.clean=false makes the same traces without cuts.
    """
    from posttrain.errors import DataError
    from posttrain.store import Samples
    from posttrain.traces.cleaning import marked
    from posttrain.traces.rows import cuts_of

    if not (folder / "samples.parquet").is_file():
        raise DataError(
            f"{folder} holds no traces: there is no samples.parquet in it. Give the folder of a traces stage."
        )
    counts: Counter[str] = Counter()
    total = touched = shown = 0
    for sample in Samples(folder).read():
        if problem is not None and sample.problem_id != problem:
            continue
        total += 1
        found = cuts_of(sample)
        rules = [cut.rule for one in found.values() for cut in one.cuts]
        counts.update(rules)
        touched += bool(rules)
        if shown < limit and rules and (rule is None or rule in rules):
            shown += 1
            for name, one in found.items():
                click.echo(click.style(f"{sample.problem_id} #{sample.index}, {name}", bold=True))
                click.echo(
                    marked(one.text, one.cuts, before=click.style("[-", fg="red"), after=click.style("-]", fg="red"))
                )
                click.echo()
    for name, count in counts.most_common():
        click.echo(f"{count:7,}  {name}")
    click.echo(f"{touched:,} of {total:,} traces were cleaned")
