"""`push:` in a recipe: what it sends when all is made, what it refuses before, and that nothing goes without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.hub.push_stand_in import TakingHub, taking

from posttrain.cli import main

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
RECIPE = """
name: small
matrix: {size: [4, 6]}
stages:
  problems: {stage: data, dataset: synthetic, train: "{size}", test: 2}
"""
PUSH = 'push: {run: me/small-run, stages: {problems: "me/problems-{size}"}}\n'


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    with taking(TakingHub()) as running:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", running.token)
        yield running


def run(folder: Path, text: str, *arguments: str) -> int:
    (folder / "recipe.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(folder / "recipe.yaml"), "--runs", str(folder / "runs"), "--quiet", *arguments])
    return int(ended.value.code or 0)


def test_a_recipes_push_sends_the_stages_it_names_and_the_run(
    hub: TakingHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, RECIPE + PUSH) == 0, capsys.readouterr().err
    assert set(hub.branches) == {"me/problems-4", "me/problems-6", "me/small-run"}
    splits = {f"data/{split}.parquet" for split in ("train", "validation", "test")}
    assert set(hub.branches["me/problems-4"]["main"]) == {"README.md", *splits}
    assert len([n for n in hub.branches["me/small-run"]["main"] if n.endswith("manifest.json")]) == 2
    assert "the run" not in capsys.readouterr().err
    commits = len(hub.commits)
    assert run(tmp_path, RECIPE + PUSH) == 0
    assert len(hub.commits) == commits, "a run that is reused sends nothing again"


def test_without_push_nothing_is_asked_of_the_hub(hub: TakingHub, tmp_path: Path) -> None:
    assert run(tmp_path, RECIPE) == 0
    assert not hub.authorisations
    assert not hub.branches


def test_a_smoke_run_and_a_part_of_a_run_send_nothing(hub: TakingHub, tmp_path: Path) -> None:
    assert run(tmp_path, RECIPE + PUSH + "smoke: {problems.test: 1}\n", "--smoke") == 0
    assert run(tmp_path, RECIPE + PUSH, "--only", "problems--4") == 0
    assert not hub.branches


@pytest.mark.parametrize(
    ("push", "said"),
    [
        ("push: {stages: {problms: me/x}}\n", "there is no stage 'problms'"),
        ("push: {stages: {problems: me/x}}\n", "me/x is named for more than one thing"),
        ("push: {run: small}\n", "'small' is no name of a repository"),
        ("push: {repo: me/x}\n", "unknown key 'push.repo'"),
    ],
)
def test_a_wrong_push_is_refused_before_anything_is_made(
    hub: TakingHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], push: str, said: str
) -> None:
    assert run(tmp_path, RECIPE + push) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_no_token_is_an_error_before_anything_is_made_but_not_in_a_dry_run(
    hub: TakingHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert run(tmp_path, RECIPE + PUSH) == 2
    assert "HF_TOKEN is not set" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert run(tmp_path, RECIPE + PUSH, "--dry-run") == 0
    assert "then to the Hub: the run → me/small-run" in capsys.readouterr().out
