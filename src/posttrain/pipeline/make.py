"""`run_stage`: makes one artifact in one folder, or reuses, resumes or refuses what is there already."""

from __future__ import annotations

import datetime
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.config import Config, parse
from posttrain.errors import DriftError, RecipeError, StoreError, did_you_mean
from posttrain.pipeline.external import digest_of, open_artifact, with_unique_labels
from posttrain.stage import Input, StageSpec, Workspace, stage_spec
from posttrain.store import Artifact, Manifest, fingerprint, sha256_file
from posttrain.store.drift import changes
from posttrain.store.environment import code_version, hardware, library_versions
from posttrain.store.lock import locked
from posttrain.store.manifest import NAME, data_files

Given = Artifact | str | Path
Inputs = Mapping[str, Given | Sequence[Given] | None]
Outcome = Literal["made", "resumed", "reused"]


@dataclass(frozen=True)
class Made:
    """An artifact and how it came to be. `seconds` is this call's time."""

    artifact: Artifact
    outcome: Outcome
    seconds: float
    summary: dict[str, Any]


def run_stage(
    name: str,
    config: Config | Mapping[str, Any],
    inputs: Inputs,
    directory: Path | str,
    *,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
    label: str = "",
) -> Artifact:
    """Makes the artifact of stage `name` in `directory` and returns it.

    name: a registered stage, or "module:function".
    config: the stage's Config, or its values.
    inputs: artifacts or paths by parameter name; a list where the stage takes many.
    seed: the stage's own seed. label: what people call the artifact (default: the folder's name).

    A finished artifact with the same fingerprint is verified and returned; an interrupted one is continued.
    DriftError if the folder holds one made from something else, LockedError if another process works in it,
    DamagedError if its files have changed.
    """
    spec = stage_spec(name)
    settings = config if isinstance(config, Config) else parse(spec.config, config, f"stage '{name}'")
    given = open_inputs(spec, inputs)
    return make(spec, settings, given, Path(directory), seed=seed, device=device, quiet=quiet, label=label).artifact


def open_inputs(spec: StageSpec, inputs: Inputs) -> dict[str, Artifact | list[Artifact]]:
    """Paths become artifacts, one becomes a list where many are taken; every input is checked against the signature."""
    known = [i.name for i in spec.inputs]
    for name in inputs:
        if name not in known:
            raise RecipeError(
                f"stage '{spec.name}' has no input '{name}'.{did_you_mean(name, known)} It takes: {', '.join(known) or 'none'}."
            )
    opened: dict[str, Artifact | list[Artifact]] = {}
    for takes in spec.inputs:
        value = inputs.get(takes.name)
        where = f"stage '{spec.name}': input '{takes.name}'"
        if value is None:
            if takes.required:
                raise RecipeError(f"{where} is missing. Add '{takes.name}: …'.")
            continue
        several = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        artifacts = [_open(item, takes, where) for item in several]
        if takes.many:
            opened[takes.name] = with_unique_labels(artifacts)
        elif len(artifacts) == 1:
            opened[takes.name] = artifacts[0]
        else:
            raise RecipeError(f"{where} takes one, not {len(artifacts)}. Give one.")
    return opened


def _open(item: Given, takes: Input, where: str) -> Artifact:
    if not isinstance(item, Artifact):
        return open_artifact(item, takes, where)
    if not isinstance(item, takes.kinds):
        raise RecipeError(f"{where} takes {' or '.join(k.kind for k in takes.kinds)}, not {item.kind} ({item.label}).")
    return item


def facts_of(
    spec: StageSpec, config: Config, inputs: Mapping[str, Artifact | list[Artifact]], seed: int
) -> dict[str, Any]:
    """What the result depends on. The names in a list input count too: they stand in tables."""
    return {
        "stage": spec.name,
        "version": spec.version,
        "seed": seed,
        "config": config.fingerprint_values(),
        "files": {key: sha256_file(path) for key, path in config.files().items()},
        "inputs": {
            name: [{"name": a.label, "digest": digest_of(a)} for a in given]
            if isinstance(given, list)
            else {"digest": digest_of(given)}
            for name, given in inputs.items()
        },
    }


