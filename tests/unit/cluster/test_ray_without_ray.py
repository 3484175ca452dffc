"""What a run on Ray decides without a cluster: needs, faults of nodes, what becomes of lost tasks, where files go."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.cluster.ray.config import RayConfig
from posttrain.cluster.ray.connect import connected
from posttrain.cluster.ray.handing import Hands, StoppedError
from posttrain.cluster.ray.needs import Needs, check_fits, needs_of, slots
from posttrain.cluster.ray.places import Through
from posttrain.cluster.ray.probe import Node, environment, fault_of
from posttrain.cluster.ray.tasks import make_shard, make_stage
from posttrain.cluster.storage import Storage
from posttrain.config import parse
from posttrain.errors import ClusterError, DamagedError, RecipeError, TrainingError
from posttrain.pipeline import build_graph, parse_recipe
from posttrain.pipeline.executor import RunResult, order_of
from posttrain.pipeline.make import make
from posttrain.stage import Workspace
from posttrain.store import Manifest, Problems

CPU = Node("a" * 56, "one (10.0.0.1)", {"CPU": 4.0, "memory": 8e9})
GPU = Node("b" * 56, "two (10.0.0.2)", {"CPU": 16.0, "GPU": 2.0, "memory": 64e9})
T = "tests.toys:"
STAGES: dict[str, Any] = {
    "problems": {"stage": T + "numbers"},
    "many": {"stage": T + "parted", "n": 5},
    "traces": {"stage": T + "told", "problems": "problems"},
    "student": {"stage": T + "student", "traces": "traces"},
    "scores": {"stage": T + "scores", "models": ["student"]},
    "report": {"stage": T + "report", "of": ["scores"]},
}


def graph_of(**more: Any) -> Any:
    return build_graph(parse_recipe({"name": "r", "stages": STAGES, "launch": "ray", **more}, "r.yaml"))


# What a task asks for.


def test_what_touches_a_model_gets_a_gpu_where_the_cluster_has_any() -> None:
    nodes = graph_of().nodes
    with_gpus = {name: needs_of(node, RayConfig(), [CPU, GPU]) for name, node in nodes.items()}
    assert {name for name, needs in with_gpus.items() if needs.gpus} == {"student", "scores"}
    assert with_gpus["student"].device == "cuda"
    without = {name: needs_of(node, RayConfig(), [CPU]) for name, node in nodes.items()}
    assert all(needs.gpus == 0 and needs.cpus == 1 and needs.device == "cpu" for needs in without.values())


def test_the_recipe_says_otherwise() -> None:
    config = parse(
        RayConfig, {"resources": {"student": {"gpus": 2, "cpus": 8, "memory_gb": 3, "custom": {"a": 1}}}}, "r"
    )
    needs = needs_of(graph_of().nodes["student"], config, [CPU])
    assert needs.amounts() == {"CPU": 8, "GPU": 2, "memory": 3 * 2**30, "a": 1}
    assert needs.options()["max_retries"] == 0


def test_as_many_tasks_as_fit_the_scarcest_thing() -> None:
    assert slots(Needs(cpus=4, gpus=0), [CPU, GPU]) == 1 + 4
    assert slots(Needs(cpus=1, gpus=0.5), [CPU, GPU]) == 4
    assert slots(Needs(cpus=1, gpus=0, custom={"a100": 1}), [CPU, GPU]) == 0


def test_what_no_node_has_is_told_before_ray_waits_for_it() -> None:
    with pytest.raises(ClusterError, match=r"stage 'student' asks for 1 CPU, 4 GPU and no node has that \(one .*0 GPU"):
        check_fits("student", Needs(cpus=1, gpus=4), [CPU, GPU])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"adress": "auto"}, "adress.*Did you mean 'address'"),
        ({"shards": 0}, "shards"),
        ({"storage_options": {"secret": "x"}}, "'secret' is a secret and has no place in a recipe"),
    ],
)
def test_a_wrong_block_says_what_is_wrong(block: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(RayConfig, block, "recipe r.yaml: ray")


def test_the_way_of_running_is_a_setting_of_the_run() -> None:
    recipe = parse_recipe({"name": "r", "stages": STAGES}, "r.yaml", ["launch=ray", "ray.address=auto", "ray.shards=3"])
    assert recipe.launch == "ray"
    assert RayConfig(**recipe.ray) == RayConfig(address="auto", shards=3)
    with pytest.raises(RecipeError, match="launch"):
        parse_recipe({"name": "r", "stages": STAGES}, "r.yaml", ["launch=rey"])


# Clusters and nodes that won't do.


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("127.0.0.1:1", ClusterError, "no Ray cluster answers at 127.0.0.1:1"),
        ("somewhere", RecipeError, "Write HOST:PORT"),
        ("ray://head:10001", RecipeError, "thin client"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_message(address: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message), connected(RayConfig(address=address)):
        pass


OWN = environment()
GOOD = {"environment": OWN, "missing": None, "read": "n0nce", "why": None}


@pytest.mark.parametrize(
    ("told", "answer", "fault"),
    [
        (GOOD, b"n0nce", None),
        (
            {**GOOD, "read": None, "why": "no such file"},
            None,
            r"does not see what .* \(no such file\): it is not shared",
        ),
        ({**GOOD, "read": "of another day"}, b"n0nce", "another content"),
        (GOOD, None, "what it writes there is not seen here"),
        ({**GOOD, "environment": {**OWN, "torch": "1.0"}}, b"n0nce", r"has torch 1\.0, this machine has "),
        ({**GOOD, "environment": {**OWN, "posttrain's code": "?"}}, b"n0nce", r"has posttrain's code \?"),
        ({**GOOD, "missing": "posttrain is not installed there"}, None, "posttrain is not installed there"),
        ("no answer within 120 s", None, "no answer within"),
    ],
)
def test_a_node_that_cannot_take_part_has_its_fault_told(told: Any, answer: bytes | None, fault: str | None) -> None:
    import re

    found = fault_of(told, OWN, "n0nce", answer, "/runs")
    assert found is None if fault is None else found is not None and re.search(fault, found)


# Lost tasks.


class LostError(Exception):
    pass


class FakeRay:
    """Runs a task when its answer is asked for. fates: what becomes of each, in the order of handing out."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]], fates: list[str]) -> None:
        names = ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "OutOfMemoryError", "ObjectLostError")
        self.exceptions = types.SimpleNamespace(**dict.fromkeys(names, LostError))
        self.answer = answer
        self.fates = fates
        self.jobs: list[dict[str, Any]] = []
        self.cancelled: list[int] = []

    def remote(self, function: Any) -> FakeRay:
        return FakeTask(self)  # type: ignore[return-value]

    def wait(self, refs: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return refs[:1], refs[1:]

    def get(self, ref: int) -> dict[str, Any]:
        fate = self.fates[ref] if ref < len(self.fates) else "fine"
        if fate == "half":
            self.answer({**self.jobs[ref], "names": self.jobs[ref]["names"][:1]})
        if fate != "fine":
            raise LostError
        return self.answer(self.jobs[ref])

    def cancel(self, ref: int, force: bool) -> None:
        self.cancelled.append(ref)

    def nodes(self) -> list[dict[str, Any]]:
        there = {"NodeManagerHostname": "one", "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 1.0}}
        return [{"Alive": True, "NodeID": "a" * 56, **there}]


class FakeTask:
    def __init__(self, ray: FakeRay) -> None:
        self.ray = ray

    def options(self, **_: Any) -> FakeTask:
        return self

    def remote(self, job: dict[str, Any]) -> int:
        self.ray.jobs.append(job)
        return len(self.ray.jobs) - 1


def hand_out(
    fates: list[str], losses: int = 3, parts: tuple[str, ...] = ("abcde", "fghij"), **answer: str
) -> tuple[FakeRay, list[str], list[str]]:
    """(ray, what was made in order, what was said) of parts in jobs, a letter a part."""
    made: list[str] = []

    def work(job: dict[str, Any]) -> dict[str, Any]:
        made.extend(job["names"])
        return {"node": "one", **answer}

    def left(job: dict[str, Any]) -> dict[str, Any] | None:
        names = [name for name in job["names"] if name not in made]
        return {**job, "names": names} if names else None

    said: list[str] = []
    ray = FakeRay(work, fates)
    jobs = [{"names": list(letters)} for letters in parts]
    Hands(ray, losses, said.append).hand_out("scores", "make_shard", jobs, Needs(1, 0), left)
    return ray, made, said


def test_only_what_a_lost_worker_had_not_finished_goes_to_another() -> None:
    ray, made, said = hand_out(["half", "fine"])
    assert sorted(made) == list("abcdefghij"), "nothing lost, nothing twice"
    assert [job["names"] for job in ray.jobs[2:]] == [list("bcde")]
    assert said == ["scores: a worker was lost (LostError); 4 of its 5 parts go to another"]


def test_a_worker_that_dies_after_its_last_part_leaves_nothing_to_do() -> None:
    ray, made, said = hand_out(["half"], parts=("a",))
    assert made == ["a"]
    assert len(ray.jobs) == 1
    assert said == ["scores: a worker was lost (LostError); it had finished"]


def test_workers_may_be_lost_again_and_again_within_what_is_allowed() -> None:
    _, made, said = hand_out(["half"] * 5, losses=5)
    assert sorted(made) == list("abcdefghij")
    assert len(said) == 5


def test_workers_that_keep_dying_end_the_run() -> None:
    with pytest.raises(ClusterError, match=r"stage 'scores' has lost 4 workers .* ray.losses allows 3"):
        hand_out(["dies"] * 9)


def test_the_error_of_one_task_ends_the_others_and_is_raised_as_it_was() -> None:
    with pytest.raises(TrainingError, match="the loss is NaN") as caught:
        hand_out([], error="TrainingError", message="the loss is NaN. Lower the learning rate.")
    assert caught.value.__notes__ == ["on node one"]


def test_an_interrupt_ends_all_tasks() -> None:
    ray = FakeRay(lambda job: {"node": "one"}, [])
    hands = Hands(ray, 0, lambda line: None)
    hands.stop.set()
    with pytest.raises(StoppedError):
        hands.hand_out("s", "make_shard", [{"names": ["a"]}, {"names": ["b"]}], Needs(1, 0), lambda job: job)
    assert ray.cancelled == [0, 1]


# Storage.


def test_an_object_appears_whole_and_a_folder_counts_once_its_list_stands(tmp_path: Path) -> None:
    for url in (str(tmp_path / "s"), f"file://{tmp_path}/t", "memory://posttrain-test"):
        storage = Storage(url)
        folder = tmp_path / "folder"
        (folder / "inner").mkdir(parents=True, exist_ok=True)
        (folder / "inner" / "a").write_bytes(b"1")
        (folder / ".work").mkdir(exist_ok=True)
        (folder / ".work" / "b").write_bytes(b"2")
        assert not storage.holds("x/f")
        storage.put_folder("x/f", folder)
        assert storage.holds("x/f")
        back = tmp_path / f"back-{len(url)}"
        storage.get_folder("x/f", back)
        assert [p.relative_to(back).as_posix() for p in back.rglob("*") if p.is_file()] == ["inner/a"]
        assert storage.read_bytes("nothing") is None
        with pytest.raises(DamagedError, match=r"contents\.json is missing"):
            storage.get_folder("nothing", back)
        storage.put_bytes("x/f/inner/a", b"changed")
        with pytest.raises(DamagedError, match="inner/a is damaged"):
            storage.get_folder("x/f", back)
        storage.put_bytes("x/f/contents.json", json.dumps({"../../a": "0"}).encode())
        with pytest.raises(DamagedError, match="outside of it"):
            storage.get_folder("x/f", back)
        storage.remove("x")
        assert not storage.exists("x/f/inner/a")
    assert not list((tmp_path / "s").rglob("*.tmp"))


def test_storage_of_an_unknown_kind_is_one_message() -> None:
    with pytest.raises(ClusterError, match=r"storage nowhere://x can't be opened"):
        Storage("nowhere://x").exists("a")


@pytest.fixture
def order(tmp_path: Path) -> Callable[[str], Any]:
    """`order("many")` of a run on this machine."""
    graph = graph_of()
    run = tmp_path / "runs" / "r"
    result = RunResult(run)

    def of(name: str) -> Any:
        for needed in graph.nodes[name].needs:
            result.made[needed] = make(of(needed), quiet=True)
        return order_of(graph.nodes[name], result)

    return of


@pytest.fixture
def _own_temporaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.mark.usefixtures("_own_temporaries")
def test_a_stage_made_elsewhere_comes_back_as_if_it_were_made_here(tmp_path: Path, order: Callable[[str], Any]) -> None:
    wanted = order("traces")
    run = wanted.directory.parent
    place = Through(Storage(str(tmp_path / "store")), run)
    told = make_stage(json.loads(json.dumps(place.job(wanted, "cpu"))))
    assert told["outcome"] == "made"
    assert place.standing(wanted)
    place.bring(wanted)
    manifest = Manifest.read(wanted.directory)
    assert manifest is not None
    assert manifest.inputs["problems"]["path"] == "../problems"
    assert make(wanted, quiet=True).outcome == "reused"
    assert not [p for p in run.iterdir() if p.name.endswith(".tmp")]
    assert [p.name for p in (tmp_path / "tmp").iterdir()] == [
        p.name for p in (tmp_path / "tmp").glob("posttrain-inputs-*")
    ]

    again = make_stage(place.job(wanted, "cpu"))  # a task that Ray starts twice, or one that was given up and lives
    assert again["outcome"] == "made"
    place.bring(wanted)
    assert make(wanted, quiet=True).outcome == "reused"
    place.forget(wanted)
    assert not place.standing(wanted)


@pytest.mark.usefixtures("_own_temporaries")
def test_parts_made_elsewhere_are_found_by_a_driver_that_was_killed(
    tmp_path: Path, order: Callable[[str], Any]
) -> None:
    wanted = order("many")
    place = Through(Storage(str(tmp_path / "store")), wanted.directory.parent)
    work = Workspace(wanted.directory, quiet=True)
    names = wanted.spec.parts.names(wanted.config, {})
    make_shard({**place.job(wanted, "cpu"), **place.shard(work), "names": names[:2]})
    assert place.lacking(wanted, work, names) == names[2:]
    make_shard({**place.job(wanted, "cpu"), **place.shard(work), "names": names})  # some of it twice
    assert place.lacking(wanted, work, names) == []
    place.collect(wanted, work, names)
    assert [json.loads((work.state / name).read_text())["number"] for name in names] == list(range(5))


def test_an_error_for_the_user_travels_as_an_answer(tmp_path: Path, order: Callable[[str], Any]) -> None:
    graph = build_graph(parse_recipe({"name": "r", "stages": {"s": {"stage": T + "student", "fail_at": 1}}}, "r.yaml"))
    failing = order_of(graph.nodes["s"], RunResult(tmp_path / "runs"))
    told = make_stage(Through(Storage(str(tmp_path / "store")), tmp_path).job(failing, "cpu"))
    assert (told["error"], told["message"][:22]) == ("TrainingError", "the loss is NaN at ste")
    assert "TrainingError" in told["log"]


def test_a_cache_that_others_can_write_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from posttrain.cluster.ray.tasks import _cache

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = _cache()
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    with pytest.raises(ClusterError, match="is not this user's alone"):
        _cache()
    folder.rmdir()
    os.symlink(tmp_path, folder)
    with pytest.raises(ClusterError, match="is not this user's alone"):
        _cache()


def test_the_handle_of_an_input_keeps_its_name(tmp_path: Path, order: Callable[[str], Any]) -> None:
    wanted = order("traces")
    told = Through(Storage(str(tmp_path / "store")), wanted.directory.parent).job(wanted, "cpu")
    assert told["inputs"]["problems"]["name"] == "problems"
    assert told["inputs"]["problems"]["stored"].startswith("inputs/")
    assert isinstance(wanted.inputs["problems"], Problems)
