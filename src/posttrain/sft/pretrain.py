"""`pretrain`: a tokenizer from the corpus, a tiny model from scratch, next-token prediction on concatenated blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from posttrain.errors import DataError
from posttrain.models import pick_device, tiny_model, train_tokenizer
from posttrain.prompts import Example, document_ids
from posttrain.sft.config import PretrainConfig
from posttrain.sft.supervised import Plan, train
from posttrain.store import Problems
from posttrain.training.distributed import Ranks
from posttrain.training.policy import prepare

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.stage import Workspace


def train_from_scratch(config: PretrainConfig, corpus: Problems, work: Workspace, ranks: Ranks) -> None:
    """What `pretrain` does in every rank."""
    rows = corpus.read(config.split)
    texts = [p.question if p.solution is None else f"{p.question}\n{p.solution}" for p in rows]
    tokenizer = train_tokenizer(texts, config.model.vocabulary)
    blocks = concatenate_and_cut(texts, tokenizer, config.block)
    model = tiny_model(tokenizer, config.model, seed=work.derive("weights")).to(pick_device(work.device))
    prepare(config, model)
    work.note(
        f"{sum(p.numel() for p in model.parameters()):,} weights, {len(tokenizer)} words of vocabulary, "
        f"{len(blocks) * config.block:,} tokens of text"
    )
    plan = Plan(blocks, config.batch_size, config.steps, "token_mean", "pretrain")
    train(config, plan, model, tokenizer, work, ranks)


def concatenate_and_cut(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, block: int) -> list[Example]:
    """Documents end to end (each closed by the end-of-text token), cut into blocks of `block` ids; the tail is dropped.

    DataError when the corpus is shorter than one block.
    """
    ids = [i for text in texts for i in document_ids(text, tokenizer)]
    mask = (1,) * block
    blocks = [Example(tuple(ids[i : i + block]), mask) for i in range(0, len(ids) - block + 1, block)]
    if not blocks:
        raise DataError(f"the corpus has {len(ids)} tokens, fewer than one block of {block}. Give more text.")
    return blocks
