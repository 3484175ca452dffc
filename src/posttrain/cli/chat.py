"""``posttrain chat MODEL``: talk to a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@click.command()
@click.argument("model")
@click.option("--revision", help="Of a hub model.")
@click.option("--system", help="A system prompt.")
@click.option("--temperature", default=0.7, show_default=True, help="0 = greedy.")
@click.option("--top-p", default=1.0, show_default=True)
@click.option("--max-tokens", default=512, show_default=True, help="Of one answer.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
def chat(
    model: str,
    revision: str | None,
    system: str | None,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    device: str,
    dtype: str,
) -> None:
    """Talk to MODEL, a checkpoint, model folder or hub name, through its own chat template.

    One line is one turn; /new forgets the conversation; an empty line or end of input leaves. Lines may be piped in:
    then only the answers are printed.
    """
    from posttrain import engines
    from posttrain.models import load_model, load_tokenizer
    from posttrain.prompts import chat_ids, get_template
    from posttrain.seeding import derive
    from posttrain.store import Checkpoint

    ref = Checkpoint(Path(model)).ref
    tokenizer = load_tokenizer(ref, revision=revision)
    module = load_model(ref, revision=revision, dtype=dtype, device=device)
    stops = get_template("chat").stop_token_ids(tokenizer)
    engine = engines.NativeEngine(module, pad_id=stops[0], max_batch=1)
    sampling = engines.Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, stop_token_ids=stops)
    opening = [{"role": "system", "content": system}] if system else []
    turns = list(opening)
    for number, line in enumerate(_lines()):
        if line == "/new":
            turns = list(opening)
            continue
        turns.append({"role": "user", "content": line})
        prompt = engines.Prompt(f"turn {number}", tuple(chat_ids(turns, tokenizer)), derive(seed, "chat", number))
        answer = ""
        for piece in _pieces(engine.stream(prompt, sampling), stops, tokenizer):
            click.echo(piece, nl=False)
            answer += piece
        click.echo()
        turns.append({"role": "assistant", "content": answer})


def _lines() -> Iterator[str]:
    """Turns from a terminal (with a prompt sign) or from a pipe."""
    terminal = sys.stdin.isatty()
    while True:
        if terminal:
            click.secho("> ", nl=False, bold=True)
        line = sys.stdin.readline()
        if not line.strip() and (terminal or not line):
            return
        if line.strip():
            yield line.strip()


def _pieces(ids: Iterator[int], stops: tuple[int, ...], tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Text as it becomes certain: a character whose bytes are not all there yet waits."""
    kept: list[int] = []
    shown = ""
    for token in ids:
        if token in stops:
            break
        kept.append(token)
        text = str(tokenizer.decode(kept))
        if not text.endswith("�"):
            yield text[len(shown) :]
            shown = text
    rest = str(tokenizer.decode(kept))[len(shown) :]
    if rest:
        yield rest
