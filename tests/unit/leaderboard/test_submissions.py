"""Submissions are written by strangers: whatever they hold, it costs them their entry and the board nothing."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.leaderboard.makers import N, answers, problems, settings, submit

from posttrain.errors import DataError, RecipeError
from posttrain.leaderboard.build import Builder
from posttrain.leaderboard.limits import Limits
from posttrain.leaderboard.reading import opened, read_answers
from posttrain.leaderboard.sources import read_submission
from posttrain.leaderboard.text import clean


def refusal(folder: Path, **limits: int) -> str:
    """Why the only submission below `folder` is on no board."""
    with pytest.raises(RecipeError, match="nothing can be put on the board") as caught:
        Builder([folder], problems=[problems()], limits=Limits(**limits)).build()
    return str(caught.value)


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "submission.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_one_bad_submission_leaves_the_others_alone(tmp_path: Path) -> None:
    submit(tmp_path / "good", "good", 0.5)
    submit(tmp_path / "torn", "torn", 0.5)
    (tmp_path / "torn" / "samples.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "submission.json").write_text("{")
    board = Builder([tmp_path], problems=[problems()]).build()
    assert [e.name for t in board.tables for e in t.entries] == ["good"]
    told = {r.source.split(" ")[0]: r.reason for r in board.refused}
    assert "can't be read as Parquet" in told["torn"]
    assert "is no JSON" in told["broken"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../other/samples.parquet", "a/../../x", "a\\b", "x\0y"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    submit(tmp_path / "a", "a", 0.5, result={"samples": name})
    assert "is no path below its folder" in refusal(tmp_path)


def test_links_are_not_followed_on_any_step(tmp_path: Path) -> None:
    secret = submit(tmp_path / "elsewhere" / "x", "x", 0.5)
    made = submit(tmp_path / "all" / "a", "a", 0.5)
    (made / "samples.parquet").unlink()
    (made / "samples.parquet").symlink_to(secret / "samples.parquet")
    assert "can't be read" in refusal(tmp_path / "all")
    (made / "inner").symlink_to(secret, target_is_directory=True)
    edit(made, lambda v: v["results"][0].update(samples="inner/samples.parquet"))
    assert "is not there" in refusal(tmp_path / "all") or "can't be read" in refusal(tmp_path / "all")
    (tmp_path / "all" / "linked").symlink_to(secret, target_is_directory=True)
    assert "linked" not in refusal(tmp_path / "all")


def test_a_pipe_in_place_of_a_file_does_not_hang_the_board(tmp_path: Path) -> None:
    made = submit(tmp_path / "a", "a", 0.5)
    (made / "samples.parquet").unlink()
    os.mkfifo(made / "samples.parquet")
    assert "is not a regular file" in refusal(tmp_path)


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    made = submit(tmp_path / "a", "a", 0.5)
    assert "at most 100 are read" in refusal(tmp_path, file_bytes=100)
    assert "answers; at most 10 are read" in refusal(tmp_path, rows=10)
    assert "more than 50 characters in all" in refusal(tmp_path, total=50)
    with pytest.raises(DataError, match="at most 10 are read"):
        read_submission(made, Limits(description_bytes=10))


def test_a_column_that_unpacks_to_more_than_memory_is_refused(tmp_path: Path) -> None:
    made = submit(tmp_path / "a", "a", 0.5)
    long = "x" * 2_000_000
    table = pa.table({"problem_id": ["p0"] * 200, "index": list(range(200)), "response": [long] * 200})
    pq.write_table(table, made / "samples.parquet", compression="zstd")
    assert (made / "samples.parquet").stat().st_size < 2_100_000
    assert "characters" in refusal(tmp_path, text=400_000, total=1 << 20)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"problem_id": ["p0"], "index": [0]}, "it needs one column 'response'"),
        ({"problem_id": [b"p0"], "index": [0], "response": ["x"]}, "holds binary, not strings"),
        ({"problem_id": ["p0"], "index": ["0"], "response": ["x"]}, "holds string, not integers"),
        ({"problem_id": ["p0"], "index": [0], "response": [None]}, "'response' holds null, not strings"),
        (
            {"problem_id": ["p0", None], "index": [0, 0], "response": ["x", "y"]},
            "without problem_id, index or response",
        ),
    ],
)
def test_columns_must_be_what_they_are_called(tmp_path: Path, columns: dict[str, Any], why: str) -> None:
    made = submit(tmp_path / "a", "a", 0.5)
    pq.write_table(pa.table(columns), made / "samples.parquet")
    assert why in refusal(tmp_path)


def test_a_pickled_column_type_is_not_unpickled(tmp_path: Path) -> None:
    """pyarrow before 14.0.1 unpickled the metadata of this extension type when it read a file (CVE-2023-47248)."""
    made = submit(tmp_path / "a", "a", 0.5)
    marker = tmp_path / "ran"
    code = b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    named = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": code}
    samples = answers("a", 0.5)
    table = pa.table({"problem_id": [s.problem_id for s in samples], "index": [0] * N})
    table = table.append_column("question", [[s.question for s in samples]])
    field = pa.field("response", pa.string(), metadata=named)
    table = table.append_column(field, [[s.response for s in samples]])
    pq.write_table(table, made / "samples.parquet")
    board = Builder([tmp_path], problems=[problems()]).build()
    assert board.tables[0].entries[0].name == "a"
    assert not marker.exists()


def test_the_process_that_reads_is_given_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import posttrain.leaderboard.reading as reading

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    given: dict[str, str] = {}
    real = reading.subprocess.run

    def spying(*args: Any, **kwargs: Any) -> Any:
        given.update(kwargs["env"])
        return real(*args, **kwargs)

    monkeypatch.setattr(reading.subprocess, "run", spying)
    found, digest = read_answers(submit(tmp_path, "a", 0.5), "samples.parquet", Limits())
    assert len(found) == N
    assert len(digest) == 64
    assert "hf_secret" not in given.values()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: v.update(extra=1), "Extra inputs are not permitted"),
        (lambda v: v.update(version=2), "version"),
        (lambda v: v.update(seconds=-1), "seconds"),
        (lambda v: v.update(dollars="1"), "dollars"),
        (lambda v: v["results"][0].update(accuracy=1.5), "results.0.accuracy"),
        (lambda v: v["results"][0].update(fingerprint="0" * 64), "its fingerprint is not that of its settings"),
        (lambda v: v["results"][0].update(benchmark="other"), "its settings are of another benchmark"),
        (lambda v: v["results"].append(v["results"][0]), "two of its results were asked the same way"),
    ],
)
def test_a_description_must_keep_to_the_schema(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    edit(submit(tmp_path / "a", "a", 0.5), change)
    assert why in refusal(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"version": NaN}', '{"a": 1e999}', '{"name": "\\ud800"}', "9" * 5000, "\xff"]
)
def test_odd_json_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "submission.json").write_bytes(text.encode("latin-1"))
    assert "submission.json" in refusal(tmp_path)


def test_every_problem_must_be_answered_once_as_it_was_asked(tmp_path: Path) -> None:
    made = answers("a", 0.9)
    kept = [s for s in made if s.response == f"#### {s.gold}"]
    submit(tmp_path / "a", "a", 0.9, samples=kept)
    assert f"it lacks answers to {N - len(kept)} of the {N} problems" in refusal(tmp_path)
    submit(tmp_path / "a", "a", 0.9, samples=[*made, made[0]])
    assert "twice as sample 0" in refusal(tmp_path)
    submit(tmp_path / "a", "a", 0.9, samples=[*made, dataclasses.replace(made[0], index=1)])
    assert "61 answers where its settings say 1 to each" in refusal(tmp_path)
    submit(tmp_path / "a", "a", 0.9, samples=[dataclasses.replace(made[0], question="What is 1?"), *made[1:]])
    assert "its question 'p0' is not the benchmark's" in refusal(tmp_path)
    submit(tmp_path / "a", "a", 0.9, samples=[*made[:-1], dataclasses.replace(made[-1], problem_id="easy")])
    assert "'easy', which is no problem of this benchmark" in refusal(tmp_path)


def test_other_problems_are_not_graded(tmp_path: Path) -> None:
    submit(tmp_path / "a", "a", 0.9, settings=settings(problems="0" * 64))
    assert "the problems of 'sums/test' are not here" in refusal(tmp_path)


def test_submitted_programs_are_not_run_unasked(tmp_path: Path) -> None:
    submit(tmp_path / "a", "a", 0.9, settings=settings(grading="code"))
    assert "grading it would run its programs here" in refusal(tmp_path)
    submit(tmp_path / "a", "a", 0.9, settings=settings(grading="os.system"))
    assert "which the board can't do" in refusal(tmp_path)
    submit(tmp_path / "a", "a", 0.9, settings=settings(sampling={"n": {"a": 1}}))
    assert "to each of 60 problems" in refusal(tmp_path)


def test_words_of_strangers_are_one_line_without_hidden_characters() -> None:
    assert clean("a\u202eb\u200bc\nd\x00e\x1b[31m") == "abc de[31m"
    assert clean("x" * 300) == "x" * 199 + "…"
    assert clean("\ud800ok") == "ok"


def test_an_opened_file_is_the_one_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"x")
    with opened(tmp_path, "in/file", 10) as file:
        assert file.read() == b"x"
    with pytest.raises(DataError, match="is not there"), opened(tmp_path, "in/none", 10):
        pass
    with pytest.raises(DataError, match="is not a regular file"), opened(tmp_path, "in", 10):
        pass