def make(
    spec: StageSpec,
    config: Config,
    inputs: Mapping[str, Artifact | list[Artifact]],
    directory: Path,
    *,
    seed: int,
    device: str = "auto",
    quiet: bool = False,
    label: str = "",
    announce: Callable[[Outcome], None] = lambda outcome: None,
) -> Made:
    """`run_stage` with everything opened; `announce` is told what is going to happen before it does."""
    started = time.monotonic()
    facts = facts_of(spec, config, inputs, seed)
    artifact = spec.output(directory, name=label or directory.resolve().name)
    standing(directory, facts)  # refuse before a lock file is put into somebody else's folder
    with locked(directory):
        manifest = standing(directory, facts)
        if manifest is not None and manifest.status == "finished":
            announce("reused")
            manifest.verify(directory)
            _clean(directory)  # a process that died right after sealing leaves these
            return Made(artifact, "reused", time.monotonic() - started, manifest.summary)
        outcome: Outcome = "resumed" if manifest is not None else "made"
        announce(outcome)
        summary = _attempt(spec, config, inputs, artifact, manifest, facts, seed, device, quiet)
    return Made(artifact, outcome, time.monotonic() - started, summary)


def standing(directory: Path, facts: Mapping[str, Any]) -> Manifest | None:
    """The manifest in `directory` if it was made from `facts`, None if there is none. DriftError for other facts."""
    manifest = Manifest.read(directory)
    if manifest is None:
        if directory.is_dir() and data_files(directory):
            raise StoreError(
                f"{directory} has files in it and no {NAME}, so it is not posttrain's. Choose another folder or name=."
            )
        return None
    if manifest.fingerprint == fingerprint(facts):
        return manifest
    lines = "".join(f"\n    {line}" for line in changes(manifest.facts, facts))
    raise DriftError(
        f"{directory} was made from something else than what is asked for now:{lines}\n"
        f"  Ways on: --fresh {directory.name} makes it again and keeps the old one as {directory.name}@N; "
        f"undo the change; or start another run with name=…"
    )


def _attempt(
    spec: StageSpec,
    config: Config,
    inputs: Mapping[str, Artifact | list[Artifact]],
    artifact: Artifact,
    earlier: Manifest | None,
    facts: dict[str, Any],
    seed: int,
    device: str,
    quiet: bool,
) -> dict[str, Any]:
    """Runs the stage's function and seals its folder; returns the summary."""
    directory = artifact.path
    started = time.monotonic()
    manifest = Manifest(
        stage=spec.name,
        kind=spec.output.kind,
        status="running",
        fingerprint=fingerprint(facts),
        facts=facts,
        config=config.model_dump(mode="json"),
        inputs={name: _describe(given, directory) for name, given in inputs.items()},
        seed=seed,
        started=earlier.started if earlier else _now(),
        attempts=earlier.attempts + 1 if earlier else 1,
        code=code_version(),
        versions=library_versions(),
        hardware=hardware(),
    )
    _discard_temporaries(directory)
    manifest.write(directory)
    work = Workspace(directory, seed=seed, device=device, quiet=quiet)
    made = spec.function(config, **inputs, work=work)
    assert isinstance(made, spec.output), f"stage {spec.name} returned {made!r}, its signature says {spec.output}"
    _discard_temporaries(directory)
    manifest.summary = {k: v for k, v in work.summary.items() if not (isinstance(v, float) and not math.isfinite(v))}
    manifest.finished = _now()
    manifest.seconds = round(time.monotonic() - started, 3)
    manifest.status = "finished"
    manifest.seal(directory)
    manifest.write(directory)
    _clean(directory)
    return manifest.summary


def _describe(given: Artifact | list[Artifact], directory: Path) -> Any:
    if isinstance(given, list):
        return [_describe(a, directory) for a in given]
    return {"name": given.label, "kind": given.kind, "path": _written_path(given.path, directory)} | {
        "digest": digest_of(given)
    }


def _written_path(path: Path, directory: Path) -> str:
    """Relative where the input is a neighbour in the same run, so that a run's folder can be moved as a whole."""
    if not path.is_dir():
        return str(path)  # a hub name
    run = directory.resolve().parent
    if path.resolve().is_relative_to(run):
        return os.path.relpath(path.resolve(), directory.resolve())
    return str(path.resolve())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _discard_temporaries(directory: Path) -> None:
    """Removes half-written files that a killed process left."""
    for path in directory.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def _clean(directory: Path) -> None:
    """Removes what only a resume needs; called once the manifest says finished."""
    if (directory / ".work").exists():
        shutil.rmtree(directory / ".work")
