"""Runs a graph on a Ray cluster: stages as tasks, those whose work can be parted as several.

This process keeps the run: it alone knows the graph and holds the lock, and hands out again what a lost worker had. A
stage whose parts are made elsewhere is put together here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from posttrain.cluster.ray.config import RayConfig
from posttrain.cluster.ray.connect import connected
from posttrain.cluster.ray.handing import Hands
from posttrain.cluster.ray.needs import Needs, check_fits, needs_of, slots
from posttrain.cluster.ray.places import Place, Shared, Through
from posttrain.cluster.ray.probe import Node as Machine
from posttrain.cluster.ray.probe import check_nodes, living_nodes
from posttrain.cluster.storage import Storage
from posttrain.config import parse
from posttrain.pipeline.executor import RunResult, begin_run, line_of, order_of
from posttrain.pipeline.graph import Graph, Node
from posttrain.pipeline.make import Again, Made, Outcome, make, put_aside, standing
from posttrain.pipeline.order import Order
from posttrain.pipeline.wishes import Wishes
from posttrain.stage import Workspace
from posttrain.store.lock import locked
from posttrain.tracking import require

Say = Callable[[str], None]
LOOK = 0.5  # seconds between looks at what has ended


def run_on_ray(graph: Graph, run: Path, wishes: Wishes | None = None, *, say: Say = print) -> RunResult:
    """`run_graph` on the cluster that the recipe's `ray` block names; the same artifacts, the same resume.

    Before anything starts every node shows that it reaches the storage and has this machine's code. A worker that is
    lost costs its unfinished part and no more. ClusterError for a cluster, a node or storage that won't do.
    """
    wishes = wishes or Wishes()
    config = parse(RayConfig, dict(graph.recipe.ray), f"recipe {graph.recipe.source}: ray")
    for name in (*config.resources, *config.here):
        graph.select(name)  # an unknown one is an error
    again = wishes.again(graph)
    require(graph.recipe.tracking)
    run = run.resolve()
    with locked(run):
        nodes, result = begin_run(graph, run, wishes)
        with connected(config) as ray:
            machines = living_nodes(ray)
            needs = {node.name: needs_of(node, config, machines) for node in nodes if node.base not in config.here}
            for name, one in needs.items():
                check_fits(name, one, machines)
            machines = check_nodes(ray, machines, _storage(config) or Storage(str(run)))
            say(f"ray: {len(machines)} nodes, {_sum(machines)}; all reach {config.storage or run}")
            hands = Hands(ray, config.losses, say)
            _Driver(config, run, result, hands, needs, machines, say).run(nodes, again, graph)
    return result


def _storage(config: RayConfig) -> Storage | None:
    if config.storage is None:
        return None
    url = config.storage if "://" in config.storage else str(Path(config.storage).expanduser().resolve())
    return Storage(url, config.storage_options)


def _sum(machines: Sequence[Machine]) -> str:
    kinds = ("CPU", "GPU")
    totals = {kind: sum(machine.resources.get(kind, 0.0) for machine in machines) for kind in kinds}
    return ", ".join(f"{total:g} {kind}s" for kind, total in totals.items() if total)


class _Driver:
    """The stages of one run, each in a thread that waits for its tasks."""

    def __init__(
        self,
        config: RayConfig,
        run: Path,
        result: RunResult,
        hands: Hands,
        needs: Mapping[str, Needs],
        machines: Sequence[Machine],
        say: Say,
    ) -> None:
        self.config = config
        self.result = result
        self.hands = hands
        self.needs = needs
        self.machines = machines
        self.say = say
        storage = _storage(config)
        self.place: Place = Shared() if storage is None else Through(storage, run)

    def run(self, nodes: Sequence[Node], again: Mapping[str, Again], graph: Graph) -> None:
        """Every node as soon as what it reads stands. When one fails, nothing new is started, and those that run may
        finish; an interrupt stops all of them."""
        waiting, running = list(nodes), dict[Future[Made], Node]()
        failures: list[tuple[Node, BaseException]] = []
        with ThreadPoolExecutor(max_workers=max(1, len(nodes)), thread_name_prefix="stage") as pool:
            try:
                while running or (waiting and not failures):
                    for node in [n for n in waiting if self._ready(n)] if not failures else []:
                        waiting.remove(node)
                        order = order_of(node, self.result)
                        running[pool.submit(self._make, node, order, again.get(node.name, "never"))] = node
                    for done in wait(running, timeout=LOOK, return_when=FIRST_COMPLETED).done:
                        node = running.pop(done)
                        error = done.exception()
                        if error is None:
                            self.result.made[node.name] = done.result()
                            self.say(line_of(node, done.result(), graph))
                        else:
                            self.say(f"{node.name} failed")
                            failures.append((node, error))
            finally:
                if running:
                    self.hands.stop.set()
        if failures:
            node, error = failures[0]
            error.add_note(f"in stage '{node.name}', {self.result.run / node.name}")
            raise error

    def _ready(self, node: Node) -> bool:
        return all(name in self.result.made for name in node.needs)

    def _make(self, node: Node, order: Order, again: Again) -> Made:
        facts = order.facts()
        aside = put_aside(order.directory, facts, again)
        manifest = standing(order.directory, facts)
        if aside is not None:
            self.place.forget(order)
        finished = manifest is not None and manifest.status == "finished"
        here = node.base in self.config.here or (order.config.files() and not self.place.sees_files)
        if finished or here:
            made = make(order, quiet=True)
        elif order.spec.parts is not None and order.spec.parts.names(order.config, order.inputs):
            made = make(order, device="cpu", quiet=True, share=functools.partial(self._share, node))
        else:
            made = self._as_one_task(node, order, manifest is not None)
        return dataclasses.replace(made, aside=aside)

    def _as_one_task(self, node: Node, order: Order, begun: bool) -> Made:
        needs = self.needs[node.name]
        order.directory.parent.mkdir(parents=True, exist_ok=True)
        began = self.hands.clock()
        outcome: Outcome = "resumed" if begun else "made"
        if not self.place.standing(order):
            self.say(f"{node.name} … as a task ({needs.words()})")
            job = self.place.job(order, needs.device)
            told = self.hands.hand_out(node.name, "make_stage", [job], needs, lambda job: job)[0]
            outcome = told["outcome"]
            self._keep_log(node, told)
        self.place.bring(order)
        made = make(order, quiet=True)  # finds it finished, and verifies it
        assert made.outcome == "reused", f"{node.name} was said to be made and is not"
        return dataclasses.replace(made, outcome=outcome, seconds=self.hands.clock() - began)

    def _share(self, node: Node, order: Order, work: Workspace, names: Sequence[str], lock: int) -> None:
        """Has the parts made by tasks, and brings them where the stage looks for them."""
        needs = self.needs[node.name]
        lacking = self.place.lacking(order, work, names)
        count = min(len(lacking), self.config.shards or slots(needs, self.machines))
        if lacking:
            base = {**self.place.job(order, needs.device), **self.place.shard(work)}
            jobs = [{**base, "names": lacking[k::count]} for k in range(count)]
            few = "; a smaller block makes more parts" if count < (self.config.shards or 0) else ""
            self.say(f"{node.name} … {len(lacking)} parts in {count} tasks ({needs.words()} each){few}")

            def left(job: dict[str, Any]) -> dict[str, Any] | None:
                names = self.place.lacking(order, work, job["names"])
                return {**job, "names": names} if names else None

            for told in self.hands.hand_out(node.name, "make_shard", jobs, needs, left):
                self._keep_log(node, told)
        self.place.collect(order, work, names)

    def _keep_log(self, node: Node, told: Mapping[str, Any]) -> None:
        """What a task printed on a machine whose files this one doesn't see."""
        if told.get("log"):
            logs = self.result.run / "logs"
            logs.mkdir(exist_ok=True)
            with (logs / f"{node.name}.log").open("a", encoding="utf-8") as file:
                file.write(told["log"])
