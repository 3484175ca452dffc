"""The `report` stage: what evaluations, sweeps and judges say, as HTML, Markdown with plots, JSON, and cards."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from posttrain.benchmarks import slug
from posttrain.report.config import ReportConfig
from posttrain.report.contents import Contents, gather
from posttrain.report.forecast import reading
from posttrain.stage import Workspace
from posttrain.store import KINDS, Artifact, Judgements, Report, Scores, write_atomic

if TYPE_CHECKING:
    from posttrain.report.lineage import Made


def report(config: ReportConfig, of: list[Scores], work: Workspace, judged: list[Judgements] | None = None) -> Report:
    """Reads evaluations and what made their models; generates nothing and loads no model.

    of: evaluations and sweeps.
    judged: what judges say of them.
    """
    from posttrain.report.html import render_html
    from posttrain.report.markdown import write_markdown

    contents = gather(config, of, work.dir.resolve().parent.name, judged or ())
    write_markdown(contents, work.dir)
    _write_text(work, "report.html", render_html(contents))
    if config.cards:
        _write_cards(config, contents, work)
    work.write_json("report.json", contents.as_json())
    work.write_json("timing.json", {"stages": [asdict(s) for s in contents.costs.stages]})
    for line in [*contents.headlines, *contents.trends, *(r["reason"] for r in contents.refused)]:
        work.note(line)
    work.summarise(comparisons=len(contents.comparisons), refused=len(contents.refused))
    return Report(work.dir)


report.version = 3  # type: ignore[attr-defined]


def _write_cards(config: ReportConfig, contents: Contents, work: Workspace) -> None:
    """cards/NAME.md for every model made here that was evaluated, and for the data behind it."""
    from posttrain.report.card_facts import TABLES, dataset_facts, model_facts
    from posttrain.report.cards import dataset_card, model_card

    evaluated = {m["name"] for m in contents.models}
    for made in contents.made:
        if made.manifest is None or made.manifest.status != "finished":
            continue
        if made.manifest.kind == "checkpoint" and made.name in evaluated:
            scores = [m for m in contents.models if m["name"] == made.name]
            marks = {m["fingerprint"] for m in scores}
            facts = model_facts(
                _opened(made),
                scores=scores,
                settings={s["fingerprint"]: s for s in contents.settings if s["fingerprint"] in marks},
                says=[h for h, c in zip(contents.headlines, contents.comparisons, strict=True) if c["b"] == made.name],
                license=config.license,
            )
            _write_text(work, f"cards/{slug(made.name)}.md", model_card(facts))
        elif made.manifest.kind in TABLES and (made.path / TABLES[made.manifest.kind][0]).is_file():
            card = dataset_card(dataset_facts(_opened(made), license=config.license))
            _write_text(work, f"cards/{slug(made.name)}.md", card)


def _opened(made: Made) -> Artifact:
    assert made.manifest is not None
    return KINDS[made.manifest.kind](made.path, made.name)


def _write_text(work: Workspace, name: str, text: str) -> None:
    with write_atomic(work.dir / name) as file:
        file.write(text.encode("utf-8", errors="replace"))


def _forecast(config: ReportConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Reading and grading leniently what was answered, drawing a few figures."""
    return reading(inputs, per_answer=1e-4, disk=1e6)


report.forecast = _forecast  # type: ignore[attr-defined]
