"""The tables of docs/scaling.md, reckoned from what perf/scaling.py measured and from what the code assumes of GPUs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain.evals.table import markdown
from posttrain.models.cost import sampling_seconds, training_seconds
from posttrain.models.gpus import gpu_table, planned_on
from posttrain.models.size import Shape

Facts = Mapping[str, float]
ROOT = Path(__file__).resolve().parents[1]
GPU_GB = 80  # which GPU of gpus.yaml is reckoned with
ANSWER = 256  # tokens
STAGE = 600.0  # seconds that a stage holds a GPU
PER_NODE = 8  # GPUs
NETWORK = 50e9  # bytes per second between two nodes: 400 Gbit/s
NVLINK = 450e9  # … between two GPUs of a node
SHARED = 5e9  # … of a shared file system, all nodes together
ANSWERS = 256  # of one GRPO update
UPDATE = ANSWERS * 356  # its tokens: answers, and prompts of 100
MEANING = {
    "stage_made": ("a stage made, without its work", "s"),
    "stage_reused": ("a finished stage verified and reused", "s"),
    "manifest_read": ("a manifest read", "s"),
    "planned_of_100": ("a stage planned, of 100", "s"),
    "planned_of_1000": ("a stage planned, of 1,000", "s"),
    "stage_process": ("the process of a stage started, one core", "s"),
    "durable_replies_1": ("replies of 2 kB journaled, each on the disk by itself", "/s"),
    "durable_replies_32": ("the same, 32 to a write", "/s"),
    "journaled_samples": (f"answers of {ANSWER} tokens journaled by an evaluation", "/s"),
    "journal_bytes_per_sample": ("one of them there", "B"),
    "bytes_per_sample": ("one of them in Parquet with ids and log-probabilities", "B"),
    "samples_written": ("answers written to Parquet", "/s"),
    "samples_read": ("answers read from it", "/s"),
    "disk_bytes": ("written to the disk and synced", "B/s"),
    "hashed_bytes": ("hashed, SHA-256, one core", "B/s"),
    "memory_bytes": ("copied into a file system in memory", "B/s"),
    "client_tokens": ("tokens that the client of sampling servers takes, one core", "/s"),
}


def shape() -> Shape:
    """Qwen2.5-1.5B."""
    return Shape(
        hidden=1536,
        layers=28,
        heads=12,
        kv_heads=2,
        head=128,
        feed_forward=8960,
        vocabulary=151936,
        tied=True,
        bias=True,
        qk_norm=False,
    )


def rates() -> tuple[float, float]:
    """Tokens per second that one GPU samples, and that it trains, as `posttrain plan` reckons."""
    gpu = next(g for g in gpu_table().gpus if g.memory_gb == GPU_GB)
    with planned_on(gpu):
        return 1e6 / sampling_seconds(shape(), 1e6, "bfloat16"), 1e6 / training_seconds(shape(), 1e6, "bfloat16")


def verdicts() -> float:
    """Mixed answers graded per second on one core, as perf/grading.py measured."""
    told = json.loads((ROOT / "perf" / "results" / "grading-epyc-2core.json").read_text(encoding="utf-8"))
    return float(next(r["rate"] for r in told["rows"] if (r["name"], r["case"]) == ("mixed", "posttrain")))


def limits(facts: Facts) -> list[tuple[str, str, float]]:
    """(part, arithmetic, GPUs at which one of it is full), the narrowest first."""
    sampled, trained = rates()
    answers = sampled / ANSWER
    half, whole = 2.0 * shape().parameters, 4.0 * shape().parameters
    exchange = 3 * whole  # FSDP: gathered forward and backward, and the gradients scattered
    rows = [
        (
            "client of sampling servers (tokens arrive in one process)",
            f"{_n(facts['client_tokens'])} tokens/s ÷ {_n(sampled)} tokens/s a GPU",
            facts["client_tokens"] / sampled,
        ),
        (
            "writer of samples.parquet",
            f"{_n(facts['samples_written'])} answers/s ÷ {_n(answers)} a GPU",
            facts["samples_written"] / answers,
        ),
        (
            "journal of an evaluation",
            f"{_n(facts['journaled_samples'])} answers/s ÷ {_n(answers)} a GPU",
            facts["journaled_samples"] / answers,
        ),
        ("grading, one core", f"{_n(verdicts())} verdicts/s ÷ {_n(answers)} a GPU", verdicts() / answers),
        (
            "disk under the samples",
            f"{_b(facts['disk_bytes'])}/s ÷ ({_n(answers)} × {_b(facts['bytes_per_sample'])}) a GPU",
            facts["disk_bytes"] / (answers * facts["bytes_per_sample"]),
        ),
        (
            "executor: processes started by one core",
            f"stages of {STAGE:.0f} s ÷ {facts['stage_process']:.2g} s each",
            STAGE / facts["stage_process"],
        ),
        (
            "store: a stage's own files, if one disk served all",
            f"stages of {STAGE:.0f} s ÷ {facts['stage_made']:.2g} s each",
            STAGE / facts["stage_made"],
        ),
        (
            "gradients within a node, one update over all GPUs",
            f"{UPDATE:,} tokens × {_n(NVLINK)} B/s ÷ ({_n(trained)} tokens/s × {_b(exchange)})",
            UPDATE * NVLINK / (trained * exchange),
        ),
        (
            "gradients between nodes",
            f"{UPDATE:,} tokens × {_n(NETWORK)} B/s ÷ ({_n(trained)} tokens/s × {_b(exchange)})",
            UPDATE * NETWORK / (trained * exchange),
        ),
        (
            "weights to samplers through one shared file system",
            f"√({ANSWERS * ANSWER:,} tokens ÷ {_n(sampled)} tokens/s × {PER_NODE} × {_b(SHARED)}/s ÷ {_b(half)})",
            (ANSWERS * ANSWER / sampled * SHARED * PER_NODE / half) ** 0.5,
        ),
    ]
    return sorted(rows, key=lambda row: row[2])


def thousand(facts: Facts) -> list[tuple[str, str, str]]:
    """(what, arithmetic, result) at 1,000 GPUs."""
    sampled, trained = rates()
    answers, half, whole = 1000 * sampled / ANSWER, 2.0 * shape().parameters, 4.0 * shape().parameters
    return [
        ("tokens sampled", f"1,000 × {_n(sampled)}", f"{_n(1000 * sampled)}/s"),
        ("answers", f"÷ {ANSWER}", f"{_n(answers)}/s"),
        (
            "processes that take them",
            f"{_n(1000 * sampled)} ÷ {_n(facts['client_tokens'])}",
            f"{1000 * sampled / facts['client_tokens']:.0f}",
        ),
        ("cores that grade them", f"{_n(answers)} ÷ {_n(verdicts())}", f"{answers / verdicts():.0f}"),
        (
            "processes that write them",
            f"{_n(answers)} ÷ {_n(facts['samples_written'])}",
            f"{answers / facts['samples_written']:.0f}",
        ),
        (
            "Parquet",
            f"{_n(answers)} × {_b(facts['bytes_per_sample'])}",
            f"{_b(answers * facts['bytes_per_sample'])}/s, {_b(86400 * answers * facts['bytes_per_sample'])} a day",
        ),
        (
            "stages started",
            f"1,000 ÷ {STAGE:.0f} s",
            f"{1000 / STAGE:.2g}/s, {1000 / STAGE * facts['stage_process']:.1g} cores",
        ),
        (
            "a run of 10,000 stages looked over by `plan`",
            f"10,000 × {facts['planned_of_1000'] * 1000:.2g} ms",
            f"{10_000 * facts['planned_of_1000']:.0f} s",
        ),
        (
            "the same, all reused",
            f"10,000 × {facts['stage_reused'] * 1000:.2g} ms",
            f"{10_000 * facts['stage_reused']:.0f} s",
        ),
        (
            "a checkpoint hashed when it is sealed",
            f"{_b(half)} ÷ {_b(facts['hashed_bytes'])}/s",
            f"{half / facts['hashed_bytes']:.1f} s",
        ),
        (
            "weights read by 125 nodes from one file system",
            f"125 × {_b(half)} ÷ {_b(SHARED)}/s",
            f"{125 * half / SHARED:.0f} s",
        ),
        (
            "weights handed on in a tree of nodes",
            f"log₂ 125 × {_b(half)} ÷ {_b(NETWORK)}/s",
            f"{7 * half / NETWORK:.2g} s",
        ),
        (
            "one GRPO update computed",
            f"{UPDATE:,} ÷ (1,000 × {_n(trained)})",
            f"{1000 * UPDATE / (1000 * trained):.2g} ms",
        ),
        ("its gradients exchanged", f"3 × {_b(whole)} ÷ {_b(NETWORK)}/s", f"{1000 * 3 * whole / NETWORK:.3g} ms"),
    ]


def page(text: str, facts: Facts) -> str:
    """The page with its three tables in their places."""
    measured = [[key, told, f"{_n(facts[key])} {unit}"] for key, (told, unit) in MEANING.items() if key in facts]
    text = _placed(text, "measured", markdown(["figure", "of", "value"], measured))
    rows = [[part, how, f"{gpus:,.0f}" if gpus >= 10 else f"{gpus:.1f}"] for part, how, gpus in limits(facts)]
    text = _placed(text, "limits", markdown(["part", "arithmetic", "full at GPUs"], rows))
    return _placed(text, "thousand", markdown(["at 1,000 GPUs", "arithmetic", ""], [list(r) for r in thousand(facts)]))


def _placed(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- perf/scaling_page.py: {name} -->", f"<!-- end of {name} -->"
    return re.sub(f"{re.escape(begin)}.*?{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)


def _n(value: float) -> str:
    """Three digits: 0.0123, 12.3, 12,300, 1.2e9."""
    if value >= 1e9 or 0 < value < 1e-3:
        return f"{value:.2g}"
    digits: Any = float(f"{value:.3g}")
    return f"{digits:,.0f}" if value >= 100 else f"{digits:g}"


def _b(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
