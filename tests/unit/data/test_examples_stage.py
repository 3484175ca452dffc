"""The `examples` stage: which rows, which columns, which are held out, and files on the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain import hub
from posttrain.data.examples import ExamplesConfig
from posttrain.data.forecast import examples_forecast
from posttrain.errors import DataError
from posttrain.pipeline import run_stage
from posttrain.pipeline.plan import COSTS
from posttrain.records import Sample
from posttrain.store import Artifact, Manifest, Samples

ROWS = [{"problem": f"What is {n} + 1?", "trace": f"{n} + 1 = {n + 1}", "sys": "Count."} for n in range(20)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(folder: Path, seed: int = 0, inputs: dict[str, Artifact] | None = None, **config: Any) -> list[Sample]:
    artifact = run_stage("examples", config, inputs or {}, folder, seed=seed, quiet=True)
    assert isinstance(artifact, Samples)
    return list(artifact.read())


COLUMNS = {"question": "problem", "response": "trace"}


def test_columns_of_any_name_hold_question_answer_and_system_prompt(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "x.jsonl", ROWS)
    found = made(tmp_path / "a", source=str(source), columns=COLUMNS)
    assert (found[3].question, found[3].response) == ("What is 3 + 1?", "3 + 1 = 4")
    found = made(tmp_path / "b", source=str(source), columns={**COLUMNS, "system": "sys"})
    assert [turn["role"] for turn in found[0].extra["messages"]] == ["system", "user", "assistant"]
    with pytest.raises(DataError, match=r"no column 'trce' for 'response'\. Did you mean 'trace'\?"):
        made(tmp_path / "c", source=str(source), columns={"question": "problem", "response": "trce"})


def test_a_sample_of_rows_depends_on_the_seed_alone_and_keeps_their_order(tmp_path: Path) -> None:
    source = str(jsonl(tmp_path / "x.jsonl", ROWS))
    first, again, other = (
        [s.problem_id for s in made(tmp_path / name, seed=seed, source=source, columns=COLUMNS, sample=7)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other
    numbers = [int(i.rpartition("/")[2]) for i in first]
    assert len(numbers) == 7
    assert numbers == sorted(set(numbers))
    with pytest.raises(DataError, match="has 20 rows, fewer than sample: 21"):
        made(tmp_path / "d", source=source, columns=COLUMNS, sample=21)


def test_rows_that_ask_a_held_out_problem_are_left_out_and_counted(tmp_path: Path) -> None:
    source = str(jsonl(tmp_path / "x.jsonl", ROWS))
    folder = tmp_path / "own"
    jsonl(folder / "train.jsonl", [{"question": "What is 1 + 1?", "answer": 2}])
    jsonl(folder / "validation.jsonl", [{"question": "what is  4 + 1?", "answer": 5}])
    jsonl(folder / "test.jsonl", [{"question": "What is 5 + 1?", "answer": 6}, {"question": "1?", "answer": 1}])
    problems = run_stage("data", {"dataset": str(folder)}, {}, tmp_path / "problems", quiet=True)
    found = made(tmp_path / "a", inputs={"without": problems}, source=source, columns=COLUMNS)
    left = {int(s.problem_id.rpartition("/")[2]) for s in found}
    assert left == set(range(20)) - {4, 5}, "validation and test are held out, training problems are not"
    with pytest.raises(DataError, match="of its rows 2 ask a held-out problem and 0 can't be learned from"):
        made(
            tmp_path / "b",
            inputs={"without": problems},
            source=str(jsonl(tmp_path / "y.jsonl", ROWS[4:6])),
            columns=COLUMNS,
        )


def test_a_file_of_a_data_set_is_read_from_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(tmp_path / "mirror" / "datasets" / "org" / "set" / "part" / "x.jsonl", ROWS)
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path / "mirror"))
    ref = "hf://datasets/org/set/part/x.jsonl"
    assert len(made(tmp_path / "a", source=ref, columns=COLUMNS)) == 20
    config = {"dataset": ref, "columns": {"question": "problem", "answer": "trace"}}
    problems = run_stage("data", config, {}, tmp_path / "b", quiet=True)
    manifest = problems.manifest()
    assert manifest is not None
    assert manifest.summary["train"] == 20
    assert manifest.summary["from"] == ref


@pytest.mark.parametrize("ref", ["hf://datasets/set/x.jsonl", "hf://models/org/set/x.jsonl", "hf://datasets/o/s/../x"])
def test_a_name_that_is_no_file_of_a_data_set_is_said(ref: str) -> None:
    with pytest.raises(DataError, match="Write hf://datasets/org/name/path/to/file"):
        hub.dataset_file(ref)


def test_without_network_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTTRAIN_DATA", "")
    with pytest.raises(DataError, match="can't be reached"):
        hub.dataset_file("hf://datasets/org/set/x.jsonl")


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_rows_of_a_file_are_forecast_before_it_is_read(kind: str, tmp_path: Path) -> None:
    source = tmp_path / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), source)
    elif kind == "json":
        source.write_text(json.dumps(ROWS))
    else:
        jsonl(source, ROWS)
    told = forecast_of(source=str(source))
    assert told["makes"]["rows"] == 20 == len(made(tmp_path / "a", source=str(source), columns=COLUMNS))
    assert 5 < told["makes"]["tokens"] < 40
    assert all(told[cost] is not None for cost in COSTS)
    assert forecast_of(source=str(source), sample=9, limit=7)["makes"]["rows"] == 7


def test_of_a_dataset_on_the_hub_is_told_what_is_asked_for(tmp_path: Path) -> None:
    assert forecast_of(source="org/set")["makes"] == {}
    assert forecast_of(source="org/set", sample=15_000)["makes"] == {"rows": 15_000}
    assert forecast_of(source=str(tmp_path / "is-not-there.jsonl"))["makes"] == {}


def forecast_of(**config: Any) -> dict[str, Any]:
    return examples_forecast(ExamplesConfig.model_validate(config), {})


def test_rows_that_are_no_conversation_are_refused_or_left_out_and_counted(tmp_path: Path) -> None:
    said = {"role": "user", "content": "1 + 1?"}
    answered = {"role": "assistant", "content": "2"}
    rows = [
        {"messages": [said, answered]},
        {"messages": [said, answered, said]},  # ends with a question
        {"messages": [said, {"role": "tool", "content": "2"}, answered]},
        {"messages": [said, {"role": "assistant", "content": None}]},
        {"messages": [said, answered, said, answered]},
    ]
    source = str(jsonl(tmp_path / "x.jsonl", rows))
    with pytest.raises(DataError, match=r"line 2: the turns are user, assistant, user"):
        made(tmp_path / "a", source=source)
    found = made(tmp_path / "b", source=source, unreadable="drop")
    assert [s.problem_id for s in found] == ["x/0", "x/4"]
    manifest = Manifest.read(tmp_path / "b")
    assert manifest is not None
    assert (manifest.summary["rows"], manifest.summary["unreadable"]) == (2, 3)
    with pytest.raises(DataError, match=r"0 ask a held-out problem and 3 can't be learned from, so that none is left"):
        made(tmp_path / "c", source=str(jsonl(tmp_path / "y.jsonl", rows[1:4])), unreadable="drop")
