"""report.md with its PNG plots."""

from __future__ import annotations

from pathlib import Path

from posttrain.benchmarks import slug
from posttrain.evals.table import comparisons_table, markdown, scores_table
from posttrain.report.contents import Contents
from posttrain.report.examples import Example
from posttrain.report.markdown_sweeps import course_sections, judged_sections
from posttrain.report.plots import accuracy_plot, curve_plot, panel_plot
from posttrain.report.tables import costs_table, hyperparameters_table, published_table, selection_table
from posttrain.report.words import brief, duration, fenced, plain
from posttrain.store import write_atomic


def write_markdown(contents: Contents, folder: Path) -> None:
    """Writes report.md, and beside it the plots that it shows."""
    sections = [
        f"# {plain(contents.title)}",
        "\n".join(f"- {plain(line)}" for line in [*contents.headlines, *contents.trends]),
        "\n".join(f"- Not compared: {plain(r['reason'])}" for r in contents.refused),
        *_results(contents),
        *_accuracy_plots(contents, folder),
        *_comparisons(contents),
        *_published(contents),
        *course_sections(contents.courses, folder),
        *judged_sections(contents.judged, folder),
        *_learning(contents, folder),
        *_examples(contents),
        *_curves(contents, folder),
        *_hyperparameters(contents),
        *_selection(contents),
        *_certificate(contents),
        *_costs(contents),
        *_lineage(contents),
        *_settings(contents),
    ]
    with write_atomic(folder / "report.md") as file:
        file.write(("\n\n".join(s for s in sections if s) + "\n").encode("utf-8", errors="replace"))


def _results(contents: Contents) -> list[str]:
    if contents.baseline is None:
        return []
    return ["## Results", f"Baseline: {plain(contents.baseline)}.", scores_table(contents.models)]


def _accuracy_plots(contents: Contents, folder: Path) -> list[str]:
    shown = []
    for benchmark in contents.benchmarks:
        name = f"accuracy-{slug(benchmark)}.png"
        accuracy_plot([m for m in contents.models if m["benchmark"] == benchmark], folder / name)
        shown.append(f"![Accuracy on {plain(benchmark)} with intervals]({name})")
    return shown


def _comparisons(contents: Contents) -> list[str]:
    if not contents.comparisons:
        return []
    legend = (
        "Differences in points, paired problem by problem; p adjusted by Holm over the comparisons of a benchmark; "
        "detectable: the smallest difference that these problems show with 80 % power."
    )
    several = len(contents.benchmarks) > 1
    parts = ["## Comparison and analysis", comparisons_table(contents.comparisons), legend]
    for told in contents.analysis:
        where = f" on {plain(told['benchmark'])}" if several else ""
        parts.append(f"**{plain(told['b'])} against {plain(told['a'])}{where}.** {plain(' '.join(told['says']))}")
    return parts


def _published(contents: Contents) -> list[str]:
    sections = ["## Published numbers beside ours"] if contents.published else []
    for entry in contents.published:
        sections.append(f"### {plain(entry['source'])}, on {plain(entry['benchmark'])}")
        sections.append(published_table(entry, contents.of_fingerprint(entry["fingerprint"])))
        note = f" {plain(entry['note']).capitalize()}." if entry["note"] else ""
        sections.append(f"Theirs against ours: {plain('; '.join(entry['differs']))}.{note}")
    return sections


def _hyperparameters(contents: Contents) -> list[str]:
    told = contents.hyperparameters
    return ["## Hyperparameters", hyperparameters_table(told)] if told is not None else []


def _selection(contents: Contents) -> list[str]:
    if not contents.selections:
        return []
    shown = [part for s in contents.selections for part in (f"### {plain(s.artifact)}", selection_table(s))]
    return ["## Selection strategy", *shown]


def _costs(contents: Contents) -> list[str]:
    told = [f"Of {plain(n)} only the last attempt is counted." for n in contents.costs.again]
    return ["## Cost and time", costs_table(contents.costs), " ".join(told)]


def _learning(contents: Contents, folder: Path) -> list[str]:
    if contents.learning is None:
        return []
    panel_plot(contents.learning, folder / "learning.png")
    return ["## Learning curve", "![Validation accuracy over seconds of training](learning.png)"]


def _curves(contents: Contents, folder: Path) -> list[str]:
    sections = []
    for stage in contents.curves:
        sections.append(f"## Training: {plain(stage.name)}")
        sections += [f"- {plain(note)}" for note in stage.notes]
        if stage.panels:
            name = f"training-{slug(stage.name)}.png"
            curve_plot(stage.panels, folder / name)
            sections.append(f"![Training curves of {plain(stage.name)}]({name})")
    return sections


def _examples(contents: Contents) -> list[str]:
    sections = []
    for benchmark, examples in contents.examples.items():
        if examples:
            sections.append(f"## Answers on {plain(benchmark)}")
        for example in examples:
            sections += _example(example)
    return sections


def _example(example: Example) -> list[str]:
    gold = f" Gold: {plain(example.gold)}." if example.gold is not None else ""
    lines = [
        f"### {plain(example.problem_id)}",
        fenced(example.question),
        f"The models were right and wrong like this on {example.alike:,} of {example.of:,} problems.{gold}",
    ]
    for a in example.answers:
        verdict = {True: "correct", False: f"wrong ({a.reason})", None: f"undecided ({a.reason})"}[a.correct]
        cut = f"\n… {a.cut:,} more characters" if a.cut else ""
        lines += [f"**{plain(a.model)}**: {plain(verdict)}", fenced(a.text + cut)]
    return lines


def _certificate(contents: Contents) -> list[str]:
    if not contents.certificate:
        return []
    rows = [[c["artifact"], c["line"], "ok" if c["ok"] else "**RED**", brief(c["facts"])] for c in contents.certificate]
    return ["## Certificate", markdown(["artifact", "check", "result", "facts"], rows)]


def _lineage(contents: Contents) -> list[str]:
    rows = [
        [
            m.name,
            m.stage,
            ", ".join(m.inputs) or "–",
            m.digest[:12] or "–",
            duration(m.manifest.seconds if m.manifest else None),
            brief(m.summary),
        ]
        for m in contents.made
    ]
    return ["## Lineage", markdown(["artifact", "stage", "made from", "digest", "time", "summary"], rows)]


def _settings(contents: Contents) -> list[str]:
    sections = ["## Settings"]
    for s in contents.settings:
        rows = [[key, brief(value)] for key, value in s.items()]
        sections.append(markdown(["setting", plain(str(s["benchmark"]))], rows))
    for m in contents.made:
        if m.manifest and m.manifest.config:
            rows = [[key, brief(value)] for key, value in m.manifest.config.items()]
            sections.append(markdown(["setting", f"stage {plain(m.name)}"], rows))
    return sections
