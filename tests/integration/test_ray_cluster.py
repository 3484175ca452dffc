"""Recipes on a real Ray cluster whose nodes are processes of this machine: the same bytes as without it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.kill import data_digests

from posttrain.errors import ClusterError
from posttrain.pipeline import RunResult, Wishes, build_graph, parse_recipe, run_graph
from posttrain.store import Samples

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: make test-real"),
]
ROOT = Path(__file__).resolve().parents[2]
SMALL: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 << 20}
TRACES = "traces/samples.parquet"  # says how long each answer took


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def cluster(home: Path) -> Iterator[Any]:
    """A head that does no work, and two nodes of one CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # its sockets need a short path
        patch.setenv("TMPDIR", str(home))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        from ray.cluster_utils import Cluster

        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
        for _ in range(2):
            nodes.add_node(num_cpus=1, **SMALL)
        yield nodes
        nodes.shutdown()


@pytest.fixture(scope="module")
def recipe(home: Path) -> dict[str, Any]:
    """A tiny model writes traces and is evaluated: three blocks of the one, eight of the other."""
    from posttrain.data.synthetic import LEVELS, problems
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer

    tokenizer = train_tokenizer([p.question for p in problems(1, "train", 200, tuple(LEVELS))], 400)
    save_model(tiny_model(tokenizer, TinyConfig(hidden=32, layers=2, heads=2), seed=3), tokenizer, home / "base")
    model = str(home / "base")
    asked = {"max_tokens": 8, "temperature": 1.0, "template": "plain"}
    return {
        "name": "r",
        "seed": 5,
        "stages": {
            "problems": {"stage": "data", "dataset": "synthetic", "train": 130, "validation": 0, "test": 64},
            "traces": {"stage": "traces", "problems": "problems", "teacher": "local", "model": model, **asked},
            "scores": {"stage": "eval", "models": [model], "problems": "problems", "n": 2, "block": 8, **asked},
            "report": {"stage": "report", "of": ["scores"]},
        },
    }


@pytest.fixture(scope="module")
def local(home: Path, recipe: dict[str, Any]) -> Path:
    graph = build_graph(parse_recipe(recipe, "r.yaml"))
    run_graph(graph, home / "local" / "r", quiet=True, say=lambda line: None)
    return home / "local" / "r"


def on(cluster: Any, recipe: dict[str, Any], run: Path, **settings: Any) -> tuple[RunResult, list[str]]:
    """The run, and what it said."""
    from posttrain.cluster.ray import run_on_ray

    said: list[str] = []
    graph = build_graph(parse_recipe({**recipe, "launch": "ray", "ray": {"address": cluster.address, **settings}}, "r"))
    return run_on_ray(graph, run, Wishes(), say=said.append), said


def same(run: Path, other: Path) -> None:
    """Bytes, but for the seconds of traces."""
    one, two = data_digests(run), data_digests(other)
    assert {k: v for k, v in one.items() if _bytes_count(k)} == {k: v for k, v in two.items() if _bytes_count(k)}
    assert traces_of(run) == traces_of(other)


def _bytes_count(name: str) -> bool:
    return name.split("/")[0] not in ("traces", "report")  # a report says how long things took


def traces_of(run: Path) -> list[Any]:
    rows = list(Samples(run / "traces").read())
    for row in rows:
        row.extra.pop("seconds")
    return rows


def test_two_nodes_give_what_one_machine_gives(cluster: Any, recipe: dict[str, Any], local: Path, home: Path) -> None:
    run = home / "two" / "r"
    result, said = on(cluster, recipe, run)
    assert {made.outcome for made in result.made.values()} == {"made"}
    assert any(line.startswith("ray: 3 nodes, 2 CPUs; all reach ") for line in said)
    assert "scores … 8 parts in 2 tasks (1 CPU each)" in said
    assert "traces … 3 parts in 2 tasks (1 CPU each)" in said
    assert "problems … as a task (1 CPU)" in said
    same(run, local)
    here = run_graph(build_graph(parse_recipe(recipe, "r")), run, quiet=True, say=lambda line: None)
    assert {made.outcome for made in here.made.values()} == {"reused"}, "a run goes on wherever it was begun"


