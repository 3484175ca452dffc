"""What stands behind the scores: every artifact on the way back to the data, read from their manifests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.store import Artifact, Manifest

HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
HIDDEN = ("notes",)  # parts of a summary that the report shows elsewhere


@dataclass(frozen=True)
class Made:
    """One artifact with its manifest (None: a model from outside, known by its digest only)."""

    name: str
    path: Path
    manifest: Manifest | None
    digest: str
    inputs: tuple[str, ...]

    @property
    def stage(self) -> str:
        return self.manifest.stage if self.manifest else "from outside"

    @property
    def is_hub_name(self) -> bool:
        """Whether it is a model of the hub (owner/name), and not a folder that is gone."""
        return self.manifest is None and not self.path.is_dir() and HUB_NAME.fullmatch(str(self.path)) is not None

    @property
    def summary(self) -> dict[str, Any]:
        return {k: v for k, v in (self.manifest.summary if self.manifest else {}).items() if k not in HIDDEN}

    @property
    def notes(self) -> list[str]:
        notes = self.manifest.summary.get("notes", []) if self.manifest else []
        return [str(n) for n in notes] if isinstance(notes, list) else [str(notes)]

    def certificate(self) -> dict[str, dict[str, Any]]:
        path = self.path / "certificate.json"
        lines: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return lines


def ancestry(artifacts: Sequence[Artifact]) -> list[Made]:
    """The artifacts and everything that they were made from, inputs before what uses them, each once."""
    found: dict[Path, Made] = {}
    for artifact in artifacts:
        _visit(artifact.path, artifact.label, "", found)
    return list(found.values())


def _visit(path: Path, name: str, digest: str, found: dict[Path, Made]) -> str:
    key = path.resolve() if path.is_dir() else path
    if key in found:
        return found[key].name
    manifest = Manifest.read(path) if path.is_dir() else None
    names = [_visit(*given, found) for given in _inputs(path, manifest)]
    digest = (manifest.digest if manifest else None) or digest
    found[key] = Made(name, path, manifest, digest, tuple(dict.fromkeys(names)))
    return name


def _inputs(path: Path, manifest: Manifest | None) -> Iterator[tuple[Path, str, str]]:
    """(path, name, digest) of each input; a manifest writes neighbours relative to its own folder."""
    for given in manifest.inputs.values() if manifest else ():
        for one in given if isinstance(given, list) else [given]:
            beside = path / one["path"]
            target = beside.resolve() if beside.is_dir() else Path(one["path"])
            yield target, one.get("name") or target.name, one.get("digest") or ""


def certificate_lines(made: Sequence[Made]) -> list[dict[str, Any]]:
    """Every certificate line of these artifacts: stage, line, ok, facts."""
    return [
        {"artifact": m.name, "line": line, "ok": bool(facts.get("ok")), "facts": _without_ok(facts)}
        for m in made
        for line, facts in m.certificate().items()
    ]


def _without_ok(facts: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in facts.items() if k != "ok"}


def lineage_entry(made: Made) -> dict[str, Any]:
    """One artifact in report.json. No times, no paths: two equal runs give equal reports."""
    manifest = made.manifest
    return {
        "name": made.name,
        "stage": made.stage,
        "digest": made.digest,
        "inputs": list(made.inputs),
        "seed": manifest.seed if manifest else None,
        "config": manifest.config if manifest else None,
    }
