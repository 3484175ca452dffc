"""The symbolic workers: they can't hang, harm or starve a batch, and work from everywhere."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from posttrain.grading import grade, grade_many, pool
from posttrain.grading.api import CACHE
from posttrain.records import Problem, Verdict

Item = tuple[Problem, str, bool]
# (gold, response): what costs time or memory if somebody computes it
POISON = [
    ("9^{9^{9^{9}}}", r"\boxed{\frac{7}{13}}"),
    (r"\frac{7}{13}", r"\boxed{9^{9^{9^{9}}}}"),
    (r"\sum_{i=1}^{10^{12}} \frac{1}{i}", r"\boxed{\frac{7}{13}}"),
    (r"\frac{7}{13}", r"\boxed{\prod_{i=1}^{10^{9}} i}"),
    (r"\binom{10^{12}}{5\cdot 10^{11}}", r"\boxed{3}"),
    ("1", r"\boxed{(((10!)!)!)}"),
    (r"\sin(10^{10^{10}})", r"\boxed{\frac{7}{13}}"),
    ("1", "\\boxed{" * 3000),
    ("7", "(" * 20_000 + "7" + ")" * 20_000),
    ("7", r"\boxed{" + ",".join(map(str, range(5000))) + "}"),
    ("7", "x" * 1_000_000),
    (r"\sum_{n=1}^{\infty} \frac{\sin(n^2 x)}{n^2}", r"\boxed{x}"),
]


def clean(i: int) -> Item:
    golds = [str(i), rf"\frac{{{i}}}{{7}}", rf"x^2+{i}x", rf"({i},{i + 1})", rf"{i}\sqrt{{2}}"]
    gold = golds[i % 5]
    return Problem(str(i), "?", gold), rf"\boxed{{{gold if i % 3 else i + 1}}}", False


def batch(poisoned: bool) -> list[Item]:
    items = [clean(i) for i in range(1000)]
    for i in range(0, 1000, 10) if poisoned else ():
        gold, response = POISON[(i // 10) % len(POISON)]
        # a number of its own in each, so that no cache helps
        items[i] = (Problem(str(i), "?", gold.replace("10^{", f"{i + 2}^{{")), response, False)
    return items


def test_a_poisoned_batch_is_done_in_ten_seconds_and_leaves_the_rest_alone() -> None:
    CACHE.clear()
    expected = grade_many(batch(poisoned=False), "math")
    outcomes: dict[str, tuple[list[Verdict], float]] = {}

    def judge(name: str) -> None:
        CACHE.clear()
        start = time.perf_counter()
        outcomes[name] = grade_many(batch(poisoned=True), "math"), time.perf_counter() - start

    judge("main")
    thread = threading.Thread(target=judge, args=("thread",))
    thread.start()
    thread.join()

    async def from_asyncio() -> None:
        await asyncio.to_thread(judge, "asyncio")

    asyncio.run(from_asyncio())
    for name, (verdicts, seconds) in outcomes.items():
        assert seconds < 10, (name, seconds)
        assert [v for i, v in enumerate(verdicts) if i % 10] == [v for i, v in enumerate(expected) if i % 10], name
        assert not any(v.correct for i, v in enumerate(verdicts) if i % 10 == 0), name


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a busy machine doesn't reach, for claims about results rather than times."""
    CACHE.clear()
    monkeypatch.setattr(pool, "FIRST", pool.Limit(20, 20))
    monkeypatch.setattr(pool, "BATCH_SECONDS", (30, 0, 30))


@pytest.mark.usefixtures("patient")
def test_what_numbers_cannot_tell_is_decided_symbolically() -> None:
    assert grade(Problem("p", "?", r"\frac{\pi^2}{6}"), r"\boxed{\sum_{n=1}^{\infty} \frac{1}{n^2}}", "math").correct
    assert grade(Problem("p", "?", r"\frac{n(n+1)}{2}"), r"\boxed{\sum_{k=1}^{n} k}", "math").correct
    wrong = grade(Problem("p", "?", r"\frac{n(n+2)}{2}"), r"\boxed{\sum_{k=1}^{n} k}", "math")
    assert wrong.correct is not True


def test_time_out_is_undecided_and_names_its_reason() -> None:
    verdict = grade(Problem("p", "?", r"\sum_{i=1}^{10^{13}} \frac{1}{i}"), r"\boxed{\frac{7}{13}}", "math")
    assert verdict.correct is None
    assert verdict.reason in ("timeout", "undecided")


def test_no_comparison_holds_a_worker_for_more_than_a_second() -> None:
    assert max(*pool.FIRST, *pool.SECOND) <= 1
    shared = pool.shared_pool()
    shared.submit("1", "1", pool.FIRST).result(timeout=30)  # it has started
    assert shared.submit("9^{9^{9^{9}}}", "2", pool.Limit(0.3, 0.4)).result(timeout=30) == "timeout"


@pytest.mark.usefixtures("patient")
def test_a_killed_worker_is_replaced() -> None:
    first = pool.shared_pool()
    waiting = first.submit(r"\sum_{i=1}^{10^{14}} \frac{1}{i}", "1", pool.SECOND)
    os.killpg(first._process.pid, signal.SIGKILL)
    assert waiting.result(timeout=5) in ("error", "timeout")
    first._process.wait(timeout=5)
    assert pool.shared_pool() is not first
    assert grade(Problem("p", "?", "1"), r"\boxed{\sum_{n=1}^{\infty} \frac{1}{2^n}}", "math").correct is True


def test_a_forked_process_uses_a_pool_of_its_own() -> None:
    mine = pool.shared_pool()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            other = pool.shared_pool()
            result = other.submit("1", r"\sum_{n=1}^{\infty} \frac{1}{2^n}", pool.Limit(15, 15)).result(timeout=20)
            code = 0 if other is not mine and result is True else 1
            other.close()
        finally:
            os._exit(code)
    os.close(writer)
    os.close(reader)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.usefixtures("patient")
def test_many_threads_share_one_pool() -> None:
    found: list[bool | None] = []
    threads = [
        threading.Thread(
            target=lambda k=k: found.append(
                grade(
                    Problem("p", "?", str(k)), rf"\boxed{{\sum_{{n=1}}^{{\infty}} \frac{{{k}}}{{2^n}}}}", "math"
                ).correct
            )
        )
        for k in range(1, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6
