"""``posttrain serve MODEL``: a checkpoint over the OpenAI protocol."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@click.command()
@click.argument("model")
@click.option("--revision", help="Of a hub model.")
@click.option("--adapter", type=click.Path(exists=True, file_okay=False), help="Folder of a LoRA adapter for MODEL.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines ask.")
@click.option("--port", default=8000, show_default=True, help="0 takes any that is free.")
@click.option("--name", help="What clients call the model; MODEL's own name where left out.")
@click.option("--max-batch", default=64, show_default=True, help="Samples that run at once.")
@click.option("--max-context", type=int, help="Tokens of prompt and answer together; the model's where left out.")
@click.option("--max-tokens", type=int, help="Longest answer a client may ask for.")
@click.option("--kv-budget", type=int, help="Tokens of keys and values at once, over all samples.")
@click.option("--prefill-chunk", default=2048, show_default=True, help="Prompt tokens between two steps of the others.")
@click.option("--key-env", help="Environment variable with a key that clients must send.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
def serve(
    model: str,
    revision: str | None,
    adapter: str | None,
    host: str,
    port: int,
    name: str | None,
    max_batch: int,
    max_context: int | None,
    max_tokens: int | None,
    kv_budget: int | None,
    prefill_chunk: int,
    key_env: str | None,
    device: str,
    dtype: str,
) -> None:
    """Offer MODEL, a checkpoint, model folder or hub name, over the OpenAI protocol, with the native engine.

    Completions (text or token ids) and chat, streaming, log-probabilities, seeds; requests of all connections share one
    running batch. Prints its address when it answers; ends with Ctrl-C.
    """
    from posttrain.engines import NativeEngine
    from posttrain.engines.server.app import Server, bind, run
    from posttrain.models import load_model, load_tokenizer
    from posttrain.prompts import get_template
    from posttrain.store import Checkpoint

    key = _key(key_env)
    with bind(host, port) as bound:
        ref = Checkpoint(Path(model)).ref
        tokenizer = load_tokenizer(ref, revision=revision)
        if adapter is None:
            module = load_model(ref, revision=revision, dtype=dtype, device=device)
        else:
            module = _adapted(ref, revision, Path(adapter), dtype, device)
        ends = get_template("chat" if tokenizer.chat_template else "plain").stop_token_ids(tokenizer)
        engine = NativeEngine(
            module,
            pad_id=ends[0],
            max_batch=max_batch,
            max_context=max_context,
            tokenizer=tokenizer,
            kv_budget=kv_budget,
            prefill_chunk=prefill_chunk,
        )
        served = name or Path(model).name
        server = Server(engine, tokenizer, served, ends=ends, max_tokens=max_tokens, key=key)
        address = bound.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        click.echo(f"{served} at http://{shown}:{address[1]}/v1")
        if engine.fallback:
            click.echo(f"by the module's own forward, slower than the lean path: {engine.fallback}", err=True)
        run(server, bound)


def _key(name: str | None) -> str | None:
    from posttrain.errors import EngineError

    if name is None:
        return None
    value = os.environ.get(name)
    if not value:
        raise EngineError(f"serve: the environment variable {name} of --key-env is not set. Set it to the key wanted.")
    return value


def _adapted(ref: str, revision: str | None, adapter: Path, dtype: str, device: str) -> PreTrainedModel:
    """MODEL with the adapter in its weights, put there in float32."""
    from posttrain.hub import resolve_model
    from posttrain.models import load_model
    from posttrain.models.base import BASE, check_base, read_base
    from posttrain.models.load import DTYPES
    from posttrain.models.lora import merged

    if (adapter / BASE).is_file():  # of our own; those of other tools say nothing of their base's weights
        check_base(adapter, read_base(adapter), resolve_model(ref, revision))
    whole: Any = merged(load_model(ref, revision=revision), adapter)
    model: PreTrainedModel = whole.to(device=device, dtype=DTYPES[dtype]).eval()
    return model
