"""Bad input through the real stages: one message that says what, why and what to do; exit 2; nothing half-written."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrain.cli import main
from posttrain.engines.native import NativeEngine
from posttrain.errors import EngineError, ModelError, PosttrainError, StoreError, TrainingError
from posttrain.models import train_tokenizer
from posttrain.pipeline import run_stage
from posttrain.store import Artifact, Manifest
from posttrain.store.lock import locked

TINY = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "context": 128}
RL = {"steps": 3, "prompts": 2, "group": 2, "max_tokens": 8, "optimizer": {"lr": 1e-2}}
QUESTION = '{"question": "1 + 1?", "answer": 2}\n'
STAGES = {
    "problems": {"stage": "data", "dataset": "synthetic", "train": 20, "validation": 4, "test": 4},
    "traces": {"stage": "traces", "problems": "problems"},
    "student": {"stage": "sft", "model": "./nowhere", "traces": "traces", "steps": 2},
}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one message of a command line that must end with exit code 2 and no finished stage."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("posttrain: ")
    assert "Traceback" not in shown
    assert [p for p in Path().rglob("manifest.json") if json.loads(p.read_text())["status"] == "finished"] == []
    return shown


def in_stages(name: str, **changes: Any) -> dict[str, Any]:
    return {**STAGES, name: {**STAGES[name], **changes}}


RECIPES = {
    "unknown stage": (in_stages("student", stage="sftt"), "unknown stage 'sftt'. Did you mean 'sft'?"),
    "unknown key": (in_stages("student", stpes=3), "unknown key 'stpes'. Did you mean 'steps'?"),
    "unknown nested key": (in_stages("student", optimizer={"rl": 1}), "Did you mean 'lr'?"),
    "wrong type": (in_stages("student", steps="many"), "steps"),
    "two lengths": (in_stages("student", epochs=1), "exactly one of 'steps' and 'epochs'"),
    "cycle": (in_stages("student", model="student"), "feed each other in a circle: student → student"),
    "wrong kind": (in_stages("student", traces="problems"), "Did you mean traces: traces?"),
    "a folder of another kind": (in_stages("student", traces="./nowhere"), "folder of samples or tokens"),
    "group of one": (
        {"problems": STAGES["problems"], "rl": {"stage": "rl", "model": "./m", "problems": "problems", "group": 1}},
        "'group' is 1. Set group to 2 or more",
    ),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_wrong_recipe_is_refused_before_anything_runs(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages, said = RECIPES[case]
    monkeypatch.chdir(tmp_path)
    for folder in ("nowhere", "m"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("{}")
    (tmp_path / "mine.yaml").write_text(json.dumps({"name": "mine", "stages": stages}))
    assert said in refused(capsys, "run", "mine.yaml")
    assert not (tmp_path / "runs").exists()


DATA = {
    "malformed line": (QUESTION + "{oops\n", [], "mine.jsonl, line 2: not valid JSON"),
    "duplicate ids": (
        '{"id": "a", "question": "1?", "answer": 1}\n{"id": "a", "question": "2?", "answer": 2}\n',
        [],
        "the id 'a' stands at 2 problems. Make ids unique",
    ),
    "empty file": ("\n", [], "mine.jsonl has no rows"),
    "empty split": (QUESTION, ["validation=1"], "train"),
    "unreadable gold": (
        '{"question": "1?", "answer": "a few"}\n',
        ["grading=gsm8k"],
        "leave such problems out: unreadable: drop",
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data_is_refused_with_its_place(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, more, said = DATA[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text(text)
    assert said in refused(capsys, "data", "dataset=mine.jsonl", *more)
    assert list(tmp_path.rglob("*.parquet")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "quickstrat"], "Did you mean 'quickstart'?"),
        (["run", "quickstart", "--smoke", "base.model.hiden=3"], "Did you mean 'hidden'?"),
        (["data", "dataset=absent.jsonl"], "absent.jsonl"),
        (["data", "dataset=org/absent"], "POSTTRAIN_DATA"),
        (["sft", "model=org/absent", "traces=nowhere", "steps=1"], "nowhere"),
    ],
)
def test_a_name_that_leads_nowhere_is_said(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTTRAIN_DATA", "")
    assert said in refused(capsys, *arguments)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Problems, their traces and a model that was hardly trained: no two of its answers are alike."""
    folder = tmp_path_factory.mktemp("parts")
    amounts = {"train": 40, "validation": 4, "test": 4, "levels": [1]}
    problems = run_stage("data", {"dataset": "synthetic", **amounts}, {}, folder / "problems", quiet=True)
    traces = run_stage("traces", {}, {"problems": problems}, folder / "traces", quiet=True)
    config = {"model": TINY, "steps": 1, "block": 32, "batch_size": 2}
    model = run_stage("pretrain", config, {"corpus": problems}, folder / "model", quiet=True, device="cpu")
    return {"problems": problems, "traces": traces, "model": model}


