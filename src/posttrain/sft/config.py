"""Schemas of the supervised stages. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from posttrain.models.config import TinyConfig
from posttrain.training.config import SHARDED, TrainingConfig, ValidationConfig

LossKernel = Literal["ours", "liger"]


class PretrainConfig(TrainingConfig):
    """A tokenizer and a tiny model from scratch, trained on the corpus's plain text."""

    model: TinyConfig = TinyConfig()
    split: str = "train"
    """Split of the corpus."""
    steps: int = Field(200, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(32, ge=1)
    """Blocks per optimizer step."""
    block: int = Field(128, ge=8)
    """Tokens per block; documents are concatenated and cut."""

    @model_validator(mode="after")
    def _nothing_to_adapt(self) -> PretrainConfig:
        if self.lora is not None:
            raise ValueError("'lora' adapts a trained model, and pretrain starts from nothing. Leave it out")
        return self


class SFTConfig(TrainingConfig):
    """Supervised fine-tuning on traces. Give `steps` or `epochs`."""

    template: str = Field("chat", json_schema_extra={"file": True})
    """chat, qwen, r1_zero, alpaca, plain, or a .jinja file."""
    system: str | None = None
    """The system prompt of rows that bring none, where the template has one."""
    loss_on: Literal["response", "sequence", "assistant"] = "response"
    """The last answer, everything, or the assistant's every turn."""
    split: str | None = None
    """Split of the traces; None = every row."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the examples; this or steps."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; this or epochs."""
    batch_size: int = Field(32, ge=1)
    """Sequences (or blocks) per optimizer step."""
    max_tokens: int = Field(1024, ge=8)
    """Of one sequence."""
    overlong: Literal["drop", "truncate", "error"] = "drop"
    """Longer sequences are left out, cut, or refused; what is lost is counted."""
    packing: Literal["none", "documents", "concatenate"] = "none"
    """documents: micro-batches are best-fit packs of pack_tokens, each example seeing itself only; the result is that
    of none. concatenate: examples end to end, cut into blocks that are trained on as one text each."""
    pack_tokens: int | None = Field(None, ge=8)
    """Tokens of a pack (documents); None = as micro_tokens."""
    block: int = Field(512, ge=8)
    """Tokens of a block (concatenate)."""
    micro_tokens: int | None = Field(None, ge=8)
    """Tokens of a micro-batch, no effect on the result; None = as token_budget."""
    loss: Literal["per_token", "per_sequence"] = "per_token"
    """Every token of a step weighs the same, or a sequence's sum is divided by the number of sequences."""
    loss_kernel: LossKernel = Field("ours", json_schema_extra={"fingerprint": False})
    """liger: projection and cross-entropy in one kernel, on a GPU (extra `liger`). Changes speed, memory and rounding;
    entropy and accuracy of the training tokens are not known then."""
    only_correct: bool = False
    """Leave out traces whose verdict is not "correct"."""
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _one_length(self) -> SFTConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'steps' and 'epochs'")
        if self.early_stopping.patience and self.validation.beside:
            raise ValueError(
                "early_stopping decides by scores at their own step, and with validation.beside they come when they "
                "come: two runs would stop at different steps. Set beside: false, or use checkpoints.best"
            )
        sharded = self.launch.world > 1 and self.launch.strategy in SHARDED
        if self.validation.every and sharded and (not self.validation.beside or self.lora is not None):
            raise ValueError(
                f"{self.launch.strategy} cuts the weights in parts, from which nothing can be sampled while training. "
                "Set validation.beside: true (without lora), or launch.strategy: ddp"
            )
        for key, packing in (("pack_tokens", "documents"), ("block", "concatenate")):
            if key in self.model_fields_set and self.packing != packing:
                raise ValueError(f"'{key}' is read with packing: {packing} only; remove it or set packing")
        return self
