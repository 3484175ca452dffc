from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.leaderboard.makers import N, accuracy_of, answers, problems, settings, submit, write_problems
from tests.unit.report.fake_run import make_run
from tests.unit.report.fake_sweep import make_sweep

from posttrain.errors import RecipeError
from posttrain.leaderboard.build import Builder, build_board
from posttrain.leaderboard.export import write_submissions
from posttrain.leaderboard.pages import as_json
from posttrain.leaderboard.schema import Board, schemas
from posttrain.store import Manifest

SHIPPED = Path(__file__).resolve().parents[3] / "src" / "posttrain" / "leaderboard" / "schema"


def board_of(folder: Path, **given: Any) -> Board:
    return build_board([folder], problems=[problems()], **given)


def test_entries_are_ranked_by_what_the_board_grades_itself(tmp_path: Path) -> None:
    submit(tmp_path / "a", "good", 0.8)
    submit(tmp_path / "b", "bad", 0.2)
    (table,) = board_of(tmp_path).tables
    assert [(e.name, e.rank) for e in table.entries] == [("good", 1), ("bad", 2)]
    assert table.entries[0].accuracy == pytest.approx(accuracy_of(answers("good", 0.8)))
    assert table.entries[0].claim == "same"
    assert (table.n, table.entries[0].n) == (N, N)
    low, high = table.entries[0].interval
    assert low < table.entries[0].accuracy < high


def test_a_claim_that_regrades_differently_is_marked_and_ranks_by_the_regraded_score(tmp_path: Path) -> None:
    submit(tmp_path / "honest", "honest", 0.8)
    submit(tmp_path / "liar", "liar", 0.2, claimed=0.99)
    (table,) = board_of(tmp_path).tables
    liar = table.entries[1]
    assert (liar.name, liar.rank, liar.claim, liar.claimed) == ("liar", 2, "differs", 0.99)
    assert liar.accuracy == pytest.approx(accuracy_of(answers("liar", 0.2)))


def test_golds_of_a_submission_count_for_nothing(tmp_path: Path) -> None:
    import dataclasses

    own = [dataclasses.replace(s, response="#### 1", gold="1") for s in answers("cheat", 0.0)]
    submit(tmp_path / "cheat", "cheat", 0.0, samples=own, claimed=1.0)
    (table,) = board_of(tmp_path).tables
    assert table.entries[0].accuracy == 0.0


def test_ties_within_noise_share_a_rank(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        submit(tmp_path / name, name, 0.6)
    submit(tmp_path / "z", "z", 0.1)
    (table,) = board_of(tmp_path).tables
    assert [e.rank for e in table.entries] == [1, 1, 1, 4]
    assert [e.rank_worst for e in table.entries] == [3, 3, 3, 4]


def test_other_settings_are_another_table_and_what_differs_is_named(tmp_path: Path) -> None:
    submit(tmp_path / "a", "a", 0.6)
    submit(tmp_path / "b", "b", 0.6)
    submit(tmp_path / "c", "c", 0.6, settings=settings(template="plain", grading="gsm8k_strict"))
    tables = board_of(tmp_path).tables
    assert [len(t.entries) for t in tables] == [2, 1]
    assert tables[1].differs == ("grading: gsm8k_strict (above: gsm8k)", "template: plain (above: chat)")


def test_time_to_accuracy_is_when_the_curve_first_gets_there(tmp_path: Path) -> None:
    curve = [{"seconds": s, "accuracy": a} for s, a in ((10, 0.2), (20, 0.5), (30, 0.4), (40, 0.7))]
    submit(tmp_path / "a", "a", 0.6, curve=curve, seconds=40, dollars=1.5)
    submit(tmp_path / "b", "b", 0.6)
    (table,) = board_of(tmp_path, target=0.45).tables
    told = {e.name: (e.seconds_to_target, e.seconds, e.dollars) for e in table.entries}
    assert told == {"a": (20.0, 40.0, 1.5), "b": (None, None, None)}
    (table,) = board_of(tmp_path).tables
    best = max(e.accuracy for e in table.entries)
    assert table.target == pytest.approx(0.9 * best, abs=1e-4)


def test_runs_are_entries_with_their_time_and_need_no_problems_beside_them(tmp_path: Path) -> None:
    make_run(tmp_path / "run", {"base": 0.15, "sft": 0.42, "rl": 0.61}, n=100)
    (table,) = build_board([tmp_path / "run"]).tables
    assert [e.name for e in table.entries] == ["run/rl", "run/sft", "run/base"]
    assert [e.kind for e in table.entries] == ["run"] * 3
    by_name = {e.name: e for e in table.entries}
    assert by_name["run/base"].seconds == pytest.approx(2.1 + 80.4)
    assert by_name["run/rl"].seconds == pytest.approx(2.1 + 3 * 80.4)
    assert by_name["run/rl"].claim == "same"
    assert table.target is not None
    # sft and base never validate above 0.35 of 0.55; rl's curve starts where theirs end: 2 · 80 s, and 80 of its own.
    reached = by_name["run/rl"].seconds_to_target
    assert reached is None or reached > 160
    assert "/" + tmp_path.name not in as_json(build_board([tmp_path / "run"])).decode()


def test_a_submission_is_graded_by_the_golds_of_a_run_beside_it(tmp_path: Path) -> None:
    make_run(tmp_path / "run", {"base": 0.15, "sft": 0.42}, n=50, problems="a digest", n_problems=50)
    (written,) = [p for p in write_submissions([tmp_path / "run"], tmp_path / "sent") if p.name.endswith("sft")]
    alone = Builder([tmp_path / "sent"])
    with pytest.raises(RecipeError, match=r"the problems of 'data/test' are not here"):
        alone.build()
    (table,) = build_board([tmp_path / "run", written]).tables
    assert [e.kind for e in table.entries].count("submission") == 1
    twins = [e for e in table.entries if e.name.startswith("run-sft") or "sft" in e.name]
    assert twins[0].accuracy == twins[1].accuracy
    assert twins[0].name != twins[1].name


def test_problems_are_brought_as_the_folder_of_a_data_stage(tmp_path: Path, posttrain: Any) -> None:
    submit(tmp_path / "all" / "a", "a", 0.6, claimed=0.9)
    write_problems(tmp_path / "problems")
    done = posttrain("leaderboard", "all", "--problems", "problems", "--json", "--static", "site")
    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)
    assert board["tables"][0]["entries"][0]["claim"] == "differs"
    assert (tmp_path / "site" / "index.html").is_file()
    assert json.loads((tmp_path / "site" / "board.json").read_text()) == board


