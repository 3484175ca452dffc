from __future__ import annotations

from posttrain.store.drift import changes, only_inputs_changed

WAS = {
    "stage": "sft",
    "version": 1,
    "seed": 7,
    "config": {"optimizer": {"lr": 1e-3}, "steps": 100, "keep": ["a"]},
    "inputs": {"traces": {"digest": "a" * 64}, "models": [{"name": "base", "digest": "c" * 64}]},
}


def test_equal_facts_have_no_changes() -> None:
    assert changes(WAS, WAS) == []


def test_every_kind_of_fact_is_named_in_words() -> None:
    now = {
        "stage": "sft",
        "version": 2,
        "seed": 8,
        "config": {"optimizer": {"lr": 1e-4}, "steps": 100, "keep": ["a", "b"], "loss": "per_token"},
        "files": {"reward": "d" * 64},
        "inputs": {"traces": {"digest": "b" * 64}, "models": [{"name": "student", "digest": "c" * 64}]},
    }
    assert changes(WAS, now) == [
        "stage version: 1 → 2",
        "seed: 7 → 8",
        "optimizer.lr: 0.001 → 0.0001",
        "keep: ['a'] → ['a', 'b']",
        "input traces: aaaaaaaaaaaa… → bbbbbbbbbbbb…",
        "input models.0.name: 'base' → 'student'",
        "loss: (not there) → 'per_token'",
        "file reward: (not there) → dddddddddddd…",
    ]


def test_true_and_one_differ_though_python_calls_them_equal() -> None:
    assert changes({"config": {"a": True}}, {"config": {"a": 1}}) == ["a: True → 1"]


def test_only_inputs_changed_tells_a_new_input_from_a_new_config() -> None:
    assert only_inputs_changed(WAS, {**WAS, "inputs": {}})
    assert not only_inputs_changed(WAS, {**WAS, "inputs": {}, "seed": 8})
