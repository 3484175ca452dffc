"""JSONL in, JSONL with verdicts out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import DataError
from posttrain.grading.rows import grade_rows, read_rows, row_as_line

Run = Callable[..., subprocess.CompletedProcess[str]]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_keep_their_columns_and_gain_a_verdict(posttrain: Run, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "gold": "1/2", "response": r"\boxed{0.5}", "mine": [1]},
        {"id": "b", "gold": ["3", "4"], "response": "The answer is 4"},
        {"id": "c", "gold": None, "response": None},
        {"id": "d", "gold": 5, "response": "<think>5", "finish_reason": "length"},
    ]
    done = posttrain("grade", str(write(tmp_path / "rows.jsonl", *rows)), "--spec", "math", "--out", "verdicts.jsonl")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 correct (50.0%)" in done.stdout
    judged = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k != "verdict"} for row in judged] == rows
    assert [row["verdict"]["correct"] for row in judged] == [True, True, False, False]
    assert [row["verdict"]["reason"] for row in judged] == ["correct", "correct", "no_gold", "truncated"]


def test_one_pair_is_graded_from_the_command_line(posttrain: Run) -> None:
    done = posttrain("grade", "--gold", "x=2", "--response", r"Thus \boxed{2}.")
    assert json.loads(done.stdout) == {"correct": True, "format_ok": True, "extracted": "2", "reason": "correct"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give FILE.jsonl, or --gold and --response"),
        (("--gold", "1"), "--gold and --response go together"),
        (("nowhere.jsonl",), "there is no file"),
        (("--gold", "1", "--response", "1", "--spec", "mathh"), "Did you mean 'math'"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(posttrain: Run, arguments: tuple[str, ...], message: str) -> None:
    done = posttrain("grade", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    "response",
    [
        "",
        None,
        "\x00",
        "a\x00b \\boxed{8}",
        "x" * 3_000_000,
        "\\boxed{" * 200_000,
        "<think>" * 200_000,
        {"text": "8"},
        8,
    ],
    ids=["empty", "null", "nul byte", "nul bytes", "megabytes", "open boxes", "open thoughts", "object", "number"],
)
@pytest.mark.parametrize("spec", ["math", "gsm8k", "r1_zero", "choice", "exact"])
@pytest.mark.timeout(60)  # a cost that grows with the square of the length would take hours
def test_a_response_of_any_kind_is_judged_and_not_correct(response: Any, spec: str) -> None:
    ((_, verdict),) = grade_rows([{"gold": "7", "response": response}], spec)
    assert verdict.correct is False


@pytest.mark.parametrize("gold", [None, "", "  ", "\n", [], [""], [None, ""], "\\boxed{}"])
@pytest.mark.parametrize("response", ["", "\\boxed{}", "\\boxed{7}", "None", "[]", "null"])
def test_a_missing_gold_makes_nothing_correct(gold: Any, response: str) -> None:
    ((_, verdict),) = grade_rows([{"gold": gold, "response": response}], "math")
    assert verdict.correct is False


def test_rows_bring_what_programs_and_instructions_are_graded_by(posttrain: Run, tmp_path: Path) -> None:
    rows = [
        {"response": "plain", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {"response": "no, plain", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    ]
    done = posttrain("grade", str(write(tmp_path / "rows.jsonl", *rows)), "--spec", "ifeval")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["verdict"]["correct"] for line in done.stdout.splitlines()] == [True, False]


def test_a_broken_line_stops_the_command_and_leaves_no_file(posttrain: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"gold": "1", "response": "1"}\n\xff\xfe broken\n')
    done = posttrain("grade", "rows.jsonl", "--out", "verdicts.jsonl")
    assert done.returncode == 2
    assert "line 2 is no JSON" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "verdicts.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "line 2 is no JSON"),
        ("[" * 100_000, "line 2 is no JSON"),
        ("[1]", "line 2 is no JSON object"),
        ('{"gold": "1"}', "line 2 has no column 'response'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"gold": "1", "response": "1"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        list(read_rows(path))


def test_half_a_surrogate_pair_survives() -> None:
    ((row, verdict),) = grade_rows([{"gold": "1", "response": "\ud800 1"}], "math")
    assert json.loads(row_as_line(row, verdict).encode().decode())["response"] == "\ud800 1"
