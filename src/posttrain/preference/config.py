"""Schemas of the preference stages. No torch here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.training.config import TrainingConfig


class SampleConfig(Config):
    """A model's own graded answers."""

    template: str = Field("chat", json_schema_extra={"file": True})
    """chat, r1_zero, alpaca, plain, or a .jinja file."""
    split: str = "train"
    """Split of the problems."""
    limit: int | None = Field(None, ge=1)
    """Only so many problems, the first of an order that the seed draws."""
    n: int = Field(4, ge=1)
    """Answers per problem."""
    temperature: float = Field(1.0, ge=0)
    """Of sampling; 0 = greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(256, ge=1)
    """Of one answer."""
    grading: str | None = None
    """Grader spec; None = the template's."""
    keep: Literal["all", "correct"] = "all"
    """correct: only answers that the grader calls correct."""
    max_batch: int = Field(256, ge=1, json_schema_extra={"fingerprint": False})
    """Rows the engine decodes at once."""


class PairsConfig(Config):
    """Which two answers to one problem make a pair."""

    by: Literal["verdict", "reward", "judge"] = "verdict"
    """verdict: a correct answer against a wrong one. reward: a higher reward against a lower one. judge: the same by
    what a judge said (input `judged`)."""
    margin: float = Field(0.0, ge=0)
    """By reward or judge: the least difference."""
    per_problem: int = Field(1, ge=1)
    """Pairs of one problem at most; no answer is in two of them."""
    split: str | None = None
    """Split of the samples; None = every row."""


class DPOConfig(TrainingConfig):
    """Direct preference optimization against the starting weights. Give `steps` or `epochs`."""

    starts_whole: ClassVar[bool] = True

    loss: Literal["dpo", "ipo", "dpo_norm"] = "dpo"
    """dpo, ipo, or dpo_norm: DPO on log-probabilities per token. docs/algorithms.md has the formulas."""
    beta: float = Field(0.1, gt=0)
    """How strongly the reference holds; of ipo, 1/(2·beta) is the margin that is aimed at."""
    template: str = Field("chat", json_schema_extra={"file": True})
    """chat, r1_zero, alpaca, plain, or a .jinja file."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the pairs; this or steps."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; this or epochs."""
    batch_size: int = Field(16, ge=1)
    """Pairs per optimizer step."""
    max_tokens: int = Field(1024, ge=8)
    """A pair with a longer sequence is dropped and counted."""

    @model_validator(mode="after")
    def _one_length(self) -> DPOConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'steps' and 'epochs'")
        return self
