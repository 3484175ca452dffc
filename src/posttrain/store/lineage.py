"""Walks from an artifact back to what it came from: data, teacher, models, seeds and code."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import StoreError
from posttrain.store.manifest import Manifest
from posttrain.store.versions import versions_of


@dataclass(frozen=True)
class Origin:
    """One artifact in a lineage. `role` is what it was to the artifact made from it (`traces`), empty at the root.

    note says what is out of the ordinary: a model from outside, a part of an artifact, a folder that is gone.
    """

    role: str
    name: str
    path: str
    manifest: Manifest | None
    note: str
    inputs: tuple[Origin, ...]


def lineage(path: Path) -> Origin:
    """The origin of the artifact at `path`, or of the artifact that `path` is a part of (one of its checkpoints)."""
    if not path.exists():
        raise StoreError(f"{path} does not exist. Give an artifact's folder, e.g. runs/quickstart/sft.")
    folder = path.resolve()
    for candidate in (folder, *folder.parents):
        manifest = Manifest.read(candidate)
        if manifest is not None:
            part = "" if candidate == folder else f"{folder.relative_to(candidate)} of it"
            return _origin("", candidate, manifest, part)
    raise StoreError(f"{path} has no manifest.json, nor has a folder above it, so nothing is known of how it was made.")


def _origin(role: str, folder: Path, manifest: Manifest, note: str) -> Origin:
    inputs = []
    for name, given in manifest.inputs.items():
        for one in given if isinstance(given, list) else [given]:
            inputs.append(_input(name, one, folder))
    if manifest.status != "finished":
        note = ", ".join(filter(None, [note, "not finished"]))
    return Origin(role, folder.name, str(folder), manifest, note, tuple(inputs))


def _input(role: str, given: dict[str, Any], reader: Path) -> Origin:
    """The input as it was when it was read: the folder with that digest, which may be an old version by now."""
    written = given["path"]
    if not written.startswith(("/", "..")):
        return Origin(role, given["name"], written, None, "from the hub", ())
    path = Path(os.path.normpath(reader / written))
    for candidate in [path, *(old for _, old in reversed(versions_of(path)))]:
        manifest = Manifest.read(candidate)
        if manifest is not None and manifest.digest == given["digest"]:
            return _origin(role, candidate, manifest, "")
    if Manifest.read(path) is not None:
        note = f"made again since; the version used here ({given['digest'][:12]}…) is gone"
        return Origin(role, given["name"], str(path), None, note, ())
    for above in path.parents:  # a checkpoint inside an artifact
        manifest = Manifest.read(above)
        if manifest is not None:
            return _origin(role, above, manifest, f"{path.relative_to(above)} of it")
    return Origin(role, given["name"], str(path), None, "from outside" if path.is_dir() else "gone", ())


def describe(origin: Origin) -> str:
    """The lineage as an indented tree for people; what appeared above is not repeated."""
    return "\n".join(_lines(origin, "", "", set()))


def _lines(origin: Origin, lead: str, below: str, seen: set[str]) -> Iterator[str]:
    role = f"{origin.role}: " if origin.role else ""
    notes = [origin.note] if origin.note else []
    manifest = origin.manifest
    if manifest is None:
        yield f"{lead}{role}{origin.path}  ({origin.note})"
        return
    if origin.path in seen:
        yield f"{lead}{role}{origin.name}  (see above)"
        return
    seen.add(origin.path)
    code = manifest.code.get("posttrain", "?")
    if "commit" in manifest.code:
        code += f" {manifest.code['commit'][:10]}{' with changes' if manifest.code.get('changed') else ''}"
    facts = [manifest.stage, manifest.finished or "not finished", f"seed {manifest.seed}", f"posttrain {code}", *notes]
    yield f"{lead}{role}{origin.name}  {', '.join(facts)}"
    bar = "│  " if origin.inputs else "   "
    for line in textwrap.wrap(", ".join(_settings(manifest.config)), 110, break_long_words=False):
        yield f"{below}{bar}{line}"
    for position, inner in enumerate(origin.inputs):
        last = position == len(origin.inputs) - 1
        yield from _lines(inner, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}", seen)


def _settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """``optimizer.lr=0.001`` for everything that is set."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif value not in (None, [], ""):
            yield f"{prefix}{key}={value}"


def as_dict(origin: Origin) -> dict[str, Any]:
    """The lineage as JSON-able values."""
    manifest = origin.manifest
    known = (
        {
            key: getattr(manifest, key)
            for key in ("stage", "config", "seed", "digest", "started", "finished", "code", "versions", "hardware")
        }
        if manifest
        else {}
    )
    return {
        "role": origin.role,
        "name": origin.name,
        "path": origin.path,
        "note": origin.note,
        **known,
        "inputs": [as_dict(inner) for inner in origin.inputs],
    }
