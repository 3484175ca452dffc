"""The grader inside Ray workers, where its owner's processes are not its parent's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: make test-real")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


@pytest.mark.real
@needs_ray
@pytest.mark.usefixtures("cluster")
def test_workers_and_actors_of_ray_grade_as_this_process_does() -> None:
    import ray

    from posttrain.grading import grade
    from posttrain.records import Problem

    pairs = [
        ("1", r"\boxed{\sum_{n=1}^{\infty} \frac{1}{2^n}}"),  # goes to the symbolic workers
        (r"\frac12", "The answer is 0.5."),
        ("3", r"\boxed{4}"),
    ]

    def judge() -> list[bool | None]:
        from posttrain.grading.api import CACHE  # here, so that Ray needn't pickle its lock

        for _ in range(5):  # a busy machine may run into the clock of the symbolic stage: undecided, and tried again
            CACHE.clear()
            verdicts = [grade(Problem("p", "?", gold), response, "math").correct for gold, response in pairs]
            if None not in verdicts:
                break
        return verdicts

    class Grader:
        def judge(self) -> list[bool | None]:
            return judge()

    expected = judge()
    actor = ray.remote(Grader).remote()
    answers = ray.get([ray.remote(judge).remote(), ray.remote(judge).remote(), actor.judge.remote()], timeout=120)
    assert expected == [True, True, False]
    assert answers == [expected] * 3
