"""Graded text to supervised token sequences, and the Tokens artifact that keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.errors import DataError, ModelError
from posttrain.models import save_model
from posttrain.prompts import Example

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.prompts import Template
    from posttrain.records import Sample
    from posttrain.store import Checkpoint

PROVENANCE = "posttrain.json"


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What became of the rows: said before training, kept in the manifest."""

    rows: int
    kept: int
    too_long: int
    empty: int
    tokens: int
    supervised: int
    longest: int


def tokenise(
    samples: Iterable[Sample], template: Template, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int
) -> tuple[list[Example], TokenReport]:
    """Examples in the samples' order. Empty responses and sequences above `max_tokens` are dropped and counted.

    DataError where nothing is left.
    """
    examples: list[Example] = []
    rows = too_long = empty = 0
    for sample in samples:
        rows += 1
        if not sample.response.strip():
            empty += 1
            continue
        example = template.example(sample.question, sample.response, tokenizer)
        if len(example.ids) > max_tokens:
            too_long += 1
            continue
        examples.append(example)
    report = TokenReport(
        rows=rows,
        kept=len(examples),
        too_long=too_long,
        empty=empty,
        tokens=sum(len(e.ids) for e in examples),
        supervised=sum(sum(e.mask) for e in examples),
        longest=max((len(e.ids) for e in examples), default=0),
    )
    if not examples:
        raise DataError(
            f"none of {rows} rows can be trained on: {empty} have no response, {too_long} are longer than "
            f"{max_tokens} tokens. Raise max_tokens or check the traces."
        )
    return examples, report


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over vocabulary and special tokens: tokenizers with one digest give the same ids the same meaning."""
    facts = {"vocabulary": tokenizer.get_vocab(), "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, of: Checkpoint) -> None:
    """ModelError where the tokenizer beside a model is not the one it was trained with.

    Our own checkpoints record their tokenizer's digest; for others, ids beyond the embedding table are the sign.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{of.label}: the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}. They are not a pair: "
            "put the tokenizer that the model was trained with beside it."
        )
    recorded = of.model_dir / PROVENANCE
    if recorded.exists():
        digest = json.loads(recorded.read_text(encoding="utf-8")).get("tokenizer")
        if digest != tokenizer_digest(tokenizer):
            raise ModelError(
                f"{of.label}: the tokenizer beside the model is not the one it was trained with (its digest differs "
                f"from {PROVENANCE}). Put the right tokenizer back."
            )


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, *, step: int) -> None:
    """An ordinary model folder plus a small file that says which step it is and which tokenizer belongs to it."""
    facts = {"step": step, "tokenizer": tokenizer_digest(tokenizer)}
    save_model(model, tokenizer, folder, extra={PROVENANCE: json.dumps(facts, indent=2)})


def examples_table(examples: Sequence[Example]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "ids": pa.array([list(e.ids) for e in examples], pa.list_(pa.int32())),
            "mask": pa.array([list(e.mask) for e in examples], pa.list_(pa.int8())),
        }
    )


def write_tokens(
    folder: Path, examples: Sequence[Example], report: TokenReport, template: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    from posttrain.store import write_json, write_table

    write_table(folder / "tokens.parquet", examples_table(examples))
    facts: dict[str, Any] = {"template": template, "tokenizer": tokenizer_digest(tokenizer), **asdict(report)}
    write_json(folder / "tokens.json", facts)


def read_tokens(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Example], TokenReport]:
    """DataError where the ids were made by another tokenizer than the model's."""
    import pyarrow.parquet as pq

    facts = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
    if facts.pop("tokenizer") != tokenizer_digest(tokenizer):
        raise DataError(
            f"{folder} was tokenised with another tokenizer than this model's: the ids would mean other words. "
            "Make it again with `preprocess` and this model."
        )
    facts.pop("template")
    rows = pq.read_table(folder / "tokens.parquet").to_pylist()
    return [Example(tuple(r["ids"]), tuple(r["mask"])) for r in rows], TokenReport(**facts)
