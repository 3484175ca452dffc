"""What is registered, and what of it can be evaluated here."""

from __future__ import annotations

from typing import Any, Literal

from posttrain.benchmarks.declaration import Declaration
from posttrain.benchmarks.registry import DECLARATIONS
from posttrain.hub import mirror_root
from posttrain.store import sha256_file

# made: needs no files. yours: files that the declaration has no sha256 of. changed: other bytes than were declared.
Presence = Literal["made", "yes", "yours", "changed", "no"]


def presence(declared: Declaration) -> Presence:
    """Whether the mirror holds a declaration's files, and as they were declared."""
    if declared.make is not None:
        return "made"
    root = mirror_root()
    paths = [root / file.name for file in declared.files] if root else []
    if not paths or not all(path.is_file() for path in paths):
        return "no"
    if any(file.sha256 is None for file in declared.files):
        return "yours"
    same = all(sha256_file(path) == file.sha256 for path, file in zip(paths, declared.files, strict=True))
    return "yes" if same else "changed"


def listing() -> list[dict[str, Any]]:
    """Every registered benchmark as JSON-able facts, in the order of the registry."""
    return [
        {
            "name": d.name,
            "items": d.items,
            "here": presence(d),
            "licence": d.licence,
            "origin": d.origin,
            "files": [{"name": file.name, "sha256": file.sha256} for file in d.files],
            "grading": d.grading,
            "template": d.template,
            "system": d.system,
            "shots": d.shots,
            "temperature": d.sampling.temperature,
            "max_tokens": d.sampling.max_tokens,
            "metrics": list(d.metrics),
            "lm_eval": d.lm_eval,
            "lighteval": d.lighteval,
            "known_bad": dict(d.known_bad),
            "note": d.note,
            "obtain": d.obtain,
            "reference": list(d.reference),
        }
        for d in DECLARATIONS
    ]
