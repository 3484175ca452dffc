"""Steps of SFT and of RL on a GPU: ``python -m perf.gpu_training [--json FILE] [--only sft,rl]``; ``--tiny`` on a CPU.

The shapes of Qwen2.5-0.5B and 1.5B with random weights, every weight trained in bfloat16 autocast by AdamW. SFT takes
16,384 tokens a step in documents of 512; RL takes 512 episodes of 1,024 tokens (64 prompts of 128 tokens x 8), told by
phase. The peer is a plain transformers loop on the same weights, tokens and precision, by turns: the model's own loss;
for RL `generate` and whole logits. First losses must agree; exits with 1 where they don't. Utilisation is 6 operations
per weight and token, and attention's, over the nominal speed of the card. TRL is left out.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from perf.engines import HALF_B, ONE_AND_A_HALF_B, SMALL, build, generate, make_prompts
from perf.harness import Results, machine
from posttrain.engines import NativeEngine, Sampling
from posttrain.models.size import shape_of
from posttrain.prompts import Example
from posttrain.rl.config import RLConfig
from posttrain.rl.learner import Learner
from posttrain.rl.rollouts import Rollout
from posttrain.sft.supervised import supervised_step
from posttrain.training.batches import micro_batches
from posttrain.training.config import OptimizerConfig, TrainingConfig
from posttrain.training.update import Updater

NOMINAL = 989e12  # dense bfloat16 operations per second of an H100 or H200, as their maker tells
SHAPES = {"0.5B": HALF_B, "1.5B": ONE_AND_A_HALF_B}
OPTIMIZER = OptimizerConfig(lr=1e-5, schedule="constant")
AGREE = 0.02  # first losses, bfloat16 on both sides


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one step; `steps` make a round. answers: of one prompt."""

    tokens: int = 16384
    document: int = 512
    steps: int = 5
    prompts: int = 64
    answers: int = 8
    question: int = 128
    answer: int = 1024
    micro: int = 16  # sequences of the plain loop's micro-batch in RL
    repeats: int = 3


TINY = Sizes(tokens=256, document=64, steps=2, prompts=2, answers=2, question=8, answer=12, micro=2, repeats=1)


@dataclass
class Trained:
    """A model under training, and the loss of its first step."""

    model: PreTrainedModel
    first: list[float] = field(default_factory=list)

    @property
    def device(self) -> str:
        return str(self.model.device)


