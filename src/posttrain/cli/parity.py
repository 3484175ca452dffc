"""``posttrain parity MODEL``: do an engine and the module's own forward agree?"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.engines import Prompt

# What the precision explains, in nats: of any token in float32; on average in bfloat16, where one token of a model with
# large logits may be off by more than any sensible bound. Another program's kernels round elsewhere.
LIMITS = {
    "native": {"float32": ("max", 1e-4), "bfloat16": ("mean", 1e-2)},
    "vllm": {"float32": ("max", 1e-4), "bfloat16": ("mean", 5e-2)},
}


@click.command()
@click.argument("model")
@click.option("--revision", help="Of a hub model.")
@click.option("--engine", "name", type=click.Choice(list(LIMITS)), default="native", show_default=True)
@click.option("--dtype", type=click.Choice(list(LIMITS["native"])), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--prompts", default=8, show_default=True, help="How many questions to continue.")
@click.option("--tokens", default=64, show_default=True, help="Sampled tokens per question.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Numbers for a program.")
def parity(
    model: str,
    revision: str | None,
    name: Literal["native", "vllm"],
    dtype: str,
    device: str,
    prompts: int,
    tokens: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare log-probabilities of an engine with MODEL's own forward, on text it samples.

    Two paths: the tokens as they are sampled one by one (what reinforcement learning learns from), and the same text
    scored at once. Fails (exit code 2) where one token (in bfloat16: the mean) differs by more than the precision
    explains.
    """
    from posttrain.engines import Sampling
    from posttrain.engines.opening import open_engine
    from posttrain.engines.parity import parity as scored_parity
    from posttrain.engines.parity import sampled_parity
    from posttrain.errors import EngineError
    from posttrain.models import load_model, load_tokenizer
    from posttrain.store import Checkpoint

    ref = Checkpoint(Path(model)).ref
    tokenizer = load_tokenizer(ref, revision=revision)
    module = load_model(ref, revision=revision, dtype=dtype, device=device)
    asked = _questions(tokenizer, prompts, seed)
    sampling = Sampling(max_tokens=tokens)
    pad_id = int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0)
    with tempfile.TemporaryDirectory() as logs:
        engine = open_engine(name, module, tokenizer, pad_id=pad_id, max_batch=64, folder=Path(logs), dtype=dtype)
        try:
            completions = list(engine.generate(asked, sampling))
            found = {
                "sampled": sampled_parity(engine, module, asked, sampling),
                "scored": scored_parity(engine, module, [c.prompt_ids + c.token_ids for c in completions]),
            }
        finally:
            engine.close()
    rows = {
        path: {"tokens": p.tokens, "max": p.max_difference, "mean": p.mean_difference, "kl": p.kl}
        for path, p in found.items()
    }
    which, limit = LIMITS[name][dtype]
    if as_json:
        told = {"model": model, "engine": name, "dtype": dtype, "tolerance": limit, "of": which, **rows}
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"{'path':<9}{'tokens':>8}{'max |Δ|':>12}{'mean |Δ|':>12}{'KL':>12}   (nats, {dtype})")
        for path, row in rows.items():
            click.echo(f"{path:<9}{row['tokens']:>8}{row['max']:>12.2e}{row['mean']:>12.2e}{row['kl']:>12.2e}")
    for path, row in rows.items():
        if not row[which] <= limit:  # NaN never is
            raise EngineError(
                f"parity: the engine's {path} log-probabilities differ from the module's by up to {row['max']:.2g}, on "
                f"average {row['mean']:.2g}, and {dtype} explains {limit:g} ({which}). Use another engine for "
                "this model, and report its config.json as a bug."
            )


def _questions(tokenizer: PreTrainedTokenizerBase, count: int, seed: int) -> list[Prompt]:
    """Prompts of different lengths: each is the one before and one more sum."""
    from posttrain.engines import Prompt
    from posttrain.prompts import document_ids
    from posttrain.seeding import derive

    sums = [f"{k} + {k * k} = {k + k * k}." for k in range(count)]
    return [
        Prompt(str(i), tuple(document_ids(" ".join(sums[: i + 1]), tokenizer)[:-1]), seed=derive(seed, "parity", i))
        for i in range(count)
    ]
