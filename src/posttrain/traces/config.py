"""What the `traces` stage is asked. No torch here, and no client: planning reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from posttrain.config import Config
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.errors import PosttrainError
from posttrain.providers import Teacher, get_teacher
from posttrain.traces.cleaning import CLEANER

COPYING = ("reference", "flawed")  # the problems' own solutions, as they are
SOLVERS = ("solver", "flawed-solver")  # the same as replies, through everything that a reply goes through
LOCAL = "local"  # an engine on this machine, with the `model` input
BUILT_IN = (*COPYING, *SOLVERS, LOCAL)

_HOW: dict[str, Any] = {"fingerprint": False}  # how it is asked, not what comes out


class BatchConfig(Config):
    """Asking by a provider's batch interface, which takes hours and costs half."""

    kind: Literal["auto", "openai", "gemini", "fireworks"] = "auto"
    """auto: by the teacher's address; openai for all that take files of requests."""
    account: str | None = None
    """At Fireworks: the account's name."""
    size: int = Field(10_000, ge=1, le=50_000)
    """Requests in one batch."""
    poll: float = Field(60.0, gt=0)
    """Seconds between two looks at a batch."""
    rounds: int = Field(3, ge=1)
    """How often what is missing is handed over again."""


class DatasetPushConfig(Config):
    """The data set as a repository on the Hub. The token is read from HF_TOKEN and from nowhere else."""

    repo: str
    """org/name; it is made where it doesn't exist."""
    private: bool = True
    existing: Literal["refuse", "add", "replace"] = "refuse"
    """Where the repository has other content: send nothing, leave what is not ours, or take it away."""


