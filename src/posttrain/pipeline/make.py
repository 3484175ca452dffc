"""`run_stage`: makes one artifact in one folder, or reuses, resumes or refuses what is there already."""

from __future__ import annotations

import datetime
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.config import Config, parse
from posttrain.errors import DriftError, StoreError
from posttrain.pipeline.order import Inputs, Order, open_inputs
from posttrain.stage import Workspace, stage_spec
from posttrain.store import Artifact, Manifest, fingerprint
from posttrain.store.atomic import FULL
from posttrain.store.drift import changes, only_inputs_changed
from posttrain.store.environment import code_version, hardware, library_versions
from posttrain.store.lock import locked
from posttrain.store.manifest import NAME, data_files
from posttrain.store.versions import set_aside

Outcome = Literal["made", "resumed", "reused"]
Again = Literal["never", "if inputs changed", "always"]
# Has the parts named made elsewhere, into the workspace's state; told the lock of the stage's folder too.
Share = Callable[[Order, Workspace, list[str], int], None]


@dataclass(frozen=True)
class Made:
    """An artifact and how it came to be. `seconds` is this call's time; `aside` is where an older version went."""

    artifact: Artifact
    outcome: Outcome
    seconds: float
    summary: Mapping[str, Any]
    aside: Path | None = None


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
    fresh: bool = False,
) -> Artifact:
    """Makes the artifact of stage `name` in `directory` and returns it.

    name: a registered stage, or "module:function".
    config: the stage's Config, or its values.
    inputs: artifacts or paths by parameter name; one or a list where the stage takes many.
    seed: the stage's own seed. label: what people call the artifact (default: the folder's name).
    fresh: make it again; what is there is kept as DIRECTORY@1.

    A finished artifact with the same fingerprint is verified and returned; an interrupted one is continued.
    DriftError if the folder holds one made from something else, LockedError if another process works in it,
    DamagedError if its files have changed.
    """
    spec = stage_spec(name)
    settings = config if isinstance(config, Config) else parse(spec.config, config, f"stage '{name}'")
    order = Order(spec, settings, open_inputs(spec, inputs), Path(directory), seed, label)
    return make(order, device=device, quiet=quiet, again="always" if fresh else "never").artifact


def make(
    order: Order,
    *,
    device: str = "auto",
    quiet: bool = False,
    again: Again = "never",
    announce: Callable[[Outcome], None] = lambda outcome: None,
    share: Share | None = None,
) -> Made:
    """`run_stage` with everything opened.

    again: "always" makes it again, "if inputs changed" does so where nothing else differs; what was there is set aside.
    announce: is told what is going to happen before it does.
    share: has the parts that are missing made elsewhere before the stage's function runs and finds them.
    """
    started = time.monotonic()
    facts = order.facts()
    aside = put_aside(order.directory, facts, again)
    standing(order.directory, facts)  # refuse before a lock file is put into somebody else's folder
    with locked(order.directory) as lock:
        manifest = standing(order.directory, facts)
        if manifest is not None and manifest.status == "finished":
            announce("reused")
            manifest.verify(order.directory)
            _clean(order.directory)  # a process that died right after sealing leaves these
            return Made(order.artifact, "reused", time.monotonic() - started, manifest.summary)
        for artifact in order.all_inputs():
            stood = artifact.manifest() if artifact.path.is_dir() else None
            if stood is not None:
                stood.verify(artifact.path)
        outcome: Outcome = "made" if manifest is None else "resumed"
        announce(outcome)
        summary = _attempt(order, facts, manifest, device, quiet, share, lock)
    return Made(order.artifact, outcome, time.monotonic() - started, summary, aside)


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
        f"  Ways on: --fresh {directory.name} makes it again and keeps the old one as {directory.name}@1 (@2 …); "
        f"undo the change; or write elsewhere (name=… for a recipe, out=… for a stage alone)."
    )