def fresh(shape: dict[str, int], device: str, sizes: Sizes) -> Trained:
    context = max(sizes.document, sizes.question + sizes.answer) + 8
    return Trained(build(shape, torch.float32, context).to(device).train())


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def plain_step(trained: Trained, optimizer: torch.optim.Optimizer) -> None:
    """Clips, steps, forgets; as every trainer does."""
    torch.nn.utils.clip_grad_norm_(trained.model.parameters(), OPTIMIZER.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def adamw(model: PreTrainedModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=OPTIMIZER.lr, betas=OPTIMIZER.betas, weight_decay=0.0, fused=True)


def sft(results: Results, name: str, shape: dict[str, int], device: str, sizes: Sizes) -> bool:
    """Ours beside the plain loop; whether their first losses agree."""
    draw = random.Random(0)
    count = sizes.tokens // sizes.document
    ids = [tuple(draw.randrange(shape["vocab_size"]) for _ in range(sizes.document)) for _ in range(count)]
    examples = [Example(i, (1,) * sizes.document) for i in ids]
    mine, theirs = fresh(shape, device, sizes), fresh(shape, device, sizes)
    config = TrainingConfig(dtype="bfloat16", token_budget=sizes.tokens, optimizer=OPTIMIZER)
    updater, optimizer = Updater.make(mine.model, OPTIMIZER, 1), adamw(theirs.model)

    def ours() -> int:
        for step in range(sizes.steps):
            micros = micro_batches(examples, sizes.tokens, 0, device, padded=False)
            row = supervised_step(config, "token_mean", micros, count, mine.model, updater, step)
            mine.first = mine.first or [row["loss"]]
        wait(device)
        return sizes.steps * sizes.tokens

    def plain() -> int:
        rows = torch.tensor(ids, device=device)
        for _ in range(sizes.steps):
            with torch.autocast(device.partition(":")[0], torch.bfloat16):
                loss = theirs.model(input_ids=rows, labels=rows, use_cache=False).loss
            loss.backward()
            theirs.first = theirs.first or [float(loss.detach())]
            plain_step(theirs, optimizer)
        wait(device)
        return sizes.steps * sizes.tokens

    results.compare(
        f"SFT {name}", {"posttrain": ours, "plain loop": plain}, ratio=f"sft_{name}_vs_loop", repeats=sizes.repeats
    )
    told = shape_of(mine.model.config.to_dict())
    assert told is not None
    attention = 6 * told.layers * told.heads * told.head * sizes.document  # causal: half of 12
    for row in results.rows[-2:]:
        used = (6 * told.working + attention) * row.rate / NOMINAL
        results.facts[f"utilisation, {row.name}, {row.case}"] = round(used, 4)
    return agree(results, f"SFT {name}", mine, theirs)


def rl(results: Results, name: str, shape: dict[str, int], device: str, sizes: Sizes) -> bool:
    """A step by phase, ours beside the plain loop; whether their first losses agree on the same episodes."""
    prompts = make_prompts(sizes.prompts, sizes.question, shape["vocab_size"])
    mine, theirs = fresh(shape, device, sizes), fresh(shape, device, sizes)
    phases: dict[str, dict[str, float]] = {}
    rows = sizes.prompts * sizes.answers
    config = RLConfig.model_validate(
        {
            "prompts": sizes.prompts,
            "group": sizes.answers,
            "max_tokens": sizes.answer,
            "dtype": "bfloat16",
            "token_budget": sizes.micro * (sizes.question + sizes.answer),
            "objective": "reinforce",
        }
    )
    engine = NativeEngine(mine.model, pad_id=0, max_batch=rows, dtype=torch.bfloat16)
    learner = Learner(config, mine.model, None, Updater.make(mine.model, OPTIMIZER, 1))
    optimizer = adamw(theirs.model)
    episodes: list[Rollout] = []

    def ours() -> int:
        began = time.perf_counter()
        mine.model.eval()
        sampling = Sampling(n=sizes.answers, max_tokens=sizes.answer)
        made = list(engine.generate(prompts, sampling))
        wait(device)
        sampled = time.perf_counter()
        rollouts = [
            Rollout(
                (*c.prompt_ids, *c.token_ids),
                (0,) * len(c.prompt_ids) + (1,) * len(c.token_ids),
                c.logprobs,
                1.0 if c.index % 2 else -0.5,
                (c.key, c.index),
            )
            for c in sorted(made, key=lambda c: (int(c.key), c.index))
        ]
        episodes[:] = episodes or rollouts
        row = learner.learn(rollouts, 0, 0)
        wait(device)
        mine.first = mine.first or [row["loss"]]
        phases["posttrain"] = {"sampling": sampled - began, "training": time.perf_counter() - sampled}
        return rows * sizes.answer

    def plain() -> int:
        began = time.perf_counter()
        theirs.model.eval()
        with torch.autocast(device.partition(":")[0], torch.bfloat16):
            tokens = generate(theirs.model, [p for p in prompts for _ in range(sizes.answers)], sizes.answer, rows)()
        wait(device)
        sampled = time.perf_counter()
        loss = plain_policy_step(theirs, episodes, sizes.micro, optimizer)
        wait(device)
        theirs.first = theirs.first or [loss]
        phases["plain loop"] = {"sampling": sampled - began, "training": time.perf_counter() - sampled}
        return tokens

    results.compare(
        f"RL {name}", {"posttrain": ours, "plain loop": plain}, ratio=f"rl_{name}_vs_loop", repeats=sizes.repeats
    )
    results.facts[f"seconds of a step by phase, RL {name}"] = phases
    return agree(results, f"RL {name}", mine, theirs)


def plain_policy_step(trained: Trained, episodes: list[Rollout], micro: int, optimizer: torch.optim.Optimizer) -> float:
    """−A·logπ, mean over tokens, by whole logits and padded micro-batches."""
    device, total = trained.device, sum(sum(e.mask) for e in episodes)
    value = 0.0
    for begin in range(0, len(episodes), micro):
        part = episodes[begin : begin + micro]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.ids) for e in part], batch_first=True).to(device)
        mask = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.mask) for e in part], batch_first=True).to(device)
        advantage = torch.tensor([e.advantage for e in part], device=device)[:, None]
        with torch.autocast(device.partition(":")[0], torch.bfloat16):
            logits = trained.model(input_ids=ids, use_cache=False).logits[:, :-1]
        logp = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        loss = -(advantage * logp * mask[:, 1:]).sum() / total
        loss.backward()
        value += float(loss.detach())
    plain_step(trained, optimizer)
    return value


def agree(results: Results, what: str, mine: Trained, theirs: Trained) -> bool:
    ours, others = mine.first[0], theirs.first[0]
    results.facts[f"first losses, {what}"] = {"posttrain": ours, "plain loop": others}
    right = abs(ours - others) <= AGREE * abs(others)
    print(f"{'ok  ' if right else 'FAIL'} {what}: first loss {ours:.4f}, of the plain loop {others:.4f}")
    return right


def run(only: set[str], device: str, *, tiny: bool) -> tuple[Results, bool]:
    results = Results("training on a GPU", machine())
    sizes = TINY if tiny else Sizes()
    shapes: dict[str, Any] = {"tiny": {**SMALL, "hidden_size": 64, "layers": 2}} if tiny else SHAPES
    right = True
    for name, shape in shapes.items():
        for kind, measure in (("sft", sft), ("rl", rl)):
            if kind in only:
                right = measure(results, name, shape, device, sizes) and right
                if device.startswith("cuda"):
                    torch.cuda.empty_cache()
    return results, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="sft,rl", help="sft, rl, or both")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, also on a CPU: does it run?")
    parser.add_argument("--json", type=Path, help="write the measurement here")
    options = parser.parse_args()
    if not (options.tiny or torch.cuda.is_available()):
        parser.error("there is no GPU at hand; --tiny runs the same code on the CPU")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results, right = run(set(options.only.split(",")), device, tiny=options.tiny)
    results.show()
    for name, value in results.facts.items():
        print(f"{name}: {value}")
    if options.json is not None:
        results.write(options.json)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
