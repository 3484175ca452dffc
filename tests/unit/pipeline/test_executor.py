from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import DriftError, LockedError, RecipeError, TrainingError
from posttrain.pipeline import RunResult, Wishes, build_graph, parse_recipe, plan_graph, reports, run_graph
from posttrain.pipeline.devices import devices_for
from posttrain.pipeline.plan import describe
from posttrain.store.lock import locked

T = "tests.toys:"
ROOT = Path(__file__).resolve().parents[3]
RECIPE: dict[str, Any] = {
    "name": "r",
    "seed": 1,
    "stages": {
        "problems": {"stage": T + "numbers"},
        "traces": {"stage": T + "told", "problems": "problems"},
        "student": {"stage": T + "student", "traces": "traces"},
        "scores": {"stage": T + "scores", "models": ["student"]},
        "report": {"stage": T + "report", "of": ["scores"]},
    },
}


def run(tmp_path: Path, *overrides: str, recipe: dict[str, Any] = RECIPE, **wishes: Any) -> RunResult:
    graph = build_graph(parse_recipe(recipe, "r.yaml", overrides))
    return run_graph(graph, tmp_path / graph.recipe.name, Wishes(**wishes), quiet=True, say=lambda line: None)


def outcomes(result: RunResult) -> dict[str, str]:
    return {name: made.outcome for name, made in result.made.items()}


def plan(tmp_path: Path, *overrides: str, **wishes: Any) -> dict[str, str]:
    graph = build_graph(parse_recipe(RECIPE, "r.yaml", overrides))
    return {one.node.name: one.status for one in plan_graph(graph, tmp_path / graph.recipe.name, Wishes(**wishes))}


def test_a_second_run_reuses_everything(tmp_path: Path) -> None:
    assert set(outcomes(run(tmp_path)).values()) == {"made"}
    assert set(outcomes(run(tmp_path)).values()) == {"reused"}
    assert set(plan(tmp_path).values()) == {"reuse"}


def test_a_changed_late_stage_stops_there_and_touches_nothing_earlier(tmp_path: Path) -> None:
    run(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("manifest.json")}
    with pytest.raises(DriftError, match="title: 'report' → 'other'"):
        run(tmp_path, "report.title=other")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("manifest.json")} == before
    assert plan(tmp_path, "report.title=other") == {**dict.fromkeys(RECIPE["stages"], "reuse"), "report": "drift"}


def test_fresh_makes_the_stage_again_and_what_follows_only_if_it_came_out_different(tmp_path: Path) -> None:
    run(tmp_path)
    again = outcomes(run(tmp_path, fresh=("student",)))
    assert again == {
        "problems": "reused",
        "traces": "reused",
        "student": "made",
        "scores": "reused",
        "report": "reused",
    }
    changed = run(tmp_path, "student.steps=9", fresh=("student",))
    assert outcomes(changed)["scores"] == "made"
    assert changed.made["scores"].aside == tmp_path / "r" / "scores@1"
    assert sorted(p.name for p in (tmp_path / "r").glob("student@*")) == ["student@1", "student@2"]


def test_fresh_does_not_excuse_a_change_somewhere_else(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(DriftError, match="title: 'report' → 'x'"):
        run(tmp_path, "student.steps=9", "report.title=x", fresh=("student",))


def test_another_name_is_another_run(tmp_path: Path) -> None:
    run(tmp_path)
    assert set(outcomes(run(tmp_path, "name=s", "student.steps=9")).values()) == {"made"}


def test_only_makes_one_stage_of_finished_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="stage 'problems' is not finished, and what was asked for needs it"):
        run(tmp_path, only="traces")
    assert outcomes(run(tmp_path, only="problems")) == {"problems": "made"}
    result = run(tmp_path, only="traces")
    assert outcomes(result) == {"problems": "reused", "traces": "made"}
    assert result.skipped == ["problems", "student", "scores", "report"]
    with pytest.raises(DriftError, match="n: 3 → 4"):
        run(tmp_path, "problems.n=4", only="traces")


def test_from_makes_a_stage_and_all_that_follows(tmp_path: Path) -> None:
    run(tmp_path, only="problems")
    run(tmp_path, only="traces")
    assert outcomes(run(tmp_path, start="student")) == {
        "problems": "reused",
        "traces": "reused",
        "student": "made",
        "scores": "made",
        "report": "made",
    }


def test_wishes_for_stages_that_are_not_there_say_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no stage 'studnt' in r.yaml. Did you mean 'student'\?"):
        run(tmp_path, fresh=("studnt",))
    with pytest.raises(RecipeError, match="--fresh problems asks for a stage that --only or --from leaves out"):
        run(tmp_path, only="student", fresh=("problems",))
    with pytest.raises(RecipeError, match="--only and --from"):
        run(tmp_path, only="student", start="student")


def test_an_interrupted_run_continues_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="NaN") as caught:
        run(tmp_path, "student.fail_at=3")
    assert caught.value.__notes__ == [f"in stage 'student', {tmp_path / 'r' / 'student'}"]
    assert plan(tmp_path) == {
        "problems": "reuse",
        "traces": "reuse",
        "student": "resume",
        "scores": "make",
        "report": "make",
    }
    assert outcomes(run(tmp_path))["student"] == "resumed"


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "r"), pytest.raises(LockedError, match="is in use by process"):
        run(tmp_path)


