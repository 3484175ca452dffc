"""Curation at scale: ``python -m perf.curation [--rows 10000 100000] [--quick] [--json FILE]``.

Rows are GSM8K's and MATH's training problems from the mirror with their solutions, repeated with edits (perf/edits.py)
until there are as many as asked for. Every case runs in a process of its own, through the filters as the stage calls
them, so that its time and its peak memory are its own; reading the rows is timed apart. A further size, 1,000,000 by
default, is extrapolated from the two largest that were measured, on paper.

Peers, in the same run: datatrove's four MinHash stages where .venv-perf has it, and datasketch, one text after the
other. All look for near duplicates of the same texts with word n-grams, at most PEER_ROWS of them, on one core each.
MiniLM embeds EMBEDDED questions in one thread, where its package is installed; loading it is not counted.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perf.edits import LEAKED
from perf.harness import Results, Row, machine
from posttrain.config import parse
from posttrain.curate import lsa
from posttrain.curate.artifacts import read_samples
from posttrain.curate.embeddings import Encoder, find_model
from posttrain.curate.filters import FILTERS
from posttrain.curate.rows import Rows
from posttrain.curate.selectors.kmeans import kmeans
from posttrain.curate.tools import Toolbox
from posttrain.records import Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Samples, write_table

HERE = Path(__file__).resolve().parent
PEER_PYTHON = HERE.parent / ".venv-perf" / "bin" / "python"
PEER_ROWS = 20_000
EMBEDDED = 512
CLUSTERS = 100
LIMITS = {"exact + MinHash": 60.0, "decontamination": 60.0, "TF-IDF + k-means": 90.0}  # seconds at 100,000 rows
MEMORY = 2 << 30
BENCHMARKS = (
    "gsm8k math500 aime24 aime25 amc amc23 minerva olympiadbench svamp gsm_hard mmlu mmlu_redux humaneval mbpp "
    "cruxeval ifeval alpaca_eval mt_bench simple_safety_tests"
).split()


def make_rows(mirror: Path, count: int, folder: Path) -> None:
    """`count` traces as an artifact in `folder`: every problem once, then edited copies by turns."""
    originals: list[dict[str, Any]] = []
    for name in ("gsm8k_train", "math_train"):
        with (mirror / f"{name}.jsonl").open(encoding="utf-8") as lines:
            originals += map(json.loads, lines)
    draw = random.Random(0)
    samples = []
    for i in range(count):
        source = originals[i % len(originals)]
        question, solution = source["problem"], source.get("solution") or str(source["answer"])
        if i >= len(originals):
            edit = LEAKED[(i + i // len(originals)) % len(LEAKED)]
            question = edit(question, draw)
        samples.append(Sample(f"p{i}", 0, question, solution, "perf", gold=source["answer"], split="train"))
    write_table(folder / "samples.parquet", samples_to_tables(samples)[0])


def run_filter(name: str, rows: Rows, tools: Toolbox, **config: Any) -> Rows:
    entry = FILTERS[name]
    return rows.take(entry.function(rows, parse(entry.config, config, name), tools).keep)


def deduplicate(rows: Rows, tools: Toolbox) -> int:
    return len(run_filter("near_duplicates", run_filter("exact_duplicates", rows, tools), tools))


def near_only(rows: Rows, tools: Toolbox) -> int:
    return len(run_filter("near_duplicates", rows, tools))


def decontaminate(rows: Rows, tools: Toolbox) -> int:
    return len(run_filter("decontaminate", rows, tools, against=BENCHMARKS))


def cluster(rows: Rows, tools: Toolbox) -> int:
    return int(kmeans(lsa.embed(rows.texts("both")), CLUSTERS, seed=0).max()) + 1


def datasketch_near(rows: Rows, tools: Toolbox) -> int:
    """As datasketch is documented to be used: a MinHash per text, an LSH index, one query each. Rows that stay."""
    from datasketch import MinHash, MinHashLSH

    from posttrain.data.contamination import grams, tokens

    index = MinHashLSH(threshold=0.7, num_perm=128)
    kept = 0
    for i in range(len(rows)):
        signed = MinHash(num_perm=128)
        signed.update_batch([" ".join(gram).encode() for gram in grams(tokens(rows.text(i)), 3)])
        if not index.query(signed):
            index.insert(i, signed)
            kept += 1
    return kept


@functools.cache
def minilm() -> Encoder:
    """Loaded, and warm."""
    encoder = Encoder(find_model("minilm"), "cpu")
    encoder.encode(["one question"], lambda count: None)
    return encoder


def embed_questions(rows: Rows, tools: Toolbox) -> int:
    return len(minilm().encode(rows.questions, lambda count: None))


CASES: dict[str, Callable[[Rows, Toolbox], int]] = {
    "exact + MinHash": deduplicate,
    "decontamination": decontaminate,
    "TF-IDF + k-means": cluster,
    "MinHash": near_only,
    "datasketch": datasketch_near,
    "MiniLM": embed_questions,
}


def measure(case: str, folder: Path) -> dict[str, Any]:
    """One case in this process: rows, seconds, what is left, peak memory in bytes."""
    started = time.perf_counter()
    rows = read_samples([Samples(folder, name="perf")], {})
    read = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as scratch:
        tools = Toolbox(Workspace(Path(scratch), quiet=True), student=None, held_out=None, max_batch=1)
        if case == "decontamination":
            tools.references(BENCHMARKS, "perf")  # reading the benchmarks is no part of looking for them
        if case == "MiniLM":
            minilm()
        started = time.perf_counter()
        left = CASES[case](rows, tools)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows": len(rows), "read_seconds": read, "seconds": seconds, "left": left, "peak_bytes": peak}


def in_own_process(arguments: list[str], python: str = sys.executable, threads: int | None = None) -> dict[str, Any]:
    env = dict(os.environ) if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([python, *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def extrapolated(sizes: list[int], values: list[float], size: int) -> float:
    """On the line through the two largest."""
    if len(sizes) == 1:
        return values[0] * size / sizes[0]
    (a, b), (x, y) = sizes[-2:], values[-2:]
    return y + (y - x) / (b - a) * (size - b)


def run(rows: list[int], to: int, mirror: Path, folder: Path) -> Results:
    """rows: the sizes; none = only the peers and MiniLM."""
    results = Results("curation at scale", machine())
    if rows:
        at_scale(results, rows, to, mirror, folder)
    beside_peers(results, min([PEER_ROWS, *rows[-1:]]), mirror, folder)
    embedding(results, mirror, folder)
    return results


def at_scale(results: Results, rows: list[int], to: int, mirror: Path, folder: Path) -> None:
    """Every case at every size, extrapolated to one more."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    sizes = sorted(rows)
    for count in sizes:
        make_rows(mirror, count, folder / str(count))
        for case in LIMITS:
            one = in_own_process(["-m", "perf.curation", "--case", case, "--folder", str(folder / str(count))])
            found.setdefault(case, {})[count] = one
            results.rows.append(Row(f"{case} {count:,}", "posttrain", count, "rows", [one["seconds"]]))
    for case, limit in LIMITS.items():
        seconds = [found[case][n]["seconds"] for n in sizes]
        peaks = [float(found[case][n]["peak_bytes"]) for n in sizes]
        results.facts[case] = {
            "measured": found[case],
            "seconds_at": {to: round(extrapolated(sizes, seconds, to), 1)},
            "peak_bytes_at": {to: round(extrapolated(sizes, peaks, to))},
            "limit_seconds_at_100000": limit,
            "holds": all(
                found[case][n]["seconds"] <= limit and found[case][n]["peak_bytes"] <= MEMORY
                for n in sizes
                if n <= 100_000
            ),
        }


