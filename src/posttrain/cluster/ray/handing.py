"""Hands jobs to tasks, and hands out again what a lost worker had."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from posttrain.cluster.ray import tasks
from posttrain.cluster.ray.needs import Needs, check_fits
from posttrain.cluster.ray.probe import living_nodes
from posttrain.cluster.ray.tasks import Job
from posttrain.errors import ClusterError, PosttrainError, error_named

LOOK = 0.5  # seconds between looks at whether to stop
LET_GO = 120.0  # seconds for a worker that was given up to let go of a stage's folder


class StoppedError(PosttrainError):
    """The run was interrupted."""


class Hands:
    """Jobs in, answers out; used by several threads at once. losses: how many workers a stage may lose."""

    def __init__(self, ray: Any, losses: int, say: Callable[[str], None]) -> None:
        self.ray = ray
        self.losses = losses
        self.say = say
        self.stop = threading.Event()
        self.clock = time.monotonic
        ends = ray.exceptions
        self._lost = (
            ends.WorkerCrashedError,
            ends.NodeDiedError,
            ends.LocalRayletDiedError,
            ends.OutOfMemoryError,
            ends.ObjectLostError,
        )

    def hand_out(
        self,
        name: str,
        function: str,
        jobs: Sequence[Job],
        needs: Needs,
        left: Callable[[Job], Job | None],
    ) -> list[dict[str, Any]]:
        """The answers of all jobs, each a task that runs `function` of tasks.py.

        left: what of a lost job is still to be done (None: nothing). The first error for the user is raised, after the
        others have been stopped; so is a ClusterError once more workers are lost than allowed.
        """
        task = self.ray.remote(getattr(tasks, function)).options(**needs.options(), name=f"{function}:{name}")
        running = {task.remote(job): job for job in jobs}
        answers: list[dict[str, Any]] = []
        lost, deadline = 0, 0.0
        try:
            while running:
                done, _ = self.ray.wait(list(running), num_returns=1, timeout=LOOK)
                if self.stop.is_set():
                    raise StoppedError(f"{name} was stopped. Run the same command again to continue.")
                for ref in done:
                    job = running.pop(ref)
                    try:
                        answer: dict[str, Any] = self.ray.get(ref)
                    except self._lost as error:
                        lost += 1
                        deadline = self.clock() + LET_GO
                        rest = self._after_loss(name, job, error, lost, needs, left)
                        if rest is not None:
                            running[task.remote(rest)] = rest
                        continue
                    if answer.get("error") == "LockedError" and self.clock() < deadline:
                        time.sleep(LOOK)  # the one that was given up has not noticed yet
                        running[task.remote(job)] = job
                    elif "error" in answer:
                        raise _as_error(answer)
                    else:
                        answers.append(answer)
        finally:
            for ref in running:
                self.ray.cancel(ref, force=True)
        return answers

    def _after_loss(
        self,
        name: str,
        job: Job,
        error: BaseException,
        lost: int,
        needs: Needs,
        left: Callable[[Job], Job | None],
    ) -> Job | None:
        why = type(error).__name__
        if lost > self.losses:
            raise ClusterError(
                f"stage '{name}' has lost {lost} workers (the last by {why}), and ray.losses allows {self.losses}. "
                "What is finished is kept: see what kills them (memory?), and run again."
            ) from error
        rest = left(job)
        what = f"{len(rest['names'])} of its {len(job['names'])} parts" if rest and "names" in rest else "its task"
        self.say(f"{name}: a worker was lost ({why}); {f'{what} go to another' if rest else 'it had finished'}")
        check_fits(name, needs, living_nodes(self.ray))
        return rest


def _as_error(answer: dict[str, Any]) -> PosttrainError:
    error = error_named(answer["error"], answer["message"])
    error.add_note(f"on node {answer['node']}")
    return error
