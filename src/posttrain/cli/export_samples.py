"""``posttrain export-samples SCORES``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="export-samples")
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["lm-eval"]), default="lm-eval", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("exported"), show_default=True, help="The folder to write."
)
def export_samples(scores: Path, kind: str, out: Path) -> None:
    """Write the samples of an evaluation in another suite's format.

    SCORES: the folder of an evaluation. lm-eval: samples_*.jsonl and results_*.json per model, as its --log_samples.
    """
    from posttrain.errors import RecipeError
    from posttrain.evals.export import export_lm_eval
    from posttrain.store import Scores

    if not (scores / "scores.json").is_file():
        raise RecipeError(f"{scores} is no evaluation: there is no {scores}/scores.json. Give a folder that eval made.")
    made = export_lm_eval(Scores(scores), out)
    click.echo(f"{kind}: {len(made)} files below {out}")