def embedding(results: Results, mirror: Path, folder: Path) -> None:
    """Questions per second that the packaged MiniLM embeds."""
    make_rows(mirror, EMBEDDED, folder / "minilm")
    try:
        one = in_own_process(["-m", "perf.curation", "--case", "MiniLM", "--folder", str(folder / "minilm")], threads=1)
    except RuntimeError as error:
        results.skipped["MiniLM"] = str(error).strip().splitlines()[-1]
        return
    results.rows.append(Row(f"MiniLM {EMBEDDED:,}, one thread", "posttrain", EMBEDDED, "questions", [one["seconds"]]))
    results.facts["MiniLM"] = {**one, "questions_per_second": round(EMBEDDED / one["seconds"], 1)}


def beside_peers(results: Results, count: int, mirror: Path, folder: Path) -> None:
    """Near duplicates of the same texts by others; the ratio is their seconds over ours."""
    make_rows(mirror, count, folder / "peers")
    here = ["-m", "perf.curation", "--folder", str(folder / "peers"), "--case"]
    ours = in_own_process([*here, "MinHash"])
    peers = {"datasketch": lambda: in_own_process([*here, "datasketch"])}
    if PEER_PYTHON.exists():
        peers["datatrove"] = lambda: in_own_process(
            ["-m", "perf.curation_peer", str(folder / "peers")], python=str(PEER_PYTHON)
        )
    else:
        results.skipped["near_vs_datatrove"] = "there is no .venv-perf (make perf-env)"
    results.rows.append(Row(f"near duplicates {count:,}", "posttrain", count, "rows", [ours["seconds"]]))
    results.facts["near duplicates"] = {"posttrain": ours}
    for name, ask in peers.items():
        try:
            theirs = ask()
        except RuntimeError as error:
            results.skipped[f"near_vs_{name}"] = str(error).strip().splitlines()[-1]
            continue
        results.rows.append(Row(f"near duplicates {count:,}", name, count, "rows", [theirs["seconds"]]))
        results.facts["near duplicates"][name] = theirs
        ratio = theirs["seconds"] / ours["seconds"]
        results.ratios[f"near_vs_{name}"] = ratio
        results.spread[f"near_vs_{name}"] = (ratio, ratio)


def line(case: str, rows: int, seconds: float, peak: float, rest: str) -> str:
    return f"{case:<20}{rows:>10,} rows {seconds:>8.1f} s  peak {peak / 2**20:>7,.0f} MiB  {rest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--to", type=int, default=1_000_000, help="the size that is extrapolated to")
    parser.add_argument("--quick", action="store_true", help="2,000 rows, to see that it works")
    parser.add_argument("--peers", action="store_true", help="only the peers and MiniLM")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.folder)))
        return
    mirror = Path(os.environ.get("POSTTRAIN_DATA", HERE.parents[1] / "shared" / "data"))
    os.environ["POSTTRAIN_DATA"] = str(mirror)
    with tempfile.TemporaryDirectory() as folder:
        sizes = [] if options.peers else [2_000] if options.quick else sorted(options.rows)
        results = run(sizes, options.to, mirror, Path(folder))
    results.show()
    for case, facts in results.facts.items():
        for size, one in facts.get("measured", {}).items():
            print(line(case, size, one["seconds"], one["peak_bytes"], f"left {one['left']:,}"))
        for size, seconds in facts.get("seconds_at", {}).items():
            print(line(case, size, seconds, facts["peak_bytes_at"][size], "extrapolated"))
    if options.json:
        results.write(options.json)


if __name__ == "__main__":
    main()
