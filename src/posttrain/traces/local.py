"""Teachers that ask no provider: the task's own solver, and a model on this machine. Both answer in Replies."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from posttrain.prompts import worked
from posttrain.providers import Reply
from posttrain.providers.reasoning import split_reasoning
from posttrain.records import Problem
from posttrain.store import write_atomic
from posttrain.traces.copying import need_solution, slipped
from posttrain.traces.rows import Asked

if TYPE_CHECKING:
    from posttrain.engines.base import Engine
    from posttrain.stage import Workspace
    from posttrain.store import Checkpoint
    from posttrain.traces.config import TracesConfig

BLOCK = 64  # problems whose answers are kept together: a resumed block is computed in the same company


def solver_replies(
    config: TracesConfig, teacher: str, chosen: Sequence[Problem], first: int, work: Workspace
) -> Iterator[tuple[Asked, Reply]]:
    """The problems' own solutions as replies; of `flawed-solver` a share is wrong. first: the first index."""
    for problem in chosen:
        need_solution(problem, teacher)
        for sample in range(config.samples):
            text = worked(problem)
            if teacher == "flawed-solver":
                text = slipped(problem, text, config.flaw_rate, work, *([sample] if sample else [])) or text
            yield Asked(problem, teacher, first + sample), _reply(problem.id, sample, text, teacher)


def model_replies(
    config: TracesConfig, model: Checkpoint, chosen: Sequence[Problem], first: int, work: Workspace
) -> Iterator[tuple[Asked, Reply]]:
    """The answers of `model`, by the engine asked for; finished blocks are kept for a resume."""
    from posttrain.evals.answering import unique_by_id

    by_id = unique_by_id(chosen)
    with (
        closing(Answering(config, model, work)) as answering,
        work.progress(len(chosen) * config.samples, f"asking {model.label}", "answers") as bar,
    ):
        for name, block in blocks_of(chosen).items():
            kept = work.state / name
            if not kept.exists():
                answering.write(block, name)
            for values in json.loads(kept.read_text(encoding="utf-8")):
                reply = Reply(**values)
                bar.update(1)
                yield Asked(by_id[reply.key], "local", first + reply.sample), reply


def blocks_of(chosen: Sequence[Problem]) -> dict[str, Sequence[Problem]]:
    """The blocks in which problems are asked, by the file below `.work` that keeps the answers."""
    return {f"answers/{start:08d}.json": chosen[start : start + BLOCK] for start in range(0, len(chosen), BLOCK)}


class Answering:
    """A model's answers, block by block; the engine is opened for the first one that is missing."""

    def __init__(self, config: TracesConfig, model: Checkpoint, work: Workspace) -> None:
        from posttrain.engines.base import Sampling
        from posttrain.prompts import get_template

        self.config = config
        self.model = model
        self.work = work
        self.template = get_template(config.template, system=config.system)
        self.sampling = Sampling(
            n=config.samples,
            temperature=1.0 if config.temperature is None else config.temperature,
            top_p=config.top_p or 1.0,
            max_tokens=config.max_tokens or 1024,
        )
        self.engine: Engine | None = None
        self.tokenizer: Any = None

    def write(self, block: Sequence[Problem], name: str) -> None:
        """Answers a block into the file `name` below the workspace's state."""
        found = self._answers(block)
        with write_atomic(self.work.state / name) as file:
            file.write(json.dumps([dataclasses.asdict(reply) for reply in found]).encode())

    def _answers(self, problems: Sequence[Problem]) -> list[Reply]:
        from posttrain.engines.base import Prompt
        from posttrain.evals.answering import response_text, with_stops

        engine = self._opened()
        stopping = with_stops(self.sampling, self.template, self.tokenizer)

        def prompts() -> Iterator[Prompt]:
            for problem in problems:
                ids = tuple(self.template.prompt_ids(put(self.config, problem.question), self.tokenizer))
                yield Prompt(problem.id, ids, self.work.derive("answer", problem.id))

        found = []
        for completion in engine.generate(prompts(), stopping):
            text = response_text(completion, self.tokenizer, self.template, stopping)
            cut = completion.finish_reason == "length"
            reply = _reply(completion.key, completion.index, text, self.model.label, cut=cut)
            prompt, sampled = len(completion.prompt_ids), len(completion.token_ids)
            found.append(
                dataclasses.replace(reply, prompt_tokens=prompt, completion_tokens=sampled, seconds=completion.seconds)
            )
        return sorted(found, key=lambda reply: (reply.key, reply.sample))

    def _opened(self) -> Engine:
        if self.engine is None:
            from posttrain.evals.engines import open_engine

            self.engine, self.tokenizer = open_engine(
                self.model,
                self.config.engine,
                dtype=self.config.dtype,
                device=self.work.device,
                batch=self.config.max_batch,
                vllm=self.config.vllm,
                logs=self.work.state / "vllm",
            )
        return self.engine

    def close(self) -> None:
        """Closes the engine, where one was opened."""
        if self.engine is not None:
            self.engine.close()


def put(config: TracesConfig, question: str) -> str:
    """The user's turn that asks a question."""
    return question if config.prompt is None else config.prompt.replace("{question}", question)


def _reply(key: str, sample: int, text: str, model: str, *, cut: bool = False) -> Reply:
    parted = split_reasoning({"content": text}, "raw")
    return Reply(
        key=key,
        sample=sample,
        text=parted.text,
        reasoning=parted.reasoning,
        reasoning_kind=parted.kind,
        finish_reason="length" if cut or parted.unclosed else "stop",
        prompt_tokens=None,
        completion_tokens=None,
        reasoning_tokens=None,
        cached_tokens=None,
        cost=0.0,
        seconds=0.0,
        model=model,
        attempts=1,
    )
