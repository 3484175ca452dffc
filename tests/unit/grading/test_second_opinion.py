"""The audit: a second grader over the same samples."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from posttrain.errors import MissingExtraError
from posttrain.grading import second_opinion
from posttrain.grading.sandbox import Isolation, available
from posttrain.grading.second_opinion import Pair

needs_second = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None or available() < Isolation.KERNEL,
    reason="math-verify is not installed, or there is no sandbox to run it in",
)


def pair(key: str, gold: str, response: str, correct: bool | None) -> Pair:
    return Pair(key, gold, response, response, "?", correct)


@needs_second
def test_disagreements_are_listed_side_by_side() -> None:
    result = second_opinion.audit(
        [
            pair("same", "4", r"\boxed{4}", True),
            pair("wrong", "4", r"\boxed{5}", False),
            pair("generous", "4", r"\boxed{5}", True),
            pair("strict", r"\frac12", r"\boxed{0.5}", False),
            pair("undecided", "4", r"\boxed{4}", None),
        ]
    )
    assert (result.n, result.undecided, result.both_correct, result.both_wrong) == (4, 1, 1, 1)
    assert [p.key for p in result.only_first] == ["generous"]
    assert [p.key for p in result.only_second] == ["strict"]
    assert result.agreement == 0.5


@needs_second
def test_the_command_reads_what_grade_wrote(
    posttrain: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    verdict = {"correct": True, "format_ok": True, "extracted": "5", "reason": "correct"}
    rows = [{"id": "a", "gold": "4", "response": r"\boxed{5}", "verdict": verdict}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = posttrain("audit", "rows.jsonl")
    assert done.returncode == 0, done.stderr
    assert "agree on 0 (0.0%)" in done.stdout
    assert "[a]" in done.stdout


def test_without_its_library_the_audit_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"posttrain\[math-verify\]"):
        second_opinion.second_verdicts([("1", "1")])
