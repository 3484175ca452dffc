"""``posttrain compare A B [C …]``."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("evaluations", nargs=-1, required=True, metavar="A B [C]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as in report.json.")
@click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), default=0.95)
def compare(evaluations: tuple[str, ...], as_json: bool, confidence: float) -> None:
    """Compare models item by item: each against the first, and against the one before it.

    A, B, …: folders of evaluations, each for all of its models, or FOLDER:MODEL for one.
    """
    from posttrain.evals.select import select_answers
    from posttrain.evals.table import comparisons_table, parts_in_words, scores_table
    from posttrain.report.collect import by_benchmark, compare_all, model_entry

    found = by_benchmark(select_answers(evaluations))
    comparisons = [c.as_json() for c in compare_all(found, (), confidence)]
    models = [model_entry(a) for several in found.values() for a in several.values()]
    if as_json:
        click.echo(json.dumps({"models": models, "comparisons": comparisons}, indent=2, ensure_ascii=False))
        return
    click.echo(scores_table(models))
    if comparisons:
        click.echo("\n" + comparisons_table(comparisons) + "\n")
    for c in comparisons:
        if c["parts"] is not None:
            click.echo(f"{c['b']} − {c['a']} on {c['benchmark']}, by cause: {parts_in_words(c['parts'])}")
