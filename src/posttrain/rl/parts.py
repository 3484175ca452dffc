"""What a run of reinforcement learning is made of: opened, checked and fitted to one another before the first step."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
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
from posttrain.rl.feed import Copies, Feed
from posttrain.rl.journal import Journal
from posttrain.rl.learner import Learner, Reference
from posttrain.rl.rewards import UserFunction, load_functions
from posttrain.rl.rollouts import Collector, rollout_of
from posttrain.seeding import derive
from posttrain.store import Checkpoint, Problems
from posttrain.training.checkpoint import Saver
from posttrain.training.distributed import Ranks
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
    """`problems`: those that are trained on. `sampled`: what the engine reads, the policy itself or, where that is cut
    in parts over ranks, a copy. The first rank alone has an engine, and a validator where something is validated."""

    problems: list[Problem]
    template: Template
    tokenizer: PreTrainedTokenizerBase
    policy: PreTrainedModel
    sampled: PreTrainedModel
    engine: Engine | None
    learner: Learner
    feed: Feed | Copies
    saver: Saver
    keeper: Keeper
    validator: Watch | None

    def serve(self, version: int) -> None:
        """The engine samples with the policy's present weights from now on. All ranks call it."""
        weights = self.learner.ranks.weights(self.policy)
        if self.engine is not None:
            if weights is not None:
                self.sampled.load_state_dict(weights)
            self.engine.load_weights(self.sampled, version)

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
    config: RLConfig, model: Checkpoint, problems: Problems, work: Workspace, closing: ExitStack, ranks: Ranks
) -> Parts:
    """Everything that the loop uses. What must be given back is given back when `closing` ends."""
    for key, (preset, ours) in config.overrides().items():
        work.note(f"{config.algorithm} with {key} {ours} in place of {preset}")
    template = get_template(config.template, system=config.system)
    # A missing sandbox or a broken reward file is said now, not after the first rollouts.
    prepare(config.grading or template.grading)
    rewards = load_functions(config.reward) if ranks.first else {}
    tokenizer = load_tokenizer(model.ref, revision=model.revision)
    policy = load_policy(config, model, work).eval()  # without dropout: sampled and trained are one distribution
    check_tokenizer(policy, tokenizer, model)
    trained = problems.read(config.split)
    check_lengths(trained, template, tokenizer, policy)
    whose = identity(config, policy, tokenizer_digest(tokenizer))
    # Copies are made of what is whole.
    reference = _reference(policy, ranks) if config.kl else None
    sampled = copy.deepcopy(policy) if ranks.apart and ranks.first else policy
    engine = _engine(config, sampled, tokenizer, work, closing) if ranks.first else None
    updater = Updater.make(policy, config.optimizer, config.steps * config.updates * config.passes, ranks)
    inside = config.engine == "native"
    fresh = config.staleness == 0 and config.dtype == "float32" and config.top_p == 1 and inside
    learner = Learner(config, policy, reference, updater, trust_sampler=fresh)
    return Parts(
        problems=trained,
        template=template,
        tokenizer=tokenizer,
        policy=policy,
        sampled=sampled,
        engine=engine,
        learner=learner,
        feed=_feed(config, trained, template, tokenizer, engine, learner, rewards, work),
        saver=Saver(work.state, policy, updater.optimizer, every=config.save_every, ranks=ranks, identity=whose),
        keeper=Keeper.make(config, policy, tokenizer, work, ranks),
        validator=_validator(config, problems, sampled, tokenizer, work) if ranks.first else None,
    )


def _validator(
    config: RLConfig, problems: Problems, sampled: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Workspace
) -> Watch | None:
    """By the rules that rollouts are graded by."""
    return open_validation(
        config.validation,
        problems,
        sampled,
        tokenizer,
        config.template,
        work,
        system=config.system,
        grading=config.grading,
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


def _reference(policy: PreTrainedModel, ranks: Ranks) -> Reference:
    """The starting weights: the base below adapters is shared; of a model that is trained whole, or that will be cut in
    parts, a copy is kept."""
    if has_adapters(policy) and not ranks.sharded:
        return Reference(policy, functools.partial(adapters_off, policy))
    return Reference(copy.deepcopy(policy).requires_grad_(False))


def _feed(
    config: RLConfig,
    problems: Sequence[Problem],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    engine: Engine | None,
    learner: Learner,
    rewards: Mapping[str, UserFunction],
    work: Workspace,
) -> Feed | Copies:
    """Batches of rollouts, in order: made where the engine is, read elsewhere."""
    journal = Journal(work.state / "rollouts", work.dir / "rollouts")
    if engine is None:
        return Copies(journal, learner.ranks)
    drawer = Drawer(config, problems, work.seed)
    collector = Collector(config, engine, tokenizer, template, rewards, drawer, work.seed)
    if learner.reference is not None and config.kl_in == "reward":
        pad_id = int(tokenizer.pad_token_id)
        collector.distance = lambda samples: learner.distances([rollout_of(s) for s in samples], pad_id)
    beside = config.engine != "native"
    return Feed(collector, journal, config.steps, config.staleness, beside, learner.ranks)


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
