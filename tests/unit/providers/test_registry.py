"""Teachers by name, keys, and what makes two requests the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.providers.asking import question, teacher_at

from posttrain.errors import PosttrainError, ProviderError, RecipeError
from posttrain.providers import Request, get_teacher, known_teachers, worst_cost
from posttrain.providers.keys import find_key, read_env
from posttrain.web import hide

PROVIDERS = ["openai", "deepseek", "gemini", "openrouter", "together", "fireworks", "vllm", "sglang"]


@pytest.mark.parametrize("name", known_teachers())
def test_every_packaged_teacher_is_whole_and_its_prices_have_a_date(name: str) -> None:
    teacher = get_teacher(name)
    assert teacher.prices is None or (teacher.prices.as_of and teacher.prices.source)
    assert teacher.key_env


@pytest.mark.parametrize("provider", PROVIDERS)
def test_any_model_of_a_provider_can_be_named(provider: str) -> None:
    teacher = get_teacher(f"{provider}/some/model-7b")
    assert (teacher.provider, teacher.model) == (provider, "some/model-7b")
    if provider in ("vllm", "sglang"):
        assert teacher.key_env is None
    else:
        assert teacher.prices is None  # unknown, not free


def test_any_compatible_address_is_a_teacher_without_code() -> None:
    teacher = get_teacher("mine", {"base_url": "http://host:1/v1/", "model": "m", "limits": {"concurrency": 3}})
    assert (teacher.base_url, teacher.limits.concurrency, teacher.prices) == ("http://host:1/v1", 3, None)


def test_a_users_file_adds_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "teachers.yaml"
    path.write_text(
        "providers:\n  openai: {limits: {requests_per_minute: 10000}}\n  house: {base_url: 'http://h/v1'}\n"
        "teachers:\n  big: {provider: house, model: b, prices: {input: 1, output: 2}}\n"
    )
    assert get_teacher("gpt-4o-mini", registry=path).limits.requests_per_minute == 10_000
    assert get_teacher("gpt-4o-mini", registry=path).limits.tokens_per_minute == 200_000
    big = get_teacher("big", {"limits": {"timeout": 5}}, path)
    assert (big.base_url, big.limits.timeout) == ("http://h/v1", 5)
    assert "big" in known_teachers(path)


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("gpt-4o-mimi", None, "Did you mean 'gpt-4o-mini'"),
        ("nowhere/model", None, "no teacher is called"),
        ("x", {"base_url": "ftp://h", "model": "m"}, "is not an http address"),
        ("x", {"base_url": "http://h", "model": "m", "limits": {"concurency": 1}}, "concurrency"),
        ("gpt-4o-mini", {"prices": {"input": 1}}, "'prices.output' is missing"),
        ("gpt-4o-mini", {"prices": {"input": -1, "output": 1}}, "prices.input"),
    ],
)
def test_wrong_names_and_keys_are_explained(name: str, overrides: dict[str, object] | None, said: str) -> None:
    with pytest.raises(PosttrainError, match=said.replace("(", r"\(").replace(".", r"\.")) as caught:
        get_teacher(name, overrides)
    assert isinstance(caught.value, ProviderError | RecipeError)


@pytest.mark.parametrize(
    "overrides",
    [
        {"key_env": "sk-planted-0123456789"},
        {"base_url": "https://user:sk-planted-0123456789@h/v1"},
        {"base_url": "https://h/v1?key=sk-planted-0123456789"},
        {"quirks": {"headers": {"X-Api-Key": "sk-planted-0123456789"}}},
    ],
)
def test_a_key_written_into_a_config_is_refused_and_not_repeated(overrides: dict[str, object]) -> None:
    with pytest.raises(ProviderError) as caught:
        get_teacher("gpt-4o-mini", overrides)
    assert "planted" not in str(caught.value)


def test_keys_come_from_the_environment_before_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = teacher_at("http://h/v1").model_copy(update={"key_env": "A_KEY"})
    (tmp_path / ".env").write_text(
        "# keys\nexport A_KEY=\"from file\"\nB = 'x # y'\nC=z # comment\nA_KEY=file # last\n"
    )
    monkeypatch.delenv("A_KEY", raising=False)
    assert find_key(teacher, tmp_path) == "file"
    assert read_env(tmp_path / ".env")["B"] == "x # y"
    assert read_env(tmp_path / ".env")["C"] == "z"
    monkeypatch.setenv("A_KEY", " env \n")
    assert find_key(teacher, tmp_path) == "env"
    monkeypatch.setenv("A_KEY", "two words")
    with pytest.raises(ProviderError, match="no HTTP header can carry") as caught:
        find_key(teacher, tmp_path)
    assert "two words" not in str(caught.value)


@given(st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=20, max_size=60), st.text(), st.text())
def test_the_key_is_hidden_wherever_it_stands(key: str, before: str, after: str) -> None:
    assert key not in hide(before + key + after, key)
    assert key[:14] not in hide(f"Incorrect API key provided: {key[:14]}****{key[-4:]}.", key)


def test_the_key_of_a_request_depends_on_what_is_asked_and_on_nothing_else() -> None:
    teacher, request = teacher_at("http://one/v1"), question(1)
    same = teacher_at("http://two/v1", concurrency=3).model_copy(update={"key_env": "OTHER"})
    shuffled = dataclasses.replace(request, sampling=dict(reversed(list(request.sampling.items()))))
    assert request.key(teacher) == request.key(same) == shuffled.key(teacher)
    others = [
        question(2).key(teacher),
        dataclasses.replace(request, sample=1).key(teacher),
        dataclasses.replace(request, sampling={**request.sampling, "temperature": 0.8}).key(teacher),
        request.key(teacher.model_copy(update={"model": "another"})),
        request.key(teacher.model_copy(update={"provider": "another"})),
    ]
    assert len({request.key(teacher), *others}) == 6


def test_quirks_change_what_is_sent() -> None:
    teacher = get_teacher(
        "openai/o9",
        {"quirks": {"max_tokens_field": "max_completion_tokens", "drop": ["temperature"], "extra_body": {"a": 1}}},
    )
    body = question(1).body(teacher)
    assert body["max_completion_tokens"] == 256
    assert body["a"] == 1
    assert "max_tokens" not in body
    assert "temperature" not in body


def test_the_worst_cost_is_an_upper_bound_and_unknown_where_it_must_be() -> None:
    mini = get_teacher("gpt-4o-mini")
    worst = worst_cost(mini, question(1))
    assert worst is not None
    assert mini.prices is not None
    assert worst >= mini.prices.cost(prompt=20, completion=256)
    assert worst_cost(get_teacher("together/x"), question(1)) is None
    assert worst_cost(mini, Request(messages=question(1).messages)) is None
