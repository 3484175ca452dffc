"""Graded text to supervised token sequences, and the Tokens artifact that keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from posttrain.errors import DataError, ModelError
from posttrain.models import save_model
from posttrain.prompts import Example, LossOn, read_turns, with_input

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.prompts import Template
    from posttrain.records import Sample
    from posttrain.store import Checkpoint

PROVENANCE = "posttrain.json"


Overlong = Literal["drop", "truncate", "error"]


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What became of the rows: said before training, kept in the manifest.

    rows = kept + too_long + empty + unsupervised. `truncated` rows were kept without their end; `cut` and `dropped` are
    the tokens that were lost with ends and with whole rows.
    """

    rows: int
    kept: int
    too_long: int
    empty: int
    tokens: int
    supervised: int
    longest: int
    unsupervised: int = 0
    truncated: int = 0
    cut: int = 0
    dropped: int = 0
    ended: int = 0  # rows whose last token ends the answer and carries loss
    median: int = 0

    def lines(self) -> list[str]:
        """What a person is told before training."""
        said = [
            f"{self.kept} of {self.rows} rows, {self.tokens:,} tokens of which {self.supervised:,} carry loss; "
            f"length {self.median} in the middle, {self.longest} at most"
        ]
        lost = {"too long": self.too_long, "without a response": self.empty, "without loss": self.unsupervised}
        if any(lost.values()):
            said.append(
                "left out: " + ", ".join(f"{n} {why}" for why, n in lost.items() if n) + f" ({self.dropped:,} tokens)"
            )
        if self.truncated:
            said.append(f"cut short: {self.truncated} rows by {self.cut:,} tokens; they don't teach where to stop")
        return said


def example_of(sample: Sample, template: Template, tokenizer: PreTrainedTokenizerBase, loss_on: LossOn) -> Example:
    """A sample's ids and mask: its turns where it has several, else its question and response."""
    messages = sample.extra.get("messages")
    if messages is not None:
        turns = read_turns(messages, sample.problem_id)
        return template.conversation(turns, tokenizer, loss_on=loss_on)
    if template.name == "alpaca" and sample.extra.get("input"):
        template = with_input(template, str(sample.extra["instruction"]), str(sample.extra["input"]))
    return template.example(sample.question, sample.response, tokenizer, loss_on=loss_on)


@dataclass(slots=True)
class _Counts:
    """What became of the rows so far; the names are TokenReport's."""

    rows: int = 0
    too_long: int = 0
    empty: int = 0
    unsupervised: int = 0
    truncated: int = 0
    cut: int = 0
    dropped: int = 0
    ended: int = 0


def tokenise(
    samples: Iterable[Sample],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    overlong: Overlong = "drop",
    loss_on: LossOn = "response",
) -> tuple[list[Example], TokenReport]:
    """Examples in the samples' order. Rows without a response are dropped and counted.

    overlong: sequences above `max_tokens` are dropped, lose their end, or are an error; what is lost is counted. A row
    that is cut before its first supervised token is dropped.
    DataError where nothing is left, or where no row is left that teaches the model to stop.
    """
    examples: list[Example] = []
    counts, end = _Counts(), template.end(tokenizer)
    for sample in samples:
        counts.rows += 1
        if not sample.response.strip():
            counts.empty += 1
            continue
        whole = example_of(sample, template, tokenizer, loss_on)
        if overlong == "error" and len(whole.ids) > max_tokens:
            raise DataError(
                f"{sample.problem_id} has {len(whole.ids)} tokens, more than max_tokens {max_tokens}. Raise "
                "max_tokens, or say overlong: drop or truncate."
            )
        example = _fitted(whole, max_tokens, overlong, counts)
        if example is not None:
            counts.ended += example.ids[-1] == end and example.mask[-1] == 1
            examples.append(example)
    lengths = sorted(len(e.ids) for e in examples)
    report = TokenReport(
        kept=len(examples),
        tokens=sum(lengths),
        supervised=sum(sum(e.mask) for e in examples),
        longest=max(lengths, default=0),
        median=lengths[len(lengths) // 2] if lengths else 0,
        **asdict(counts),
    )
    _check(report, max_tokens)
    return examples, report


def _fitted(whole: Example, max_tokens: int, overlong: Overlong, counts: _Counts) -> Example | None:
    """The example, or its beginning; None where it is left out. What is lost is counted."""
    over = len(whole.ids) - max_tokens
    if over > 0 and overlong == "drop":
        counts.too_long += 1
        counts.dropped += len(whole.ids)
        return None
    example = Example(whole.ids[:max_tokens], whole.mask[:max_tokens]) if over > 0 else whole
    if not any(example.mask[1:]):
        counts.unsupervised += 1
        counts.dropped += len(whole.ids)
        return None
    if over > 0:
        counts.truncated += 1
        counts.cut += over
    return example


def _check(report: TokenReport, max_tokens: int) -> None:
    if not report.kept:
        raise DataError(
            f"none of {report.rows} rows can be trained on: {report.empty} have no response, {report.too_long} are "
            f"longer than {max_tokens} tokens, {report.unsupervised} have no token with loss. Raise max_tokens or "
            "check the traces."
        )
    if not report.ended:
        raise DataError(
            f"all {report.kept} rows were cut at max_tokens {max_tokens} before their end: a model trained on them "
            "would never learn to stop. Raise max_tokens, or say overlong: drop."
        )


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over vocabulary and special tokens: tokenizers with one digest give the same ids the same meaning."""
    facts = {"vocabulary": tokenizer.get_vocab(), "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, of: Checkpoint) -> None:
    """ModelError where the tokenizer beside a model is not the one it was trained with.

    Our own checkpoints record their tokenizer's digest; for others, ids beyond the embedding table are the sign.
    """
    rows = int(model.get_input_embeddings().num_embeddings)  # its weight may be cut in parts
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


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    step: int,
    state: dict[str, Tensor] | None = None,
) -> None:
    """An ordinary model folder plus a small file that says which step it is and which tokenizer belongs to it.

    state: the weights, where the module holds only a part of them.
    """
    facts = {"step": step, "tokenizer": tokenizer_digest(tokenizer)}
    save_model(model, tokenizer, folder, extra={PROVENANCE: json.dumps(facts, indent=2)}, state=state)


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
