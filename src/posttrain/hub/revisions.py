"""The revisions of a model's repository that are checkpoints of a training: what a sweep over the Hub walks along."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from posttrain.errors import ModelError
from posttrain.hub.download import telling
from posttrain.hub.mirror import LISTING, listing, mirror_root, place

_NAME = re.compile(r"(?:step|checkpoint|ckpt)[-_ ]?(\d+)$", re.IGNORECASE)
_TITLE = re.compile(r"\bstep[ -]?(\d+)\b", re.IGNORECASE)  # "Training in progress, step 50", as trainers title commits


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a repository. name: what a download asks for. commit: None where a mirror doesn't know it."""

    name: str
    step: int | None
    commit: str | None


def step_in(name: str) -> int | None:
    """The step that a revision's name tells: 50 for ``step-000050`` and ``checkpoint-50``; None for ``main``."""
    found = _NAME.search(name)
    return int(found[1]) if found else None


def revisions(ref: str) -> list[Revision]:
    """All branches and tags of `ref`, then the commits of ``main`` whose title tells a step (newest first).

    A mirror that holds revisions of `ref` answers alone. ModelError when there is no such repository, when access is
    refused, and when the Hub can't be reached.
    """
    mirrored = _in_mirror(ref)
    if mirrored:
        return mirrored
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="posttrain")
    with telling("model", ref, None):
        refs = api.list_repo_refs(ref)
        named = [Revision(r.name, step_in(r.name), r.target_commit) for r in (*refs.branches, *refs.tags)]
        if any(r.step is not None for r in named):
            return named
        titled = ((commit.commit_id, _TITLE.search(commit.title)) for commit in api.list_repo_commits(ref))
        return named + [Revision(id, int(title[1]), id) for id, title in titled if title]


def checkpoints_of(ref: str, wanted: tuple[str, ...] = ()) -> list[Revision]:
    """The revisions to walk along: those `wanted`, in their order, else all that tell a step, in order of steps.

    A wanted one is taken by its name or commit. ModelError for one that isn't there, and for a repository without any.
    """
    known = revisions(ref)
    if wanted:
        return [_chosen(ref, name, known) for name in wanted]
    steps = {r.step: r for r in reversed(known) if r.step is not None}  # of two with one step the first listed counts
    if not steps:
        names = ", ".join(r.name for r in known[:8]) or "none"
        raise ModelError(
            f"no revision of {ref} tells its step (step-000050, checkpoint-50). It has: {names}. Name those to look "
            "at, in order: revisions=[…]."
        )
    return [steps[step] for step in sorted(steps)]


def _chosen(ref: str, name: str, known: list[Revision]) -> Revision:
    for revision in known:
        if name == revision.name or (len(name) >= 7 and (revision.commit or "").startswith(name)):
            return revision
    if re.fullmatch(r"[0-9a-f]{40}", name):
        return Revision(name, None, name)  # a commit that no branch ends in
    names = ", ".join(r.name for r in known[:8]) or "none"
    raise ModelError(
        f"{ref} has no revision {name!r}. It has: {names}. Its page on the Hub lists branches and commits."
    )


def _in_mirror(ref: str) -> list[Revision]:
    root = mirror_root()
    if root is None:
        return []
    plain = place(root, "model", ref, None)
    folders = sorted(p for p in plain.parent.glob(f"{plain.name}@*") if (p / LISTING).is_file())
    return [_mirrored(folder, folder.name.removeprefix(f"{plain.name}@")) for folder in folders]


def _mirrored(folder: Path, name: str) -> Revision:
    commit = listing(folder).get("commit")
    return Revision(name, step_in(name), str(commit) if commit else None)
