"""SQL over samples: what it answers, and what it can't reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.explorer.library import Library, SampleSet
from posttrain.explorer.sql import EXAMPLES, ask

pytest.importorskip("duckdb", reason="duckdb is not installed: pip install 'posttrain[explore]'")


@pytest.fixture(scope="module")
def sets(made: Path) -> list[SampleSet]:
    return list(Library(made).sets().values())


def test_samples_have_their_checkpoint_verdict_and_length(sets: list[SampleSet]) -> None:
    answer = ask(
        "SELECT artifact, kind, model, step, count(*) AS n, count(correct) AS graded, avg(tokens) AS tokens "
        "FROM samples WHERE kind = 'answers' GROUP BY ALL ORDER BY step",
        sets,
    )
    assert answer.error == ""
    assert answer.rows == [["sweep", "answers", f"step {s}", s, 24, 24, 120.0] for s in (50, 100, 150, 200)]


@pytest.mark.parametrize("statement", [text for _, text in EXAMPLES])
def test_the_examples_run(sets: list[SampleSet], statement: str) -> None:
    answer = ask(statement, sets)
    assert answer.error == ""
    assert answer.rows


@pytest.mark.parametrize(
    "statement",
    [
        "COPY samples TO '{folder}/x.parquet'",
        "COPY (SELECT 1) TO '{samples}'",
        "ATTACH '{folder}/x.db' AS x",
        "CREATE TABLE x AS SELECT 1",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "EXPORT DATABASE '{folder}'",
        "PRAGMA database_list",
        "DELETE FROM files",
    ],
)
def test_only_one_select_is_taken(sets: list[SampleSet], tmp_path: Path, statement: str) -> None:
    samples = next(s.folder for s in sets if s.folder is not None) / "samples.parquet"
    before = samples.read_bytes()
    answer = ask(statement.format(folder=tmp_path, samples=samples), sets)
    assert answer.error
    assert list(tmp_path.iterdir()) == []
    assert samples.read_bytes() == before


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/passwd')",
        "read_csv('/etc/passwd')",
        "read_blob('{beside}')",
        "glob('/etc/*')",
        "'{beside}'",
        "read_parquet('{beside}')",
        "read_parquet('https://example.com/x.parquet')",
    ],
)
def test_no_other_file_and_no_network_can_be_read(sets: list[SampleSet], tmp_path: Path, source: str) -> None:
    beside = tmp_path / "beside.parquet"
    samples = next(s.folder for s in sets if s.folder is not None) / "samples.parquet"
    beside.write_bytes(samples.read_bytes())
    answer = ask(f"SELECT * FROM {source.format(beside=beside)}", sets)
    assert answer.error
    assert answer.rows == []


def test_rows_cells_and_time_have_limits(sets: list[SampleSet]) -> None:
    answer = ask("SELECT range, repeat('x', 100000) AS long FROM range(1000)", sets)
    assert (len(answer.rows), answer.more, len(answer.rows[0][1])) == (500, True, 2001)
    slow = ask("SELECT count(*) FROM range(1000000000000) WHERE hash(range) = 1", sets, seconds=1.5)
    assert "Stopped after 1.5 seconds" in slow.error


def test_a_query_that_needs_too_much_memory_is_told(sets: list[SampleSet]) -> None:
    answer = ask("SELECT list(range) FROM range(1000000000)", sets)
    assert answer.error


def test_a_mistake_is_duckdbs_own_message(sets: list[SampleSet]) -> None:
    assert "nosuch" in ask("SELECT nosuch FROM samples", sets).error


def test_values_of_every_kind_are_json(sets: list[SampleSet]) -> None:
    answer = ask("SELECT 'nan'::DOUBLE, DATE '2026-01-01', [1, 2], NULL, true, '\\xAAb'::BLOB", sets)
    assert answer.error == ""
    assert answer.rows[0][3:5] == [None, True]


def test_a_path_with_glob_signs_names_itself_only(made: Path, tmp_path: Path) -> None:
    import shutil

    run = shutil.copytree(made, tmp_path / "odd [a]*'run")
    answer = ask("SELECT count(*) FROM samples WHERE kind = 'answers'", list(Library(run).sets().values()))
    assert (answer.error, answer.rows) == ("", [[96]])


def test_without_samples_there_is_nothing_to_ask() -> None:
    assert "no samples here" in ask("SELECT 1", []).error
