"""The stage `rl` as it runs: what it writes, what it refuses, and that an interruption changes no bit."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from posttrain.errors import DataError, PosttrainError, TrainingError
from posttrain.pipeline import run_stage
from posttrain.store import Artifact, Checkpoint, Problems

TINY = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "context": 256}
RL = {"steps": 4, "prompts": 3, "group": 3, "max_tokens": 8, "optimizer": {"lr": 1e-2}}
# Rewards length, and stops once at a marked step: its file's bytes stay the same, so the run can go on.
REWARD = """
from pathlib import Path

calls = 0


def longer(completions, **columns):
    global calls
    calls += 1
    if calls == 3 and Path({marker!r}).exists():
        raise RuntimeError("the judge is away")
    return [float(len(c)) for c in completions]
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("parts")
    data = {"dataset": "synthetic", "train": 40, "validation": 4, "test": 4, "levels": [1, 2]}
    problems = run_stage("data", data, {}, folder / "problems", quiet=True)
    config = {"model": TINY, "steps": 1, "block": 32, "batch_size": 2}
    model = run_stage("pretrain", config, {"corpus": problems}, folder / "model", quiet=True, device="cpu")
    return {"problems": problems, "model": model}


def rl(parts: dict[str, Artifact], folder: Path, **config: Any) -> Artifact:
    inputs = {"model": parts["model"], "problems": parts["problems"]}
    return run_stage("rl", {**RL, **config}, inputs, folder, quiet=True, device="cpu")


def reward(folder: Path) -> tuple[dict[str, Any], Path]:
    marker = folder / "away"
    (folder / "mine.py").write_text(REWARD.format(marker=str(marker)))
    return {"correct": 0, "function": f"{folder / 'mine.py'}:longer"}, marker


def rows(of: Artifact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (of.path / "metrics.jsonl").read_text().splitlines()]


HARD: dict[str, dict[str, Any]] = {
    "stale": {"staleness": 1},
    "very stale, several updates": {"staleness": 2, "updates": 2, "passes": 2},
    "dapo by difficulty": {"algorithm": "dapo", "draw": "difficulty"},
    "curriculum, KL in the reward": {"curriculum": 0.5, "kl": 0.1, "kl_in": "reward"},
    "reinforce++ with KL": {"algorithm": "reinforce++", "kl": 0.01},
    "adapters, their base as the reference": {"lora": {"rank": 2}, "kl": 0.05},
}


@pytest.mark.parametrize("case", HARD)
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(
    parts: dict[str, Artifact], tmp_path: Path, case: str
) -> None:
    if "lora" in HARD[case]:
        pytest.importorskip("peft", reason="adapters need the extra `lora`")
    function, marker = reward(tmp_path)
    settings = {"reward": function, **HARD[case]}
    calm = rl(parts, tmp_path / "calm", **settings)
    marker.touch()
    with pytest.raises(TrainingError, match="the judge is away"):
        rl(parts, tmp_path / "rough", **settings)
    marker.unlink()
    rough = rl(parts, tmp_path / "rough", **settings)
    (weights,) = [p.relative_to(calm.path) for p in (calm.path / "model").glob("*.safetensors")]
    assert (rough.path / weights).read_bytes() == (calm.path / weights).read_bytes()
    assert all(row["grad_norm"] > 0 for row in rows(calm) if "reward" in row)
    for step in range(1, 5):
        for name in ("samples.parquet", "verdicts.parquet", "tokens.parquet"):
            file = Path("rollouts") / f"step-{step:06d}" / name
            assert (rough.path / file).read_bytes() == (calm.path / file).read_bytes()


def test_a_stored_step_has_its_rollouts_their_verdicts_and_their_tokens_numbers(
    parts: dict[str, Artifact], tmp_path: Path
) -> None:
    function, _ = reward(tmp_path)
    made = rl(parts, tmp_path / "rl", reward=function, keep_rollouts=2, keep_tokens=2)
    assert sorted(p.name for p in (made.path / "rollouts").iterdir()) == ["step-000002", "step-000004"]
    folder = made.path / "rollouts" / "step-000002"
    samples = pq.read_table(folder / "samples.parquet").to_pylist()
    assert len(samples) == len(pq.read_table(folder / "verdicts.parquet")) == 9
    assert all(s["token_ids"] and s["logprobs"] and s["reward"] is not None and s["step"] == 2 for s in samples)
    assert {s["weights_version"] for s in samples} == {1}
    tokens = pq.read_table(folder / "tokens.parquet").to_pylist()
    assert len(tokens) == 2
    by_key = {(s["problem_id"], s["index"]): s for s in samples}
    for row in tokens:
        sampled = by_key[row["problem_id"], row["index"]]["logprobs"]
        assert row["logprobs"] == pytest.approx(sampled, abs=1e-4), "on-policy, trainer and sampler say the same"
        assert len(row["entropy"]) == len(sampled)


