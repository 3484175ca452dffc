"""Candidate programs: what they can't do, and how their tests are judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import GradingError
from posttrain.grading import check_gold, grade, grade_many, prepare, programs
from posttrain.grading.sandbox import Isolation, Limits, available, isolation, level_named, require, run_program
from posttrain.records import Problem

LIMITS = Limits(seconds=3, memory=512 << 20)
needs_kernel = pytest.mark.skipif(
    available() < Isolation.KERNEL, reason=f"this machine offers isolation {available().name.lower()} only"
)


@needs_kernel
@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.socket()",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['ls'])",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "open('/etc/passwd').read()",
        "import os; os.listdir('/')",
        "open('../outside', 'w')",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(-1, 9)",
        "import os; os.chmod('/etc/hostname', 0o777)",
        "import os; os.setuid(1000)",
        "import os; os.symlink('/etc', 'etc'); os.listdir('etc')",
        "open('/proc/self/status').read()",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import ctypes; assert ctypes.CDLL(None).syscall(57) >= 0",
        "import ctypes; assert ctypes.CDLL(None).mount(b'a', b'/', b'tmpfs', 0, None) == 0",
        "open('big', 'wb').write(bytes(64 << 20))",
        "x = bytearray(1 << 30)",
        "import numpy",
    ],
)
def test_a_program_cannot(program: str) -> None:
    outcome = run_program(program, limits=LIMITS)
    assert (outcome.ended, outcome.code) == ("exit", 1), outcome


@needs_kernel
@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("while True: pass", "timeout"),
        ("import time; time.sleep(60)", "timeout"),
        ("import os\nos.close(1)\nos.close(2)\nwhile True: pass", "timeout"),
        ("while True: print('x' * 1000)", "output"),
        ("import os; os.abort()", "signal"),
    ],
)
def test_a_program_that_does_not_end_well_is_ended(program: str, ended: str) -> None:
    outcome = run_program(program, limits=Limits(seconds=1, memory=512 << 20))
    assert outcome.ended == ended
    assert outcome.seconds < 2.5


@needs_kernel
def test_an_ordinary_program_runs() -> None:
    source = (
        "import threading, collections, math, json, re\n"
        "open('note', 'w').write('kept')\n"
        "t = threading.Thread(target=print, args=(input(), open('note').read()))\nt.start()\nt.join()\n"
    )
    outcome = run_program(source, "hello\n", limits=LIMITS)
    assert (outcome.ok, outcome.stdout, outcome.isolation) == (True, "hello kept\n", available())


@needs_kernel
def test_nothing_of_the_environment_reaches_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hidden")
    assert "hidden" not in run_program("import os; print(dict(os.environ))", limits=LIMITS).stdout


def test_a_spec_that_runs_programs_asks_for_the_sandbox_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "available", lambda: Isolation.LIMITS)
    prepare("math")  # needs none
    with pytest.raises(GradingError, match=r"must run with isolation 'kernel'.* Enable that"):
        prepare("code")
    monkeypatch.setenv(programs.LEVEL_VARIABLE, "limits")
    prepare("code")


def test_less_isolation_than_required_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "available", lambda: Isolation.LIMITS)
    monkeypatch.setattr(isolation, "landlock_abi", lambda: 0)
    with pytest.raises(GradingError, match=r"must run with isolation 'kernel'.*it lacks Landlock.*Enable that"):
        require(Isolation.KERNEL)
    assert require(Isolation.LIMITS) is Isolation.LIMITS
    with pytest.raises(GradingError, match="must run with isolation"):
        grade(_human_eval(), "```python\ndef double(x):\n    return 2 * x\n```", "code")


def test_an_unknown_level_is_named() -> None:
    with pytest.raises(GradingError, match="Did you mean 'kernel'"):
        level_named("kernl")


@needs_kernel
def test_a_sandbox_that_cannot_be_built_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from posttrain.grading.sandbox import run

    monkeypatch.setattr(run, "landlock_abi", lambda: 99_999_999_999)  # no such size of ruleset
    monkeypatch.setattr(run, "_LIBRARIES", ("/proc/self/mem\0",))
    with pytest.raises(GradingError, match="could not be built"):
        run_program("print('ran')", limits=LIMITS)


def _human_eval() -> Problem:
    test = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"
    question = 'from typing import List\n\n\ndef double(x: int) -> int:\n    """Twice x."""\n'
    return Problem("h", question, None, extra={"test": test, "entry_point": "double"})


def _mbpp() -> Problem:
    return Problem("m", "Double it.", None, extra={"test_list": ["assert double(2) == 4"], "test_setup_code": ""})


def _stdin() -> Problem:
    tests = [{"input": "2\n", "output": "4\n"}, {"input": "5\n", "output": "10"}]
    return Problem("s", "Read x, print 2x.", None, extra={"tests": tests})


@needs_kernel
@pytest.mark.parametrize(
    ("problem", "response", "reason"),
    [
        (_human_eval(), "Sure:\n```python\ndef double(x: int) -> int:\n    return 2 * x\n```\nDone.", "correct"),
        (_human_eval(), "    return x + x\n", "correct"),  # the completion of the prompt
        (_human_eval(), "```python\ndef double(x):\n    return x\n```", "wrong"),
        (_human_eval(), "```python\ndef double(x):\n    return y\n```", "crashed"),
        (_human_eval(), "```python\nimport sys\nsys.exit(0)\ndef double(x): return 2 * x\n```", "wrong"),
        (_human_eval(), "```python\ndef double(x):\n    while True: pass\n```", "time_limit"),
        (_human_eval(), "```python\ndef double(x", "no_answer"),
        (_human_eval(), "I don't know.", "no_answer"),
        (_human_eval(), "<think>```python\ndef double(x): return 2*x\n```", "truncated"),
        (_mbpp(), "```\ndef double(x): return 2 * x\n```", "correct"),
        (_mbpp(), "```\ndef double(x): return x ** 2 + 1\n```", "wrong"),
        (_stdin(), "```python\nprint(2 * int(input()))\n```", "correct"),
        (_stdin(), "```python\nprint(2 + int(input()))\n```", "wrong"),
    ],
)
def test_programs_are_judged_by_their_tests(
    problem: Problem, response: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "LIMITS", Limits(seconds=1.5, memory=512 << 20))
    verdict = grade(problem, response, "code")
    assert (verdict.reason, verdict.correct) == (reason, reason == "correct")
    if verdict.extracted is not None:
        assert verdict.isolation == available().name.lower()


def test_a_problem_without_tests_is_named_at_load() -> None:
    assert "has no tests" in (check_gold(Problem("p", "?", None), "code") or "")
    assert check_gold(_human_eval(), "code") is None


@needs_kernel
@pytest.mark.parametrize(("name", "count"), [("humaneval", 16), ("mbpp", 16)])
def test_reference_programs_pass_their_own_tests(mirror: Path, name: str, count: int) -> None:
    rows: list[dict[str, Any]] = [json.loads(line) for line in (mirror / f"{name}.jsonl").read_bytes().splitlines()]
    problems = [Problem(r["id"], r["problem"], None, r["solution"], extra=r) for r in rows[:count]]
    verdicts = grade_many([(p, f"```python\n{p.solution}\n```", False) for p in problems], "code")
    assert [p.id for p, v in zip(problems, verdicts, strict=True) if not v.correct] == []
