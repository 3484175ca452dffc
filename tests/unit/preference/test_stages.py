"""sample → pairs → dpo on a model that was hardly trained."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engines.tiny import VOCAB, tiny

from posttrain.errors import DataError
from posttrain.pipeline import run_stage
from posttrain.preference.config import DPOConfig
from posttrain.preference.loop import Told, preference_step, reference_sums
from posttrain.prompts import Example
from posttrain.records import samples_to_tables
from posttrain.store import Artifact, Samples, write_table
from posttrain.training.config import OptimizerConfig
from posttrain.training.update import Updater

TINY = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "context": 128}
DEEPSPEED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="DeepSpeed is not installed: pip install 'posttrain[deepspeed]'",
)


def make(name: str, folder: Path, config: dict[str, Any], **inputs: Any) -> Artifact:
    return run_stage(name, config, inputs, folder, seed=3, device="cpu", quiet=True)


def examples(count: int) -> list[tuple[Example, Example]]:
    draw = torch.Generator().manual_seed(0)

    def one(prompt: list[int], length: int) -> Example:
        ids = torch.randint(VOCAB, (length,), generator=draw).tolist()
        return Example((*prompt, *ids), (0,) * len(prompt) + (1,) * length)

    prompts = [torch.randint(VOCAB, (4,), generator=draw).tolist() for _ in range(count)]
    return [(one(p, 3 + i % 4), one(p, 6 - i % 4)) for i, p in enumerate(prompts)]


def told(batch: list[tuple[Example, Example]], reference: list[tuple[float, float]]) -> list[Told]:
    return [Told(pair, says) for pair, says in zip(batch, reference, strict=True)]


@pytest.mark.parametrize("loss", ["dpo", "ipo", "dpo_norm"])
def test_the_step_is_the_same_however_the_pairs_are_split(loss: str) -> None:
    batch, found = examples(6), []
    for budget in (16, 1 << 20):
        config = DPOConfig(steps=1, loss=loss, token_budget=budget)  # type: ignore[arg-type]
        policy = tiny("qwen2")
        reference = reference_sums(config, batch, policy, 0)
        # Away from the reference, where the losses' gradients differ from pair to pair.
        with torch.no_grad():
            for p in policy.parameters():
                p *= 1.1
        updater = Updater.make(policy, OptimizerConfig(lr=0.0), 1)
        found.append(preference_step(config, told(batch, reference), len(batch), policy, updater, 0, 0))
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-5)
    assert found[0]["grad_norm"] > 0


def test_chosen_answers_gain_on_rejected_ones() -> None:
    batch, config = examples(6), DPOConfig(steps=20)
    policy = tiny("qwen2")
    reference = reference_sums(config, batch, policy, 0)
    updater = Updater.make(policy, OptimizerConfig(lr=3e-3, schedule="constant"), 20)
    batched = told(batch, reference)
    rows = [preference_step(config, batched, len(batch), policy, updater, step, 0) for step in range(20)]
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "at the reference DPO's loss is log 2"
    assert rows[-1]["loss"] < 0.5
    assert rows[-1]["preference_accuracy"] == 1.0
    assert rows[-1]["chosen_change"] > rows[-1]["rejected_change"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("parts")
    data = {"dataset": "synthetic", "train": 40, "validation": 4, "test": 4, "levels": [1]}
    problems = make("data", folder / "problems", data)
    model = make(
        "pretrain", folder / "model", {"model": TINY, "steps": 1, "block": 32, "batch_size": 2}, corpus=problems
    )
    return {"problems": problems, "model": model}


def test_a_models_answers_are_graded_samples_and_a_second_attempt_takes_them_from_the_journal(
    parts: dict[str, Artifact], tmp_path: Path
) -> None:
    config = {"n": 2, "limit": 10, "max_tokens": 8}
    made = make("sample", tmp_path / "answers", config, **parts)
    assert isinstance(made, Samples)
    rows = list(made.read())
    assert len(rows) == 20
    assert all(s.verdict is not None and s.token_ids and s.prompt_ids for s in rows)
    again = make("sample", tmp_path / "again", config, **parts)
    assert isinstance(again, Samples)
    assert list(again.read()) == rows
    with pytest.raises(DataError, match="none is correct, so none is kept"):
        make("sample", tmp_path / "kept", {**config, "keep": "correct"}, **parts)


def judged_pairs(parts: dict[str, Artifact], folder: Path) -> tuple[Artifact, Artifact]:
    """(answers, pairs of them). A model that knows nothing is right nowhere: the reward, here the index, stands for a
    judge's."""
    answers = make("sample", folder / "answers", {"n": 2, "limit": 10, "max_tokens": 8}, **parts)
    assert isinstance(answers, Samples)
    generations, verdicts = samples_to_tables(dataclasses.replace(s, reward=float(s.index)) for s in answers.read())
    write_table(folder / "judged" / "samples.parquet", generations)
    write_table(folder / "judged" / "verdicts.parquet", verdicts)
    return answers, make("pairs", folder / "pairs", {"by": "reward"}, samples=Samples(folder / "judged"))


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp",
        pytest.param("fsdp2", marks=pytest.mark.real),
        pytest.param("zero2", marks=[pytest.mark.real, DEEPSPEED]),
        pytest.param("zero3", marks=[pytest.mark.real, DEEPSPEED]),
    ],
)
def test_two_processes_have_the_losses_of_one(strategy: str, parts: dict[str, Artifact], tmp_path: Path) -> None:
    _, pairs = judged_pairs(parts, tmp_path)

    def rows(name: str, **more: Any) -> list[dict[str, Any]]:
        config = {"steps": 4, "batch_size": 3, "token_budget": 256, "optimizer": {"lr": 1e-2}, **more}
        made = make("dpo", tmp_path / name, config, model=parts["model"], pairs=pairs)
        return [json.loads(line) for line in (made.path / "metrics.jsonl").read_text().splitlines()]

    one, two = rows("one"), rows("two", launch={"processes": 2, "strategy": strategy})
    assert len(one) == len(two) == 4
    for name in ("loss", "margin", "chosen_change", "rejected_change", "grad_norm"):
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-4, abs=1e-5), name


def test_pairs_and_dpo_as_stages(parts: dict[str, Artifact], tmp_path: Path) -> None:
    answers, pairs = judged_pairs(parts, tmp_path)
    with pytest.raises(DataError, match="belongs to no pair"):
        make("dpo", tmp_path / "refused", {"steps": 2}, model=parts["model"], pairs=answers)
    config = {"steps": 4, "batch_size": 4, "optimizer": {"lr": 1e-3}}
    made = make("dpo", tmp_path / "dpo", config, model=parts["model"], pairs=pairs)
    rows = [json.loads(line) for line in (made.path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4]
    assert (made.path / "model" / "model.safetensors").exists()
    assert (made.path / "loss.png").read_bytes().startswith(b"\x89PNG")