def test_the_certificate_of_a_sound_run_is_green_but_for_what_it_did_not_learn_from(
    parts: dict[str, Artifact], tmp_path: Path
) -> None:
    function, _ = reward(tmp_path)
    made = rl(parts, tmp_path / "rl", reward=function)
    lines = json.loads((made.path / "certificate.json").read_text())
    assert [name for name, told in lines.items() if not told["ok"]] == []
    assert len(lines) >= 8
    assert (made.path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_rewards_that_are_always_equal_are_a_diagnosis_and_not_a_crash(
    parts: dict[str, Artifact], tmp_path: Path
) -> None:
    made = rl(parts, tmp_path / "rl", steps=3, reward={"correct": 0.0})
    assert all(row["effective_groups"] == 0 and row["updates"] == 0 for row in rows(made) if "reward" in row)
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert "carried a signal" in manifest["summary"]["notes"][0]
    weights = Path("model") / "model.safetensors"
    assert (made.path / weights).read_bytes() == (parts["model"].path / weights).read_bytes()


def test_prompts_longer_than_the_window_are_refused_before_the_first_step(
    parts: dict[str, Artifact], tmp_path: Path
) -> None:
    (tmp_path / "long.jsonl").write_text(
        "".join(json.dumps({"question": "and one " * n + "?", "answer": "1"}) + "\n" for n in (1, 400))
    )
    given = run_stage("data", {"dataset": str(tmp_path / "long.jsonl")}, {}, tmp_path / "problems", quiet=True)
    assert isinstance(given, Problems)
    with pytest.raises(DataError, match="1 of 2 prompts are as long as the model's window of 256 tokens"):
        rl({**parts, "problems": given}, tmp_path / "rl")
    assert not (tmp_path / "rl" / "metrics.jsonl").exists()


def test_a_reference_that_is_gone_is_said_when_a_run_goes_on(parts: dict[str, Artifact], tmp_path: Path) -> None:
    function, marker = reward(tmp_path)
    shutil.copytree(parts["model"].path / "model", tmp_path / "start")
    mine = {**parts, "model": Checkpoint(tmp_path / "start")}
    marker.touch()
    with pytest.raises(TrainingError, match="the judge is away"):
        rl(mine, tmp_path / "rl", reward=function, kl=0.1)
    shutil.rmtree(tmp_path / "start")
    with pytest.raises(PosttrainError, match="input model"):
        rl(mine, tmp_path / "rl", reward=function, kl=0.1)
    assert not (tmp_path / "rl" / "model").exists()


def test_in_bfloat16_sampler_and_trainer_agree_within_its_precision(parts: dict[str, Artifact], tmp_path: Path) -> None:
    function, _ = reward(tmp_path)
    made = rl(parts, tmp_path / "rl", steps=2, reward=function, dtype="bfloat16")
    lines = json.loads((made.path / "certificate.json").read_text())
    assert lines["log-probability parity"]["ok"]
    assert lines["the sampler kept up with the weights"]["ok"]


def test_prompts_computed_in_pieces_are_answered_with_the_same_tokens(
    parts: dict[str, Artifact], tmp_path: Path
) -> None:
    function, _ = reward(tmp_path)
    whole, pieces = (rl(parts, tmp_path / str(n), steps=1, reward=function, prefill_chunk=n) for n in (8192, 16))
    said = [
        [s["token_ids"] for s in pq.read_table(of.path / "rollouts/step-000001/samples.parquet").to_pylist()]
        for of in (whole, pieces)
    ]
    assert said[0] == said[1]


DEEPSPEED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="DeepSpeed is not installed: pip install 'posttrain[deepspeed]'",
)
SEVERAL = {"updates": 2, "passes": 2, "kl": 0.05, "checkpoints": {"every": 2}}
ADAPTERS = {"lora": {"rank": 2}, "kl": 0.05, "validation": {"every": 2, "problems": 4, "max_tokens": 4}}


@pytest.mark.parametrize(
    ("strategy", "case"),
    [
        pytest.param("ddp", SEVERAL, id="ddp"),
        pytest.param("ddp", ADAPTERS, id="ddp-adapters", marks=pytest.mark.real),
        pytest.param("fsdp2", SEVERAL, id="fsdp2", marks=pytest.mark.real),
        pytest.param("fsdp2", ADAPTERS, id="fsdp2-adapters", marks=pytest.mark.real),
        pytest.param("zero2", SEVERAL, id="zero2", marks=[pytest.mark.real, DEEPSPEED]),
        pytest.param("zero3", SEVERAL, id="zero3", marks=[pytest.mark.real, DEEPSPEED]),
    ],
)
def test_two_processes_learn_what_one_does(
    parts: dict[str, Artifact], tmp_path: Path, strategy: str, case: dict[str, Any]
) -> None:
    """What is sampled, what each rollout is worth, and the metrics of every step but for rounding."""
    if "lora" in case:
        pytest.importorskip("peft", reason="adapters need the extra `lora`")
    function, _ = reward(tmp_path)
    settings = {"reward": function, "steps": 3, "prompts": 5, "token_budget": 128, **case}
    one = rl(parts, tmp_path / "one", **settings)
    two = rl(parts, tmp_path / "two", **settings, launch={"processes": 2, "strategy": strategy})
    mine, theirs = rows(two), rows(one)
    assert [row["step"] for row in mine] == [row["step"] for row in theirs]
    for name in ("reward", "loss", "grad_norm", "kl", "entropy", "clip_fraction", "trained_tokens", "val_accuracy"):
        wanted = [row[name] for row in theirs if name in row]
        assert [row[name] for row in mine if name in row] == pytest.approx(wanted, rel=1e-3, abs=1e-6), name
    lines = json.loads((two.path / "certificate.json").read_text())
    assert [name for name, told in lines.items() if not told["ok"]] == []
    assert sorted(p.name for p in (two.path / "model").iterdir()) == sorted(
        p.name for p in (one.path / "model").iterdir()
    )
