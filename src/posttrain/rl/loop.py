"""Reinforcement learning on verifiable rewards, from top to bottom.

    draw prompts → groups of rollouts, graded while others are still sampled → rewards → advantages
    → micro-batches → objective through the one aggregator → optimizer steps → weights to the engine
    → checkpoint, validation

What this loop leaves out: a critic, a learned reward model, several turns. With `staleness: 0`, `updates: 1` and
`passes: 1` every rollout is used once, on-policy, and logπ_old is this very forward pass: the ratio is exactly 1.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import torch

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.opening import open_engine
from posttrain.errors import DataError, EngineError, TrainingError
from posttrain.evals import with_stops
from posttrain.grading import prepare
from posttrain.models import adapters_off, has_adapters, load_tokenizer
from posttrain.prompts import get_template
from posttrain.rl.certificate import certify_determinism, certify_end, certify_selection, certify_served, certify_start
from posttrain.rl.config import RLConfig
from posttrain.rl.diagnoses import Watch, diagnose
from posttrain.rl.drawing import Drawer
from posttrain.rl.feed import Feed
from posttrain.rl.journal import Journal, chosen_keys, write_tokens
from posttrain.rl.learner import Learner, Reference
from posttrain.rl.rewards import load_function
from posttrain.rl.rollouts import Batch, Collector, rollout_of
from posttrain.seeding import derive
from posttrain.store import Checkpoint, Problems
from posttrain.training.checkpoint import Saver
from posttrain.training.keeper import Keeper
from posttrain.training.policy import identity, load_policy
from posttrain.training.tokenise import check_tokenizer, tokenizer_digest
from posttrain.training.update import Updater, memory_watched
from posttrain.training.validation import open_validation

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.prompts import Template
    from posttrain.records import Problem
    from posttrain.stage import Workspace


def reinforce(config: RLConfig, model: Checkpoint, problems: Problems, work: Workspace) -> None:
    """Trains from `model` and writes `model/`, rollouts, metrics and certificate lines."""
    with ExitStack() as closing:  # a server does not outlive its stage, however that ends
        _reinforce(config, model, problems, work, closing)


def _reinforce(config: RLConfig, model: Checkpoint, problems: Problems, work: Workspace, closing: ExitStack) -> None:
    for key, (preset, ours) in config.overrides().items():
        work.note(f"{config.algorithm} with {key} {ours} in place of {preset}")
    template = get_template(config.template, system=config.system)
    prepare(config.grading or template.grading)  # a missing sandbox is said now, not after the first rollouts
    tokenizer = load_tokenizer(model.ref, revision=model.revision)
    policy = load_policy(config, model, work).eval()  # without dropout: sampled and trained are one distribution
    check_tokenizer(policy, tokenizer, model)
    pad_id = int(tokenizer.pad_token_id)
    train_problems = problems.read(config.split)
    check_lengths(train_problems, template, tokenizer, policy)
    engine = open_engine(
        config.engine,
        policy,
        tokenizer,
        pad_id=pad_id,
        max_batch=config.max_batch,
        folder=work.state / "vllm",
        dtype=config.dtype,
        vllm=config.vllm,
    )
    closing.callback(engine.close)
    closing.callback(certify_served, engine, work)
    reference = _reference(policy) if config.kl else None
    updater = Updater.make(policy, config.optimizer, config.steps * config.updates * config.passes)
    outside = config.engine != "native"
    fresh = config.staleness == 0 and config.dtype == "float32" and config.top_p == 1 and not outside
    learner = Learner(config, policy, reference, updater, trust_sampler=fresh)
    drawer = Drawer(config, train_problems, work.seed)
    reward = load_function(config.reward.function) if config.reward.function else None
    collector = Collector(config, engine, tokenizer, template, reward, drawer, work.seed)
    if reference is not None and config.kl_in == "reward":
        collector.distance = lambda samples: learner.distances([rollout_of(s) for s in samples], pad_id)
    journal = Journal(work.state / "rollouts", work.dir / "rollouts")
    feed = Feed(collector, journal, config.steps, config.staleness, beside=outside)
    whose = identity(config, policy, tokenizer_digest(tokenizer))
    saver = Saver(work.state, policy, updater.optimizer, every=config.save_every, identity=whose)
    keeper = Keeper.make(config, policy, tokenizer, work)
    validator = open_validation(
        config.validation,
        problems,
        policy,
        tokenizer,
        config.template,
        work,
        system=config.system,
        grading=config.grading,
    )

    start, counters = saver.restore()
    feed.resume(start, counters.get("drawer"))
    if start:
        engine.load_weights(policy, start)
    seconds, silence = float(counters.get("seconds", 0.0)), Watch()
    work.metrics.rewind(start or -1)  # a fresh start logs its step 0 again
    if start == 0:
        held_out = [p for p in problems.read() if p.split != config.split]
        certify_selection(train_problems, held_out, work)
        probe = _probe(config, train_problems, template, tokenizer, work.seed)
        certify_determinism(engine, *probe, work)
        if validator is not None and (scores := validator.maybe(0, config.steps)):
            work.metrics.log(0, **scores)
    done = start
    with work.progress(config.steps, "rl", "steps") as bar, memory_watched(config):
        bar.skip(start)
        for step in range(start, config.steps):
            began, done = time.perf_counter(), step + 1
            try:
                batch = feed.next(step)
            except (EngineError, TrainingError):
                saver.save(step, {"seconds": seconds, "drawer": feed.drawn})  # nothing was learned since
                raise
            if step == 0:
                certify_start(config, batch.rollouts, policy, pad_id, work)
            stored = bool(config.keep_rollouts) and done % config.keep_rollouts == 0
            keys = [r.key for r in batch.rollouts if r.advantage] if stored else []
            learner.watch = chosen_keys(keys, config.keep_tokens, work.seed, done)
            trained = learner.learn(batch.rollouts, step, pad_id)
            feed.finish()
            engine.load_weights(policy, done)
            if stored:
                write_tokens(feed.journal.keep(done), done, learner.watched)
            taken = time.perf_counter() - began
            seconds += taken
            row = {**batch.metrics, **trained, **_rates(batch, trained, taken), "seconds": seconds}
            work.metrics.log(done, **row)
            bar.update(1, reward=batch.metrics["reward"], accuracy=batch.metrics["accuracy"])
            if (trouble := silence.look(row)) is not None:
                work.note(f"step {done}: {trouble}")
            if validator is not None and (scores := validator.maybe(done, config.steps)):
                work.metrics.log(done, **scores)
            keeper.step(done, config.steps)
            if keeper.stopped(done):
                break
            if done < config.steps and saver.maybe(done, {"seconds": seconds, "drawer": feed.drawn}):
                feed.journal.forget(done)

    keeper.finish(done, probe=[template.prompt_ids(p.question, tokenizer) for p in train_problems[:8]])
    _conclude(config, done, seconds, work)


def _reference(policy: PreTrainedModel) -> Reference:
    """The starting weights: the base below adapters is shared, of a model that is trained whole a copy is kept."""
    if has_adapters(policy):
        return Reference(policy, functools.partial(adapters_off, policy))
    return Reference(copy.deepcopy(policy).requires_grad_(False))


def check_lengths(
    problems: Sequence[Problem], template: Template, tokenizer: PreTrainedTokenizerBase, policy: PreTrainedModel
) -> None:
    """DataError before the first step for prompts that leave no room for an answer, and not in the middle of the run.

    A token is at least a byte of text, so only prompts with as many bytes as the window has tokens are tokenised.
    """
    window = int(getattr(policy.config, "max_position_embeddings", 0) or 0)
    around = len(template.prompt_ids("", tokenizer))
    long = [
        (p.id, n)
        for p in problems
        if window
        and len(p.question.encode()) + around >= window
        and (n := len(template.prompt_ids(p.question, tokenizer))) >= window
    ]
    if long:
        raise DataError(
            f"{len(long)} of {len(problems)} prompts are as long as the model's window of {window} tokens or longer "
            f"(the first, {long[0][0]!r}, has {long[0][1]}): they leave no room for an answer. Drop them from the "
            "problems, use a shorter template, or a model with a longer window."
        )


def _probe(
    config: RLConfig, problems: Sequence[Problem], template: Template, tokenizer: PreTrainedTokenizerBase, seed: int
) -> tuple[list[Prompt], Sampling]:
    """A few prompts, and the run's sampling for them."""
    asked = [
        Prompt(p.id, tuple(template.prompt_ids(p.question, tokenizer)), derive(seed, "probe", p.id))
        for p in problems[:4]
    ]
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=min(config.max_tokens, 32))
    return asked, with_stops(sampling, template, tokenizer)


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
