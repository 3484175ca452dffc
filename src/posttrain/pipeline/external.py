"""Artifacts from outside a recipe: a stage's folder, a model folder, or a model's name on the hub."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from posttrain.errors import RecipeError
from posttrain.stage import Input
from posttrain.store import KINDS, Artifact, Checkpoint, Manifest, digest_files, fingerprint, sha256_file
from posttrain.store.manifest import data_files

_HUB_NAME = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?$")


def open_artifact(text: str | Path, takes: Input, where: str) -> Artifact:
    """The artifact that `text` names. RecipeError when there is none, or it is not of a kind that `takes` accepts."""
    path = Path(text).expanduser()
    if path.is_dir():
        found = _open_folder(path, takes, where)
        if not issubclass(type(found), takes.kinds):
            raise RecipeError(
                f"{where} needs {describe(takes)}, but {text} holds {found.kind}. Give the folder of {describe(takes)}."
            )
        return found
    match = _HUB_NAME.match(str(text))
    if match and Checkpoint in takes.kinds and not Path(path.parts[0]).exists():
        return Checkpoint(Path(match["name"]), name=match["name"].split("/")[-1], revision=match["revision"])
    also = ", nor a model's name on the hub (owner/name)" if Checkpoint in takes.kinds else ""
    raise RecipeError(f"{where}: {text} is no folder here{also}. Give the folder of {describe(takes)}.")


def is_artifact_folder(text: str) -> bool:
    """Whether `text` names a folder that could stand as an input."""
    path = Path(text).expanduser()
    return (path / "manifest.json").exists() or _is_model(path)


def _is_model(path: Path) -> bool:
    """A whole model or an adapter, in the folder itself or in a stage's `model/`."""
    names = ("config.json", "adapter_config.json", "model/config.json", "model/adapter_config.json")
    return any((path / name).exists() for name in names)


def _open_folder(path: Path, takes: Input, where: str) -> Artifact:
    manifest = Manifest.read(path)
    if manifest is not None:
        if manifest.status != "finished":
            raise RecipeError(f"{where}: {path} is not finished. Finish the stage that makes it first.")
        return KINDS[manifest.kind](path, name=path.resolve().name)
    if _is_model(path):
        return Checkpoint(path, name=path.resolve().name)
    raise RecipeError(
        f"{where}: {path} is neither an artifact (it has no manifest.json) nor a model folder (no config.json). "
        f"Give the folder of {describe(takes)}."
    )


def describe(takes: Input) -> str:
    """What an input accepts, in words: ``samples or tokens``."""
    return " or ".join(kind.kind for kind in takes.kinds)


def digest_of(artifact: Artifact) -> str:
    """What stands in a fingerprint for an input: its manifest's digest, its files', or its name on the hub."""
    if not artifact.path.is_dir():
        revision = artifact.revision if isinstance(artifact, Checkpoint) else None
        return fingerprint({"hub": str(artifact.path), "revision": revision})
    manifest = artifact.manifest()
    if manifest is not None and manifest.digest is not None:
        return manifest.digest
    return digest_files({name: sha256_file(artifact.path / name) for name in data_files(artifact.path)})


def with_unique_labels(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """Artifacts of a list input, renamed ``parent-name`` where two would be called the same in tables."""
    labels = [a.label for a in artifacts]
    return [
        dataclasses.replace(a, name=f"{a.path.resolve().parent.name}-{a.label}") if labels.count(a.label) > 1 else a
        for a in artifacts
    ]
