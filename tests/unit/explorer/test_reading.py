"""Rows of samples: joined, tolerant of what other writers leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain.errors import DamagedError
from posttrain.explorer.journal import Journal
from posttrain.explorer.library import Library
from posttrain.explorer.reading import rows
from posttrain.store import Samples


def test_rows_are_the_samples_that_the_store_reads(made: Path) -> None:
    found = Library(made).sets()["sweep/step-000100/made"]
    expected = list(Samples(made / "sweep" / "step-000100" / "made").read())
    for row, sample in zip(rows(found), expected, strict=True):
        assert (row.problem, row.index, row.response, row.gold) == (
            sample.problem_id,
            sample.index,
            sample.response,
            sample.gold,
        )
        assert row.verdict == sample.verdict
        assert row.token_ids is not None
        assert tuple(row.token_ids.tolist()) == sample.token_ids


def test_one_problems_rows_are_those_of_the_whole(made: Path) -> None:
    found = Library(made).sets()["rl/rollouts/step-000010"]
    some = [r for r in rows(found) if r.problem == "made/000003"]
    alone = list(rows(found, "made/000003"))
    assert [(r.index, r.response, r.advantage) for r in alone] == [(r.index, r.response, r.advantage) for r in some]
    assert all(r.entropy is not None and r.entropy.size == r.tokens for r in alone)


def test_broken_utf8_is_read_with_replacement_marks(tmp_path: Path) -> None:
    folder = tmp_path / "scores" / "base" / "made"
    folder.mkdir(parents=True)
    (tmp_path / "scores" / "scores.json").write_text('{"entries": []}')
    broken = pa.array([b"ok \xff\xfe end"], pa.binary()).view(pa.string())
    ids = pa.array(["p"])
    pq.write_table(
        pa.table({"problem_id": ids, "index": pa.array([0], pa.int32()), "question": ids, "response": broken}),
        folder / "samples.parquet",
    )
    (row,) = rows(Library(tmp_path).sets()["scores/base/made"])
    assert row.response == "ok \ufffd\ufffd end"
    assert row.verdict is None


def test_a_torn_parquet_file_is_a_damaged_one(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    path = run / "sweep" / "step-000050" / "made" / "samples.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DamagedError, match="can't be read"):
        list(rows(Library(run).sets()["sweep/step-000050/made"]))


def test_a_table_without_problems_is_told(tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "scores.json").write_text("{}")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "traces" / "samples.parquet")
    with pytest.raises(DamagedError, match="has no column 'index'"):
        list(rows(Library(tmp_path).sets()["traces/traces"]))


def test_a_journal_is_read_as_it_grows_and_waits_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    line = json.dumps({"step": 0, "problem_id": "p", "question": "q", "response": "\ud800 r"})
    path.write_text(f"{line}\n{line[:20]}")
    journal = Journal(path)
    journal.read()
    assert (journal.steps(), len(journal.rows(0))) == ([0], 1)
    stamp = journal.stamp(0)
    with path.open("a") as file:
        file.write(f"{line[20:]}\n" + line.replace('"step": 0', '"step": 10') + "\nnot json\n")
    journal.read()
    assert (journal.steps(), len(journal.rows(0)), len(journal.rows(10))) == ([0, 10], 2, 1)
    assert journal.stamp(0) != stamp


def test_a_journal_that_was_rewritten_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    path.write_text('{"step": 5, "problem_id": "p"}\n' * 3)
    journal = Journal(path)
    journal.read()
    path.unlink()
    path.write_text('{"step": 7, "problem_id": "p"}\n')
    journal.read()
    assert journal.steps() == [7]
    path.unlink()
    journal.read()
    assert journal.steps() == []
