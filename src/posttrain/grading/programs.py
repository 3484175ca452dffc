"""Code answers: the program in a response, run against the problem's tests in the sandbox.

Tests, in a problem's `extra`, as the data sets write them:

- HumanEval: `test` defines check(candidate), `entry_point` names the function; the question is the program's beginning.
- MBPP: `test_list` of assert statements, `test_setup_code` before them.
- LiveCodeBench: `tests` (or `public_test_cases`), a list of {input, output}: standard input and the expected output.

A program that asserts inside its own process can, in principle, be written to deceive the assertions; standard input
and output are compared outside of it and can't be.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.errors import GradingError
from posttrain.grading.sandbox import Isolation, Limits, Outcome, level_named, require, run_program
from posttrain.records import Problem, Verdict

LEVEL_VARIABLE = "POSTTRAIN_ISOLATION"  # the least isolation to accept where nothing else says so
LIMITS = Limits()
TEST_KEYS = ("test", "entry_point", "test_list", "test_setup_code", "tests", "public_test_cases")  # in `extra`
_FENCE = re.compile(r"```[ \t]*(?:python|py|python3)?[ \t]*\r?\n(.*?)(?:\r?\n)?```", re.DOTALL | re.IGNORECASE)


def find_program(text: str) -> str | None:
    """The last fenced block, or the whole text if it has none and looks like Python."""
    blocks = _FENCE.findall(text)
    if blocks:
        return str(blocks[-1])
    if "```" in text:
        return None  # a block that was never closed
    return text if re.search(r"^\s*(?:def|import|from|class|return|for|print|if|while|\w+\s*=)\b", text, re.M) else None


def required_level() -> Isolation:
    """The level of $POSTTRAIN_ISOLATION, or KERNEL."""
    return level_named(os.environ.get(LEVEL_VARIABLE, "kernel"))


def check_sandbox() -> Isolation:
    """The level that programs will run under. GradingError where it is below the one that is asked for."""
    return require(required_level())


def judge(problem: Problem, answer: str, truncated: bool) -> Verdict:
    """Runs the program of a response against the problem's tests.

    Reasons: correct, wrong (a test failed), crashed, time_limit, output_limit, no_answer, truncated, no_gold. A program
    that doesn't end is wrong, not undecided: the limit belongs to the problem. GradingError where the sandbox can't be
    had: nothing is run then.
    """
    if check_tests(problem) is not None:
        return Verdict(False, False, None, "no_gold")
    program = find_program(answer)
    if program is None or not program.strip():
        return Verdict(False, False, None, "truncated" if truncated else "no_answer")
    outcome, passed = _run(problem, program)
    reason = "correct" if passed else _reason(outcome)
    return Verdict(passed, "```" in answer, program, reason, outcome.isolation.name.lower())


def check_tests(problem: Problem) -> str | None:
    """None if the problem has tests that can be run, else why not."""
    extra = problem.extra
    if extra.get("test") and extra.get("entry_point"):
        return None
    if extra.get("test_list") or _cases(extra):
        return None
    return f"problem {problem.id!r} has no tests: neither test and entry_point, nor test_list, nor tests"


def _cases(extra: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Standard-input tests. Hidden tests that come as pickles are not opened."""
    cases = extra.get("tests") or extra.get("public_test_cases") or []
    if isinstance(cases, str):
        try:
            cases = json.loads(cases)
        except json.JSONDecodeError as error:
            raise GradingError("the tests of a problem are no JSON list; pickled tests are not opened.") from error
    return [case for case in cases if "input" in case and "output" in case]


def _run(problem: Problem, program: str) -> tuple[Outcome, bool]:
    extra, level = problem.extra, required_level()
    if not extra.get("test_list") and not extra.get("entry_point"):
        return _run_cases(program, _cases(extra), level)
    token = secrets.token_hex(16)
    ending = "\nimport sys\nsys.stdout.write('\\n' + sys.stdin.read()[::-1])\n"  # reached only if every test passed
    if extra.get("entry_point"):
        source = f"{_begun(problem, program)}\n{extra['test']}\ncheck({extra['entry_point']})\n{ending}"
    else:
        tests = "\n".join(extra["test_list"])
        source = f"{extra.get('test_setup_code') or ''}\n{program}\n{tests}\n{ending}"
    outcome = run_program(source, token, limits=LIMITS, level=level)
    return outcome, outcome.ok and outcome.stdout.endswith(token[::-1])


def _begun(problem: Problem, program: str) -> str:
    """A completion continues the question's program; a whole program stands alone, with the question's imports."""
    if re.search(rf"^\s*def\s+{re.escape(problem.extra['entry_point'])}\b", program, re.M):
        imports = re.findall(r"^(?:import|from)\s.+$", problem.question, re.M)
        return "\n".join([*imports, program])
    return problem.question + program


def _run_cases(program: str, cases: Sequence[Mapping[str, Any]], level: Isolation) -> tuple[Outcome, bool]:
    for case in cases:
        outcome = run_program(program, str(case["input"]), limits=LIMITS, level=level)
        if not outcome.ok or _lines(outcome.stdout) != _lines(str(case["output"])):
            return outcome, False
    return outcome, True


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _reason(outcome: Outcome) -> str:
    if outcome.ended in ("timeout", "output"):
        return {"timeout": "time_limit", "output": "output_limit"}[outcome.ended]
    if outcome.ended == "signal" or "MemoryError" in outcome.stderr[-400:]:
        return "crashed"
    return "wrong" if outcome.code == 0 or "AssertionError" in outcome.stderr[-400:] else "crashed"
