"""The curate stages: rows in, rows out, and the ledger of all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.unit.curate.make import problems_of, samples_of, trace

from posttrain.cli import cli, main
from posttrain.config import parse
from posttrain.curate import page
from posttrain.curate.config import CurateConfig
from posttrain.curate.filters import FILTERS
from posttrain.errors import DataError, DriftError, RecipeError
from posttrain.models import load_tokenizer, save_model, tiny_model, train_tokenizer
from posttrain.models.config import TinyConfig
from posttrain.pipeline import run_stage
from posttrain.records import Problem, Sample, Verdict
from posttrain.store import Manifest, Problems, Samples

BAKER = (
    "A baker bakes 12 loaves in the morning and sells 5 of them before noon. How many loaves are left for the evening?"
)
TRACES = [
    trace(0, "It is 1. The answer is 1.", token_ids=(1, 2), logprobs=(-0.5, -0.25)),
    trace(1, "The answer is 2."),
    trace(2, "The answer is 1.", question=BAKER),
    trace(3, "The answer is 1.", question=BAKER.replace("evening", "night")),
    trace(4, "word " * 50 + "The answer is 1."),
    trace(5, "The answer is 1.", split="validation"),
]
STEPS = [
    {"filter": "correct"},
    {"filter": "length", "max": 20, "unit": "words"},
    {"filter": "near_duplicates", "of": "question"},
]


def curated(folder: Path, steps: list[dict[str, Any]] | None = None, **inputs: Any) -> Samples:
    of = inputs.pop("of", None) or samples_of(folder, TRACES)
    made = run_stage("curate", {"steps": steps or STEPS}, {"of": of, **inputs}, folder / "kept", quiet=True)
    assert isinstance(made, Samples)
    return made


def test_what_every_step_keeps_comes_out_with_its_verdict(tmp_path: Path) -> None:
    kept = list(curated(tmp_path).read())
    assert [s.problem_id for s in kept] == ["p0", "p2", "p5"]  # another split passes untouched
    assert kept[0] == Sample(**{**_values(TRACES[0]), "verdict": Verdict(True, True, "1", "correct")})
    assert kept[2] == TRACES[5]


def _values(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__dataclass_fields__}


def test_the_ledger_has_every_row_with_every_score_until_it_went(tmp_path: Path) -> None:
    rows = pq.read_table(curated(tmp_path).path / "ledger.parquet").to_pylist()
    assert [(r["row"], r["kept"], r["dropped_by"]) for r in rows] == [
        (0, True, None),
        (1, False, "1-correct"),
        (2, True, None),
        (3, False, "3-near_duplicates"),
        (4, False, "2-length"),
    ]
    assert rows[1]["1-correct.score"] == 0
    assert rows[1]["2-length.keep"] is rows[1]["2-length.score"] is rows[1]["3-near_duplicates.reason"] is None
    assert rows[4]["2-length.score"] == 54
    assert rows[4]["2-length.threshold"] == 20
    assert rows[4]["reason"] == "54 words, more than 20"
    assert rows[3]["3-near_duplicates.twin"] == 2
    assert rows[3]["3-near_duplicates.score"] > 0.7


def test_the_funnel_adds_up(tmp_path: Path) -> None:
    told = page.read_curation(curated(tmp_path).path)
    assert (told["rows"], told["kept"], told["untouched"]) == (5, 2, 1)
    assert [(f["step"], f["before"], f["after"], f["dropped"]) for f in page.funnel(told)] == [
        ("1-correct", 5, 4, 1),
        ("2-length", 4, 3, 1),
        ("3-near_duplicates", 3, 2, 1),
    ]
    assert page.funnel(told)[1]["rule"] == "filter length  max 20  unit words  of response"
    lengths = page.distributions(told)["length"]
    assert sum(row["before"] for row in lengths) == 5
    assert sum(row["after"] for row in lengths) == 2
    assert told["steps"][0]["notes"]["verdicts"] == {"correct": 4, "wrong": 1}


def test_levels_and_subjects_come_from_the_problems(tmp_path: Path) -> None:
    problems = [Problem(f"p{i}", f"Question {i}?", "1", subject="ab"[i % 2], level=i % 3) for i in range(6)]
    kept = curated(tmp_path, problems=problems_of(tmp_path, problems))
    spread = page.distributions(page.read_curation(kept.path))
    assert spread["level"] == [
        {"value": "0", "before": 2, "after": 1},
        {"value": "1", "before": 2, "after": 0},
        {"value": "2", "before": 1, "after": 1},
    ]
    assert [row["value"] for row in spread["subject"]] == ["a", "b"]


def test_problems_are_curated_and_other_splits_pass(tmp_path: Path) -> None:
    problems = [Problem("a", BAKER, "7"), Problem("b", BAKER.upper(), "7")]
    problems.append(Problem("c", "Two and two?", "4", "2 + 2 = 4."))
    problems.append(Problem("t", BAKER.replace("12", "31"), "26", split="test", choices=("1", "26")))
    of = problems_of(tmp_path, problems)
    steps = [{"filter": "exact_duplicates"}, {"filter": "decontaminate", "against": ["held-out"]}]
    made = run_stage("curate-problems", {"steps": steps}, {"of": of}, tmp_path / "kept", quiet=True)
    assert isinstance(made, Problems)
    assert made.read() == [problems[2], problems[3]]
    way = page.explain(made.path, "a")
    assert way["steps"][1]["item_text"] == problems[3].question
    # and they can be asked: a stage that takes problems takes these
    solved = run_stage("traces", {}, {"problems": made}, tmp_path / "traces", quiet=True)
    assert [s.problem_id for s in Samples(solved.path).read()] == ["c"]


def test_two_teachers_answers_keep_their_own_verdicts(tmp_path: Path) -> None:
    one = samples_of(tmp_path, [trace(0, "The answer is 1.", verdict=Verdict(True, True, "1", "correct"))], "one")
    two = samples_of(tmp_path, [trace(0, "The answer is 2.", verdict=Verdict(False, True, "2", "wrong"))], "two")
    kept = list(curated(tmp_path, [{"filter": "truncated"}], of=one, also=[two]).read())
    assert [(s.index, s.verdict and s.verdict.correct) for s in kept] == [(0, True), (1, False)]
    rows = pq.read_table(tmp_path / "kept" / "ledger.parquet").to_pylist()
    assert [r["dataset"] for r in rows] == ["one", "two"]


def test_the_students_tokens_are_counted(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["The answer is 1."] * 20, 300)
    model = tiny_model(tokenizer, TinyConfig(hidden=16, layers=1, heads=2, vocabulary=300), seed=0)
    save_model(model, tokenizer, tmp_path / "student")
    kept = curated(tmp_path, [{"filter": "length", "max": 40}], student=str(tmp_path / "student"))
    rows = pq.read_table(kept.path / "ledger.parquet").to_pylist()
    counted = len(load_tokenizer(tmp_path / "student")("The answer is 2.", add_special_tokens=False)["input_ids"])
    assert rows[1]["1-length.score"] == rows[1]["length"] == counted
    assert page.read_curation(kept.path)["distributions"]["length"]["unit"] == "tokens"


def test_all_rows_dropped_says_which_step_did_it_and_leaves_the_ledger(tmp_path: Path) -> None:
    steps = [{"filter": "correct"}, {"filter": "length", "min": 1000, "unit": "words"}]
    with pytest.raises(DataError) as refused:
        curated(tmp_path, steps)
    said = str(refused.value)
    assert "no row is left: step 2, filter 'length' dropped all 4 rows that 1-correct had left" in said
    assert "Their scores go from 4 to 54, the threshold is 1000" in said
    manifest = Manifest.read(tmp_path / "kept")
    assert manifest is not None
    assert manifest.status == "running"
    assert page.explain(tmp_path / "kept", "0")["dropped_by"] == "2-length"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"filter": "lenght", "max": 3}], "step 1: unknown filter 'lenght'. Did you mean 'length'?"),
        ([{"select": "randm", "budget": 3}], "step 1: unknown selector 'randm'"),
        (
            [{"filter": "correct"}, {"filter": "length", "maxx": 3}],
            "step 2, filter 'length': unknown key 'maxx'. Did you",
        ),
        ([{"max": 3}], "write {filter: NAME"),
        ([{"filter": "correct", "select": "random"}], "write {filter: NAME"),
        ([{"filter": "length", "max": -1}], "step 1, filter 'length': 'max' is -1"),
        ([], "steps"),
    ],
)
def test_wrong_steps_are_refused_before_anything_runs(steps: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        parse(CurateConfig, {"steps": steps}, "stage 'curate'")
    assert said in str(refused.value)


def test_a_step_that_cannot_be_had_is_told_before_the_first_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posttrain.curate.tools.grade_many", lambda items, spec: pytest.fail("graded in vain"))
    with pytest.raises(
        RecipeError, match=r"filter 'length' counts in the student's tokens, and the stage was given no"
    ):
        curated(tmp_path, [{"filter": "correct"}, {"filter": "length", "max": 10}])


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    of = samples_of(tmp_path, TRACES)
    with pytest.raises(DataError, match="no row is in split 'test'; there is train, validation"):
        run_stage("curate", {"steps": STEPS, "split": "test"}, {"of": of}, tmp_path / "kept", quiet=True)


def test_an_interrupted_curation_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = samples_of(tmp_path, TRACES)
    whole = run_stage("curate", {"steps": STEPS}, {"of": of}, tmp_path / "whole", quiet=True, seed=3)
    entry = FILTERS["near_duplicates"]
    monkeypatch.setattr(
        "posttrain.curate.minhash.first_twins", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        run_stage("curate", {"steps": STEPS}, {"of": of}, tmp_path / "kept", quiet=True, seed=3)
    monkeypatch.undo()
    monkeypatch.setattr("posttrain.curate.filters.verdicts._judged", lambda *a, **k: pytest.fail("graded again"))
    assert FILTERS["near_duplicates"] is entry
    again = run_stage("curate", {"steps": STEPS}, {"of": of}, tmp_path / "kept", quiet=True, seed=3)
    assert list(Samples(again.path).read()) == list(Samples(whole.path).read())
    columns = [pq.read_table(a.path / "ledger.parquet") for a in (again, whole)]
    assert columns[0].equals(columns[1])


def test_a_default_written_out_is_the_same_curation_and_another_value_is_not(tmp_path: Path) -> None:
    of = samples_of(tmp_path, TRACES)
    made = run_stage("curate", {"steps": [{"filter": "correct"}]}, {"of": of}, tmp_path / "kept", quiet=True)
    spelled = {"steps": [{"filter": "correct", "grading": "gsm8k"}]}
    assert run_stage("curate", spelled, {"of": of}, tmp_path / "kept", quiet=True).path == made.path
    with pytest.raises(DriftError, match="steps"):
        run_stage("curate", {"steps": STEPS}, {"of": of}, tmp_path / "kept", quiet=True)


def test_the_command_line_makes_shows_and_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples_of(tmp_path, TRACES)
    made = curated(tmp_path)
    steps = json.dumps([{"filter": "truncated"}])
    done = CliRunner().invoke(
        cli, ["curate", f"of={made.path}", f"steps={steps}", f"out={tmp_path / 'again'}", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again" / "ledger.parquet").exists()
    shown = CliRunner().invoke(cli, ["curate", str(made.path)]).output
    assert "5 rows, 2 kept" in shown
    assert "2-length" in shown
    way = CliRunner().invoke(cli, ["curate", str(made.path), "--explain", "3"]).output
    assert "row 3 (p3, of traces): dropped by 3-near_duplicates: nearly the same as row 2" in way
    assert "rule: filter near_duplicates  threshold 0.6" in way
    assert f"twin_text: {BAKER}" in way
    assert "not reached" in CliRunner().invoke(cli, ["curate", str(made.path), "--explain", "p1"]).output
    assert "--explain" in CliRunner().invoke(cli, ["curate", "--help"]).output
    for arguments, said in [
        (["curate", str(made.path), "--explain", "99"], "has no row '99'"),
        (["curate", str(tmp_path), "--explain", "1"], "no curate stage made it"),
        (["curate", "--explain", "1"], "is asked of one folder"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_control_characters_of_the_data_stay_out_of_the_terminal(tmp_path: Path) -> None:
    of = samples_of(tmp_path, [trace(0, question="2\x1b[2J + 2?"), trace(1)])
    made = run_stage("curate", {"steps": [{"filter": "truncated"}]}, {"of": of}, tmp_path / "kept", quiet=True)
    assert "\x1b" not in "\n".join(page.explained_in_words(page.explain(made.path, "0")))


def test_every_filter_has_a_line_of_help_and_a_docstring() -> None:
    for name, entry in FILTERS.items():
        assert entry.help.endswith("."), name
        assert entry.function.__doc__, name


def test_a_steps_own_seed_decides_its_draw_whatever_the_stages_is(tmp_path: Path) -> None:
    of = samples_of(tmp_path, [trace(i) for i in range(40)])

    def drawn(name: str, stage: int, **step: Any) -> list[str]:
        steps = [{"select": "random", "budget": 8, **step}]
        made = run_stage("curate", {"steps": steps}, {"of": of}, tmp_path / name, quiet=True, seed=stage)
        return [s.problem_id for s in Samples(made.path).read()]

    assert drawn("a", 1, seed=7) == drawn("b", 2, seed=7) != drawn("c", 1, seed=8)
    assert drawn("d", 1) != drawn("e", 2)


def test_two_equal_curations_are_the_same_artifact_and_their_times_stand_apart(tmp_path: Path) -> None:
    of = samples_of(tmp_path, TRACES)
    made = [run_stage("curate", {"steps": STEPS}, {"of": of}, tmp_path / name, quiet=True) for name in "ab"]
    manifests = [Manifest.read(one.path) for one in made]
    assert manifests[0] is not None
    assert manifests[1] is not None
    assert manifests[0].digest == manifests[1].digest
    timing = json.loads((made[0].path / "timing.json").read_text())["steps"]
    assert [(step["step"], step["seconds"] >= 0) for step in timing] == [
        ("1-correct", True),
        ("2-length", True),
        ("3-near_duplicates", True),
    ]


def test_a_finished_curation_says_what_its_steps_noted_and_names_a_row_to_explain(tmp_path: Path) -> None:
    traces = [trace(0), trace(1, "The answer is 2."), *(trace(i, question=f"Number {i} {i}?") for i in range(2, 6))]
    steps = [{"filter": "correct"}, {"select": "mix", "budget": 4, "weights": {"traces": 1.0}}]
    made = curated(tmp_path, steps, of=samples_of(tmp_path, traces))
    shown = CliRunner().invoke(cli, ["curate", str(made.path)]).output
    assert "e.g. row 1: wrong: answered '2', gold '1'" in shown
    told = {"verb": "filter", "notes": {"tiers": {"drop": 4, "note": 1000}, "warnings": ["w"]}, "examples": []}
    assert page.noted(told) == ["w", "tiers: drop 4, note 1,000"]
