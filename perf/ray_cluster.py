"""Traces and an evaluation on Ray clusters whose nodes are processes of this machine: the same result, and how fast.

    python -m perf.ray_cluster                                          # 200 items on 1 and 2 nodes, one killed
    python -m perf.ray_cluster --items 5000 --nodes 1 2 4 --json perf/results/ray-cluster.json

There is no peer. Every node has one CPU and every process one thread. `efficiency_N` is the time of the run in one
process on this machine over N times the time on N nodes (of as many as there are cores); `parted_N` is the same of the
two parted stages alone, without starting, probing and the small stages. `same_N` and `same_killed` say whether files
are those of the run without a cluster.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf.harness import Results, Row, machine

SMALL: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 << 20}
PARTED = ("traces", "scores")


def recipe_of(root: Path, items: int) -> dict[str, Any]:
    """A model made from scratch writes traces of half of the items and is evaluated on the others."""
    from posttrain.data.synthetic import LEVELS, problems
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer

    tokenizer = train_tokenizer([p.question for p in problems(1, "train", 400, tuple(LEVELS))], 800)
    shape = TinyConfig(hidden=128, layers=4, heads=4, context=512)
    save_model(tiny_model(tokenizer, shape, seed=3), tokenizer, root / "base")
    model = str(root / "base")
    asked = {"max_tokens": 64, "temperature": 1.0, "template": "plain"}
    half = items // 2
    return {
        "name": "r",
        "seed": 5,
        "stages": {
            "problems": {"stage": "data", "dataset": "synthetic", "train": half, "validation": 0, "test": items - half},
            "traces": {"stage": "traces", "problems": "problems", "teacher": "local", "model": model, **asked},
            "scores": {"stage": "eval", "models": [model], "problems": "problems", "block": 64, **asked},
        },
    }


def kept(run: Path) -> dict[str, Any]:
    """What must be the same: bytes, but of traces the rows without the seconds they took."""
    from posttrain.store import Manifest, Samples
    from posttrain.store.manifest import VOLATILE

    found: dict[str, Any] = {}
    for stage in ("problems", "scores"):
        manifest = Manifest.read(run / stage)
        assert manifest is not None
        found |= {f"{stage}/{n}": d for n, d in manifest.outputs.items() if Path(n).name not in VOLATILE}
    rows = list(Samples(run / "traces").read())
    for row in rows:
        row.extra.pop("seconds")
    return {**found, "traces": rows}


def timed(recipe: Mapping[str, Any], run: Path, address: str | None = None) -> tuple[float, float, list[str]]:
    """(seconds in all, those of the parted stages, what was said); with an address on that cluster."""
    from posttrain.cluster.ray import run_on_ray
    from posttrain.pipeline import build_graph, parse_recipe, run_graph

    said: list[str] = []
    began = time.perf_counter()
    if address is None:
        result = run_graph(build_graph(parse_recipe(recipe, "r")), run, quiet=True, say=said.append)
    else:
        graph = build_graph(parse_recipe({**recipe, "launch": "ray", "ray": {"address": address}}, "r"))
        result = run_on_ray(graph, run, say=said.append)
    return time.perf_counter() - began, sum(result.made[name].seconds for name in PARTED), said


def measure(root: Path, items: int, counts: list[int], results: Results) -> None:
    """The run on this machine, on clusters of so many nodes, and once more on the largest with a node killed."""
    from ray.cluster_utils import Cluster

    recipe = recipe_of(root, items)
    alone, parted_alone, _ = timed(recipe, root / "local" / "r")
    results.rows.append(Row("traces + evaluation", "one process", items, "items", [alone]))
    expected = kept(root / "local" / "r")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    nodes: list[Any] = []
    try:
        for count in counts:
            while len(nodes) < count:
                nodes.append(cluster.add_node(num_cpus=1, **SMALL))
            seconds, parted, _ = timed(recipe, root / f"on-{count}" / "r", cluster.address)
            results.rows.append(Row("traces + evaluation", f"{count} nodes", items, "items", [seconds]))
            at_once = min(count, os.cpu_count() or 1)
            results.facts |= {
                f"efficiency_{count}": alone / (at_once * seconds),
                f"parted_{count}": parted_alone / (at_once * parted),
                f"same_{count}": kept(root / f"on-{count}" / "r") == expected,
            }
        results.facts |= killed(recipe, root / "killed" / "r", cluster, nodes)
        results.facts["same_killed"] = kept(root / "killed" / "r") == expected
    finally:
        cluster.shutdown()


def killed(recipe: Mapping[str, Any], run: Path, cluster: Any, nodes: list[Any]) -> dict[str, Any]:
    """The run while a node dies as soon as the first part of the evaluation stands."""
    doomed = nodes.pop() if len(nodes) > 1 else cluster.add_node(num_cpus=1, **SMALL)

    def kill() -> None:
        while not any((run / "scores").rglob("*.jsonl")):
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    seconds, _, said = timed(recipe, run, cluster.address)
    killer.join()
    return {"killed_seconds": seconds, "killed_said": [line for line in said if "lost" in line]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    import torch

    torch.set_num_threads(1)
    results = Results("Recipes on Ray", machine(), facts={"items": options.items})
    with tempfile.TemporaryDirectory(prefix="ray-cluster-") as folder:
        measure(Path(folder), options.items, sorted(options.nodes), results)
    results.show()
    for name, fact in results.facts.items():
        print(f"{name:<24}{fact:.2f}" if isinstance(fact, float) else f"{name:<24}{fact}")
    if options.json:
        results.write(options.json)


if __name__ == "__main__":
    main()