def test_four_nodes_through_storage_one_of_which_dies_give_it_too(
    cluster: Any, recipe: dict[str, Any], local: Path, home: Path
) -> None:
    run, store = home / "four" / "r", home / "store"
    other, doomed = (cluster.add_node(num_cpus=1, **SMALL) for _ in range(2))
    with killing(cluster, doomed, lambda: any(store.glob("r/scores/*/parts/base/*/*.jsonl"))):
        _, said = on(cluster, recipe, run, shards=3, storage=str(store))
    cluster.remove_node(other)
    assert "scores … 8 parts in 3 tasks (1 CPU each)" in said, "what does not divide is dealt as far as it goes"
    same(run, local)
    manifest = json.loads((run / "report" / "manifest.json").read_text())
    assert manifest["inputs"]["of"][0]["path"] == "../scores"


def test_a_node_is_killed_and_nothing_is_lost_or_twice(cluster: Any, home: Path) -> None:
    """Parts 2 to 5 wait for a file; the node dies while all three nodes wait, two of them with one part finished."""
    gate, journal, log = home / "gate", home / "journal", home / "killed" / "k" / "logs" / "many.log"
    stage = {"stage": "tests.toys:parted", "n": 6, "gate": str(gate), "journal": str(journal)}
    recipe = {"name": "k", "seed": 5, "stages": {"many": stage}}
    whole = {**recipe, "stages": {"many": {"stage": "tests.toys:parted", "n": 6}}}
    run_graph(build_graph(parse_recipe(whole, "k")), home / "calm" / "k", quiet=True, say=lambda line: None)
    doomed = cluster.add_node(num_cpus=1, **SMALL)

    def all_wait() -> bool:
        return log.exists() and log.read_text().count("making") == 5  # 0 and 1; and three wait

    with killing(cluster, doomed, all_wait, gate.touch):
        _, said = on(cluster, recipe, home / "killed" / "k", shards=3)
    lost = [line for line in said if line.startswith("many: a worker was lost")]
    assert len(lost) == 1, said
    assert data_digests(home / "killed" / "k") == data_digests(home / "calm" / "k")
    made = [int(line.split()[0]) for line in journal.read_text().splitlines()]
    assert set(made) == set(range(6))
    assert (made.count(0), made.count(1)) == (1, 1), "what stood when the node died was not made again"


@pytest.fixture(autouse=True)
def _own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray uses this machine's outer address, which the tests' guard takes for the network."""
    monkeypatch.setattr("posttrain.cluster.ray.connect._knock", lambda address: None)


@contextlib.contextmanager
def killing(
    cluster: Any, node: Any, when: Callable[[], bool], then: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """The node dies as soon as that is so; it is gone at the end in any case."""
    over = threading.Event()

    def kill() -> None:
        while not when() and not over.wait(0.05):
            pass
        workers = psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
        cluster.remove_node(node, allow_graceful=False)
        psutil.wait_procs(workers, timeout=60)  # one that outlives its node for a moment might still hand in its work
        then()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


def test_storage_that_is_not_shared_is_found_out_before_anything_starts(
    cluster: Any, recipe: dict[str, Any], home: Path
) -> None:
    with pytest.raises(
        ClusterError, match=r"(?s)[34] of [34] nodes can't take part, and nothing was started:.*not shared"
    ):
        on(cluster, recipe, home / "unshared" / "r", storage="memory://of-one-process")
    assert sorted(p.name for p in (home / "unshared" / "r").iterdir()) == [".lock"]


def test_a_node_with_another_environment_is_named(cluster: Any, recipe: dict[str, Any], home: Path) -> None:
    package = home / "elsewhere" / "posttrain"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.0.9"\n')
    node = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(package.parent)}, **SMALL)
    try:
        with pytest.raises(ClusterError) as caught:
            on(cluster, recipe, home / "other" / "r")
    finally:
        cluster.remove_node(node)
    assert re.match(r"1 of \d nodes can't take part", str(caught.value))
    assert "its posttrain is 0.0.9" in str(caught.value)
    assert node.unique_id in str(caught.value) or node.node_id[:8] in str(caught.value)


def test_what_no_node_has_is_told_and_not_waited_for(cluster: Any, recipe: dict[str, Any], home: Path) -> None:
    with pytest.raises(ClusterError, match="stage 'scores' asks for 1 CPU, 1 GPU and no node has that"):
        on(cluster, recipe, home / "greedy" / "r", resources={"scores": {"gpus": 1}})
