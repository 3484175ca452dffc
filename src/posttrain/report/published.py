"""Published numbers beside ours: only on the same benchmark, with their interval and what was asked differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from pydantic import Field

from posttrain.config import Config, load_yaml, parse
from posttrain.report.lineage import Made

COMPARED = ("template", "n_shots", "temperature", "top_p", "max_tokens", "n", "grading")


class Row(Config):
    """One published evaluation. value and half_width in percent and points; settings replace the table's."""

    method: str
    value: float = Field(ge=0, le=100)
    half_width: float = Field(ge=0, le=100)
    settings: dict[str, Any] = Field(default_factory=dict)


class Table(Config):
    """What one author reports on one benchmark. settings: those that are told, in the words of our benchmarks."""

    source: str
    model: str
    n: int = Field(ge=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    benchmarks: tuple[str, ...] = ()
    """Our names of the same problems."""
    datasets: tuple[str, ...] = ()
    """What the `data` stage calls them."""
    split: str = "test"
    settings: dict[str, Any] = Field(default_factory=dict)
    note: str | None = None


class Published(Config):
    """A file of published numbers."""

    tables: tuple[Table, ...]


def load_published(path: Path | None = None) -> tuple[Table, ...]:
    """The tables of a user's file, or of the one that ships. RecipeError where it can't be read."""
    if path is not None:
        return parse(Published, load_yaml(path), str(path)).tables
    with as_file(files("posttrain.report").joinpath("data/published.yaml")) as packaged:
        return parse(Published, load_yaml(packaged), "published.yaml").tables


def published_beside(
    models: Sequence[Mapping[str, Any]],
    settings: Sequence[Mapping[str, Any]],
    made: Sequence[Made],
    tables: Sequence[Table],
) -> list[dict[str, Any]]:
    """The tables on benchmarks of this report, JSON-able, each with how it differs from what we asked.

    models, settings: as in report.json. One entry per benchmark, fingerprint and table that belong together.
    """
    by_fingerprint = {str(s["fingerprint"]): s for s in settings}
    ours = dict.fromkeys((str(m["benchmark"]), str(m["fingerprint"])) for m in models)
    found = []
    for benchmark, mark in ours:
        asked = {**by_fingerprint[mark], **by_fingerprint[mark].get("sampling", {})}
        for table in tables:
            if not is_same_benchmark(table, benchmark, made):
                continue
            found.append(
                {
                    "benchmark": benchmark,
                    "fingerprint": mark,
                    "source": table.source,
                    "model": table.model,
                    "n": table.n,
                    "note": table.note,
                    "differs": _differences(table, asked, _bases(made)),
                    "rows": [
                        {"method": r.method, "value": r.value, "half_width": r.half_width, "settings": r.settings}
                        for r in table.rows
                    ],
                }
            )
    return found


def is_same_benchmark(table: Table, benchmark: str, made: Sequence[Made]) -> bool:
    """By the benchmark's name, or, for NAME/SPLIT of a `data` stage in the lineage, by the dataset that it reads."""
    if benchmark in table.benchmarks:
        return True
    name, _, split = benchmark.rpartition("/")
    datasets = [str(m.manifest.config.get("dataset")) for m in made if m.name == name and m.manifest is not None]
    return split == table.split and any(_whole(theirs, ours) for ours in datasets for theirs in table.datasets)


def _whole(theirs: str, ours: str) -> bool:
    """Whether `ours` is that dataset, or a file of it (``hf://datasets/org/name/path``)."""
    return ours == theirs or f"/{theirs}/" in f"/{ours}/"


def _differences(table: Table, asked: Mapping[str, Any], bases: Sequence[str]) -> list[str]:
    """What was asked differently, and what they don't say. Never empty: nobody's graders are the same."""
    found = []
    if bases != [table.model]:
        found.append(f"model {table.model}, ours {', '.join(bases) or 'no model of the hub'}")
    if asked.get("n_problems") not in (None, table.n):
        found.append(f"{table.n:,} problems, ours {asked['n_problems']:,}")
    for key in COMPARED:
        if key in table.settings and key in asked and table.settings[key] != asked[key]:
            found.append(f"{key} {table.settings[key]}, ours {asked[key]}")
    untold = [key for key in COMPARED if key in asked and key not in table.settings]
    if untold:
        found.append(f"not said: {', '.join(untold)}")
    return found


def _bases(made: Sequence[Made]) -> list[str]:
    """The hub's models that our models come from."""
    return sorted({str(m.path) for m in made if m.is_hub_name})
