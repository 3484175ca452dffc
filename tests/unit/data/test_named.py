"""GSM8K and MATH by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.config import DataConfig
from posttrain.data.known import gsm8k
from posttrain.data.rows import Row
from posttrain.data.stages import data
from posttrain.errors import DataError
from posttrain.records import Problem
from posttrain.stage import Workspace

PUBLISHED = {
    "question": "How much is 1,000 + 80?",
    "answer": "It is 1,000 + 80 = $<<1000+80=1080>>1,080 in all.\n#### 1,080",
}


def load(folder: Path, **config: Any) -> list[Problem]:
    return data(DataConfig(**config), Workspace(folder / "out", seed=3, quiet=True)).read()


def test_gsm8k_as_published_gives_answer_solution_and_the_raw_gold() -> None:
    (problem,) = gsm8k([Row(PUBLISHED, "row 1")], "train", False)
    assert problem == Problem(
        id="gsm8k/train/0",
        question="How much is 1,000 + 80?",
        answer="1080",
        solution="It is 1,000 + 80 = $1,080 in all.",
        extra={"answer_raw": "1,080"},
    )
    (marked,) = gsm8k([Row(PUBLISHED, "row 1")], "train", True)
    assert "<<1000+80=1080>>" in (marked.solution or "")


def test_gsm8k_without_an_answer_behind_the_mark_is_refused() -> None:
    with pytest.raises(DataError, match="no answer after '####'"):
        gsm8k([Row({"question": "1?", "answer": "So. ####"}, "row 1")], "test", False)


def test_a_mirror_with_one_file_missing_is_not_half_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gsm8k_train.jsonl").write_text(json.dumps(PUBLISHED) + "\n")
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"posttrain fetch gsm8k --to mirror"):
        load(tmp_path, dataset="gsm8k")


def test_a_mirror_that_is_no_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"POSTTRAIN_DATA is .* which is no folder"):
        load(tmp_path, dataset="gsm8k")


def test_gsm8k_reserves_exactly_512_of_7473_and_every_gold_is_readable(mirror: Path, tmp_path: Path) -> None:
    problems = load(tmp_path, dataset="gsm8k", validation=512, grading="gsm8k")
    counts = {s: sum(p.split == s for p in problems) for s in ("train", "validation", "test")}
    assert counts == {"train": 7473 - 512, "validation": 512, "test": 1319}
    assert all("<<" not in (p.solution or "") and "," not in (p.answer or "") for p in problems)
    again = load(tmp_path, dataset="gsm8k", validation=512)
    assert again == problems


def test_math_trains_on_12000_and_tests_on_math_500(mirror: Path, tmp_path: Path) -> None:
    problems = load(tmp_path, dataset="math")
    assert [sum(p.split == s for p in problems) for s in ("train", "test")] == [12000, 500]
    assert {p.level for p in problems if p.split == "test"} == {1, 2, 3, 4, 5}
