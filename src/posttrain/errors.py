"""Every error that posttrain raises for its user.

PosttrainError
├── RecipeError       the recipe or config is wrong (also a ValueError)
│   └── DriftError    a finished stage was made from something else than what is asked for now
├── DataError         rows, files or answers are not what they must be (also a ValueError)
├── ModelError        a checkpoint or tokenizer can't be used for this
├── EngineError       sampling or scoring failed
├── ProviderError     a model API refuses, stays closed or is not what it was taken for
│   └── BudgetError   the next request might cost more than is allowed
├── GradingError      a grader can't decide, and says why
├── StoreError        an artifact can't be written or read
│   ├── LockedError   another process holds the run
│   └── DamagedError  a file's sha256 is not the one in its manifest
├── ClusterError      a cluster can't be reached, or refuses a job
├── MissingExtraError an optional library is absent
└── TrainingError     training stopped itself (NaN loss, no signal, engine lost)

A message is fact + reason + remedy, e.g. ``stage 'sft' needs 'traces', but 'kept' makes problems. Did you mean
traces: traces?``. The command line prints it on one line and exits with code 2; anything else that escapes is a bug
and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PosttrainError(Exception):
    """Base of all errors meant for the user."""


class RecipeError(PosttrainError, ValueError):
    """The recipe, config or command line is wrong."""


class DriftError(RecipeError):
    """A finished stage no longer matches what is asked for."""


class DataError(PosttrainError, ValueError):
    """Data is missing, malformed or inconsistent."""


class ModelError(PosttrainError, ValueError):
    """A checkpoint or tokenizer can't be loaded or doesn't fit."""


class EngineError(PosttrainError, RuntimeError):
    """Sampling or scoring failed."""


class ProviderError(PosttrainError, RuntimeError):
    """A model API refuses, stays closed, or is not what it was taken for. What was paid for is in the journal."""


class BudgetError(ProviderError):
    """The next request might cost more than is allowed, or nobody can say what it costs."""


class GradingError(PosttrainError, ValueError):
    """A gold answer or a grader specification is unusable."""


class StoreError(PosttrainError, OSError):
    """An artifact can't be written or read."""

    def __str__(self) -> str:  # OSError would print errno forms
        return str(self.args[0]) if self.args else ""


class LockedError(StoreError):
    """Another process holds the run."""


class DamagedError(StoreError):
    """A file is not what its manifest says."""


class ClusterError(PosttrainError, RuntimeError):
    """A cluster can't be reached, or refuses a job."""


class MissingExtraError(PosttrainError, ImportError):
    """An optional library is not installed."""


class TrainingError(PosttrainError, RuntimeError):
    """Training stopped itself before doing harm."""


def error_named(name: str, message: str) -> PosttrainError:
    """The error that another process tells of by the name of its class; a PosttrainError where there is none such."""
    kind = globals().get(name)
    return kind(message) if isinstance(kind, type) and issubclass(kind, PosttrainError) else PosttrainError(message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
