"""A supervised training step beside TRL's SFTTrainer and a plain transformers loop:
``python -m perf.sft [--quick] [--only bf16,fp32,half_b] [--json FILE]``.

All train the same weights on the same token ids and masks (GSM8K from the mirror), the same sequences per optimizer
step, AdamW with the same settings, in the same precision, by turns. Tokens are real ones: padding is not counted. TRL
runs with the fastest of the settings that work on the machine, found first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from perf.engines import HALF_B, SMALL, build
from perf.harness import Results, Row, machine
from perf.sft_contestants import VARIANTS
from posttrain.models import train_tokenizer
from posttrain.prompts import get_template

HERE = Path(__file__).resolve().parent
TRL_PYTHON = HERE.parent / ".venv-perf" / "bin" / "python"
EXAMPLES = 2048


@dataclass
class Contestant:
    """A process that trains when told to. `keep` False: a new process for every run (large models don't fit thrice)."""

    who: str
    folder: Path
    variant: str = ""
    keep: bool = True
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One run from the initial weights; preparing it is not in its time."""
        if self.process is None:
            python = str(TRL_PYTHON) if self.who == "trl" else sys.executable
            self.process = subprocess.Popen(
                [python, str(HERE / "sft_contestants.py"), self.who, str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if os.environ.get("VERBOSE") else subprocess.DEVNULL,
                text=True,
            )
        self._say(json.dumps({**request, "variant": self.variant}))
        assert self._hear() == "ready"
        self._say("go")
        answer: dict[str, Any] = json.loads(self._hear())
        if not self.keep:
            self.close()
        return answer

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate(timeout=120)
            self.process = None

    def _say(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(("ready", "{")):
                return line.strip()
        raise RuntimeError(f"{self.who} ended with code {self.process.wait()}; run with VERBOSE=1 to see why")


def write_case(folder: Path, shape: dict[str, int], longest: int | None) -> None:
    """A folder with the initial model, its tokenizer and the examples; `longest` cuts them short (the 0.5B shape)."""
    data = os.environ.get("POSTTRAIN_DATA") or str(HERE.parent.parent / "shared" / "data")
    lines = (Path(data) / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()[:EXAMPLES]
    rows = [json.loads(line) for line in lines]
    tokenizer = train_tokenizer([f"{r['problem']}\n{r['solution']}" for r in rows], min(2048, shape["vocab_size"]))
    template = get_template("chat")
    examples = [template.example(r["problem"], r["solution"], tokenizer) for r in rows]
    pairs = [(e.ids[-longest:] if longest else e.ids, e.mask[-longest:] if longest else e.mask) for e in examples]
    random.Random(0).shuffle(pairs)
    (folder / "examples.json").write_text(json.dumps(pairs), encoding="utf-8")
    build(shape, torch.float32).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def peak_flops(dtype: torch.dtype) -> float:
    """The best rate of a large matrix product here, operations per second: what utilisation is a share of."""
    a, b = torch.randn(2048, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
    products = [lambda: a @ b.t()]
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    best = 0.0
    for product in products:
        for _ in range(12):
            start = time.perf_counter()
            product()
            best = max(best, 2 * a.shape[0] * a.shape[1] * b.shape[0] / (time.perf_counter() - start))
    return best


def choose(trl: list[Contestant], request: dict[str, Any], notes: dict[str, Any]) -> Contestant:
    """The fastest of TRL's variants on a short run (the second, in a process that stays); the others are closed."""
    short = {**request, "steps": max(2, request["steps"] // 2)}
    rates: dict[str, float] = {}
    for contestant in trl:
        if contestant.keep and len(trl) > 1:
            contestant.train(short)  # libraries prepare themselves once per shape of their data
        answer = contestant.train(short)
        rates[contestant.variant] = answer["tokens"] / answer["seconds"]
    best = max(trl, key=lambda c: rates[c.variant])
    notes["trl_variants_tokens_per_s"] = {name: round(rate) for name, rate in rates.items()}
    for contestant in trl:
        if contestant is not best:
            contestant.close()
    return best


def compare(
    results: Results, name: str, shape: dict[str, int], request: dict[str, Any], *, repeats: int, large: bool = False
) -> dict[str, Any]:
    """One ratio: ours over TRL's best. Returns what stands beside it (memory, utilisation, losses)."""
    notes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="posttrain-perf-") as scratch:
        folder = Path(scratch)
        write_case(folder, shape, 64 if large else None)
        ours, loop = Contestant("ours", folder, keep=not large), Contestant("loop", folder, keep=not large)
        variants = ["padded"] if large else list(VARIANTS)
        trl = choose([Contestant("trl", folder, v, keep=not large) for v in variants], request, notes)
        contestants = {"ours": ours, f"trl {trl.variant}": trl, "plain loop": loop}
        for contestant in contestants.values():  # warm: libraries prepare themselves once per shape of their data
            contestant.train(request)
        seconds: dict[str, list[float]] = {who: [] for who in contestants}
        answers: dict[str, dict[str, Any]] = {}
        rounds: list[float] = []
        for _ in range(repeats):
            for who, contestant in contestants.items():
                answers[who] = contestant.train(request)
                seconds[who].append(answers[who]["seconds"])
            mine, theirs, *_ = (taken[-1] for taken in seconds.values())
            rounds.append(theirs / mine)
        in_order = Contestant("trl", folder, "padded", keep=False).train(request)["losses"]
        for contestant in contestants.values():
            contestant.close()
    tokens = answers["ours"]["tokens"]
    results.rows += [Row(name, who, tokens, "tokens", taken) for who, taken in seconds.items()]
    results.ratios[f"{name}_vs_trl"] = statistics.median(rounds)
    results.spread[f"{name}_vs_trl"] = (min(rounds), max(rounds))
    ours_losses = answers["ours"]["losses"]
    peak = peak_flops(getattr(torch, request["dtype"]))
    per_token = 6 * weights(shape)
    notes |= {
        "peak_memory_mb": {who: round(a["peak_bytes"] / 1e6) for who, a in answers.items()},
        "mfu": {who: round(per_token * tokens / min(taken) / peak, 3) for who, taken in seconds.items()},
        "tokens_per_cpu_second": {who: round(a["tokens"] / a["cpu_seconds"]) for who, a in answers.items()},
        "machine_peak_gflops": round(peak / 1e9),
        "losses": {"ours": ours_losses, "trl padded": in_order, "plain loop": answers["plain loop"]["losses"]},
        "largest_loss_difference_to_trl": largest(ours_losses, in_order),
        "largest_loss_difference_to_loop": largest(ours_losses, answers["plain loop"]["losses"]),
    }
    return notes


def largest(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def weights(shape: dict[str, int]) -> int:
    """Weights that a token is multiplied with, the (tied) vocabulary projection included."""
    hidden, inner, head = shape["hidden_size"], shape["intermediate_size"], shape["hidden_size"] // shape["heads"]
    attention = hidden * head * (2 * shape["heads"] + 2 * shape["kv_heads"])
    return shape["layers"] * (attention + 3 * hidden * inner) + hidden * shape["vocab_size"]


CASES: dict[str, tuple[dict[str, int], dict[str, Any], bool]] = {
    "bf16": (SMALL, {"dtype": "bfloat16", "batch": 16, "steps": 12}, False),
    "fp32": (SMALL, {"dtype": "float32", "batch": 16, "steps": 12}, False),
    "half_b": (HALF_B, {"dtype": "bfloat16", "batch": 8, "steps": 2}, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of four steps, without the 0.5B shape")
    parser.add_argument("--only", default="", help=f"some of {','.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=0, help="rounds (5; 2 for the 0.5B shape and with --quick)")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    results = Results("sft", machine())
    notes: dict[str, Any] = {}
    chosen = options.only.split(",") if options.only else [c for c in CASES if not (options.quick and c == "half_b")]
    for name in chosen:
        shape, request, large = CASES[name]
        if options.quick:
            request = {**request, "steps": 4}
        if not TRL_PYTHON.exists():
            results.skipped[f"{name}_vs_trl"] = "no .venv-perf: `make perf-env` builds it"
            continue
        repeats = options.repeats or (2 if options.quick or large else 5)
        notes[name] = compare(results, name, shape, request, repeats=repeats, large=large)
        if options.json:  # an interrupted run keeps what it has
            results.write(options.json)
            value = json.loads(options.json.read_text(encoding="utf-8"))
            options.json.write_text(json.dumps({**value, "notes": notes}, indent=2) + "\n", encoding="utf-8")
    results.show()
    for name, note in notes.items():
        print(
            f"{name}: memory MB {note['peak_memory_mb']}, utilisation {note['mfu']} of {note['machine_peak_gflops']} "
            f"GFLOP/s, losses differ by {note['largest_loss_difference_to_trl']:.4f} at most; "
            f"tokens per CPU second {note['tokens_per_cpu_second']}; "
            f"TRL {note['trl_variants_tokens_per_s']}"
        )


if __name__ == "__main__":
    main()
