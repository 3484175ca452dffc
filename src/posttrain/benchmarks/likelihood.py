"""Multiple choice by log-likelihood: the choice that the model finds likeliest after the question is its answer.

Nothing is generated, so nothing has to be extracted. The prompts are those of lm-eval (tasks/mmlu/default and
tasks/arc), so that the numbers are its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.errors import DataError
from posttrain.grading.choice import LETTERS
from posttrain.records import Problem


@dataclass(frozen=True)
class Likelihood:
    """How a question is put.

    shown: `letters` lists the choices below the question, and the model chooses a letter (MMLU); `texts` doesn't show
    them, and the model chooses the text itself (ARC).
    intro: stands at the head; `{subject}` is the item's.
    shots: solved examples before the question; with `by_subject` those of its own subject, the first ones first.
    """

    shown: Literal["letters", "texts"]
    intro: str = ""
    shots: int = 0
    by_subject: bool = False

    def settings(self) -> dict[str, Any]:
        return {"shown": self.shown, "intro": self.intro, "shots": self.shots, "by_subject": self.by_subject}

    def context(self, problem: Problem, examples: Sequence[Problem]) -> str:
        """All text before the choice. DataError where too few examples are there."""
        solved = "".join(self._body(e) + self._gold(e) + "\n\n" for e in self._chosen(problem, examples))
        subject = (problem.subject or "").replace("_", " ")
        return self.intro.replace("{subject}", subject) + solved + self._body(problem)

    def continuations(self, problem: Problem) -> list[str]:
        """What is scored, one for each choice; each begins with a space."""
        choices = problem.choices or ()
        return [f" {letter}" for letter in LETTERS[: len(choices)]] if self.shown == "letters" else _spaced(choices)

    def _chosen(self, problem: Problem, examples: Sequence[Problem]) -> list[Problem]:
        fitting = [e for e in examples if not self.by_subject or e.subject == problem.subject]
        if len(fitting) < self.shots:
            of = f" of {problem.subject}" if self.by_subject else ""
            raise DataError(
                f"{problem.id}: {len(fitting)} examples{of} to show, and shots is {self.shots}. Lower shots, or add "
                "examples."
            )
        return fitting[: self.shots]

    def _body(self, problem: Problem) -> str:
        if self.shown == "texts":
            return f"Question: {problem.question}\nAnswer:"
        listed = "".join(
            f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, problem.choices or (), strict=False)
        )
        return f"{problem.question.strip()}{listed}\nAnswer:"

    def _gold(self, problem: Problem) -> str:
        return self.continuations(problem)[LETTERS.index(problem.answer or "")]


def _spaced(texts: Sequence[str]) -> list[str]:
    return [f" {text}" for text in texts]