def put_aside(directory: Path, facts: Mapping[str, Any], again: Again) -> Path | None:
    """Moves away what is to be made again; returns where it went."""
    if again == "never" or not directory.exists():
        return None
    with locked(directory):  # nobody may be working in what is moved
        if again == "if inputs changed":
            manifest = Manifest.read(directory)
            if manifest is None or changes(manifest.facts, facts) == []:
                return None
            if not only_inputs_changed(manifest.facts, facts):
                return None  # the user's own change: drift, to be shown
        return set_aside(directory)


def _attempt(
    order: Order,
    facts: dict[str, Any],
    earlier: Manifest | None,
    device: str,
    quiet: bool,
    share: Share | None,
    lock: int,
) -> Mapping[str, Any]:
    """Runs the stage's function and seals its folder; returns the summary."""
    directory = order.directory
    started = time.monotonic()
    _discard_temporaries(directory)
    manifest = _begin(order, facts, earlier)
    try:
        manifest.write(directory)
        work = Workspace(directory, seed=order.seed, device=device, quiet=quiet, tracking=order.tracking)
        with work.metrics, work.closing:
            if share is not None and (missing := missing_parts(order, work)):
                share(order, work, missing, lock)
            made = order.spec.function(order.config, **order.inputs, work=work)
        assert isinstance(made, order.spec.output), f"{order.spec.name} returned {made!r}, not {order.spec.output}"
        _discard_temporaries(directory)
        manifest.summary = {k: v for k, v in work.summary.items() if not _not_finite(v)}
        manifest.seal(directory)
        manifest.finished = _now()
        manifest.seconds = round(time.monotonic() - started, 3)
        manifest.status = "finished"
        manifest.write(directory)
    except OSError as error:
        if isinstance(error, StoreError) or error.errno not in FULL:
            raise
        raise StoreError(
            f"no space left to write {error.filename or directory}. The stage is not finished and nothing of it counts "
            f"as a result: free some space and run again."
        ) from error
    _clean(directory)
    return manifest.summary


def missing_parts(order: Order, work: Workspace) -> list[str]:
    """The parts of the stage's work that nobody has made yet; none where it can't be parted."""
    names = order.spec.parts.names(order.config, order.inputs) if order.spec.parts is not None else []
    return [name for name in names if not (work.state / name).exists()]


def _begin(order: Order, facts: dict[str, Any], earlier: Manifest | None) -> Manifest:
    return Manifest(
        stage=order.spec.name,
        kind=order.spec.output.kind,
        status="running",
        fingerprint=fingerprint(facts),
        facts=facts,
        config=order.config.model_dump(mode="json"),
        inputs=described(order, facts),
        seed=order.seed,
        started=earlier.started if earlier else _now(),
        attempts=earlier.attempts + 1 if earlier else 1,
        code=code_version(),
        versions=library_versions(),
        hardware=hardware(),
    )


def described(order: Order, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the inputs: names, kinds, paths, digests."""
    return {
        name: [_describe(a, f["digest"], order.directory) for a, f in zip(given, facts["inputs"][name], strict=True)]
        if isinstance(given, list)
        else _describe(given, facts["inputs"][name]["digest"], order.directory)
        for name, given in order.inputs.items()
    }


def _describe(given: Artifact, digest: str, directory: Path) -> dict[str, str]:
    return {"name": given.label, "kind": given.kind, "path": _written_path(given.path, directory), "digest": digest}


def _written_path(path: Path, directory: Path) -> str:
    """Relative where the input is a neighbour in the same run, so that a run's folder can be moved as a whole."""
    if not path.is_dir():
        return str(path)  # a hub name
    if path.resolve().is_relative_to(directory.resolve().parent):
        return os.path.relpath(path.resolve(), directory.resolve())
    return str(path.resolve())


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _discard_temporaries(directory: Path) -> None:
    """Removes the half-written files and folders that a killed process left."""
    for path in list(directory.rglob(".*.tmp")):  # a list: what is walked must not change
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # it may have stood in a folder that is gone already


def _clean(directory: Path) -> None:
    """Removes what only a resume needs; called once the manifest says finished."""
    if (directory / ".work").exists():
        shutil.rmtree(directory / ".work")
