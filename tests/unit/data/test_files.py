"""A person's own files: what is read, and what is said of files that can't be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain.config import parse
from posttrain.data.config import DataConfig
from posttrain.data.stages import data
from posttrain.errors import DataError, PosttrainError, RecipeError
from posttrain.records import Problem
from posttrain.stage import Workspace

ROWS = [{"q": f"What is {n} + 1?", "a": n + 1, "topic": "sums", "level": f"Level {n % 5 + 1}"} for n in range(20)]
COLUMNS = {"question": "q", "answer": "a", "subject": "topic"}


def load(folder: Path, **config: Any) -> list[Problem]:
    return data(parse(DataConfig, config, "stage 'data'"), Workspace(folder / "out", quiet=True)).read()


def jsonl(folder: Path, rows: list[Any], name: str = "mine.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_problems(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"mine.{kind}"
    if kind == "jsonl":
        jsonl(tmp_path, ROWS)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "csv":
        path.write_text("q,a,topic,level\n" + "".join(f"{r['q']},{r['a']},{r['topic']},{r['level']}\n" for r in ROWS))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    problems = load(tmp_path, dataset=str(path), columns=COLUMNS)
    assert len(problems) == 20
    assert problems[3] == Problem(
        id="mine/3", question="What is 3 + 1?", answer="4", subject="sums", level=4, split="train"
    )


def test_usual_names_need_no_map_and_the_rest_is_kept(tmp_path: Path) -> None:
    row = {"id": "x1", "problem": "1 + 1?", "answer": "2", "solution": "1 + 1 = 2", "split": "dev", "source": "me"}
    (problem,) = load(tmp_path, dataset=jsonl(tmp_path, [row]))
    assert problem == Problem("x1", "1 + 1?", "2", "1 + 1 = 2", split="validation", extra={"source": "me"})


def test_a_folder_has_one_file_per_split(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    jsonl(folder, ROWS[:12], "train.jsonl")
    jsonl(folder, ROWS[12:], "test.jsonl")
    problems = load(tmp_path, dataset=str(folder), columns=COLUMNS)
    assert [p.split for p in problems] == ["train"] * 12 + ["test"] * 8
    assert len(DataConfig(dataset=str(folder)).files()) == 2  # their bytes count in the fingerprint


def test_validation_and_test_are_taken_out_of_train_exactly_and_by_seed(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROWS)
    drawn = {}
    for seed in (1, 2):
        problems = load(tmp_path, dataset=path, columns=COLUMNS, validation=5, test=3, seed=seed)
        counts = {split: sum(p.split == split for p in problems) for split in ("train", "validation", "test")}
        assert counts == {"train": 12, "validation": 5, "test": 3}
        drawn[seed] = {p.id for p in problems if p.split == "validation"}
    assert drawn[1] != drawn[2]


def test_questions_with_the_same_words_are_reserved_together(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is {n // 2}  + 1?" if n % 2 else f"what is {n // 2} + 1?", "answer": 1} for n in range(20)
    ]
    problems = load(tmp_path, dataset=jsonl(tmp_path, rows), validation=6)
    assert sum(p.split == "validation" for p in problems) == 6
    with pytest.raises(DataError, match="repeated questions leave no way to take exactly 7"):
        load(tmp_path, dataset=jsonl(tmp_path, rows), validation=7)


def test_limit_and_levels_choose_what_is_kept(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROWS)
    assert [p.id for p in load(tmp_path, dataset=path, columns=COLUMNS, limit=2)] == ["mine/0", "mine/1"]
    kept = load(tmp_path, dataset=path, columns=COLUMNS, levels=[2], validation=1)
    assert [p.level for p in kept] == [2, 2, 2, 2]


def test_problems_without_gold_are_allowed_when_said_so(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"question": "Write a poem."}])
    assert load(tmp_path, dataset=path, columns={"answer": None})[0].answer is None


def test_a_problem_in_two_splits_is_refused_or_leaves_the_split_trained_on(tmp_path: Path) -> None:
    rows = [{"question": q, "answer": 1, "split": s} for q, s in (("A?", "train"), ("B?", "train"), ("a?", "test"))]
    path = jsonl(tmp_path, rows)
    with pytest.raises(
        DataError, match=r"1 problems stand in two splits, for example mine/0 in train and mine/2 in test"
    ):
        load(tmp_path, dataset=path)
    assert [p.id for p in load(tmp_path, dataset=path, shared="drop")] == ["mine/1", "mine/2"]


def test_a_gold_the_grader_can_not_read_is_refused_or_dropped(tmp_path: Path) -> None:
    rows = [{"question": "1 + 1?", "answer": "2"}, {"question": "2 + 2?", "answer": "  "}]
    path = jsonl(tmp_path, rows)
    with pytest.raises(DataError, match=r"mine/1.*unreadable: drop"):
        load(tmp_path, dataset=path, grading="gsm8k")
    assert [p.id for p in load(tmp_path, dataset=path, grading="gsm8k", unreadable="drop")] == ["mine/0"]


def written(folder: Path, text: str, name: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


GOOD = '{"question": "1?", "answer": 1}\n'
BAD_FILES = {
    "malformed line": (
        GOOD + '{"question": \n',
        "a.jsonl",
        r"a.jsonl, line 2: not valid JSON .* one JSON object per line",
    ),
    "not an object": (GOOD + "[1]\n", "a.jsonl", "a.jsonl, line 2: a JSON list, not an object"),
    "empty": ("\n\n", "a.jsonl", "a.jsonl has no rows"),
    "no answer column": ('{"question": "1?"}\n', "a.jsonl", r"no column for 'answer' among question.*answer: null"),
    "no question column": ('{"body": "1?"}\n', "a.jsonl", r"no column for 'question' among body"),
    "a row without answer": (
        GOOD + '{"question": "2?"}\n',
        "a.jsonl",
        "line 2: has no 'answer', which other rows have",
    ),
    "empty question": (GOOD + '{"question": " ", "answer": 1}\n', "a.jsonl", "line 2: the question .* is empty"),
    "answer is a list": ('{"question": "1?", "answer": [1]}\n', "a.jsonl", "line 1: 'answer' is a list"),
    "unknown split": ('{"question": "1?", "answer": 1, "split": "x"}\n', "a.jsonl", "the split is 'x'. Write train"),
    "duplicate ids": (
        '{"id": "a", "question": "1?", "answer": 1}\n{"id": "a", "question": "2?", "answer": 2}\n',
        "a.jsonl",
        "the id 'a' stands at 2 problems. Make ids unique",
    ),
    "json is not a list": ('{"question": "1?"}', "a.json", "holds a JSON dict at the top. Write a list"),
    "json is broken": ('[\n{"question"}]', "a.json", "a.json, line 2: not valid JSON"),
    "csv with a field too many": ("question,answer\n1,2,3\n", "a.csv", "line 2: the number of fields"),
    "not parquet": ("hello", "a.parquet", "not a readable Parquet file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_described_with_its_place_and_a_remedy(tmp_path: Path, case: str) -> None:
    text, name, said = BAD_FILES[case]
    with pytest.raises(DataError, match=said):
        load(tmp_path, dataset=written(tmp_path, text, name))
    assert not (tmp_path / "out/problems.parquet").exists()


def test_latin_1_text_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"question": "é"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.jsonl is not UTF-8"):
        load(tmp_path, dataset=str(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path, dataset=str(tmp_path / "absent.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file named after a split"):
        load(tmp_path, dataset=str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"dataset": "gsm8kk"}, "unknown dataset 'gsm8kk'. Did you mean 'gsm8k'?"),
        ({"dataset": "gsm8k", "train": 5}, "train means nothing for dataset 'gsm8k'. Use limit"),
        ({"dataset": "synthetic", "limit": 5}, "limit means nothing for dataset 'synthetic'"),
        ({"dataset": "synthetic", "levels": [6]}, "the synthetic task has 1, 2, 3, 4, 5"),
        ({"dataset": "synthetic", "revision": "v1"}, "revision means nothing"),
        (
            {"dataset": "a.jsonl", "columns": {"queston": "q"}},
            "unknown key 'columns.queston'. Did you mean 'question'?",
        ),
        ({"dataset": "a.jsonl", "unreadable": "drop"}, "unreadable means nothing"),
        ({"dataset": " "}, "dataset is empty"),
    ],
)
def test_a_config_that_would_be_half_ignored_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(DataConfig, config, "stage 'data'")
    assert said in str(error.value)


def test_a_mapped_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"question": "1?", "answer": 1, "topic": "x"}])
    with pytest.raises(DataError, match=r"no column 'topics' for 'subject'. Did you mean 'topic'\? Columns: question"):
        load(tmp_path, dataset=path, columns={"subject": "topics"})


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROWS)
    for config in ({"limit": {"train": 0}}, {"levels": [9]}):
        with pytest.raises(PosttrainError, match="the train split is empty"):
            load(tmp_path, dataset=path, columns=COLUMNS, **config)


def test_reserving_everything_or_a_split_that_is_there_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROWS)
    with pytest.raises(DataError, match="leaves none to train on"):
        load(tmp_path, dataset=path, columns=COLUMNS, validation=20)
    brought = jsonl(tmp_path, [{"question": f"{n}?", "answer": n, "split": s} for n, s in enumerate(["train", "test"])])
    with pytest.raises(DataError, match="brings a test split of its own"):
        load(tmp_path, dataset=brought, test=1)