class TracesConfig(Config):
    teacher: str | tuple[str, ...] = "reference"
    """``reference``: the problems' own solutions. ``flawed``: the same, of which a share gets a wrong answer.
    ``solver``, ``flawed-solver``: the same as replies that are cleaned and graded. ``local``: the `model` input. Else
    a provider's model (docs/traces.md lists them; `registry` and `define` add some). Several are asked at once."""
    split: str = "train"
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many problems of the split."""
    flaw_rate: float = Field(default=0.2, ge=0, le=1)
    """Share of wrong solutions; only the flawed teachers have any."""
    format: Literal["solution", "r1_zero", "think", "boxed"] = "solution"
    r"""``solution``: what the teacher answered, or a copied chain of thought with ``The answer is N.``; ``r1_zero``:
    with think and answer tags; of asked teachers also ``think``: the reasoning in think tags before the answer, and
    ``boxed``: the answer once more as ``\boxed{N}`` where there is no box."""

    samples: int = Field(default=1, ge=1)
    """Answers per problem and teacher."""
    template: str = Field("chat", json_schema_extra={"file": True})
    """How a question is put: chat, r1_zero, alpaca, plain, qwen, or a .jinja file."""
    system: str | None = None
    """The system prompt."""
    prompt: str | None = None
    """The user's turn, with ``{question}`` in it; None = the question alone."""
    temperature: float | None = Field(None, ge=0)
    """None = the provider's default; of a local teacher 1.0."""
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    """Of one answer with its reasoning. None = the provider's limit; of a local teacher 1,024."""
    retry_truncated: int | None = Field(None, ge=1)
    """Ask once more, with so many tokens, where an answer was cut off; None = such answers stay as they are."""

    clean: bool = True
    """Cut sentences about the form of the answer and echoes of the instructions (`posttrain cuts` shows them)."""
    grading: str | None = None
    """Grader spec; None = the template's."""
    keep: Literal["all", "correct"] = "all"
    """correct: only traces that the grader calls correct; the data set has both files either way."""
    allow_failed: float = Field(0.0, ge=0, le=1)
    """Share of requests that may stay without a reply; with more the stage stops, and asks for them again next time."""

    registry: Path | None = Field(None, json_schema_extra=_HOW)
    """A YAML file with teachers of your own."""
    define: dict[str, dict[str, Any]] = Field(default={}, json_schema_extra=_HOW)
    """Teachers by name, or changes to known ones: {mine: {base_url: "http://…/v1", model: m, key_env: MY_KEY}}."""
    beside: tuple[str, ...] = Field((), json_schema_extra=_HOW)
    """Teachers that are asked the same at the same time, into their journals: their own stages then ask nothing."""
    journal: Path | None = Field(None, json_schema_extra=_HOW)
    """Folder in which replies are kept; None = `journals` beside the stage's folder."""
    pilot: int | None = Field(None, ge=2, json_schema_extra=_HOW)
    """Ask so many problems first, and tell from them what all will cost."""
    max_cost: float | None = Field(None, gt=0, json_schema_extra=_HOW)
    """Dollars that the stage's teachers may cost at most, with what their journals have cost already."""
    batch: BatchConfig | None = Field(None, json_schema_extra=_HOW)
    """Ask by the provider's batch interface: {} or settings."""
    push: DatasetPushConfig | None = Field(None, json_schema_extra=_HOW)

    engine: Literal["native", "hf", "vllm"] = "native"
    """Of a local teacher."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of a local teacher."""
    max_batch: int = Field(64, ge=1, json_schema_extra=_HOW)
    """Rows that a local teacher decodes at once."""
    vllm: VLLMConfig = VLLMConfig()
    """The server of a local teacher whose engine is vllm."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """Whose traces are written."""
        return (self.teacher,) if isinstance(self.teacher, str) else self.teacher

    @property
    def asked(self) -> tuple[str, ...]:
        """Teachers of providers that are asked, those beside included; none where solutions are copied."""
        if set(self.teachers) <= set(COPYING):
            return ()
        return tuple(dict.fromkeys(name for name in (*self.teachers, *self.beside) if name not in BUILT_IN))

    def resolved(self, name: str) -> Teacher:
        """The declaration of a provider's model. PosttrainError for an unknown one."""
        return get_teacher(name, self.define.get(name), self.registry)

    def fingerprint_values(self) -> dict[str, Any]:
        """Of copying teachers only what they read; of asked ones also who they are and the cleaner's version."""
        values = super().fingerprint_values()
        if set(self.teachers) <= set(COPYING):
            return {key: values[key] for key in ("teacher", "split", "limit", "flaw_rate", "format")}
        if "flawed-solver" not in self.teachers:
            del values["flaw_rate"]
        if LOCAL not in self.teachers:
            for key in ("engine", "dtype", "vllm"):
                del values[key]
        asked = {name: self.resolved(name) for name in self.teachers if name not in BUILT_IN}
        values["asked"] = {name: _identity(teacher) for name, teacher in asked.items()}
        return values | {"cleaner": CLEANER if self.clean else None}

    @field_validator("teacher")
    @classmethod
    def _some_teachers(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or (not isinstance(value, str) and len(set(value)) < len(value)):
            raise ValueError("name one teacher, or several different ones")
        return value

    @field_validator("prompt")
    @classmethod
    def _asks_the_question(cls, value: str | None) -> str | None:
        if value is not None and "{question}" not in value:
            raise ValueError("write {question} where the question goes")
        return value

    @model_validator(mode="after")
    def _teachers_are_known(self) -> TracesConfig:
        for key, names in (("teacher", self.teachers), ("beside", self.beside)):
            for name in names:
                if name in BUILT_IN:
                    if key == "beside":
                        raise ValueError(f"'beside' is for teachers of a provider, and {name!r} asks none")
                    continue
                try:
                    self.resolved(name)
                except PosttrainError as error:
                    own = f"Of our own: {', '.join(BUILT_IN)}"
                    raise ValueError(f"'{key}' is {name!r}: {str(error).rstrip('.')}. {own}") from None
        return self

    @model_validator(mode="after")
    def _keys_fit_the_teachers(self) -> TracesConfig:
        """A key that would be ignored is an error: whoever wrote it expects something of it."""
        copying = [name for name in self.teachers if name in COPYING]
        if copying and len(self.teachers) > 1:
            raise ValueError(f"teacher {copying[0]!r} copies, and copies alone. Use 'solver' beside others")
        if copying and self.samples > 1:
            raise ValueError(
                f"samples is {self.samples}, and {copying[0]!r} has one solution of each problem. Leave it out"
            )
        if copying and self.format not in ("solution", "r1_zero"):
            raise ValueError(f"format {self.format!r} is for teachers that are asked, not for {copying[0]!r}")
        if self.max_cost is not None and self.asked and self.max_tokens is None:
            raise ValueError("max_cost can't be kept without max_tokens: an answer may cost any amount. Set max_tokens")
        if self.batch is not None and self.retry_truncated is not None:
            raise ValueError("retry_truncated is not offered in batches; leave one of the two out")
        for name in self.asked:
            if self.max_cost is not None and self.resolved(name).prices is None:
                raise ValueError(
                    f"max_cost can't be kept: no price of teacher {name!r} is known. Give it: "
                    f"define: {{{name}: {{prices: {{input: …, output: …}}}}}} (dollars per million tokens)"
                )
        return self


def _identity(teacher: Teacher) -> dict[str, Any]:
    """What of a teacher changes its answers."""
    quirks = teacher.quirks
    return {"model": teacher.model, "drop": list(quirks.drop), "extra_body": dict(quirks.extra_body)}
