"""The `report` stage: what the evaluations say, as report.html, report.md with plots, and report.json."""

from __future__ import annotations

from typing import Any

from posttrain.report.config import ReportConfig
from posttrain.report.contents import gather
from posttrain.stage import Workspace
from posttrain.store import Report, Scores, write_atomic


def report(config: ReportConfig, of: list[Scores], work: Workspace) -> Report:
    """Reads evaluations and what made their models; generates nothing and loads no model."""
    from posttrain.report.html import render_html
    from posttrain.report.markdown import write_markdown

    contents = gather(config, of, work.dir.resolve().parent.name)
    write_markdown(contents, work.dir)
    with write_atomic(work.dir / "report.html") as file:
        file.write(render_html(contents).encode("utf-8", errors="replace"))
    work.write_json("report.json", contents.as_json())
    for line in [*contents.headlines, *(r["reason"] for r in contents.refused)]:
        work.note(line)
    work.summarise(comparisons=len(contents.comparisons), refused=len(contents.refused))
    return Report(work.dir)


def _forecast(config: ReportConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Reading and grading leniently what was answered, drawing a few figures."""
    samples = [scores.facts.get("samples") for scores in inputs["of"]]
    known = None if None in samples else sum(samples)
    return {
        "seconds": None if known is None else 2.0 + 1e-4 * known,
        "memory_bytes": None if known is None else 3e8 + 4000 * known,
        "disk_bytes": 1e6,
        "dollars": 0.0,
    }


report.forecast = _forecast  # type: ignore[attr-defined]
