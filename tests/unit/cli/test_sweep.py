"""``posttrain sweep RUN``: what RUN may be, and what its keys mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from posttrain.cli import cli
from posttrain.cli.sweep import trained_in
from posttrain.errors import RecipeError


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the stage would be made of."""
    found: dict[str, Any] = {}

    def make_alone(spec: Any, values: dict[str, Any], *, fresh: bool, quiet: bool) -> None:
        found.update(values, stage=spec.name, fresh=fresh)

    monkeypatch.setattr("posttrain.cli.sweep.make_alone", make_alone)
    return found


def kept(folder: Path, *steps: int) -> Path:
    for step in steps:
        (folder / f"checkpoints/step-{step:06d}").mkdir(parents=True)
    return folder


def test_a_number_of_problems_is_a_limit_and_a_folder_an_input(tmp_path: Path, told: dict[str, Any]) -> None:
    rl = kept(tmp_path / "mine/rl", 10)
    done = CliRunner().invoke(cli, ["sweep", str(rl), "benchmarks=[gsm8k]", "problems=500", "n=4"])
    assert done.exit_code == 0, done.output
    assert told == {
        "run": str(rl),
        "out": str(tmp_path / "mine/sweep-rl"),
        "benchmarks": ["gsm8k"],
        "limit": 500,
        "n": 4,
        "stage": "sweep",
        "fresh": False,
    }
    CliRunner().invoke(cli, ["sweep", str(rl), "problems=runs/p", "out=elsewhere"])
    assert (told["problems"], told["out"]) == ("runs/p", "elsewhere")


def test_a_runs_folder_stands_for_its_one_stage_with_checkpoints(tmp_path: Path) -> None:
    run = tmp_path / "mine"
    (run / "data").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"holds no checkpoints: neither .* nor a stage that kept any"):
        trained_in(str(run))
    rl = kept(run / "rl", 5)
    assert trained_in(str(run)) == str(rl)
    assert trained_in(str(rl)) == str(rl)
    assert trained_in("org/name") == "org/name"
    kept(run / "rl@1", 5)
    assert trained_in(str(run)) == str(rl), "what --fresh has set aside is no other stage"
    kept(run / "sft", 5)
    with pytest.raises(RecipeError, match=r"several stages of .* kept checkpoints: .*rl, .*sft\. Name one"):
        trained_in(str(run))


def test_a_run_that_is_not_finished_is_refused_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from posttrain.cli import main
    from posttrain.store import Manifest

    monkeypatch.chdir(tmp_path)
    rl = kept(tmp_path / "rl", 5)
    Manifest("rl", "checkpoint", "running", "f", {}, {}, {}, 0, "now").write(rl)
    for name, said in (
        ("rl", "rl is not finished. Finish the stage that makes it first"),
        ("nowhere", "nowhere is no folder here, nor a model's name on the hub"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["sweep", name, "benchmarks=[synthetic]"])
        assert ended.value.code == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert "Traceback" not in shown
    assert json.loads((rl / "manifest.json").read_text())["status"] == "running"
    assert not (tmp_path / "sweep-rl").exists()


def test_the_help_lists_the_keys_of_the_stage() -> None:
    told = CliRunner().invoke(cli, ["sweep", "--help"]).output
    assert "RUN: a training stage's folder, a run's folder, or org/name." in told
    assert "selection=null" in told
    assert "base=FOLDER" in told
