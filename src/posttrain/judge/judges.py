"""Who judges: rules, a model on this machine, or a teacher behind an API. Each answers questions as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from posttrain.errors import RecipeError
from posttrain.judge.asks import Answered, Ask
from posttrain.judge.config import LOCAL, SCRIPTED, JudgeConfig
from posttrain.judge.local import LocalJudge
from posttrain.judge.scripted import ScriptedJudge
from posttrain.stage import Workspace
from posttrain.store import Checkpoint

if TYPE_CHECKING:
    from posttrain.providers import Teacher

Messages = tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """An Ask in words. attempt: 0, or 1 where it is asked again."""

    ask: Ask
    messages: Messages
    attempt: int = 0


class Judge(Protocol):
    """`answers` gives one (place in the list, reply) for every question, in any order."""

    name: str

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answered]]: ...

    def close(self) -> None: ...


def open_judge(config: JudgeConfig, work: Workspace, model: Checkpoint | None) -> Judge:
    """The judge that a config names. RecipeError where `model` is named and not given, or given and not named."""
    if (config.judge == LOCAL) != (model is not None):
        raise RecipeError(
            "judge: model needs the input `model` (a checkpoint or a hub name), and no other judge takes it. Set "
            "both, or name a teacher (gpt-4o) or 'scripted'."
        )
    if config.judge == SCRIPTED:
        if config.teacher:
            raise RecipeError("judge: scripted asks nobody, and `teacher` says who is asked. Name one in judge:.")
        return ScriptedJudge(config.criteria)
    if model is not None:
        return LocalJudge(config, model, work)
    from posttrain.providers import get_teacher

    return TeacherJudge(config, get_teacher(config.judge, config.teacher, config.registry), work)


@dataclass
class TeacherJudge:
    """A model behind an API. What it said stands in a journal; a question that stands there already costs nothing.

    Questions with the same words are asked once.
    """

    config: JudgeConfig
    teacher: Teacher
    work: Workspace
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.teacher.name

    @property
    def journal(self) -> Path:
        """Where its replies are kept."""
        folder = self.config.journal or self.work.dir.parent / "journals"
        return folder / f"judge-{self.teacher.name.replace('/', '-')}.jsonl"

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answered]]:
        """ProviderError and BudgetError as the client raises them; what was paid for is in the journal."""
        from posttrain.providers import Budget, Request, ask

        sampling = {"temperature": self.config.temperature, "max_tokens": self.config.max_tokens}
        places: dict[str, list[int]] = {}
        requests = []
        for place, question in enumerate(questions):
            request = Request(question.messages, sampling, question.attempt)
            key = request.key(self.teacher)
            if key not in places:
                requests.append(request)
            places.setdefault(key, []).append(place)
        for reply in ask(self.teacher, requests, self.journal, budget=Budget(self.config.budget)):
            for number, place in enumerate(places[reply.key]):
                yield place, _answered(reply, paid=number == 0)

    def close(self) -> None:
        """Nothing is held."""


def _answered(reply: Any, *, paid: bool) -> Answered:
    """paid: the first of several questions with the same words carries what the reply cost."""
    status = {"content_filter": "refused", "error": "failed"}.get(reply.finish_reason, "ok")
    return Answered(
        reply.text,
        status,  # type: ignore[arg-type]
        reply.model,
        reply.prompt_tokens if paid else 0,
        reply.completion_tokens if paid else 0,
        reply.cost if paid else 0.0,
    )
