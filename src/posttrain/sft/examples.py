"""What `sft` trains on: traces to masked token sequences, told and shown before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from posttrain.errors import DataError
from posttrain.prompts import get_template
from posttrain.sft.config import SFTConfig
from posttrain.store import Samples, Tokens
from posttrain.training.batches import Masked, cut_blocks
from posttrain.training.preview import show
from posttrain.training.tokenise import TokenReport, read_tokens, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.prompts import Example
    from posttrain.stage import Workspace


def gather(
    config: SFTConfig, traces: Samples | Tokens, tokenizer: PreTrainedTokenizerBase, work: Workspace
) -> Sequence[Masked]:
    """The sequences of the traces, or the blocks they are cut into.

    Says how long they are and what was left out, and shows one with its mask. DataError where none can be trained on.
    """
    examples, report = _examples(config, traces, tokenizer)
    for line in report.lines():
        work.note(line)
    if not work.quiet:
        show(examples[0], tokenizer)
    work.summarise(
        left_out=report.rows - report.kept, truncated=report.truncated, tokens_cut=report.cut + report.dropped
    )
    if config.packing != "concatenate":
        return examples
    blocks = cut_blocks(examples, config.block)
    unsupervised = sum(not any(b.mask[1:]) for b in blocks)
    work.note(
        f"{len(blocks)} blocks of {config.block} tokens" + (f", {unsupervised} without loss" if unsupervised else "")
    )
    return [b for b in blocks if any(b.mask[1:])]


def _examples(
    config: SFTConfig, traces: Samples | Tokens, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Example], TokenReport]:
    if isinstance(traces, Tokens):
        return read_tokens(traces.path, tokenizer)
    rows = [s for s in traces.read() if config.split is None or s.split == config.split]
    if config.only_correct:
        rows = [s for s in rows if s.verdict is not None and s.verdict.correct]
    if not rows:
        raise DataError(
            f"{traces.label} has no rows for split {config.split!r}"
            + (" with a correct verdict" if config.only_correct else "")
            + ". Check split: and only_correct:."
        )
    return tokenise(
        rows,
        get_template(config.template, system=config.system),
        tokenizer,
        max_tokens=config.max_tokens,
        overlong=config.overlong,
        loss_on=config.loss_on,
    )
