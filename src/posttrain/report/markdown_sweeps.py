"""The parts of report.md on sweeps and judges, with their PNG plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from posttrain.benchmarks import slug
from posttrain.report.courses import Course
from posttrain.report.judged import Judged
from posttrain.report.plots import curve_plot, panel_plot
from posttrain.report.words import plain


def course_sections(courses: Sequence[Course], folder: Path) -> list[str]:
    """Every sweep's scores and measures over checkpoints."""
    sections: list[str] = []
    for course in courses:
        name = slug(course.title)
        sections.append(f"## Over checkpoints: {plain(course.title)}")
        said = [*([f"{course.trend[0]}."] if course.trend else []), *course.says]
        sections.append("\n".join(f"- {plain(line)}" for line in said))
        if course.accuracy is not None:
            panel_plot(course.accuracy, folder / f"course-{name}.png")
            sections.append(f"![Accuracy over checkpoints of {plain(course.title)}](course-{name}.png)")
        sections += course.scores.as_markdown() if course.scores is not None else []
        if course.measures is not None:
            sections.append("### The answers")
        if course.panels:
            curve_plot(course.panels, folder / f"answers-{name}.png")
            about = f"What the answers of {plain(course.title)} look like over checkpoints"
            sections.append(f"![{about}](answers-{name}.png)")
        sections += course.measures.as_markdown() if course.measures is not None else []
    return sections


def judged_sections(judged: Sequence[Judged], folder: Path) -> list[str]:
    """What every judge says, and what it is worth."""
    sections: list[str] = []
    for one in judged:
        name = slug(one.name)
        sections.append(f"## Judged: {plain(one.name)}, by {plain(one.judge)}")
        sections.append("\n".join(f"- {plain(line)}" for line in one.says))
        sections += one.agreement.as_markdown() if one.agreement is not None else []
        if one.panels:
            curve_plot(one.panels, folder / f"judged-{name}.png")
            sections.append(f"![What {plain(one.judge)} says over checkpoints](judged-{name}.png)")
        for table in one.tables:
            sections += table.as_markdown()
    return sections
