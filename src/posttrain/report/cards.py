"""Model cards and dataset cards in the Hub's form: YAML for machines, then prose and tables for people.

A card says what the report says, from the same facts: every accuracy with n, interval, truncated and unparsed rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from posttrain.evals.table import markdown, percent, scores_table
from posttrain.report.hyperparameters import Hyperparameters
from posttrain.report.selection import Selection
from posttrain.report.tables import cell, hyperparameters_table, selection_table
from posttrain.report.words import brief, duration, plain

HOME = "made with posttrain"


@dataclass(frozen=True)
class Origin:
    """One stage on the way: what it was called, what it did, and the digest of what it made."""

    name: str
    stage: str
    inputs: tuple[str, ...]
    digest: str
    seconds: float | None


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model. base: the hub's model that it comes from; scores: entries as in report.json.

    datasets: the hub's datasets behind it. says: sentences of the comparisons that it is in.
    """

    name: str
    base: str | None = None
    license: str | None = None
    adapter: bool = False
    datasets: tuple[str, ...] = ()
    scores: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by fingerprint
    says: tuple[str, ...] = ()
    hyperparameters: Hyperparameters | None = None
    selections: tuple[Selection, ...] = ()
    certificate: tuple[Mapping[str, Any], ...] = ()
    way: tuple[Origin, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset. file: its table here. counts: rows by split. configs: the files that the Hub shows.

    teacher: who wrote the answers. sources: the hub's datasets that it comes from.
    """

    name: str
    what: str
    file: str
    counts: Mapping[str, int] = field(default_factory=dict)
    configs: tuple[Mapping[str, Any], ...] = ()
    columns: tuple[str, ...] = ()
    license: str | None = None
    sources: tuple[str, ...] = ()
    teacher: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    selections: tuple[Selection, ...] = ()
    certificate: tuple[Mapping[str, Any], ...] = ()
    way: tuple[Origin, ...] = ()
    digest: str = ""


def model_card(facts: ModelFacts) -> str:
    """README.md of a model on the Hub. Evaluation results stand in its metadata as a model-index."""
    head: dict[str, Any] = {
        "library_name": "peft" if facts.adapter else "transformers",
        "pipeline_tag": "text-generation",
    }
    if facts.base:
        head |= {"base_model": facts.base, "base_model_relation": "adapter" if facts.adapter else "finetune"}
    if facts.license:
        head["license"] = facts.license
    if facts.datasets:
        head["datasets"] = list(facts.datasets)
    head["tags"] = [
        "posttrain",
        *dict.fromkeys(o.stage for o in facts.way if o.stage in ("sft", "rl", "dpo", "pretrain")),
    ]
    if facts.scores:
        results = [model_index_entry(m, facts.settings.get(str(m["fingerprint"]), {})) for m in facts.scores]
        head["model-index"] = [{"name": facts.name, "results": results}]
    sections = [
        _front(head),
        f"# {plain(facts.name)}",
        _lead(facts),
        *_evaluation(facts),
        *_training(facts),
        *_selection(facts.selections),
        *_certificate(facts.certificate),
        *_way(facts.way),
        _foot(facts.digest, facts.versions),
    ]
    return "\n\n".join(s for s in sections if s) + "\n"


def dataset_card(facts: DatasetFacts) -> str:
    """README.md of a dataset on the Hub."""
    rows = sum(facts.counts.values())
    head: dict[str, Any] = {"tags": ["posttrain", *(["synthetic"] if facts.teacher else [])]}
    if facts.license:
        head["license"] = facts.license
    if rows:
        head["size_categories"] = [size_category(rows)]
    if facts.sources:
        head["source_datasets"] = list(facts.sources)
    head["configs"] = [dict(c) for c in facts.configs] or [{"config_name": "default", "data_files": facts.file}]
    counts = [[split, f"{count:,}"] for split, count in facts.counts.items()]
    by = f" Its answers were written by {plain(facts.teacher)}." if facts.teacher else ""
    came = f" It comes from {', '.join(plain(s) for s in facts.sources)}." if facts.sources else ""
    sections = [
        _front(head),
        f"# {plain(facts.name)}",
        f"{facts.what}: {rows:,} rows, {HOME}.{came}{by}",
        "## Rows",
        markdown(["split", "rows"], counts),
        f"Columns: {', '.join(f'`{c}`' for c in facts.columns)}." if facts.columns else "",
        f"Counted while it was made: {plain(brief(dict(facts.summary)))}." if facts.summary else "",
        *_selection(facts.selections),
        *_certificate(facts.certificate),
        *_way(facts.way),
        _foot(facts.digest, {}),
    ]
    return "\n\n".join(s for s in sections if s) + "\n"


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((word for bound, word in bounds if rows < bound), "1M<n<10M" if rows < 10_000_000 else "n>10M")


def _front(head: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---"


def model_index_entry(m: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """One result of the model-index: the headline, its bounds, and the rates without which it is never shown."""
    low, high = m["interval"]
    level = f"{100 * m['confidence']:g} % interval {100 * low:.1f} to {100 * high:.1f}"
    rates = [
        {"type": kind, "name": f"{name}, %", "value": round(100 * m[f"{kind}_rate"], 2)}
        for kind, name in (("truncation", "truncated"), ("unparsed", "unparsed"))
        if m[f"{kind}_rate"] is not None
    ]
    args = {k: v for k, v in settings.items() if k in ("template", "n_shots", "grading", "sampling") and v is not None}
    headline = {
        "type": "accuracy",
        "name": f"accuracy, %, n = {m['n']}, {level}",
        "value": round(100 * m["accuracy"], 2),
    }
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": {
            "name": m["benchmark"],
            "type": m["benchmark"],
            "split": "test",
            "args": {**args, "fingerprint": m["fingerprint"]},
        },
        "metrics": [headline, *rates],
    }


def _lead(facts: ModelFacts) -> str:
    kind = "A LoRA adapter for" if facts.adapter else "Trained from"
    start = (
        f"{kind} [{facts.base}](https://huggingface.co/{facts.base}), {HOME}."
        if facts.base
        else f"{HOME.capitalize()}."
    )
    if not facts.scores:
        return f"{start} It was not evaluated."
    told = [
        f"{percent(m['accuracy'])} on {plain(str(m['benchmark']))} [{100 * m['interval'][0]:.1f}, "
        f"{100 * m['interval'][1]:.1f}], n = {m['n']:,}"
        for m in facts.scores
    ]
    return f"{start} Accuracy: {'; '.join(told)}."


def _evaluation(facts: ModelFacts) -> list[str]:
    if not facts.scores:
        return []
    rows = [[str(s.get("benchmark")), mark[:12], _asked(s)] for mark, s in facts.settings.items()]
    return [
        "## Evaluation",
        scores_table(list(facts.scores)),
        "\n".join(f"- {plain(line)}" for line in facts.says),
        markdown(["benchmark", "fingerprint", "asked"], rows) if rows else "",
    ]


def _asked(settings: Mapping[str, Any]) -> str:
    keys = ("template", "n_shots", "grading", "sampling", "n_problems")
    return brief({k: settings[k] for k in keys if settings.get(k) is not None})


def _training(facts: ModelFacts) -> list[str]:
    told = facts.hyperparameters
    if told is None:
        return []
    return ["## Training", hyperparameters_table(told)]


def _selection(selections: Sequence[Selection]) -> list[str]:
    return [part for s in selections for part in (f"## Selection: {plain(s.artifact)}", selection_table(s))]


def _certificate(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    if not lines:
        return []
    rows = [[c["artifact"], cell(c["line"]), "ok" if c["ok"] else "**not ok**", cell(brief(c["facts"]))] for c in lines]
    return ["## Certificate", markdown(["artifact", "check", "result", "facts"], rows)]


def _way(way: Sequence[Origin]) -> list[str]:
    if not way:
        return []
    rows = [[o.name, o.stage, ", ".join(o.inputs) or "–", o.digest[:12] or "–", duration(o.seconds)] for o in way]
    return ["## Where it comes from", markdown(["artifact", "stage", "made from", "digest", "time"], rows)]


def _foot(digest: str, versions: Mapping[str, str]) -> str:
    said = [f"Digest `{digest}`."] if digest else []
    if versions:
        said.append(f"Versions: {', '.join(f'{k} {v}' for k, v in versions.items())}.")
    return " ".join(said)
