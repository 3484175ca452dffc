"""A sweep at the size of the claim: 20 checkpoints × 500 problems × 4 samples of a tiny model, killed and gone on.

    python -m perf.sweep                                    # the whole size; --quick: 4 × 40 × 2
    python -m perf.sweep --kills 5 --json perf/results/sweep.json

There is no peer. It says how fast a sweep is, what a resume costs, and that after SIGKILLs at random moments every
sample is there once, with the bytes of a sweep that nobody disturbed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from perf.harness import Results, machine

PROGRAM = """
import sys
from pathlib import Path
from posttrain.pipeline import run_stage
from posttrain.store import Problems
root, out, samples = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
asked = {"max_tokens": 32, "temperature": 1.0, "n": samples, "block": 128, "template": "plain"}
inputs = {"run": root / "rl", "problems": Problems(root / "problems", name="problems")}
run_stage("sweep", {**asked, "shards": int(sys.argv[4])}, inputs, out, quiet=True)
"""


def prepare(root: Path, checkpoints: int, items: int) -> None:
    """A run with so many checkpoints of one shape and different weights, and the problems."""
    from posttrain.data.synthetic import LEVELS, problems
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer
    from posttrain.pipeline import run_stage

    splits = {"train": 20, "validation": 0, "test": items}
    run_stage("data", {"dataset": "synthetic", **splits}, {}, root / "problems", quiet=True)
    tokenizer = train_tokenizer([p.question for p in problems(1, "train", 200, tuple(LEVELS))], 400)
    shape = TinyConfig(hidden=64, layers=2, heads=2, context=512)
    for step in range(1, checkpoints):
        save_model(tiny_model(tokenizer, shape, seed=step), tokenizer, root / f"rl/checkpoints/step-{10 * step:06d}")
    save_model(tiny_model(tokenizer, shape, seed=checkpoints), tokenizer, root / "rl/model")
    (root / "rl/metrics.jsonl").write_text(f'{{"step": {10 * checkpoints}}}\n')


def start(root: Path, out: Path, samples: int, shards: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(root), str(out), str(samples), str(shards)])


def digests(out: Path) -> dict[str, str]:
    """sha256 of every file of a finished sweep that has to be the same."""
    from posttrain.store import Manifest
    from posttrain.store.manifest import VOLATILE

    manifest = Manifest.read(out)
    assert manifest is not None
    assert manifest.status == "finished", f"{out} is {manifest.status}"
    return {name: digest for name, digest in manifest.outputs.items() if Path(name).name not in VOLATILE}


def finish(root: Path, out: Path, samples: int, shards: int) -> float:
    """Seconds of a sweep that runs to its end."""
    began = time.perf_counter()
    assert start(root, out, samples, shards).wait() == 0
    return time.perf_counter() - began


def killed(root: Path, out: Path, samples: int, shards: int, kills: int, horizon: float, seed: int) -> list[float]:
    """Kills it `kills` times, each after U(0, horizon/kills) seconds of its own, then lets it finish; the moments."""
    generator = random.Random(seed)
    moments = []
    while len(moments) < kills:
        process = start(root, out, samples, shards)
        moment = generator.uniform(1.0, max(2.0, 1.5 * horizon / kills))
        try:
            process.wait(moment)
            shutil.rmtree(out)  # it was done before its moment: anew, so that all kills land
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            moments.append(round(moment, 2))
    finish(root, out, samples, shards)
    return moments


def count_keys(out: Path) -> tuple[int, int]:
    """(samples, different keys) over all checkpoints."""
    from posttrain.evals.sweep import read_sweep

    sweep = read_sweep(out)
    keys = [(label, s.key) for label in sweep.labels for b in sweep.benchmarks for s in sweep.samples(label, b)]
    return len(keys), len(set(keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 checkpoints × 40 problems × 2 samples")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    checkpoints, items, samples = (4, 40, 2) if given.quick else (20, 500, 4)
    results = Results("a sweep over checkpoints", machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root, checkpoints, items)
        calm = finish(root, root / "calm", samples, given.shards)
        again = finish(root, root / "calm", samples, given.shards)
        moments = killed(root, root / "rough", samples, given.shards, given.kills, calm, given.seed)
        made, different = count_keys(root / "rough")
        same = digests(root / "rough") == digests(root / "calm")
        disk = sum(p.stat().st_size for p in (root / "calm").rglob("*") if p.is_file())
    expected = checkpoints * items * samples
    results.facts = {
        "checkpoints": checkpoints,
        "problems": items,
        "samples": samples,
        "seconds": round(calm, 2),
        "samples_per_second": round(expected / calm, 1),
        "reuse_seconds": round(again, 2),
        "kills": moments,
        "seed": given.seed,
        "samples_made": made,
        "samples_different": different,
        "nothing_twice_nothing_lost": made == different == expected,
        "same_bytes_as_undisturbed": same,
        "disk_megabytes": round(disk / 1e6, 1),
    }
    for name, value in results.facts.items():
        print(f"{name:<28} {value}")
    if given.json:
        results.write(given.json)
    sys.exit(0 if same and made == different == expected else 1)


if __name__ == "__main__":
    main()
