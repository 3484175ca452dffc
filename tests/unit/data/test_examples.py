"""Instruction data in the formats that people publish."""

from __future__ import annotations

import json

import pytest

from posttrain.data.dataset_info import read_dataset_info
from posttrain.data.examples import ExamplesConfig, examples
from posttrain.errors import DataError
from posttrain.stage import Workspace

SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
ROWS = {
    "messages": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    "completion": {"prompt": "Hi", "completion": "Hello"},
    "chat completion": {
        "prompt": [{"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": "Hello"}],
    },
    "ours": {"question": "Hi", "response": "Hello"},
    "alpaca": {"instruction": "Hi", "input": "", "output": "Hello"},
    "sharegpt": {"conversations": SHAREGPT},
}


def read(path, tmp_path, **options):
    work = Workspace(tmp_path / "out", quiet=True)
    return list(examples(ExamplesConfig(source=str(path), **options), work).read())


def write(tmp_path, *rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ROWS)
def test_every_format_gives_the_same_sample(kind, tmp_path):
    (sample,) = read(write(tmp_path, ROWS[kind]), tmp_path)
    assert (sample.question, sample.response, dict(sample.extra)) == ("Hi", "Hello", {})
    assert sample.problem_id == "rows/0"


def test_turns_systems_histories_and_inputs_are_kept(tmp_path):
    rows = [
        {"instruction": "Add", "input": "3 and 4", "output": "7"},
        {"instruction": "More", "input": "", "output": "9", "system": "Be brief.", "history": [["Add", "7"]]},
        {"instruction": "Think", "output": "7", "reasoning": "3+4"},
    ]
    first, second, third = read(write(tmp_path, *rows), tmp_path)
    assert first.extra == {"instruction": "Add", "input": "3 and 4"}
    assert first.question == "Add\n3 and 4"
    assert [t["role"] for t in second.extra["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert third.response == "<think>\n3+4\n</think>\n\n7"


def test_dataset_info_names_files_columns_and_tags(tmp_path):
    info = {
        "mine": {"file_name": "a.jsonl", "columns": {"prompt": "q", "response": "a"}},
        "chats": {
            "file_name": "b.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "turns"},
            "tags": {"role_tag": "who", "content_tag": "what", "user_tag": "person", "assistant_tag": "machine"},
        },
        "hub": {"hf_hub_url": "org/name"},
        "away": {"file_name": "../../secret.jsonl"},
        "pairs": {"file_name": "a.jsonl", "ranking": True},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    write(tmp_path, {"q": "Hi", "a": "Hello"}, name="a.jsonl")
    write(tmp_path, {"turns": [{"who": "person", "what": "Hi"}, {"who": "machine", "what": "Hello"}]}, name="b.jsonl")
    for name in ("mine", "chats"):
        (sample,) = read(tmp_path, tmp_path, name=name)
        assert (sample.question, sample.response) == ("Hi", "Hello")
    files = ExamplesConfig(source=str(tmp_path), name="mine").files()
    assert files["data"] == tmp_path / "a.jsonl", "the data's bytes are part of the fingerprint"
    for name, why in (
        ("hub", "Give that hub id"),
        ("away", "leads out of the folder"),
        ("pairs", "preference pairs"),
        ("mien", "Did you mean 'mine'"),
        (None, "Say which with name:"),
    ):
        with pytest.raises(DataError, match=why):
            read_dataset_info(tmp_path / "dataset_info.json", name)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "x"}, "are of no known format"),
        ({"prompt": 3, "completion": "x"}, "'prompt' is int, not text"),
        ({"conversations": "x"}, "is not a list of turns"),
        ({"conversations": [{"from": "function_call", "value": "{}"}]}, "tools are not supported"),
        ({"instruction": "x", "output": "y", "history": ["a"]}, r"not a list of \[question, answer\] pairs"),
    ],
)
def test_rows_that_are_none_of_it_are_refused_with_their_place(row, why, tmp_path):
    with pytest.raises(DataError, match=f"rows.jsonl, line 1: .*{why}"):
        read(write(tmp_path, row), tmp_path)


def test_a_source_that_is_nowhere_says_what_a_source_is(tmp_path):
    with pytest.raises(DataError, match="is no file that ends in"):
        read(tmp_path / "nothing.txt", tmp_path)
    with pytest.raises(DataError, match="chooses a dataset of a dataset_info"):
        read(write(tmp_path, ROWS["ours"]), tmp_path, name="x")
