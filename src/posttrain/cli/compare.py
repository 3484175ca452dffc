"""``posttrain compare A B [C …]``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("evaluations", nargs=-1, required=True, metavar="A B [C]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as in report.json.")
@click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), default=0.95)
def compare(evaluations: tuple[str, ...], as_json: bool, confidence: float) -> None:
    """Compare models item by item: each against the first, and against the one before it.

    A, B, …: folders of evaluations, each for all of its models, or FOLDER:MODEL for one. A1+A2+A3 is one way of
    training with several seeds: such are compared over their seeds, the first with each of the others.
    """
    if any("+" in name and not Path(name).exists() for name in evaluations):
        _compare_seeds(evaluations, as_json, confidence)
        return
    from posttrain.evals.select import select_answers
    from posttrain.evals.table import comparisons_table, parts_in_words, samples_table, scores_table
    from posttrain.report.collect import by_benchmark, compare_all, model_entry

    found = by_benchmark(select_answers(evaluations))
    comparisons = [c.as_json() for c in compare_all(found, (), confidence)]
    models = [model_entry(a) for several in found.values() for a in several.values()]
    if as_json:
        click.echo(json.dumps({"models": models, "comparisons": comparisons}, indent=2, ensure_ascii=False))
        return
    click.echo(scores_table(models))
    if beside := samples_table(models):
        click.echo("\n" + beside)
    if comparisons:
        click.echo("\n" + comparisons_table(comparisons) + "\n")
    for c in comparisons:
        if c["parts"] is not None:
            click.echo(f"{c['b']} − {c['a']} on {c['benchmark']}, by cause: {parts_in_words(c['parts'])}")


def _compare_seeds(names: tuple[str, ...], as_json: bool, confidence: float) -> None:
    from posttrain.evals.seeds import compare_methods, seeds_table
    from posttrain.evals.select import select_methods

    comparisons = [
        compare_methods(methods[0], other, confidence=confidence)
        for methods in select_methods(names).values()
        for other in methods[1:]
    ]
    click.echo(
        json.dumps({"seeds": comparisons}, indent=2, ensure_ascii=False) if as_json else seeds_table(comparisons)
    )
