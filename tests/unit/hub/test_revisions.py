"""Revisions of a repository that are checkpoints: branches and tags by name, commits by title, a mirror's folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.hub.stand_in import COMMIT, Hub, serving

from posttrain.errors import ModelError
from posttrain.hub import checkpoints_of, revisions
from posttrain.hub.revisions import step_in

OLD = "fedcba9876543210fedcba9876543210fedcba98"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(files={"models/org/model": {"config.json": b"{}"}})) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("POSTTRAIN_DATA", "")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield served


@pytest.mark.parametrize(
    ("name", "step"),
    [("step-000050", 50), ("checkpoint-50", 50), ("rl_step_7", 7), ("ckpt 3", 3), ("main", None), ("v1.5", None)],
)
def test_a_revisions_name_tells_its_step(name: str, step: int | None) -> None:
    assert step_in(name) == step


def test_branches_and_tags_that_name_steps_are_the_checkpoints(hub: Hub) -> None:
    hub.revisions = ["main", "step-000100", "checkpoint-50"]
    assert [(r.name, r.step) for r in checkpoints_of("org/model")] == [("checkpoint-50", 50), ("step-000100", 100)]
    assert [r.name for r in revisions("org/model")] == ["main", "step-000100", "checkpoint-50"]


def test_without_such_branches_the_commits_titles_are_read(hub: Hub) -> None:
    hub.revisions = ["main"]
    hub.titles = [
        (COMMIT, "Training in progress, step 100"),
        (OLD, "Training in progress, step 50"),
        ("0" * 40, "first"),
    ]
    assert [(r.name, r.step) for r in checkpoints_of("org/model")] == [(OLD, 50), (COMMIT, 100)]


def test_named_revisions_keep_their_order_and_unknown_ones_are_refused(hub: Hub) -> None:
    hub.revisions = ["main", "good", "better"]
    assert [r.name for r in checkpoints_of("org/model", ("better", "good"))] == ["better", "good"]
    assert checkpoints_of("org/model", (OLD,))[0].commit == OLD, "a commit need not be a branch's end"
    with pytest.raises(ModelError, match=r"org/model has no revision 'best'\. It has: main, good, better"):
        checkpoints_of("org/model", ("best",))
    with pytest.raises(ModelError, match=r"no revision of org/model tells its step .* revisions="):
        checkpoints_of("org/model")


def test_a_repository_that_is_not_there_or_not_reached_is_told(hub: Hub) -> None:
    with pytest.raises(ModelError, match="the Hub has no model 'org/other'"):
        revisions("org/other")
    hub.down = True
    with pytest.raises(ModelError, match=r"(answered 503|can't be reached)"):
        revisions("org/model")


def test_a_mirror_that_holds_revisions_answers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("step-000002", "step-000001"):
        folder = tmp_path / "models/org" / f"model@{name}"
        folder.mkdir(parents=True)
        (folder / "mirror.json").write_text('{"commit": "' + COMMIT + '", "files": {}}')
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))
    assert [(r.step, r.commit) for r in checkpoints_of("org/model")] == [(1, COMMIT), (2, COMMIT)]