def rl(parts: dict[str, Artifact], folder: Path, **config: Any) -> Artifact:
    inputs = {"model": parts["model"], "problems": parts["problems"]}
    return run_stage("rl", {**RL, **config}, inputs, folder, quiet=True, device="cpu")


def unfinished(folder: Path) -> bool:
    manifest = Manifest.read(folder)
    return (manifest is None or manifest.status != "finished") and not (folder / "model").exists()


LONGER = "[float(len(c)) for c in columns['completions']]"
FUNCTIONS = {
    "raises": ("1 / 0", "raised ZeroDivisionError: division by zero. No weight was touched. Fix it and run again"),
    "hangs": ("__import__('time').sleep(30)", "did not return within 0.5 s"),
    "nan": ("[float('nan')] * 4", "returned nan for rollout 0. Return a finite number"),
    "wrong length": ("[1.0]", "returned 1 rewards for 4 rollouts. Return one each"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_broken_reward_function_stops_the_stage_and_a_mended_one_makes_it(
    case: str, parts: dict[str, Artifact], tmp_path: Path
) -> None:
    body, said = FUNCTIONS[case]
    file = tmp_path / "mine.py"
    file.write_text(f"def mine(**columns):\n    return {body}\n")
    reward = {"correct": 0, "function": f"{file}:mine", "timeout": 0.5}
    with pytest.raises(TrainingError) as caught:
        rl(parts, tmp_path / "rl", reward=reward)
    assert said in str(caught.value)
    assert unfinished(tmp_path / "rl")


def test_a_reward_file_that_is_not_there_is_refused(parts: dict[str, Artifact], tmp_path: Path) -> None:
    with pytest.raises(PosttrainError, match=r"no such file|does not exist|there is no"):
        rl(parts, tmp_path / "rl", reward={"function": "absent.py:mine"})
    assert unfinished(tmp_path / "rl")


def test_equal_rewards_are_diagnosed_and_are_no_crash(parts: dict[str, Artifact], tmp_path: Path) -> None:
    made = rl(parts, tmp_path / "rl")  # an untrained model: every answer is wrong
    manifest = Manifest.read(made.path)
    assert manifest is not None
    assert any("every rollout was wrong" in note for note in manifest.summary["notes"])
    weights = Path("model") / "model.safetensors"
    assert (made.path / weights).read_bytes() == (parts["model"].path / weights).read_bytes()


class Breaking(NativeEngine):
    """Is lost in the middle of the second batch; before the first one sampling is tried twice for its determinism."""

    asked = 0

    def generate(self, *arguments: Any, **named: Any) -> Iterator[Any]:
        Breaking.asked += 1
        for count, completion in enumerate(super().generate(*arguments, **named)):
            if Breaking.asked == 4 and count == 1:
                raise EngineError("the engine is gone. Run again to continue.")
            yield completion


def test_an_engine_lost_in_a_step_costs_that_step_and_no_bit_of_the_result(
    parts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def mine(**columns):\n    return {LONGER}\n")
    signal = {"group": 4, "reward": {"correct": 0, "function": f"{file}:mine"}}
    calm = rl(parts, tmp_path / "calm", **signal)
    with monkeypatch.context() as patch:
        patch.setattr("posttrain.engines.native.NativeEngine", Breaking)
        with pytest.raises(EngineError, match="the engine is gone"):
            rl(parts, tmp_path / "rough", **signal)
    assert unfinished(tmp_path / "rough")
    assert [p.name for p in (tmp_path / "rough" / ".work").glob("resume-*")] == ["resume-00000001"]
    rough = rl(parts, tmp_path / "rough", **signal)
    weights = Path("model") / "model.safetensors"
    assert (rough.path / weights).read_bytes() == (calm.path / weights).read_bytes()
    assert (calm.path / weights).read_bytes() != (parts["model"].path / weights).read_bytes()
    assert [row["reward"] for row in rows(rough)] == [row["reward"] for row in rows(calm)]


def rows(artifact: Artifact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (artifact.path / "metrics.jsonl").read_text().splitlines()]


def test_a_checkpoint_with_another_tokenizer_is_refused(parts: dict[str, Artifact], tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(parts["model"].path / "model", mixed)
    train_tokenizer(["other words for other heads"] * 9, 290).save_pretrained(mixed)
    for name, inputs in {
        "rl": {"model": mixed, "problems": parts["problems"]},
        "sft": {"model": mixed, "traces": parts["traces"]},
    }.items():
        config = RL if name == "rl" else {"steps": 1}
        with pytest.raises(ModelError, match=r"not the one it was trained with.*Put the right tokenizer back"):
            run_stage(name, config, inputs, tmp_path / name, quiet=True, device="cpu")
        assert unfinished(tmp_path / name)


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """`small_disk(n)`: from now on no file can grow beyond n bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_while_a_model_is_written_is_said(
    parts: dict[str, Artifact], tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    small_disk(9_000)  # manifests and metrics fit, weights don't
    with pytest.raises(StoreError, match=r"can't write the model to .*[Ff]ree some space and run again"):
        run_stage(
            "sft",
            {"steps": 1, "batch_size": 2},
            {"model": parts["model"], "traces": parts["traces"]},
            tmp_path / "sft",
            quiet=True,
            device="cpu",
        )
    small_disk(1 << 30)
    assert unfinished(tmp_path / "sft")
    assert [p for p in (tmp_path / "sft").iterdir() if p.name.endswith(".tmp")] == []


def test_weights_that_are_cut_off_are_no_model(parts: dict[str, Artifact], tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(parts["model"].path / "model", torn)
    os.truncate(torn / "model.safetensors", 1000)
    with pytest.raises(ModelError, match="can't load the model"):
        run_stage("rl", RL, {"model": torn, "problems": parts["problems"]}, tmp_path / "rl", quiet=True, device="cpu")


def test_a_damaged_artifact_is_neither_trained_on_nor_reused(parts: dict[str, Artifact], tmp_path: Path) -> None:
    copy = tmp_path / "traces"
    shutil.copytree(parts["traces"].path, copy)
    with (copy / "samples.parquet").open("r+b") as file:
        file.seek(40)
        file.write(b"\xff\x00")
    with pytest.raises(StoreError, match=r"samples\.parquet.*sha256"):
        run_stage("sft", {"steps": 1}, {"model": parts["model"], "traces": copy}, tmp_path / "sft", quiet=True)
    assert unfinished(tmp_path / "sft")


def test_a_folder_that_another_run_holds_is_refused(parts: dict[str, Artifact], tmp_path: Path) -> None:
    with locked(tmp_path / "rl"), pytest.raises(StoreError, match=r"(?s)process|run"):
        rl(parts, tmp_path / "rl")
    assert unfinished(tmp_path / "rl")
