"""What the registry says of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from posttrain.benchmarks.likelihood import Likelihood
from posttrain.data.rows import Row
from posttrain.engines.base import Sampling
from posttrain.records import Problem

# Rows of a declaration's files, in order, and its name → its problems.
Reader = Callable[[Sequence[Row], str], list[Problem]]


@dataclass(frozen=True)
class MirrorFile:
    """A file of the mirror, and the sha256 that the declaration was checked against; None where it may not be shared
    and has never been seen here."""

    name: str
    sha256: str | None


@dataclass(frozen=True)
class Declaration:
    """A registered benchmark.

    items: how many; None where the user's download decides.
    files: what the mirror must hold; empty for problems that are made (`make`).
    origin: where the rows are from. obtain: how to get files that no mirror ships with.
    dataset: name in posttrain.data, where it has one: it is then read from the Hub too, and its training problems can
    be shown in few-shot prompts. examples: fixed problems to show instead.
    system: goes with `template`; another template brings its own words.
    examples_file: solved problems of the mirror, to be shown instead. likelihood: choices are scored, not generated.
    metrics: accuracy, acc_norm, pass@k, maj@k: the first is the headline, and each must have its samples.
    known_bad: id → why its gold can't be right or can't be read. They are scored
    like all others; only the check that the grader can read every gold passes over them.
    lm_eval, lighteval: the task of that suite with the same items; the name is an alias here. Prompts differ.
    reference: published scores with their settings, for reading beside one's own.
    """

    name: str
    items: int | None
    licence: str
    origin: str
    grading: str
    files: tuple[MirrorFile, ...] = ()
    read: Reader | None = None
    make: Callable[[], list[Problem]] | None = None
    obtain: str | None = None
    version: int = 1
    split: str = "test"
    template: str = "chat"
    system: str | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0, max_tokens=1024))
    shots: int = 0
    dataset: str | None = None
    examples: tuple[Problem, ...] = ()
    examples_file: MirrorFile | None = None
    likelihood: Likelihood | None = None
    metrics: tuple[str, ...] = ("accuracy",)
    known_bad: Mapping[str, str] = field(default_factory=dict)
    lm_eval: str | None = None
    lighteval: str | None = None
    note: str | None = None
    reference: tuple[str, ...] = ()