def test_building_again_grades_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import posttrain.leaderboard.regrading as regrading

    graded = []
    real = regrading.grade_many
    monkeypatch.setattr(regrading, "grade_many", lambda items, spec: graded.append(len(items)) or real(items, spec))
    submit(tmp_path / "a", "a", 0.6)
    builder = Builder([tmp_path], problems=[problems()])
    first = builder.build()
    assert builder.build() == first
    assert graded == [N]
    submit(tmp_path / "b", "b", 0.5)
    assert len(builder.build().tables[0].entries) == 2
    assert graded == [N, N]


def test_an_empty_or_unfinished_run_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="has neither a submission nor an evaluation in it"):
        build_board([tmp_path / "empty"])
    with pytest.raises(RecipeError, match="is no folder here"):
        build_board([tmp_path / "absent"])
    Manifest("sft", "checkpoint", "running", "", {}, {}, {}, 0, "").write(tmp_path / "run" / "sft")
    with pytest.raises(RecipeError, match=r"no finished evaluation yet; still running or interrupted: sft \(sft\)"):
        build_board([tmp_path / "run"])


def test_an_evaluation_that_is_still_running_is_left_out_and_said(tmp_path: Path) -> None:
    import dataclasses

    make_run(tmp_path / "run", {"base": 0.15}, n=20)
    make_run(tmp_path / "other", {"base": 0.15}, n=20)
    manifest = Manifest.read(tmp_path / "other" / "scores")
    assert manifest is not None
    dataclasses.replace(manifest, status="running").write(tmp_path / "other" / "scores")
    board = build_board([tmp_path])
    assert [e.name for t in board.tables for e in t.entries] == ["run/base"]
    assert "scores is not finished" in board.refused[0].reason


def test_the_schemas_that_ship_are_those_that_are_checked() -> None:
    for name, text in schemas().items():
        assert (SHIPPED / name).read_text() == text, "python tools/leaderboard_schemas.py makes them anew"


def test_a_board_and_a_submission_keep_to_the_schemas(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    submit(tmp_path / "a", "a", 0.6, curve=[{"seconds": 1, "accuracy": 0.5}])
    submit(tmp_path / "b", "b", 0.3, claimed=1.0)
    board = json.loads(as_json(board_of(tmp_path)))
    checker = jsonschema.Draft202012Validator(json.loads(schemas()["board.schema.json"]))
    checker.validate(board)
    of_submission = jsonschema.Draft202012Validator(json.loads(schemas()["submission.schema.json"]))
    submission = json.loads((tmp_path / "a" / "submission.json").read_text())
    of_submission.validate(submission)
    for broken in ({"extra": 1}, {"version": 2}, {"name": ""}, {"results": []}, {"seconds": -1}, {"dollars": "1"}):
        with pytest.raises(jsonschema.ValidationError):
            of_submission.validate({**submission, **broken})


def test_a_checkpoint_of_a_sweep_cost_what_was_spent_until_then(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run, {"base": 0.15, "sft": 0.42, "rl": 0.61}, n=40)
    swept = make_sweep(run, {0: 0.2, 100: 0.4, 200: 0.6}, n=40, trained="rl")
    (table,) = build_board([swept.path]).tables
    spent = {e.name: e.seconds for e in table.entries}
    before = 2.1 + 2 * 80.4  # data, base, sft; then 0.4 s for every step of rl
    assert spent == {
        "run/step-000000": pytest.approx(before),
        "run/step-000100": pytest.approx(before + 40),
        "run/step-000200": pytest.approx(before + 80),
    }
