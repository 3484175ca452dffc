"""Every line of the certificate turns red for what it is there to see."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engines.tiny import VOCAB, tiny

from posttrain.engines import NativeEngine, Prompt, Sampling
from posttrain.errors import TrainingError
from posttrain.records import Completion, Problem
from posttrain.rl import certificate
from posttrain.rl.certificate import certify_determinism, certify_end, certify_selection, certify_start
from posttrain.rl.config import RLConfig
from posttrain.rl.rollouts import Rollout
from posttrain.stage import Workspace

SAMPLING = Sampling(temperature=0.7, max_tokens=8)
PROMPTS = [Prompt(str(i), tuple(range(3, 8 + i)), seed=i) for i in range(4)]
CONFIG = RLConfig(temperature=0.7, max_tokens=8)


def line(work: Workspace, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work.dir / "certificate.json").read_text())[name]
    return found


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, quiet=True)


def rollouts(policy: torch.nn.Module, sampling: Sampling = SAMPLING) -> list[Rollout]:
    engine = NativeEngine(policy, pad_id=0)
    return [
        Rollout((*c.prompt_ids, *c.token_ids), (0,) * len(c.prompt_ids) + (1,) * len(c.token_ids), c.logprobs, 1.0)
        for c in engine.generate(PROMPTS, sampling)
    ]


def test_a_sound_sampler_and_trainer_are_green(work: Workspace) -> None:
    policy = tiny("qwen2")
    certify_start(CONFIG, rollouts(policy), policy, 0, work)  # type: ignore[arg-type]
    parity = line(work, "log-probability parity")
    assert parity["ok"]
    assert 0 <= parity["kl"] <= parity["mean"] <= parity["max"] <= 1e-4
    assert line(work, "gradient is split-invariant")["ok"]


@pytest.mark.parametrize("fault", ["temperature", "stale weights", "not a number"])
def test_a_wrong_temperature_and_stale_weights_stop_the_run_before_its_first_update(
    work: Workspace, fault: str
) -> None:
    policy, sampler = tiny("qwen2"), tiny("qwen2")
    if fault == "stale weights":
        with torch.no_grad():
            for parameter in sampler.parameters():
                parameter *= 1.05
    config = RLConfig(temperature=0.9, max_tokens=8) if fault == "temperature" else CONFIG
    made = rollouts(sampler)
    if fault == "not a number":
        policy.model.norm.weight.data[3] = float("nan")
    with pytest.raises(TrainingError, match="disagree before the first update"):
        certify_start(config, made, policy, 0, work)  # type: ignore[arg-type]
    told = line(work, "log-probability parity")
    assert not told["ok"]
    assert (told["kl"] is None) if fault == "not a number" else (told["kl"] > 1e-6)


def test_a_gradient_that_depends_on_the_split_is_red(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Denominators of the micro-batch in place of the step's: the classic error."""
    sound = certificate.token_weights

    def local(kind: Any, sequence: Any, of: Any) -> Any:
        return sound(kind, sequence, dataclasses.replace(of, tokens=int(sequence.shape[0])))

    monkeypatch.setattr(certificate, "token_weights", local)
    policy = tiny("qwen2")
    certify_start(CONFIG, rollouts(policy), policy, 0, work)  # type: ignore[arg-type]
    assert not line(work, "gradient is split-invariant")["ok"]


def test_dice_of_its_own_make_a_sampler_red(work: Workspace) -> None:
    class Dice(NativeEngine):
        thrown = 0

        def generate(self, *arguments: Any, **named: Any) -> Any:
            Dice.thrown += 1
            for c in super().generate(*arguments, **named):
                yield Completion(c.key, c.index, (Dice.thrown % VOCAB, *c.token_ids[1:]), c.logprobs, "stop")

    certify_determinism(NativeEngine(tiny("qwen2"), pad_id=0), PROMPTS, SAMPLING, work)
    assert line(work, "sampling is deterministic")["ok"]
    certify_determinism(Dice(tiny("qwen2"), pad_id=0), PROMPTS, SAMPLING, work)
    assert not line(work, "sampling is deterministic")["ok"]


def test_a_leaked_problem_is_red_also_under_another_id_and_with_other_punctuation(work: Workspace) -> None:
    train = [Problem("a", "Ann has 3 apples. How many?"), Problem("b", "Bob has 4.")]
    name = "validation and test are not trained on"
    certify_selection(train, [Problem("c", "Cy has 5 pears, how many?", split="test")], work)
    assert line(work, name)["ok"]
    certify_selection(train, [Problem("d", "ann has 3 apples, how many", split="test")], work)
    assert (line(work, name)["ok"], line(work, name)["ids"]) == (False, ["d"])


ROW = {
    "step": 1,
    "rollouts": 100,
    "undecided": 0.0,
    "groups": 10,
    "effective_groups": 0.5,
    "updates": 1,
    "ratio_off": 0.0,
    "mismatch": 1e-6,
}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"undecided": 0.02}, "the grader decides"),
        ({"effective_groups": 0.05}, "groups carry a signal"),
        ({"ratio_off": 1e-6}, "the ratio is 1 on-policy"),
        ({"mismatch": 1e-2}, "the sampler kept up with the weights"),
    ],
)
def test_what_a_run_measured_of_itself_turns_its_line_red(work: Workspace, change: dict[str, float], name: str) -> None:
    certify_end(RLConfig(), [ROW, ROW], work)
    assert line(work, name)["ok"]
    certify_end(RLConfig(), [{**ROW, **change}] * 2, work)
    assert not line(work, name)["ok"]
