"""Validation beside training: the same bits, the same scores, no waiting; and what becomes of it when somebody dies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from posttrain.cli import main
from posttrain.errors import TrainingError
from posttrain.pipeline import run_stage
from posttrain.store import Artifact, Manifest
from posttrain.training.beside import beside, weights
from posttrain.training.beside.process import Process
from posttrain.training.beside.weights import HOME, Shelf, open_shelf, weights_of, write_safetensors

TINY = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "context": 128}
SFT = {"steps": 6, "batch_size": 4, "save_every": 1, "optimizer": {"lr": 1e-2}}
WATCH = {"every": 2, "problems": 6, "max_tokens": 8}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("parts")
    amounts = {"train": 40, "validation": 6, "test": 4, "levels": [1]}
    problems = run_stage("data", {"dataset": "synthetic", **amounts}, {}, folder / "problems", quiet=True)
    traces = run_stage("traces", {}, {"problems": problems}, folder / "traces", quiet=True)
    config = {"model": TINY, "steps": 1, "block": 32, "batch_size": 2}
    model = run_stage("pretrain", config, {"corpus": problems}, folder / "model", quiet=True, device="cpu")
    return {"problems": problems, "traces": traces, "model": model}


@pytest.fixture(scope="module")
def inline(parts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training with validation in its own process."""
    return train(parts, tmp_path_factory.mktemp("inline") / "sft", beside=False)


