"""A finished run's folder without any model: manifests, metrics and an evaluation of scripted samples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.evals.metrics import measure
from posttrain.records import Sample, Verdict, samples_to_tables
from posttrain.store import Manifest, Scores, fingerprint, write_json, write_table
from posttrain.tracking import Metrics

HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)> & ``` </pre>"
TRAINED_ON = {"sft": "base", "control": "sft", "rl": "sft"}


def shares(problem: int, model: str) -> float:
    """A number in [0, 1) that depends on problem and model only."""
    digest = hashlib.sha256(f"{problem}/{model}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def samples_of(model: str, accuracy: float, n: int, response: str | None = None) -> list[Sample]:
    """n sampled answers of which about `accuracy` are correct; problems keep a difficulty shared by all models."""
    found = []
    for i in range(n):
        ok = 0.7 * shares(i, "difficulty") + 0.3 * shares(i, model) < accuracy
        cut = not ok and shares(i, f"{model} length") < 0.1
        text = response or (f"Tom has {i} apples and buys 4 more.\n{i} + 4 = {i + 4}.\n#### {i + 4 if ok else i + 5}")
        found.append(
            Sample(
                problem_id=f"synthetic/test/{i}",
                index=0,
                question=f"Tom has {i} apples. He buys 4 more. How many apples does Tom have now?",
                response=text,
                source=model,
                gold=str(i + 4),
                token_ids=tuple(range(20 + i % 15)),
                finish_reason="length" if cut else "stop",
                verdict=Verdict(ok, not cut, None if cut else str(i + 4 + (not ok)), "correct" if ok else "wrong"),
                split="test",
            )
        )
    return found


def make_run(run: Path, accuracies: Mapping[str, float], n: int = 1000, **entry: Any) -> Scores:
    """`run`/data, one stage per model and `run`/scores with their answers."""
    _stage(run, "data", "data", "problems", {}, {"train": 8000, "test": n}, 2.1)
    for model in accuracies:
        _train(run, model)
    answers = {model: samples_of(model, accuracy, n) for model, accuracy in accuracies.items()}
    return write_scores(run, answers, **entry)


def write_scores(run: Path, answers: Mapping[str, Sequence[Sample]], name: str = "scores", **entry: Any) -> Scores:
    """An evaluation of these samples on the benchmark data/test."""
    folder = run / name
    entries = []
    for model, samples in answers.items():
        settings = {"benchmark": "data/test", "version": 1, "template": "chat", "grading": "gsm8k", **entry}
        entries.append(
            {
                "model": model,
                "benchmark": "data/test",
                "fingerprint": fingerprint(settings),
                **measure(samples),
                "folder": f"{model}/data-test",
                "settings": settings,
            }
        )
        generations, verdicts = samples_to_tables(samples)
        write_table(folder / model / "data-test" / "samples.parquet", generations)
        write_table(folder / model / "data-test" / "verdicts.parquet", verdicts)
    write_json(folder / "scores.json", {"version": 1, "entries": entries})
    inputs = {"models": [given(run, m) for m in answers if (run / m).exists()], "problems": given(run, "data")}
    _stage(run, name, "eval", "scores", inputs, {"rl on data/test": 0.71}, 31.0)
    return Scores(folder, name=name)


def _train(run: Path, model: str) -> None:
    folder = run / model
    folder.mkdir(parents=True, exist_ok=True)
    metrics = Metrics(folder / "metrics.jsonl")
    rl = model == "rl"
    for step in range(201):
        wobble = 0.1 * math.sin(step * 1.7)
        common = {"seconds": step * 0.4, "grad_norm": 0.8 + wobble, "entropy": 1.4 * math.exp(-step / 90) + 0.2}
        if rl:
            reward = 0.35 + 0.4 * step / 200 + wobble / 2
            extra = {"reward": reward, "accuracy": reward, "length_mean": 42 - step / 20, "truncated": 0.02}
        else:
            extra = {"loss": 2.5 * math.exp(-step / 60) + 0.4 + wobble / 3, "token_accuracy": 0.9 - 0.5 / (step + 1)}
        metrics.log(step, **common, **extra)
        if step % 40 == 0:
            metrics.log(step, val_accuracy=(0.35 if rl else 0.0) + 0.35 * step / 200)
    if rl:
        write_json(
            folder / "certificate.json",
            {
                "log-probability parity": {"ok": True, "max": 3.1e-6, "tolerance": "max ≤ 1e-4 (float32)"},
                "contamination": {"ok": False, "items": 3},
            },
        )
    inputs: dict[str, Any] = {"problems": given(run, "data")}
    if model in TRAINED_ON:
        inputs["model"] = given(run, TRAINED_ON[model])
    notes = ["Every group of step 12 had the same reward: such groups teach nothing."] if rl else []
    stage = "rl" if rl else "sft"
    _stage(run, model, stage, "checkpoint", inputs, {"steps": 200, "loss_last": 0.4213, "notes": notes}, 80.4)


def given(run: Path, name: str) -> dict[str, str]:
    return {"name": name, "kind": "checkpoint", "path": f"../{name}", "digest": fingerprint({"name": name})}


def _stage(
    run: Path, name: str, stage: str, kind: str, inputs: dict[str, Any], summary: dict[str, Any], seconds: float
) -> None:
    folder = run / name
    folder.mkdir(parents=True, exist_ok=True)
    Manifest(
        stage=stage,
        kind=kind,
        status="finished",
        fingerprint=fingerprint({"stage": name}),
        facts={},
        config={"lr": 0.0003, "steps": 200, "template": "chat"},
        inputs=inputs,
        seed=42,
        started="2026-01-01T00:00:00+00:00",
        seconds=seconds,
        versions={"torch": "2.13.0"},
        hardware={"cpus": 2},
        digest=fingerprint({"name": name}),
        summary=summary,
    ).write(folder)
