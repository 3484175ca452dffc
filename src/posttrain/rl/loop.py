"""Reinforcement learning on verifiable rewards, from top to bottom.

    draw prompts → groups of rollouts, graded while others are still sampled → rewards → advantages
    → micro-batches → objective through the one aggregator → optimizer steps → weights to the engine
    → checkpoint, validation

What this loop leaves out: a critic, a learned reward model, several turns. With `staleness: 0`, `updates: 1` and
`passes: 1` every rollout is used once, on-policy, and logπ_old is this very forward pass: the ratio is exactly 1.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import torch

from posttrain.errors import EngineError, TrainingError
from posttrain.rl.certificate import certify_determinism, certify_end, certify_selection, certify_start
from posttrain.rl.config import RLConfig
from posttrain.rl.diagnoses import Watch, diagnose
from posttrain.rl.journal import chosen_keys, write_tokens
from posttrain.rl.parts import Parts, open_parts
from posttrain.rl.rollouts import Batch
from posttrain.store import Checkpoint, Problems
from posttrain.training.distributed import Ranks
from posttrain.training.plot import draw_loss
from posttrain.training.update import memory_watched

if TYPE_CHECKING:
    from posttrain.stage import Workspace


def reinforce(
    config: RLConfig, model: Checkpoint, problems: Problems, work: Workspace, ranks: Ranks | None = None
) -> None:
    """What `rl` does in every rank: trains from `model`, and writes rollouts, metrics, certificate lines, `model/`."""
    ranks = ranks or Ranks()
    with ExitStack() as closing:  # a server does not outlive its stage, however that ends
        parts = open_parts(config, model, problems, work, closing, ranks)
        feed, saver = parts.feed, parts.saver
        start, seconds = _begin(config, parts, problems, work)
        done, silence = start, Watch()
        with work.progress(config.steps, "rl", "steps") as bar, memory_watched(config):
            bar.skip(start)
            for step in range(start, config.steps):
                began, done = time.perf_counter(), step + 1
                try:
                    batch = feed.next(step)
                except (EngineError, TrainingError):
                    if not ranks.sharded:  # the other ranks don't know that they would have to give their parts
                        saver.save(step, {"seconds": seconds, "drawer": feed.drawn})  # nothing was learned since
                    raise
                if step == 0 and ranks.first:
                    certify_start(config, batch.rollouts, parts.sampled, parts.pad_id, work)
                trained = _learn(config, parts, batch, step, work.seed)
                feed.finish()
                parts.serve(done)
                taken = time.perf_counter() - began
                seconds += taken
                row = {**batch.metrics, **trained, **_rates(batch, trained, taken), "seconds": seconds}
                work.metrics.log(done, **row)
                bar.update(1, reward=batch.metrics["reward"], accuracy=batch.metrics["accuracy"])
                if (trouble := silence.look(row)) is not None:
                    work.note(f"step {done}: {trouble}")
                if parts.validator is not None and (scores := parts.validator.maybe(done, config.steps)):
                    work.metrics.log(done, **scores)
                parts.keeper.step(done, config.steps)
                if parts.keeper.stopped(done):
                    break
                saved = done < config.steps and saver.maybe(done, {"seconds": seconds, "drawer": feed.drawn})
                if saved and ranks.first:
                    feed.journal.forget(done)
        asked = [parts.template.prompt_ids(p.question, parts.tokenizer) for p in parts.problems[:8]]
        parts.keeper.finish(done, probe=asked)
        if ranks.first:
            _conclude(config, done, seconds, work)


def _begin(config: RLConfig, parts: Parts, problems: Problems, work: Workspace) -> tuple[int, float]:
    """(steps done, seconds they took): from the state an interrupted attempt left, or from nothing, which is checked
    and validated first."""
    start, counters = parts.saver.restore()
    parts.feed.resume(start, counters.get("drawer"))
    work.metrics.rewind(start or -1)  # a fresh start logs its step 0 again
    if start:
        parts.serve(start)
        return start, float(counters.get("seconds", 0.0))
    if parts.engine is None:
        return 0, 0.0
    held_out = [p for p in problems.read() if p.split != config.split]
    certify_selection(parts.problems, held_out, work)
    certify_determinism(parts.engine, *parts.probe(config, work.seed), work)
    if parts.validator is not None and (scores := parts.validator.maybe(0, config.steps)):
        work.metrics.log(0, **scores)
    return 0, 0.0


def _learn(config: RLConfig, parts: Parts, batch: Batch, step: int, seed: int) -> dict[str, float]:
    """The optimizer steps of one batch; where its rollouts are kept, some with every token's numbers."""
    done = step + 1
    stored = parts.engine is not None and bool(config.keep_rollouts) and done % config.keep_rollouts == 0
    keys = [r.key for r in batch.rollouts if r.advantage] if stored else []
    parts.learner.watch = chosen_keys(keys, config.keep_tokens, seed, done)
    trained = parts.learner.learn(batch.rollouts, step, parts.pad_id)
    if stored:
        write_tokens(parts.feed.journal.keep(done), done, parts.learner.watched)
    return trained


def _rates(batch: Batch, trained: dict[str, float], taken: float) -> dict[str, float]:
    """Speeds of a step by phase, and the memory that this process holds."""
    m = batch.metrics
    memory = {"memory_gb": psutil.Process().memory_info().rss / 2**30}
    if torch.cuda.is_available():
        memory["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 2**30
    return {
        "samples_per_s": len(batch.samples) / taken,
        "effective_samples_per_s": m["effective_samples"] / taken,
        "sampled_tokens_per_s": m["sampled_tokens"] / m["seconds_sampling"] if m.get("seconds_sampling") else 0.0,
        "trained_tokens_per_s": trained.get("trained_tokens", 0) / max(trained["seconds_training"], 1e-9),
        **memory,
    }


def _conclude(config: RLConfig, done: int, seconds: float, work: Workspace) -> None:
    rows = work.metrics.read()
    draw_loss(rows, work.dir / "loss.png")
    certify_end(config, rows, work)
    for note in (notes := diagnose(rows)):
        work.note(note)
    steps = [r for r in rows if "reward" in r]
    work.summarise(
        steps=done,
        **({"algorithm": config.algorithm} if config.algorithm else {}),
        reward_first=steps[0]["reward"],
        reward_last=steps[-1]["reward"],
        rollouts=sum(int(r["rollouts"]) for r in steps),
        effective_samples=sum(int(r["effective_samples"]) for r in steps),
        seconds=seconds,
        notes=notes,
    )
