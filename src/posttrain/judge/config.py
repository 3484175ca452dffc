"""What a judge is asked, and who it is. Knows no torch and no client."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from posttrain.config import Config

Task = Literal["correctness", "quality", "preference", "safety", "win_rate"]
SCRIPTED = "scripted"
LOCAL = "model"
_HOW: dict[str, Any] = {"fingerprint": False}

# What an answer's reasoning is rated for, 1 to 5, where the user names nothing else.
CRITERIA: dict[str, str] = {
    "soundness": "Does every step follow from the question or from steps before it, without a false claim?",
    "completeness": "Is everything there that the conclusion needs?",
    "clarity": "Could a reader follow it and check it?",
    "economy": "Does it come to the point, without repetition and without wandering about?",
}


class TaskConfig(Config):
    """One thing to judge."""

    task: Task
    """correctness (against the reference answer), quality (of the reasoning, by `criteria`), preference (of two
    answers, in both orders, ties allowed), safety, or win_rate (against a benchmark's reference answers, as
    AlpacaEval)."""
    benchmark: str | None = None
    """Answers to this benchmark; None = to every one that was evaluated."""
    against: str | None = None
    """preference: the name of the other model. win_rate: whose reference answers, e.g. gpt4_1106_preview; None = the
    only ones there are."""
    references: Path | None = Field(None, json_schema_extra={"file": True})
    """win_rate: rows with id and reference_outputs {name: text}, or id and output; None = the benchmark's own file."""
    limit: int | None = Field(None, ge=1)
    """Judge only so many problems, those whose hashed id comes first."""
    samples: int = Field(1, ge=1)
    """Judge so many samples of each problem."""
    orders: Literal["both", "one"] = "both"
    """Of two answers: each stands first once, or one order drawn by the problem's id (half the cost, and the judge's
    liking for a place stays in the result as noise)."""

    @model_validator(mode="after")
    def _against_whom(self) -> TaskConfig:
        if self.task == "preference" and self.against is None:
            raise ValueError("preference needs against: the name of the model to compare with")
        if self.references is not None and self.task != "win_rate":
            raise ValueError("references are for win_rate; preference takes another model's answers")
        return self


class LengthConfig(Config):
    """What the length-controlled win rate knows beside the judgements. Both files are AlpacaEval's own."""

    difficulty: Path | None = Field(None, json_schema_extra={"file": True})
    """instruction_difficulty.csv: a difficulty per instruction. None = that term is left out."""
    gamed: Path | None = Field(None, json_schema_extra={"file": True})
    """df_gamed.csv: judgements of the baseline told to be brief and to be long, which regularise the length's term."""


class JudgeConfig(Config):
    """Settings of the `judge` stage."""

    judge: str = SCRIPTED
    """A teacher's name (gpt-4o), `model` for the input `model`, or `scripted`: rules, for runs without a network."""
    teacher: dict[str, Any] = Field(default_factory=dict)
    """Over what the table of teachers says of it: {base_url: …, model: …, prices: …, limits: …}."""
    registry: Path | None = Field(None, json_schema_extra={"file": True})
    """A file of teachers of one's own."""
    tasks: tuple[TaskConfig, ...] = ()
    """Empty: win_rate for alpaca_eval, safety for simple_safety_tests, correctness for everything with reference
    answers."""
    models: tuple[str, ...] = ()
    """Judge only these; empty = all that were evaluated."""
    criteria: dict[str, str] = CRITERIA
    """For quality: what is rated from 1 to 5, and the question that says how."""
    prompts: Path | None = Field(None, json_schema_extra={"file": True})
    """A YAML file {task: {system, user}} in place of our own words."""
    labels: Path | None = Field(None, json_schema_extra={"file": True})
    """Human labels to agree with: rows with task, problem_id, label, and benchmark, model, index where that isn't
    told."""
    length: LengthConfig = LengthConfig()

    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(1024, ge=1)
    max_characters: int = Field(24_000, ge=100)
    """Of an answer that is shown to the judge; of a longer one the middle is left out."""
    budget: float | None = Field(None, gt=0, json_schema_extra=_HOW)
    """Dollars; nothing is asked that could cost more in all. None = no limit."""
    journal: Path | None = Field(None, json_schema_extra=_HOW)
    """Folder where replies are kept, and looked for before anything is asked; None = `journals` beside the stage's
    folder."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of a local judge."""
    batch: int = Field(64, ge=1, json_schema_extra=_HOW)
    """Questions that a local judge answers at once."""
    confidence: float = Field(0.95, gt=0.5, lt=1)

    def files(self) -> dict[str, Path]:
        """The user's files: their bytes count in the fingerprint."""
        named = {f"tasks.{i}.references": t.references for i, t in enumerate(self.tasks) if t.references is not None}
        return super().files() | {name: path.expanduser() for name, path in named.items() if path.is_file()}

    @model_validator(mode="after")
    def _criteria_are_there(self) -> JudgeConfig:
        if not self.criteria:
            raise ValueError("criteria is empty; name at least one, or leave it out for our own")
        return self
