"""What a user can get wrong: each ends with one message of fact, reason and remedy, and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.curate.make import samples_of, trace

from posttrain.cli import main
from posttrain.pipeline import run_stage
from posttrain.store import Samples

ROWS = [
    trace(0, extra={"quality": 0.5}),
    trace(1, "The answer is 2."),
    trace(2, extra={"quality": float("nan")}),
    trace(3, extra={"quality": 0.25}),
]
CORRECT = {"filter": "correct"}

BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "fewer rows than the budget": (
        [CORRECT, {"select": "random", "budget": 50}],
        "step 2, selector 'random': only 4 rows come in, fewer than budget: 50. Lower the budget, give more rows, or",
    ),
    "fewer rows left than the budget": (
        [CORRECT, {"select": "random", "budget": 4}],
        "selector 'random' can take 3 of the 3 rows that reach it, fewer than budget: 4 rows. Lower the budget or the",
    ),
    "all rows dropped": (
        [CORRECT, {"filter": "length", "min": 100, "unit": "words"}],
        "no row is left: step 2, filter 'length' dropped all 3 rows that 1-correct had left; row 0 for one: 4 words, "
        "fewer than 100. Their scores go from 4 to 4, the threshold is 100. Loosen that step",
    ),
    "no such benchmark": (
        [CORRECT, {"filter": "decontaminate", "against": ["gsm9k"]}],
        "unknown benchmark 'gsm9k'. Did you mean 'gsm8k'?",
    ),
    "a benchmark that isn't here": (
        [CORRECT, {"filter": "decontaminate", "against": ["minerva"]}],
        "minerva.jsonl, which does not exist",
    ),
    "NaN scores in a filter": (
        [{"filter": "score", "column": "extra.quality", "min": 0.1}],
        "filter 'score': 2 of 4 rows have no number (NaN or nothing) in 'extra.quality', the first is row 1. Set",
    ),
    "NaN scores in a selector": (
        [{"select": "difficulty", "by": "extra.quality", "budget": 2}],
        "selector 'difficulty': 2 of 4 rows have no finite number in 'extra.quality', the first is row 1 (None). Drop",
    ),
    "unknown selector": (
        [{"select": "divresity", "budget": 2}],
        "step 1: unknown selector 'divresity'. Did you mean 'diversity'? Known: difficulty, diversity, mix, pir",
    ),
    "unknown filter": ([{"filter": "corect"}], "step 1: unknown filter 'corect'. Did you mean 'correct'?"),
    "a selector without its student": (
        [{"select": "pir", "budget": 2}],
        "selector 'pir' scores answers with the student, and the stage was given no student. Add student: MODEL",
    ),
    "a selector without attempts": (
        [{"select": "difficulty", "budget": 2}],
        "selector 'difficulty' goes by pass rates, and the stage was given no attempts. Add attempts: SAMPLES",
    ),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact, as another stage left it."""
    folder = tmp_path_factory.mktemp("rows")
    steps = [{"filter": "truncated"}]
    made = run_stage("curate", {"steps": steps}, {"of": samples_of(folder, ROWS)}, folder / "made", quiet=True)
    assert isinstance(made, Samples)
    return made.path


@pytest.mark.parametrize("name", BAD)
def test_it_ends_with_one_message_and_exit_code_2(
    name: str, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))  # an empty mirror
    steps, said = BAD[name]
    with pytest.raises(SystemExit) as ended:
        main(["curate", f"of={rows}", f"steps={json.dumps(steps)}", f"out={tmp_path / 'kept'}", "--quiet"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("posttrain: ") == 1
    assert "Traceback" not in told


def test_a_budget_that_the_input_cannot_fill_is_refused_before_the_first_step_works(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posttrain.curate.filters.verdicts._judged", lambda *a, **k: pytest.fail("graded in vain"))
    steps = [{"filter": "correct", "regrade": True}, {"select": "random", "budget": 50}]
    with pytest.raises(SystemExit):
        main(["curate", f"of={rows}", f"steps={json.dumps(steps)}", f"out={tmp_path / 'kept'}", "--quiet"])
