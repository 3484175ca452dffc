"""What a sweep walks along: the checkpoints of a run on this disk, or the revisions of a repository."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.benchmarks import slug
from posttrain.errors import ModelError, RecipeError
from posttrain.evals.sweep.checkpoints import steps_of
from posttrain.evals.sweep.config import SweepConfig
from posttrain.hub import checkpoints_of, resolve_model
from posttrain.store import Checkpoint, digest_files, fingerprint, sha256_file
from posttrain.store.manifest import data_files


@dataclass(frozen=True)
class Point:
    """One checkpoint of a sweep.

    label: its folder in the sweep, step-000050. step: its place in the order. weights: a digest of what answers.
    path: the model's folder, or the repository's name with its `revision`.
    """

    label: str
    step: int
    weights: str
    path: str
    revision: str | None = None

    def open(self) -> Checkpoint:
        """The checkpoint as a folder on this disk; a revision is fetched now, if it wasn't before."""
        if Path(self.path).is_dir():
            return Checkpoint(Path(self.path), name=self.label)
        return Checkpoint(resolve_model(self.path, self.revision), name=self.label)

    def as_json(self) -> dict[str, Any]:
        """An entry of sweep.json's `steps`."""
        revision = {"revision": self.revision} if self.revision is not None else {}
        return {"label": self.label, "step": self.step, **revision, "weights": self.weights}


def points_of(config: SweepConfig, run: Checkpoint, base: Checkpoint | None) -> list[Point]:
    """The checkpoints to walk along, in order of steps; `base` is step 0.

    The last model of a run counts where none of its checkpoints has the same weights. RecipeError for a run that kept
    no checkpoints and for a step that it hasn't; ModelError for an unknown revision, and for two with one step.
    """
    first = [_local(base, "step-000000", 0)] if base is not None and base.path.is_dir() else []
    if base is not None and not base.path.is_dir():
        first = [Point("step-000000", 0, _of_hub(str(base.path), base.revision), str(base.path), base.revision)]
    points = first + (_in_folder(config, run) if run.path.is_dir() else _on_hub(config, run))
    _refuse_doubles(points)
    return sorted(points, key=lambda p: p.step)


def _in_folder(config: SweepConfig, run: Checkpoint) -> list[Point]:
    if config.revisions:
        raise RecipeError(f"revisions are of a repository on the Hub, and {run.label} is a folder. Use steps=[…].")
    kept = steps_of(run)
    if not kept:
        raise RecipeError(
            f"{run.path} kept no checkpoints on its way (there is no checkpoints/step-…). Train with "
            "checkpoints.every, or name a repository with revisions."
        )
    last = _last_model(run, max(kept))
    known = [*kept, *([last[0]] if last is not None else [])]
    wanted = known if config.steps == "all" else sorted(set(config.steps))
    missing = [step for step in wanted if step not in known]
    if missing:
        raise RecipeError(f"steps: {run.label} has none of step {missing[0]}. It has {', '.join(map(str, known))}.")
    points = [_local(kept[step], f"step-{step:06d}", step) for step in wanted if step in kept]
    if last is not None and last[0] in wanted:
        model = _local(Checkpoint(last[1]), f"step-{last[0]:06d}", last[0])
        points += [model] if model.weights not in [p.weights for p in points] else []
    return points


def _last_model(run: Checkpoint, newest: int) -> tuple[int, Path] | None:
    """(step, folder) of the model that a finished training left; None where there is none, or its step was kept too."""
    if run.model_dir == run.path:
        return None
    metrics = run.path / "metrics.jsonl"
    steps = [newest]
    if metrics.is_file():
        lines = metrics.read_text(encoding="utf-8", errors="replace").splitlines()
        steps += [int(json.loads(line)["step"]) for line in lines[-1:] if line.endswith("}")]
    return (max(steps), run.model_dir) if max(steps) > newest else None


def _local(model: Checkpoint, label: str, step: int) -> Point:
    folder = model.model_dir
    digest = digest_files({name: sha256_file(folder / name) for name in data_files(folder)})
    return Point(label, step, digest, str(folder))


def _on_hub(config: SweepConfig, run: Checkpoint) -> list[Point]:
    ref = str(run.path)
    if config.steps == "all":
        found = checkpoints_of(ref, config.revisions)
    else:
        by_step = {r.step: r for r in checkpoints_of(ref)}
        missing = [step for step in config.steps if step not in by_step]
        if missing:
            has = ", ".join(str(step) for step in by_step)
            raise ModelError(f"steps: {ref} has no revision of step {missing[0]}. It has {has}.")
        found = [by_step[step] for step in sorted(set(config.steps))]
    points = []
    for place, revision in enumerate(found, start=1):
        label = slug(revision.name) if revision.step is None else f"step-{revision.step:06d}"
        step = place if revision.step is None else revision.step
        # The commit, where it is known: a branch may move on while the sweep is interrupted.
        points.append(Point(label, step, _of_hub(ref, revision.commit or revision.name), ref, revision.name))
    return points


def _of_hub(ref: str, revision: str | None) -> str:
    return fingerprint({"hub": ref, "revision": revision})


def _refuse_doubles(points: Sequence[Point]) -> None:
    steps = [p.step for p in points]
    for point in points:
        if steps.count(point.step) > 1:
            others = ", ".join(p.revision or p.path for p in points if p.step == point.step)
            raise ModelError(f"two checkpoints are of step {point.step}: {others}. Name those to look at, in order.")
