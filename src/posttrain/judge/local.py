"""A judge on this machine: any chat model, through an engine. Its replies are journaled as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.engines.base import Prompt, Sampling
from posttrain.errors import ModelError
from posttrain.evals.answering import response_text, with_stops
from posttrain.evals.engines import open_engine
from posttrain.judge.asks import Answered
from posttrain.judge.config import JudgeConfig
from posttrain.prompts import get_template
from posttrain.seeding import derive
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, fingerprint

if TYPE_CHECKING:
    from posttrain.engines.base import Engine
    from posttrain.judge.judges import Question


class LocalJudge:
    """Opens the model for the first question that no journal answers."""

    def __init__(self, config: JudgeConfig, model: Checkpoint, work: Workspace) -> None:
        self.config, self.model, self.work = config, model, work
        self.name = model.label
        self.journal = work.state / "replies.jsonl"
        self._open: tuple[Engine, Any] | None = None

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answered]]:
        """Questions with the same words are asked once."""
        kept = _read(self.journal)
        places: dict[str, list[int]] = {}
        for place, question in enumerate(questions):
            places.setdefault(self._key(question), []).append(place)
        new = [key for key in places if key not in kept]
        for key in [k for k in places if k in kept]:
            for place in places[key]:
                yield place, kept[key]
        if not new:
            return
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        with self.journal.open("a", encoding="utf-8") as file:
            for key, reply in self._generate({key: questions[places[key][0]] for key in new}):
                file.write(json.dumps({"key": key, "text": reply.text, "tokens": reply.completion_tokens}) + "\n")
                file.flush()
                for place in places[key]:
                    yield place, reply

    def _key(self, question: Question) -> str:
        asked = {"messages": [dict(m) for m in question.messages], "attempt": question.attempt}
        sampling = {"temperature": self.config.temperature, "max_tokens": self.config.max_tokens}
        return fingerprint({"model": self.model.ref, **asked, **sampling, "dtype": self.config.dtype})

    def _generate(self, questions: dict[str, Question]) -> Iterator[tuple[str, Answered]]:
        engine, tokenizer = self._engine()
        system = {m["content"] for q in questions.values() for m in q.messages if m["role"] == "system"}
        for one in sorted(system):
            template = get_template("chat", system=one)
            sampling = with_stops(
                Sampling(temperature=self.config.temperature, max_tokens=self.config.max_tokens), template, tokenizer
            )
            prompts = (
                Prompt(
                    key,
                    tuple(template.prompt_ids(question.messages[-1]["content"], tokenizer)),
                    derive(self.work.seed, "judge", key),
                )
                for key, question in questions.items()
                if question.messages[0]["content"] == one
            )
            for completion in engine.generate(prompts, sampling):
                text = response_text(completion, tokenizer, template, sampling)
                yield (
                    completion.key,
                    Answered(
                        text,
                        judge=self.name,
                        prompt_tokens=len(completion.prompt_ids),
                        completion_tokens=len(completion.token_ids),
                        cost=0.0,
                    ),
                )

    def _engine(self) -> tuple[Engine, Any]:
        if self._open is None:
            engine, tokenizer = open_engine(
                self.model, dtype=self.config.dtype, device=self.work.device, batch=self.config.batch
            )
            if getattr(tokenizer, "chat_template", None) is None:
                engine.close()
                raise ModelError(
                    f"{self.model.label} has no chat template, and a judge is asked in chat. Name an "
                    "instruction-tuned model."
                )
            self._open = engine, tokenizer
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open[0].close()
            self._open = None


def _read(path: Path) -> dict[str, Answered]:
    """The replies of an earlier attempt; a torn last line is left out, and its question asked again."""
    if not path.is_file():
        return {}
    found = {}
    content = path.read_text(encoding="utf-8", errors="replace")
    whole = content[: content.rfind("\n") + 1]
    if whole != content:
        path.write_text(whole, encoding="utf-8")
    for line in whole.splitlines():
        row = json.loads(line)
        found[row["key"]] = Answered(row["text"], prompt_tokens=None, completion_tokens=row["tokens"], cost=0.0)
    return found