def test_a_stage_added_later_changes_no_other(tmp_path: Path) -> None:
    run(tmp_path)
    more = {**RECIPE, "stages": {"extra": {"stage": T + "numbers", "n": 1}, **RECIPE["stages"]}}
    assert outcomes(run(tmp_path, recipe=more)) == {"extra": "made", **dict.fromkeys(RECIPE["stages"], "reused")}


def test_the_plan_forecasts_what_is_known_and_says_unknown_for_the_rest(tmp_path: Path) -> None:
    graph = build_graph(parse_recipe(RECIPE, "r.yaml"))
    text = describe(plan_graph(graph, tmp_path / "r"), tmp_path / "r")
    student = next(line for line in text.splitlines() if line.startswith("student"))
    assert student.split() == ["student", T + "student", "traces", "new", "8", "s", "3", "GB", "unknown", "$0.00"]
    assert text.splitlines()[-1].split() == ["in", "all", *["unknown"] * 4]
    run(tmp_path)
    assert describe(plan_graph(graph, tmp_path / "r"), tmp_path / "r").splitlines()[-1].split()[2:4] == ["0", "s"]


def test_a_plan_says_what_waits_for_a_stage_that_is_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    assert plan(tmp_path, fresh=("student",)) == {
        "problems": "reuse",
        "traces": "reuse",
        "student": "make",
        "scores": "after",
        "report": "after",
    }
    assert plan(tmp_path, "report.title=x", fresh=("student",))["report"] == "drift"


def test_the_report_is_pointed_to(tmp_path: Path) -> None:
    assert reports(run(tmp_path)) == {"report": tmp_path / "r" / "report" / "report.html"}


# Side by side: processes of their own, one device each.

WIDE: dict[str, Any] = {
    "name": "wide",
    "matrix": {"who": ["a", "b", "c"]},
    "devices": ["cpu:0", "cpu:1"],
    "stages": {
        "start": {"stage": T + "where"},
        "branch": {"stage": T + "where", "teacher": "{who}", "after": "start"},
    },
}


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets child processes import tests.toys."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.usefixtures("importable")
def test_independent_stages_run_side_by_side_one_per_device(tmp_path: Path) -> None:
    result = run(tmp_path, recipe=WIDE)
    assert set(outcomes(result).values()) == {"made"}
    notes = {n: json.loads((tmp_path / "wide" / n / "where.json").read_text()) for n in result.made}
    first, branches = notes.pop("start"), list(notes.values())
    assert all(b["started"] >= first["ended"] for b in branches)
    assert len({b["pid"] for b in branches} | {first["pid"], os.getpid()}) == 5
    assert {(b["device"], b["visible"], b["after"]) for b in branches} == {("cpu", "", "start")}
    at_once = [sum(a["started"] < b["ended"] and b["started"] < a["ended"] for b in branches) for a in branches]
    assert max(at_once) >= 2  # itself and another
    logs = sorted(p.name for p in (tmp_path / "wide" / "logs").iterdir())
    assert logs == ["branch--a.log", "branch--b.log", "branch--c.log", "start.log"]
    assert set(outcomes(run(tmp_path, recipe=WIDE)).values()) == {"reused"}


@pytest.mark.usefixtures("importable")
def test_a_failure_lets_what_runs_finish_and_starts_nothing_new(tmp_path: Path) -> None:
    recipe = {**WIDE, "matrix": {"who": ["fails", "slow", "c"]}}
    with pytest.raises(TrainingError, match="the loss is NaN") as caught:
        run(tmp_path, recipe=recipe)
    assert "in stage 'branch--fails'" in caught.value.__notes__[0]
    assert "branch--fails.log" in caught.value.__notes__[0]
    assert json.loads((tmp_path / "wide" / "branch--slow" / "manifest.json").read_text())["status"] == "finished"
    assert not (tmp_path / "wide" / "branch--c").exists()


@pytest.mark.usefixtures("importable")
def test_a_crash_in_another_process_shows_its_last_lines(tmp_path: Path) -> None:
    recipe = {"name": "c", "devices": ["cpu:0", "cpu:1"], "stages": {"a": {"stage": T + "crashes"}}}
    with pytest.raises(RuntimeError, match=r"(?s)the process of stage 'a' ended with 1:.*ZeroDivisionError"):
        run(tmp_path, recipe=recipe)


def test_devices_are_those_named_or_those_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [(d.name, d.kind, d.visible) for d in devices_for(None)] == [
        ("cuda:3", "cuda", "3"),
        ("cuda:5", "cuda", "5"),
    ]
    assert [d.visible for d in devices_for(["cuda:1", "cpu"])] == ["5", ""]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [d.kind for d in devices_for(None)] == ["auto"]
    for wrong, message in (
        (["cuda:0"], "there is no cuda:0; this machine shows 0 GPUs"),
        (["gpu"], "'gpu' is no device"),
        ([], "the list is empty"),
    ):
        with pytest.raises(RecipeError, match=message):
            devices_for(wrong)
