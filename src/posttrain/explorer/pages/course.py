"""What a sweep says of itself over steps: its trend, its best step, how its answers change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.evals.sweep.words import best_in_words, trend_in_words
from posttrain.explorer.library import Series as SampleSeries
from posttrain.explorer.site import Site
from posttrain.explorer.text import plain
from posttrain.report.courses import measure_panels
from posttrain.report.curves import Panel

LARGEST = 16 * 2**20  # bytes of a file that is still opened


@dataclass(frozen=True)
class Course:
    """Sentences, and charts of the measures."""

    said: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()


def course_of(site: Site, series: SampleSeries) -> Course:
    """Of sweep.json and analytics.json beside an evaluation; empty where they are missing or can't be read."""
    found = site.library.artifacts().get(series.artifact)
    if series.kind != "answers" or found is None:
        return Course()
    benchmark = series.sets[0].benchmark
    try:
        told = _read(site, found.path / "sweep.json")
        said = _said(told.get("says", {}).get(benchmark) or {}, told.get("steps", ()))
        measured = _read(site, found.path / "analytics.json").get(benchmark) or {}
        panels = list(measure_panels(measured.get("steps", ()), measured.get("series", {})))
    except (ValueError, LookupError, TypeError, AttributeError):
        return Course()
    return Course(tuple(said), tuple(panels))


def _read(site: Site, path: Any) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > LARGEST or not path.resolve().is_relative_to(site.library.root):
        return {}
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


def _said(says: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> list[str]:
    refused = {r["label"] for r in says.get("refused", ())}
    told = []
    if says.get("trend"):
        told.append(trend_in_words(says["trend"], [int(s["step"]) for s in steps if s["label"] not in refused]))
    if says.get("best"):
        told.append(best_in_words(says["best"]))
    sentences = [f"{text[0].upper()}{plain(text[1:], 400)}." for text in told]
    sentences += [
        f"Step {plain(r['label'], 40)} was left out: {plain(r['reason'], 200)}." for r in says.get("refused", ())
    ]
    return sentences
