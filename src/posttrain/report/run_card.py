"""The card of a whole run on the Hub: which tables it holds, what every stage did, where the report stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from posttrain.evals.table import markdown
from posttrain.report.tables import cell
from posttrain.report.words import brief, duration, plain
from posttrain.store import Manifest


def run_card(run: Path, files: Collection[str], left_out: Collection[str] = ()) -> str:
    """README.md of a run's repository. files: what is in it, relative to the run, as posttrain.hub packs it."""
    head: dict[str, Any] = {"tags": ["posttrain", "run"]}
    tables = _configs(files)
    if tables:
        head["configs"] = tables
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)
    rows = [row for row in (_row(run / name) for name in _stages(files)) if row]
    pages = sorted(name for name in files if name.endswith("/report.md"))
    sections = [
        f"---\n{front}---",
        f"# {plain(run.resolve().name)}",
        "A run of posttrain: every stage's manifest (config, inputs, seed, versions, sha256 of its files), metrics and "
        "tables.",
        "\n".join(f"- [{plain(PurePosixPath(page).parent.name)}]({page})" for page in pages),
        "## Stages",
        markdown(["folder", "stage", "summary", "digest", "time"], rows),
        f"Not here: {', '.join(plain(what) for what in left_out)}." if left_out else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _configs(files: Collection[str]) -> list[dict[str, Any]]:
    """A config per table of one kind and stage, which share their columns; several are told by a pattern."""
    found: dict[str, list[str]] = {}
    for name in sorted(files):
        path = PurePosixPath(name)
        if path.suffix == ".parquet":
            found.setdefault(f"{path.parts[0]}-{path.stem}", []).append(name)
    return [
        {"config_name": name, "data_files": paths[0] if len(paths) == 1 else _pattern(paths[0])}
        for name, paths in found.items()
    ]


def _pattern(name: str) -> str:
    path = PurePosixPath(name)
    return f"{path.parts[0]}/**/{path.name}"


def _stages(files: Collection[str]) -> list[str]:
    return sorted({name.partition("/")[0] for name in files if "/" in name})


def _row(stage: Path) -> list[str] | None:
    manifest = Manifest.read(stage)
    if manifest is None:
        return None
    told: Mapping[str, Any] = {k: v for k, v in manifest.summary.items() if isinstance(v, str | int | float)}
    few = dict(list(told.items())[:6])
    summary = cell(brief(few)) if few else "–"
    return [cell(stage.name), manifest.stage, summary, (manifest.digest or "–")[:12], duration(manifest.seconds)]
