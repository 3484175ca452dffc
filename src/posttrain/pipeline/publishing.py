"""What a person means by pushing a folder: which of its files go to which kind of repository, with which card."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from posttrain.config import Config
from posttrain.errors import DataError, RecipeError
from posttrain.hub.contents import DATA, data_parcel, folder_parcel, is_run, model_parcel, run_parcel
from posttrain.hub.push import Existing, Parcel, Pushed, push_parcel
from posttrain.hub.refusals import check_name, check_token, in_bytes
from posttrain.pipeline.variables import fields_of, substitute
from posttrain.store import Manifest

if TYPE_CHECKING:
    from posttrain.pipeline.graph import Graph

RUN = "the run"  # beside the names of stages, which have no blanks
DATASET = "dataset"  # where a `traces` stage lays its data set out
MODEL_FILES = ("config.json", "adapter_config.json")


class PushPlan(Config):
    """A recipe's `push:`: what goes to the Hub when everything is made. The token is read from HF_TOKEN only."""

    run: str | None = None
    """owner/name for the run: manifests, metrics, tables, report."""
    stages: dict[str, str] = Field(default_factory=dict)
    """owner/name by stage: a model with its card, or a data set. Matrix keys may stand in it: me/student-{teacher}."""
    private: bool = True
    weights: bool = False
    """The run with its models and checkpoints."""
    existing: Literal["refuse", "add", "replace"] = "refuse"
    """Where a repository has other content: send nothing, leave what is not ours, or take it away."""


@contextmanager
def packed(
    folder: Path,
    *,
    card: Path | None = None,
    scores: Sequence[Path] = (),
    license: str | None = None,
    base: str | None = None,
    weights: bool = False,
) -> Iterator[Parcel]:
    """What `folder` (a run, a stage's folder, a model, a data set) is on the Hub; its files last as long as the block.

    card: a file to send as README.md; without one it is written here. scores: evaluations for a model's card.
    base: the hub name of what an adapter stands on. weights: of a run, its models too.
    DataError where the folder is nothing that is pushed.
    """
    own = card.read_text(encoding="utf-8") if card is not None else None
    title = folder.resolve().name
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.status != "finished":
        raise DataError(f"{folder} is not finished, and what is pushed must be whole. Finish its run first.")
    with tempfile.TemporaryDirectory(prefix="posttrain-push-") as scratch:
        if is_run(folder):
            yield _run(folder, own, weights)
        elif (folder / DATASET).is_dir():
            yield folder_parcel(folder / DATASET, title, own)
        elif manifest is not None and manifest.kind in DATA:
            yield data_parcel(folder, manifest.kind, title, own or _card(folder, (), license, None), Path(scratch))
        elif is_model(folder):
            yield _model(folder, title, own, scores, license, base)
        else:
            what = f"holds {manifest.kind}" if manifest is not None else "is no run, stage or model"
            raise DataError(
                f"{folder} {what}. What can be pushed: a run, a model, problems, samples; scores into the card of a "
                "model that is on the Hub."
            )


def is_model(folder: Path) -> bool:
    """Whether it is a model's or adapter's folder, or a stage's with one."""
    return any((folder / inner / name).is_file() for inner in ("model", ".") for name in MODEL_FILES)


def _run(folder: Path, own: str | None, weights: bool) -> Parcel:
    from posttrain.report.run_card import run_card

    parcel = run_parcel(folder, None, weights=weights)
    return run_parcel(folder, own or run_card(folder, parcel.files, parcel.left_out), weights=weights)


def _model(
    folder: Path, title: str, own: str | None, scores: Sequence[Path], license: str | None, base: str | None
) -> Parcel:
    from posttrain.models.base import for_others

    inner = folder / "model" if (folder / "model").is_dir() else folder
    if own is None and (inner / "README.md").is_file() and not scores:
        own = (inner / "README.md").read_text(encoding="utf-8")
    return model_parcel(inner, title, own or _card(folder, scores, license, base), for_others(inner, base))


def _card(folder: Path, scores: Sequence[Path], license: str | None, base: str | None) -> str:
    """The card that the run's report wrote of it, which knows its evaluations; else one made now."""
    from posttrain.report.card_facts import card_of

    if not scores and license is None and base is None:
        for written in sorted(folder.resolve().parent.glob(f"*/cards/{folder.resolve().name}.md")):
            return written.read_text(encoding="utf-8")
    return card_of(folder, scores, license=license, base=base)


def check_push(plan: PushPlan, graph: Graph, *, with_token: bool = True) -> dict[str, str]:
    """Repository by node (and by RUN), before anything is run.

    RecipeError for an unknown stage and for one repository named twice; PushError for a wrong name and without a token.
    """
    found: dict[str, str] = {}
    for stage, pattern in plan.stages.items():
        for name in graph.select(stage):
            found[name] = _filled(pattern, dict(graph.nodes[name].branch))
    if plan.run:
        found[RUN] = plan.run
    repos = list(found.values())
    for repo in repos:
        (check_token if with_token else check_name)(repo)
        if repos.count(repo) > 1:
            raise RecipeError(
                f"push: {repo} is named for more than one thing. Give each its own repository; of a stage with "
                "branches by its matrix keys: me/student-{key}."
            )
    return found


def _filled(pattern: str, branch: Mapping[str, object]) -> str:
    variables = {k: v for key, value in branch.items() for k, v in fields_of(key, value).items()}
    return str(substitute(pattern, variables, "push"))


def publish(
    plan: PushPlan, graph: Graph, run: Path, say: Callable[[str], None], secrets: Mapping[str, str] | None = None
) -> None:
    """Sends what a recipe's `push:` names, the run last. PushError at the first refusal: what was made stands."""
    for name, repo in check_push(plan, graph).items():
        folder = run if name == RUN else run / name
        with packed(folder, weights=plan.weights) as parcel:
            done = push_parcel(parcel, repo, private=plan.private, existing=plan.existing, secrets=secrets)
        say(f"{folder.name} → {repo}: {told(done)}")


def told(done: Pushed) -> str:
    """One line for people."""
    kept = f", {done.kept} were there" if done.kept else ""
    return f"{done.commit[:12]} ({done.sent} files sent, {in_bytes(done.size)}{kept})"


def existing_of(text: str) -> Existing:
    """The command line's word as the type."""
    return "add" if text == "add" else "replace" if text == "replace" else "refuse"
