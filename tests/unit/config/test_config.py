from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from posttrain.config import Config, apply_overrides, dotted_keys, load_yaml, parse, parse_override, set_at
from posttrain.errors import RecipeError


class Inner(Config):
    lr: float = 1e-3
    log_every: int = Field(1, json_schema_extra={"fingerprint": False})


class Outer(Config):
    optimizer: Inner = Inner()
    rows: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    steps: int = Field(10, ge=1)
    device: str = Field("auto", json_schema_extra={"fingerprint": False})
    reward: str | None = Field(None, json_schema_extra={"file": True})
    """A file of the user's."""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stpes": 3}, "here: unknown key 'stpes'. Did you mean 'steps'?"),
        ({"optimizer": {"Lr": 3}}, "here: unknown key 'optimizer.Lr'. Did you mean 'lr'?"),
        ({"rows": [{"zzz": 3}]}, "here: unknown key 'rows.0.zzz'. Known keys: log_every, lr."),
        ({"steps": "many"}, "here: 'steps' is 'many': Input should be a valid integer"),
        ({"steps": 0}, "here: 'steps' is 0: Input should be greater than or equal to 1."),
        ({"optimizer": {"lr": float("nan")}}, "here: 'optimizer.lr' is nan: Input should be a finite number."),
        ({"optimizer": 3}, "here: 'optimizer' is 3:"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_meant(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(Outer, values, "here")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_does_not_change_the_result_is_left_out_at_every_depth() -> None:
    config = parse(Outer, {"device": "cpu", "rows": [{}], "named": {"a": {}}, "tags": ["b", "a", "c"]}, "here")
    assert config.fingerprint_values() == {
        "optimizer": {"lr": 1e-3},
        "rows": [{"lr": 1e-3}],
        "named": {"a": {"lr": 1e-3}},
        "tags": ["a", "b", "c"],  # sorted: a set has no order of its own
        "steps": 10,
        "reward": None,
    }


def test_files_a_config_names_are_found(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("")
    assert parse(Outer, {"reward": str(tmp_path / "reward.py")}, "here").files() == {"reward": tmp_path / "reward.py"}
    assert parse(Outer, {"reward": "accuracy"}, "here").files() == {}


def test_keys_of_nested_configs_are_dotted_and_descriptions_come_from_the_docstring() -> None:
    assert dotted_keys(Outer)[:3] == ["optimizer", "optimizer.lr", "optimizer.log_every"]
    assert Outer.model_fields["reward"].description == "A file of the user's."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sft.lr=1e-4", (["sft", "lr"], 1e-4)),
        ("a=[1, 2]", (["a"], [1, 2])),
        ("a={b: c}", (["a"], {"b": "c"})),
        ("a=", (["a"], None)),
        ("a=yes=no", (["a"], "yes=no")),
        ("name=e1", (["name"], "e1")),
        ("name=1e5x", (["name"], "1e5x")),
        ("name=deadbeef1", (["name"], "deadbeef1")),
    ],
)
def test_an_override_is_a_path_and_a_yaml_value(text: str, expected: Any) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["novalue", "=3", "a=[1", " =x"])
def test_a_broken_override_says_how_to_write_one(text: str) -> None:
    with pytest.raises(RecipeError, match="override"):
        parse_override(text)


def test_overrides_leave_the_original_alone_and_make_missing_parents() -> None:
    values = {"a": {"b": [1, {"c": 2}]}}
    assert apply_overrides(values, ["a.b.1.c=3", "x.y=4"]) == {"a": {"b": [1, {"c": 3}]}, "x": {"y": 4}}
    assert values == {"a": {"b": [1, {"c": 2}]}}


@pytest.mark.parametrize("text", ["a.b.c=1", "l.5=1", "l.x=1"])
def test_an_override_into_nothing_says_so(text: str) -> None:
    with pytest.raises(RecipeError, match="override"):
        apply_overrides({"a": {"b": 1}, "l": [1, 2]}, [text])


def test_merging_lays_a_mapping_over_a_mapping() -> None:
    values: dict[str, Any] = {"a": {"x": 1, "y": {"z": 2}}}
    set_at(values, ["a"], {"y": {"w": 3}}, "smoke", merge=True)
    assert values == {"a": {"x": 1, "y": {"z": 2, "w": 3}}}
    set_at(values, ["a"], {"x": 2}, "override")
    assert values == {"a": {"x": 2}}


def test_yaml_numbers_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("a: 1e-4\nb: 1.5E+3\nc: 1_000\nd: v1e5\n")
    assert load_yaml(tmp_path / "r.yaml") == {"a": 1e-4, "b": 1500.0, "c": 1000, "d": "v1e5"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1\n", "not valid YAML in line 3"),
        ("a: 1\na: 2\n", "duplicate key 'a' in line 2"),
        ("x:\n  b: 1\n  b: 2\n", "duplicate key 'b' in line 3"),
        ("- a\n", "expected a mapping at the top, found list"),
        ("", "expected a mapping at the top, found NoneType"),
        ("a: !!python/object/apply:os.system [ls]\n", "not valid YAML in line 1"),
        ("? [a, b]\n: 1\n", "not valid YAML in line 1"),
    ],
)
def test_broken_yaml_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_yaml(tmp_path / "r.yaml")


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a readable YAML file"):
        load_yaml(tmp_path / "r.yaml")
    with pytest.raises(RecipeError, match="not a readable YAML file"):
        load_yaml(tmp_path)
    with pytest.raises(RecipeError, match="does not exist"):
        load_yaml(tmp_path / "none.yaml")
