"""The Tools of a stage that runs: opened when a step first asks, closed with the stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain.benchmarks import get_benchmark, is_user_file
from posttrain.benchmarks.load import find, read_problems
from posttrain.curate.base import Reference
from posttrain.curate.embeddings import embed
from posttrain.errors import RecipeError
from posttrain.grading import grade_many
from posttrain.records import Problem, Sample, Verdict
from posttrain.store import Checkpoint, Samples

if TYPE_CHECKING:
    from posttrain.engines.base import Engine
    from posttrain.stage import Workspace
    from posttrain.tracking import Progress

HELD_OUT = "held-out"
GRADED = 256  # answers graded between two writes of the journal
COUNTED = 1024  # texts tokenised in one go


class Toolbox:
    """Tools over a workspace.

    held_out: the problems that are validated and tested on, where the stage was given any.
    """

    def __init__(
        self,
        work: Workspace,
        *,
        student: Checkpoint | None,
        held_out: Sequence[Problem] | None,
        max_batch: int,
        attempts: Samples | None = None,
    ) -> None:
        self._work, self._student, self._held_out, self._max_batch = work, student, held_out, max_batch
        self._attempts = attempts
        self._tried: list[Sample] | None = None
        self._tokenizer: Any = None
        self._engine: Engine | None = None
        self._references: dict[str, Reference] = {}

    @property
    def state(self) -> Path:
        return self._work.state

    def embed(self, texts: Sequence[str], model: str) -> NDArray[np.float32]:
        return embed(texts, model, progress=self.progress, device=self._work.device)

    def tokenizer(self, asks: str) -> Any:
        if self._tokenizer is None:
            from posttrain.models import load_tokenizer

            student = self._the_student(asks)
            self._tokenizer = load_tokenizer(student.ref, revision=student.revision)
        return self._tokenizer

    def token_counts(self, texts: Sequence[str], asks: str) -> NDArray[np.int64]:
        tokenizer = self.tokenizer(asks)
        counts: list[int] = []
        with self.progress(len(texts), "counting tokens", "texts") as bar:
            for start in range(0, len(texts), COUNTED):
                part = list(texts[start : start + COUNTED])
                counts += map(len, tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"])
                bar.update(len(part))
        return np.array(counts, np.int64)

    def student_parameters(self) -> int | None:
        from posttrain.models.size import read_shape

        shape = read_shape(self._student.model_dir, self._student.revision) if self._student is not None else None
        return shape.parameters if shape is not None else None

    def attempts(self, asks: str) -> Sequence[Sample]:
        if self._attempts is None:
            raise RecipeError(
                f"{asks}, and the stage was given no attempts. Add attempts: SAMPLES to it, a model's graded answers "
                "to the rows' problems, as the stage 'sample' makes them."
            )
        if self._tried is None:
            self._tried = list(self._attempts.read())
        return self._tried

    def engine(self, asks: str) -> Engine:
        if self._engine is None:
            from posttrain.evals.engines import open_engine

            self._engine, self._tokenizer = open_engine(
                self._the_student(asks), device=self._work.device, batch=self._max_batch
            )
            self._work.closing.callback(self._engine.close)
        return self._engine

    def _the_student(self, asks: str) -> Checkpoint:
        if self._student is None:
            raise RecipeError(
                f"{asks}, and the stage was given no student. Add student: MODEL to it, or leave that step out."
            )
        return self._student

    def grade(self, items: Sequence[tuple[Problem, str, bool]], spec: str) -> list[Verdict]:
        journal = self.state / f"verdicts-{spec}.jsonl"
        known = _read_journal(journal)
        keys = [_key(*item) for item in items]
        todo = [i for i in {key: i for i, key in enumerate(keys)}.values() if keys[i] not in known]
        with (
            self.progress(len(items), f"grading ({spec})", "answers") as bar,
            journal.open("a", encoding="utf-8") as file,
        ):
            bar.skip(len(items) - len(todo))
            for start in range(0, len(todo), GRADED):
                part = todo[start : start + GRADED]
                for i, verdict in zip(part, grade_many([items[i] for i in part], spec), strict=True):
                    known[keys[i]] = verdict
                    row = [verdict.correct, verdict.format_ok, verdict.extracted, verdict.reason, verdict.isolation]
                    file.write(json.dumps([keys[i], row]) + "\n")
                file.flush()
                bar.update(len(part))
        return [known[key] for key in keys]

    def references(self, names: Sequence[str], asks: str) -> list[Reference]:
        for name in names:
            if name not in self._references:
                self._references[name] = Reference(name, self._questions(name, asks))
        return [self._references[name] for name in names]

    def _questions(self, name: str, asks: str) -> Sequence[Problem]:
        if name != HELD_OUT:
            return get_benchmark(name).problems if is_user_file(name) else read_problems(find(name))
        if not self._held_out:
            raise RecipeError(
                f"{asks}: '{HELD_OUT}' are the validation and test splits of the stage's problems, and it was given no "
                "problems with such splits. Add problems: STAGE to it, or name benchmarks."
            )
        return self._held_out

    def derive(self, purpose: str, *index: int | str) -> int:
        return self._work.derive(purpose, *index)

    def progress(self, total: int | None, label: str, unit: str = "rows") -> Progress:
        return self._work.progress(total, label, unit)

    def note(self, message: str) -> None:
        self._work.note(message)


def _key(problem: Problem, response: str, truncated: bool) -> str:
    parts = json.dumps(
        [problem.id, problem.answer, problem.choices, dict(problem.extra), response, truncated], default=str
    )
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _read_journal(path: Path) -> dict[str, Verdict]:
    """What an interrupted attempt had graded; its last line may be torn."""
    found: dict[str, Verdict] = {}
    if not path.exists():
        return found
    whole = path.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    path.write_bytes(whole)
    for line in whole.splitlines():
        key, row = json.loads(line)
        found[key] = Verdict(*row)
    return found
