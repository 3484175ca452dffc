"""The `results` stage: what a comparison of several trained models comes to, as two JSON files and one table.

``evaluation_results.json``: every model's accuracy with n and interval, its difference from the first, its training
loss. ``training_log.json``: what every training stage behind them was given and its loss. ``results.md``: the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.config import Config
from posttrain.errors import RecipeError
from posttrain.evals import Answers, read_answers
from posttrain.evals.table import percent, points
from posttrain.report.collect import by_benchmark, compare_all
from posttrain.report.forecast import reading
from posttrain.report.lineage import Made, ancestry
from posttrain.stage import Workspace
from posttrain.store import Report, Scores, write_atomic
from posttrain.tracking import Metrics

TRAINING = ("pretrain", "sft", "rl", "dpo")


class ResultsConfig(Config):
    """Settings of the `results` stage."""

    baseline: str | None = None
    """The model that the others are compared with; None = the first that was evaluated."""


def results(config: ResultsConfig, of: list[Scores], work: Workspace) -> Report:
    """evaluation_results.json, training_log.json and results.md of several evaluations."""
    answers = list(read_answers(of))
    if not answers:
        raise RecipeError("the evaluations given to 'results' hold no scores. Evaluate at least one model.")
    made = ancestry(of)
    rows = evaluation_rows(answers, config.baseline, made)
    work.write_json("evaluation_results.json", rows)
    work.write_json("training_log.json", training_log(made))
    with write_atomic(work.dir / "results.md") as file:
        file.write(table(rows).encode())
    for line in table(rows).splitlines():
        work.note(line)
    work.summarise(models=len({row["model"] for row in rows}))
    return Report(work.dir)


def _forecast(config: ResultsConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Reading what was answered and comparing it."""
    return reading(inputs, per_answer=5e-5, disk=1e5)


results.forecast = _forecast  # type: ignore[attr-defined]


def evaluation_rows(answers: Sequence[Answers], baseline: str | None, made: Sequence[Made]) -> list[dict[str, Any]]:
    """One row per model and benchmark, in the order of evaluation. RecipeError for an unknown baseline."""
    losses = {m.name: m.summary.get("loss_last") for m in made if m.stage in TRAINING}
    rows = []
    for benchmark, models in by_benchmark(answers).items():
        first = baseline or next(iter(models))
        refused: list[dict[str, Any]] = []
        pairs = [(first, model) for model in models if model != first]
        compared = compare_all({benchmark: models}, pairs, 0.95, refused) if pairs else []
        against = {c.b: c.as_json() for c in compared}
        reasons = {r["b"]: r["reason"] for r in refused}
        for name, one in models.items():
            entry = one.entry
            row = {
                "model": name,
                "benchmark": benchmark,
                "accuracy": entry["accuracy"],
                "interval": entry["interval"],
                "n": entry["n"],
                "truncation_rate": entry["truncation_rate"],
                "unparsed_rate": entry["unparsed_rate"],
                "training_loss": losses.get(name),
            }
            if name in against:
                c = against[name]
                row |= {"difference": c["difference"], "difference_interval": c["interval"], "p": c["p_adjusted"]}
                row |= {"baseline": first, "verdict": c["verdict"]}
            elif name in reasons:
                row |= {"baseline": first, "verdict": f"not compared: {reasons[name]}"}
            rows.append(row)
    return rows


def training_log(made: Sequence[Made]) -> list[dict[str, Any]]:
    """One entry per training stage: its settings, its numbers, and the loss of every logged step."""
    log = []
    for one in made:
        if one.stage not in TRAINING or one.manifest is None:
            continue
        rows = [row for row in Metrics(one.path / "metrics.jsonl").read() if isinstance(row.get("loss"), int | float)]
        log.append(
            {
                "model": one.name,
                "stage": one.stage,
                "seed": one.manifest.seed,
                "inputs": list(one.inputs),
                "config": one.manifest.config,
                "summary": {key: value for key, value in one.summary.items() if key != "seconds"},
                "loss": [[row["step"], row["loss"]] for row in rows],
            }
        )
    return log


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| model | benchmark | accuracy | interval | n | difference | verdict | training loss | truncated | unparsed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["interval"]
        difference = row.get("difference")
        spread = row.get("difference_interval") or (0.0, 0.0)
        cells = [
            row["model"],
            row["benchmark"],
            f"{100 * row['accuracy']:.2f} %",
            f"[{100 * low:.1f}, {100 * high:.1f}]",
            f"{row['n']:,}",
            "baseline" if difference is None else f"{points(difference)} [{points(spread[0])}, {points(spread[1])}]",
            str(row.get("verdict", "-")),
            "-" if row["training_loss"] is None else f"{row['training_loss']:.3f}",
            percent(row["truncation_rate"]),
            percent(row["unparsed_rate"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
