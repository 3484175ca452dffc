"""What a run of reinforcement learning is made of: opened, checked and fitted to one another before the first step."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posttrain.engines.base import Engine, Prompt, Sampling
from posttrain.engines.opening import open_engine
from posttrain.errors import DataError
from posttrain.evals import with_stops
from posttrain.grading import prepare
from posttrain.models import adapters_off, has_adapters, load_tokenizer
from posttrain.prompts import get_template
from posttrain.rl.certificate import certify_served
from posttrain.rl.config import RLConfig
from posttrain.rl.drawing import Drawer
from posttrain.rl.feed import Feed
from posttrain.rl.journal import Journal
from posttrain.rl.learner import Learner, Reference
from posttrain.rl.rewards import load_function
from posttrain.rl.rollouts import Collector, rollout_of
from posttrain.seeding import derive
from posttrain.store import Checkpoint, Problems
from posttrain.training.checkpoint import Saver
from posttrain.training.keeper import Keeper
from posttrain.training.policy import identity, load_policy
from posttrain.training.tokenise import check_tokenizer, tokenizer_digest
from posttrain.training.update import Updater
from posttrain.training.validation import Watch, open_validation

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.prompts import Template
    from posttrain.records import Problem
    from posttrain.stage import Workspace


@dataclass(frozen=True, slots=True)
class Parts:
    """`problems`: those that are trained on. `validator`: None where nothing is validated."""

    problems: list[Problem]
    template: Template
    tokenizer: PreTrainedTokenizerBase
    policy: PreTrainedModel
    engine: Engine
    learner: Learner
    feed: Feed
    saver: Saver
    keeper: Keeper
    validator: Watch | None

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    def probe(self, config: RLConfig, seed: int) -> tuple[list[Prompt], Sampling]:
        """A few prompts, and the run's sampling for them."""
        asked = [
            Prompt(p.id, tuple(self.template.prompt_ids(p.question, self.tokenizer)), derive(seed, "probe", p.id))
            for p in self.problems[:4]
        ]
        sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=min(config.max_tokens, 32))
        return asked, with_stops(sampling, self.template, self.tokenizer)


def open_parts(
    config: RLConfig, model: Checkpoint, problems: Problems, work: Workspace, closing: ExitStack
) -> Parts:
    """Everything that the loop uses. What must be given back is given back when `closing` ends."""
    for key, (preset, ours) in config.overrides().items():
        work.note(f"{config.algorithm} with {key} {ours} in place of {preset}")
    template = get_template(config.template, system=config.system)
    prepare(config.grading or template.grading)  # a missing sandbox is said now, not after the first rollouts
    tokenizer = load_tokenizer(model.ref, revision=model.revision)
    policy = load_policy(config, model, work).eval()  # without dropout: sampled and trained are one distribution
    check_tokenizer(policy, tokenizer, model)
    trained = problems.read(config.split)
    check_lengths(trained, template, tokenizer, policy)
    engine = _engine(config, policy, tokenizer, work, closing)
    updater = Updater.make(policy, config.optimizer, config.steps * config.updates * config.passes)
    learner = _learner(config, policy, updater)
    saver = Saver(
        work.state,
        policy,
        updater.optimizer,
        every=config.save_every,
        identity=identity(config, policy, tokenizer_digest(tokenizer)),
    )
    return Parts(
        problems=trained,
        template=template,
        tokenizer=tokenizer,
        policy=policy,
        engine=engine,
        learner=learner,
        feed=_feed(config, trained, template, tokenizer, engine, learner, work),
        saver=saver,
        keeper=Keeper.make(config, policy, tokenizer, work),
        validator=open_validation(
            config.validation,
            problems,
            policy,
            tokenizer,
            config.template,
            work,
            system=config.system,
            grading=config.grading,
        ),
    )


def _engine(
    config: RLConfig, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Workspace, closing: ExitStack
) -> Engine:
    """What samples; its proofs go into the certificate before it is closed."""
    engine = open_engine(
        config.engine,
        policy,
        tokenizer,
        pad_id=int(tokenizer.pad_token_id),
        max_batch=config.max_batch,
        prefill_chunk=config.prefill_chunk,
        folder=work.state / "vllm",
        dtype=config.dtype,
        vllm=config.vllm,
    )
    closing.callback(engine.close)
    closing.callback(certify_served, engine, work)
    return engine


def _learner(config: RLConfig, policy: PreTrainedModel, updater: Updater) -> Learner:
    """With the reference that a KL term needs: the base below adapters is shared, of a model that is trained whole a
    copy is kept."""
    reference = None
    if config.kl and has_adapters(policy):
        reference = Reference(policy, functools.partial(adapters_off, policy))
    elif config.kl:
        reference = Reference(copy.deepcopy(policy).requires_grad_(False))
    inside = config.engine == "native"
    fresh = config.staleness == 0 and config.dtype == "float32" and config.top_p == 1 and inside
    return Learner(config, policy, reference, updater, trust_sampler=fresh)


def _feed(
    config: RLConfig,
    problems: Sequence[Problem],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    engine: Engine,
    learner: Learner,
    work: Workspace,
) -> Feed:
    """Batches of rollouts, in order."""
    drawer = Drawer(config, problems, work.seed)
    reward = load_function(config.reward.function) if config.reward.function else None
    collector = Collector(config, engine, tokenizer, template, reward, drawer, work.seed)
    if learner.reference is not None and config.kl_in == "reward":
        pad_id = int(tokenizer.pad_token_id)
        collector.distance = lambda samples: learner.distances([rollout_of(s) for s in samples], pad_id)
    journal = Journal(work.state / "rollouts", work.dir / "rollouts")
    return Feed(collector, journal, config.steps, config.staleness, beside=config.engine != "native")


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
