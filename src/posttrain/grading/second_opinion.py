"""A second, independent grader (math-verify) over the same pairs, in the sandbox, and where the two disagree.

math-verify reads model text with parsers of its own, one of which evaluates code; so it runs shut in, with a second's
limit per comparison, and a pair that takes its process down is noted as such and passed over.
"""

from __future__ import annotations

import importlib.util
import json
import site
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.errors import MissingExtraError
from posttrain.grading.sandbox import Isolation, Limits, run_python

CHUNK = 100
_LIMITS = Limits(seconds=150, memory=4 << 30, output_bytes=4 << 20, files=256)
_PROGRAM = """
import json, logging, sys, warnings
sys.path[:0] = json.loads(sys.stdin.readline())
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from math_verify import parse, verify

def judge(gold, response):
    try:
        golds = parse(gold if "$" in gold or "boxed" in gold else "$" + gold + "$", parsing_timeout=1)
        if not golds:
            golds = parse(gold, parsing_timeout=1)
        return bool(verify(golds, parse(response, parsing_timeout=1), timeout_seconds=1))
    except BaseException as error:  # its time-outs are BaseExceptions
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        return None

for line in sys.stdin:
    index, gold, response = json.loads(line)
    print(json.dumps([index, judge(gold, response)]), flush=True)
"""


@dataclass(frozen=True)
class Pair:
    """One judged response: `correct` is our verdict, `second` the other grader's; None = it could not decide."""

    key: str
    gold: str
    response: str
    extracted: str | None
    reason: str
    correct: bool | None
    second: bool | None = None


@dataclass(frozen=True)
class Audit:
    """How far two graders agree. Rates are of the n pairs that both decided."""

    n: int
    undecided: int
    both_correct: int
    both_wrong: int
    only_first: tuple[Pair, ...]  # we say correct, the second grader wrong
    only_second: tuple[Pair, ...]

    @property
    def agreement(self) -> float:
        return (self.both_correct + self.both_wrong) / self.n if self.n else 1.0


def second_verdicts(pairs: Sequence[tuple[str, str]], level: Isolation = Isolation.KERNEL) -> list[bool | None]:
    """math-verify's verdicts of (gold, response) pairs.

    MissingExtraError where it isn't installed, GradingError where there is no sandbox.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise MissingExtraError(
            "the audit's second grader is not installed. Install the extra: posttrain[math-verify]."
        )
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    verdicts: list[bool | None] = [None] * len(pairs)
    start = 0
    while start < len(pairs):
        chunk = range(start, min(start + CHUNK, len(pairs)))
        lines = [json.dumps(folders), *(json.dumps([i, pairs[i][0], pairs[i][1][-20_000:]]) for i in chunk)]
        outcome = run_python(
            ["-I", "-B", "program.py"],
            {"program.py": _PROGRAM},
            "\n".join(lines) + "\n",
            limits=_LIMITS,
            level=level,
            readable=folders,
        )
        answered: list[list[Any]] = [json.loads(line) for line in outcome.stdout.splitlines() if line.endswith("]")]
        for index, verdict in answered:
            verdicts[index] = verdict
        start += len(answered) if outcome.ok else len(answered) + 1  # the pair that it died of stays undecided
    return verdicts


def audit(pairs: Sequence[Pair]) -> Audit:
    """Asks the second grader about every pair and sorts them."""
    others = second_verdicts([(p.gold, p.response) for p in pairs])
    judged = [
        Pair(p.key, p.gold, p.response, p.extracted, p.reason, p.correct, o) for p, o in zip(pairs, others, strict=True)
    ]
    decided = [p for p in judged if p.correct is not None and p.second is not None]
    return Audit(
        n=len(decided),
        undecided=len(judged) - len(decided),
        both_correct=sum(bool(p.correct and p.second) for p in decided),
        both_wrong=sum(not p.correct and not p.second for p in decided),
        only_first=tuple(p for p in decided if p.correct and not p.second),
        only_second=tuple(p for p in decided if p.second and not p.correct),
    )