def train(parts: dict[str, Artifact], folder: Path, **watch: Any) -> Path:
    validation = {**WATCH, "beside": True, "device": "cpu", **watch}
    return run_stage("sft", {**SFT, "validation": validation}, parts, folder, quiet=True, device="cpu").path


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Lines of a file without what two runs of the same can differ in: times, speeds, memory."""
    found = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if not k.startswith(("seconds", "memory")) and "_per_s" not in k} for row in found
    ]


def summary(folder: Path) -> dict[str, Any]:
    manifest = Manifest.read(folder)
    assert manifest is not None
    return manifest.summary


def same(folder: Path, inline: Path) -> bool:
    """Weights, numbers and answers, to the bit."""
    mine, theirs = Manifest.read(folder), Manifest.read(inline)
    assert mine is not None
    assert theirs is not None
    assert mine.digest == theirs.digest
    assert rows(folder) == rows(inline)
    assert rows(folder, "validation.jsonl") == rows(inline, "validation.jsonl")
    return True


def verb(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def memory_of(folder: Path) -> Path:
    found = open_shelf(folder).memory
    assert found is not None
    return found


def test_training_scores_and_answers_are_those_of_validation_in_the_trainers_process(
    parts: dict[str, Artifact], inline: Path, tmp_path: Path
) -> None:
    folder = train(parts, tmp_path / "sft")
    assert same(folder, inline)
    assert [r["step"] for r in rows(folder) if "val_n" in r] == [0, 2, 4, 6]
    assert {"val_accuracy", "val_loss", "val_entropy", "val_token_accuracy"} <= set(rows(folder)[0])
    assert len(rows(folder, "validation.jsonl")) == 4 * 6
    assert not (folder / HOME).exists()
    assert not memory_of(folder).exists() or not list(memory_of(folder).glob("step-*"))


def test_reinforcement_learning_is_the_same_too(parts: dict[str, Artifact], tmp_path: Path) -> None:
    inputs = {"model": parts["model"], "problems": parts["problems"]}
    config = {"steps": 2, "prompts": 2, "group": 2, "max_tokens": 8, "reward": {"format": 1.0}}
    ends = []
    for name in ("inside", "beside"):
        watch = {**WATCH, "every": 1, "beside": name == "beside", "device": "cpu"}
        made = run_stage("rl", {**config, "validation": watch}, inputs, tmp_path / name, quiet=True, device="cpu")
        ends.append(made.path)
    assert same(ends[1], ends[0])
    assert [r["step"] for r in rows(ends[1]) if "val_n" in r] == [0, 1, 2]


def test_training_is_the_same_to_the_bit_as_without_any_validation(
    parts: dict[str, Artifact], inline: Path, tmp_path: Path
) -> None:
    inputs = {"model": parts["model"], "traces": parts["traces"]}
    bare = run_stage("sft", SFT, inputs, tmp_path / "sft", quiet=True, device="cpu").path
    name = Path("model") / "model.safetensors"
    assert (bare / name).read_bytes() == (inline / name).read_bytes()
    assert rows(bare) == [row for row in rows(inline) if "val_n" not in row]


def test_a_worker_that_is_killed_costs_nothing_but_its_scores_and_they_can_be_made_up_for(
    parts: dict[str, Artifact],
    inline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def killed(self: Process, *arguments: Any) -> None:
        start(self, *arguments)
        os.kill(self.pid, signal.SIGKILL)

    start = Process.__init__
    with monkeypatch.context() as patch:
        patch.setattr(Process, "__init__", killed)
        folder = train(parts, tmp_path / "sft")
    found = summary(folder)
    assert found["validation_missed"] == 4
    assert "killed by SIGKILL" in found["notes"][0]
    assert f"posttrain validate {folder}" in found["notes"][-1]
    assert (folder / "model" / "model.safetensors").read_bytes() == (inline / "model/model.safetensors").read_bytes()
    assert [r for r in rows(folder) if "val_n" in r] == []
    verb("validate", str(folder), "--device", "cpu")
    assert capsys.readouterr().out.startswith("step 0: accuracy")
    assert same(folder, inline)
    assert "validation_missed" not in summary(folder)
    assert not (folder / HOME).exists()
    verb("validate", str(folder))
    assert "nothing was missed" in capsys.readouterr().out


def test_the_error_of_a_worker_is_shown(
    parts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "_threads", lambda *_: "many")
    folder = train(parts, tmp_path / "sft")
    assert "exit code 1; it said last: ValueError: invalid literal for int()" in summary(folder)["notes"][0]


def test_a_worker_that_hangs_is_given_up_at_the_end(
    parts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Process, *arguments: Any) -> None:
        start(self, *arguments)
        os.kill(self.pid, signal.SIGSTOP)

    start = Process.__init__
    monkeypatch.setattr(Process, "__init__", stopped)
    monkeypatch.setattr(beside, "PATIENCE", 0.2)
    folder = train(parts, tmp_path / "sft")
    assert summary(folder)["validation_missed"] == 4
    assert "no result within 0 s" in summary(folder)["notes"][0]


def test_weights_wait_on_the_disk_where_memory_is_full_or_missing(
    parts: dict[str, Artifact], inline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    put = Shelf.put

    def noted(self: Shelf, *arguments: Any, **named: Any) -> Path | None:
        found = put(self, *arguments, **named)
        places.append(found.parent if found else None)
        return found

    monkeypatch.setattr(Shelf, "put", noted)
    folder = train(parts, tmp_path / "full", pending=1)
    assert same(folder, inline)
    assert memory_of(folder) == places[0]
    assert folder / HOME in places[1:]  # the first is still being answered
    places.clear()
    monkeypatch.setattr(weights, "MEMORY", tmp_path / "no-such-place")
    assert same(train(parts, tmp_path / "none"), inline)
    assert set(places) == {(tmp_path / "none" / HOME)}


def test_without_any_room_validation_is_left_out_and_training_goes_on(
    parts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_room", lambda place: 0)
    folder = train(parts, tmp_path / "sft")
    assert "step 4 is left out: neither memory nor disk has room" in " ".join(summary(folder)["notes"])
    assert [r for r in rows(folder) if "val_n" in r] == []


def test_a_gpu_that_is_not_there_is_refused_before_training(parts: dict[str, Artifact], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"validation\.device is cuda:9, and this process sees \d GPUs"):
        train(parts, tmp_path / "sft", device="cuda:9")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    found = open_shelf(tmp_path / "stage")
    yield found
    found.free()


def test_memory_of_a_stage_that_was_removed_is_freed(tmp_path: Path, shelf: Shelf) -> None:
    assert shelf.memory is not None
    assert shelf.memory.is_dir()
    shelf.home.rmdir()
    open_shelf(tmp_path / "other").free()
    assert not shelf.memory.exists()


def test_a_snapshot_is_an_ordinary_model_folder(parts: dict[str, Artifact], tmp_path: Path, shelf: Shelf) -> None:
    from posttrain.models import load_model, load_tokenizer

    folder = parts["model"].path / "model"
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    weights.write_skeleton(shelf.skeleton, model, tokenizer)
    path = shelf.put(weights_of(model), 3, pending=1)
    assert path is not None
    assert path.parent == shelf.memory
    again = load_model(path)
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())
    assert load_tokenizer(path).get_vocab() == tokenizer.get_vocab()
    assert shelf.keep() == [3]
    assert torch.equal(load_model(shelf.found()[3]).state_dict()["lm_head.weight"], model.lm_head.weight)


def test_what_is_written_is_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 5).to(torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "one": torch.tensor(7),
        "none": torch.empty(0, 4),
    }
    write_safetensors(tmp_path / "x.safetensors", tensors)
    read = load_file(tmp_path / "x.safetensors")
    assert {n: t.dtype for n, t in read.items()} == {n: t.dtype for n, t in tensors.items()}
    assert all(torch.equal(read[n], t) for n, t in tensors.items())


def test_tied_weights_are_written_once(parts: dict[str, Artifact]) -> None:
    from posttrain.models import load_model

    model = load_model(parts["model"].path / "model")
    assert "lm_head.weight" in model.state_dict()
    assert "lm_head.weight" not in weights_of(model)
    assert sum(t.numel() for t in weights_of(model).values()) == sum(p.numel() for p in model.parameters())


def test_training_waits_for_no_answer(
    parts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is stopped for the whole of training and woken at its end: nothing before the end has waited."""
    moments: dict[str, float] = {}
    start, finish = Process.__init__, beside.Beside.settle

    def stopped(self: Process, *arguments: Any) -> None:
        start(self, *arguments)
        os.kill(self.pid, signal.SIGSTOP)

    def woken(self: beside.Beside) -> None:
        if self.process is None:
            return  # settled before
        moments["waiting"] = len(self.waiting)
        os.kill(self.process.pid, signal.SIGCONT)
        began = time.monotonic()
        finish(self)
        moments["end"] = time.monotonic() - began

    monkeypatch.setattr(Process, "__init__", stopped)
    monkeypatch.setattr(beside.Beside, "settle", woken)
    folder = train(parts, tmp_path / "sft")
    assert moments["waiting"] == 4, "every job was sent, and none was answered while training went on"
    assert [r["step"] for r in rows(folder) if "val_n" in r] == [0, 2, 4, 6], "at the end all are in"


