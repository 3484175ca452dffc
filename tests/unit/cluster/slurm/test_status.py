from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cluster.slurm.pretend import Pretend

from posttrain.cli import main
from posttrain.cluster.slurm.jobs import ENVIRONMENT, NOT_SHARED
from posttrain.cluster.slurm.status import status_of
from posttrain.pipeline import Wishes, build_graph, load_recipe, run_graph

RUN = Path("runs/walk")


@pytest.fixture
def submitted(walk: Path, slurm: Pretend) -> Pretend:
    """problems is job 101, student 102_0 to 102_2, second 103_0 to 103_2, scores 104."""
    with pytest.raises(SystemExit):
        main(["submit", "walk.yaml", "--slurm"])
    return slurm


def told() -> dict[str, tuple[str, str]]:
    return {one.name: (one.state, one.detail) for one in status_of(RUN)[0]}


def test_the_store_says_what_is_made_and_slurm_what_waits_and_runs(submitted: Pretend) -> None:
    graph = build_graph(load_recipe("walk.yaml"))
    run_graph(graph, RUN, Wishes(only="problems"), quiet=True, say=lambda line: None)
    submitted.becomes("102_0", "RUNNING", node="n7")
    states = told()
    assert list(states)[:2] == ["problems", "student--0.1"]
    assert states["problems"][0] == "finished"
    assert states["student--0.1"] == ("running", "on n7, 0:00")
    assert states["second--0.1"] == ("waiting", "for the stages that it reads")


@pytest.mark.parametrize(
    ("end", "code", "state", "said"),
    [
        ("FAILED", NOT_SHARED, "failed", "n1 does not see the run's folder: storage is not shared"),
        ("FAILED", ENVIRONMENT, "failed", "n1 has no posttrain"),
        ("TIMEOUT", 0, "stopped", "killed by its time limit"),
        ("OUT_OF_MEMORY", 0, "failed", "slurm.memory"),
        ("NODE_FAIL", 0, "failed", "its node failed"),
        ("FAILED", 1, "failed", "exit code 1"),
    ],
)
def test_a_job_that_ended_without_a_word_is_explained_by_how_it_ended(
    submitted: Pretend, end: str, code: int, state: str, said: str
) -> None:
    submitted.becomes("101", end, code=code)
    found = told()["problems"]
    assert found[0] == state
    assert said in found[1]


def test_a_jobs_own_words_come_first(submitted: Pretend) -> None:
    submitted.becomes("101", "FAILED", code=2)
    logs = RUN / "slurm" / "logs"
    logs.mkdir()
    (logs / "problems.why").write_text("DataError: no such file\n")
    assert told()["problems"] == ("failed", "DataError: no such file")


def test_a_stage_behind_a_failed_one_was_never_started(submitted: Pretend) -> None:
    submitted.becomes("103_1", "CANCELLED", node="")
    assert "never started" in told()["second--0.2"][1]


def test_without_slurm_the_store_is_told_and_that_nobody_was_asked(
    submitted: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted.refuses("Unable to contact slurm controller (connect failure)")
    with pytest.raises(SystemExit) as ended:
        main(["status", "walk"])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "SLURM was not asked: SLURM's controller can't be reached" in said
    assert "problems" in said


def test_a_run_without_slurm_has_a_status_too(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_graph(build_graph(load_recipe("walk.yaml")), RUN, quiet=True, say=lambda line: None)
    (RUN / "scores" / "manifest.json").write_text(
        json.dumps({**json.loads((RUN / "scores" / "manifest.json").read_text()), "status": "running"})
    )
    lock = json.loads((RUN / "scores" / ".lock").read_text())
    (RUN / "scores" / ".lock").write_text(json.dumps({**lock, "host": "elsewhere"}))
    with pytest.raises(SystemExit):
        main(["status"])
    assert capsys.readouterr().out == "runs/walk: 7 finished, 1 stopped\n"
    with pytest.raises(SystemExit):
        main(["status", "walk", "--json"])
    stages = json.loads(capsys.readouterr().out)[0]["stages"]
    assert [one["state"] for one in stages if one["name"] != "scores"] == ["finished"] * 7
    assert [one["state"] for one in stages if one["name"] == "scores"] == ["stopped"]


def test_a_run_that_is_not_there_is_refused_with_the_nearest(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path("runs") / "walk").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        main(["status", "wolk"])
    assert ended.value.code == 2
    assert "Did you mean 'walk'" in capsys.readouterr().err