def test_a_server_gets_every_weights_proven_and_is_closed(
    parts: dict[str, Artifact], inline: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's loop in this process, with an engine that stands in for the vLLM server."""
    import io
    import queue

    from posttrain.engines.native import NativeEngine
    from posttrain.engines.vllm.config import VLLMConfig
    from posttrain.models import load_model, load_tokenizer
    from posttrain.store import Checkpoint, Problems
    from posttrain.training.asked import Asked
    from posttrain.training.beside import worker

    served: list[int] = []
    closed: list[bool] = []

    class Server(NativeEngine):
        def load_weights(self, source: Any, version: int) -> None:
            super().load_weights(source, version)
            served.append(version)

        def close(self) -> None:
            closed.append(True)

    def opened(checkpoint: Checkpoint, name: str, *, vllm: VLLMConfig, logs: Path) -> tuple[Server, None]:
        assert name == "vllm"
        assert vllm.memory == 0.5
        return Server(load_model(checkpoint.path), pad_id=0, tokenizer=tokenizer), None

    folder = parts["model"].path / "model"
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    assert isinstance(parts["problems"], Problems)
    problems = parts["problems"].read("validation")
    Asked(problems, [], "chat", None, "gsm8k", 8, "vllm", VLLMConfig(memory=0.5)).write(shelf.asked)
    weights.write_skeleton(shelf.skeleton, model, tokenizer)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for step in (0, 2):
        jobs.put({"step": step, "folder": str(shelf.put(weights_of(model), step, pending=2))})
    jobs.put({"end": True})
    monkeypatch.setattr("posttrain.evals.engines.open_engine", opened)
    results = io.StringIO()
    worker.serve(shelf, "cpu", 1, jobs, results)
    told = [json.loads(line) for line in results.getvalue().splitlines()]
    assert [one["step"] for one in told] == served == [0, 2]
    assert closed == [True]
    first = [{k: v for k, v in row.items() if k != "step"} for row in rows(inline, "validation.jsonl")[:6]]
    assert told[0]["samples"] == first


def test_a_server_inside_the_trainer_and_early_stops_by_late_scores_are_refused() -> None:
    from posttrain.config import parse
    from posttrain.errors import RecipeError
    from posttrain.sft.config import SFTConfig

    for values, said in (
        ({"validation": {"engine": "vllm"}}, r"engine vllm needs a process of its own\. Set beside: true"),
        ({"validation": {"every": 2, "beside": True}, "early_stopping": {"patience": 2}}, "two runs would stop at"),
        ({"validation": {"every": 2}, "launch": {"processes": 2, "strategy": "fsdp2"}}, "cuts the weights in parts"),
    ):
        with pytest.raises(RecipeError, match=said):
            parse(SFTConfig, {"steps": 1, **values}, "stage 'sft'")
