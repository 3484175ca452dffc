"""Schema of the `rl` stage. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.rl.algorithms.presets import overridden, with_preset
from posttrain.training.config import TrainingConfig, ValidationConfig

AlgorithmName = Literal[
    "reinforce",
    "reinforce_baseline",
    "rloo",
    "grpo",
    "dr_grpo",
    "dapo",
    "gspo",
    "cispo",
    "reinforce++",
]
AdvantageName = Literal["none", "group_mean", "group_norm", "leave_one_out", "batch_norm"]
ObjectiveName = Literal["reinforce", "ppo_clip", "gspo", "cispo"]
AggregationName = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]


class RewardConfig(Config):
    """Weighted sum of components. Functions are the user's own code, ``file.py:name``, with TRL's signature.

    `reward: file.py:name` in a recipe is short for that function alone: {function: file.py:name, correct: 0}.
    """

    correct: float = 1.0
    """Weight of a correct answer."""
    format: float = 0.0
    """Weight of a kept format."""
    function: str | dict[str, float] | None = None
    """file.py:name with TRL's signature: called with prompts, completions, completion_ids, answer and the problems'
    other fields as keywords; a list of numbers (None = undecided) comes back. Several: {file.py:name: weight, …}."""
    function_weight: float = 1.0
    """Of one function."""
    timeout: float = Field(60.0, gt=0)
    """Seconds one call of the user's function may take."""

    @model_validator(mode="before")
    @classmethod
    def _a_function_alone(cls, values: Any) -> Any:
        return {"correct": 0.0, "function": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _components_have_names_of_their_own(self) -> RewardConfig:
        names = ["correct", "format", "overlong", "kl", *(name for name, _, _ in self.functions)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two components of the reward are called {twice[0]!r}. Rename the function")
        return self

    @property
    def functions(self) -> list[tuple[str, str, float]]:
        """(component, file.py:name, weight) of each: the component is `function`, of several each its own name."""
        if self.function is None:
            return []
        if isinstance(self.function, str):
            return [("function", self.function, self.function_weight)]
        return [(target.rpartition(":")[2], target, weight) for target, weight in self.function.items()]

    def files(self) -> dict[str, Path]:
        """The functions' files: their bytes count in the fingerprint, and not only their names."""
        found = {name: Path(target.rpartition(":")[0]) for name, target, _ in self.functions}
        return {name: path for name, path in found.items() if path.is_file()}


class DynamicSamplingConfig(Config):
    """Groups whose rewards are all equal are replaced by others (DAPO, arXiv 2503.14476, section 3.2)."""

    max_rounds: int = Field(1, ge=1)
    """Rounds of sampling in one step, the first included; 1 = nothing is replaced."""


class CorrectionConfig(Config):
    """Importance weights w = exp(logπ_old − logμ) where the sampler is not the policy that is trained."""

    kind: Literal["none", "truncate", "mask"] | None = None
    """truncate: min(w, high). mask: 0 outside [low, high]. Left out: truncate where staleness is above 0, else none."""
    level: Literal["token", "sequence", "sequence_mean"] = "token"
    """One weight per token, or per sequence: the product of its tokens' or their geometric mean."""
    low: float = Field(0.5, ge=0)
    high: float = Field(2.0, gt=0)


class RLConfig(TrainingConfig):
    """Groups of rollouts, group advantages, an objective: docs/algorithms.md."""

    dealt: ClassVar[str] = "prompts"
    starts_whole: ClassVar[bool] = True

    algorithm: AlgorithmName | None = None
    """A row of `posttrain algorithms`: sets the keys below that are not set themselves."""
    template: str = Field("chat", json_schema_extra={"file": True})
    """chat, r1_zero, alpaca, plain, or a .jinja file."""
    system: str | None = None
    """The system prompt, where the template has one."""
    split: str = "train"
    """Split of the problems."""
    steps: int = Field(100, ge=1)
    """Rounds of sampling and learning."""
    prompts: int = Field(32, ge=1)
    """Problems per step."""
    group: int = Field(8, ge=1)
    """Rollouts per problem."""
    draw: Literal["uniform", "difficulty"] = "uniform"
    """Which problems: in epochs without repetition, or those first whose pass rate so far is nearest to one half."""
    curriculum: float = Field(0.0, ge=0, le=1)
    """Share of the steps over which the problems' levels come in, the easiest first; 0 = all from the start."""
    dynamic_sampling: DynamicSamplingConfig = DynamicSamplingConfig()
    temperature: float = Field(1.0, gt=0)
    """Of sampling, and of the policy that is trained."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Of sampling. Below 1 the sampled distribution is not the trained one, so it excludes any correction."""
    max_tokens: int = Field(256, ge=1)
    """Of one rollout; what is longer is cut and counted as truncated."""
    overlong_buffer: float = Field(0.0, ge=0, le=1)
    """Share of max_tokens in which the reward falls linearly by up to 1 (DAPO's overlong shaping); 0 = off."""
    reward: RewardConfig = RewardConfig()
    grading: str | None = None
    """Grader spec; None = the template's."""
    advantage: AdvantageName = "group_norm"
    """none, group_mean, group_norm, leave_one_out or batch_norm: docs/algorithms.md."""
    epsilon: float = Field(1e-6, gt=0)
    """Added to the group's standard deviation."""
    objective: ObjectiveName = "ppo_clip"
    """reinforce, ppo_clip, gspo or cispo: docs/algorithms.md."""
    clip_low: float = Field(0.2, gt=0, le=1)
    """The ratio is clipped at 1 - clip_low where the advantage is negative …"""
    clip_high: float = Field(0.2, gt=0)
    """… and at 1 + clip_high where it is positive."""
    dual_clip: float | None = Field(None, gt=1)
    """A negative advantage costs at most this many times itself; verl has 3, left out is off."""
    aggregation: AggregationName = "token_mean"
    """token_mean, sequence_mean, sequence_sum or constant: docs/algorithms.md."""
    updates: int = Field(1, ge=1)
    """Optimizer steps per pass over a batch of rollouts; 1 = strictly on-policy."""
    passes: int = Field(1, ge=1)
    """How often each rollout is used."""
    staleness: int = Field(0, ge=0)
    """Updates that sampling may be behind the policy: 1 samples the next batch while this one is learned."""
    correction: CorrectionConfig = CorrectionConfig()
    kl: float = Field(0.0, ge=0)
    """Weight of the distance to the starting weights."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_in: Literal["loss", "reward"] = "loss"
    """In the loss, per token, or taken from the reward, summed over the response."""
    engine: Literal["native", "vllm"] = "native"
    """native samples from the trainer's own weights; vllm is a server that is given them after every step."""
    vllm: VLLMConfig = VLLMConfig()
    """Settings of the vLLM server, where that is the engine."""
    max_batch: int = Field(256, ge=1, json_schema_extra={"fingerprint": False})
    """Rows the engine decodes at once."""
    prefill_chunk: int = Field(8192, ge=1, json_schema_extra={"fingerprint": False})
    """Prompt tokens that the native engine computes between two tokens of the running rollouts."""
    keep_rollouts: int = Field(1, ge=0)
    """Store every n-th step's rollouts; 0 = none."""
    keep_tokens: int = Field(64, ge=0)
    """Of a stored step, so many rollouts keep the log-probability and entropy of every token."""
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        return with_preset(values) if isinstance(values, Mapping) else values

    @property
    def corrected(self) -> Literal["none", "truncate", "mask"]:
        """The kind of correction that is on."""
        return self.correction.kind or ("truncate" if self.staleness else "none")

    def overrides(self) -> dict[str, tuple[Any, Any]]:
        """Keys that differ from the named algorithm's: key → (the preset's value, ours)."""
        return overridden(self.algorithm, self.model_dump(mode="json")) if self.algorithm else {}

    @model_validator(mode="after")
    def _fits_together(self) -> RLConfig:
        if self.group == 1 and self.advantage != "none":
            raise ValueError(
                f"advantage {self.advantage!r} compares the rollouts of a group, and 'group' is 1. "
                "Set group to 2 or more, or advantage: none"
            )
        if self.updates > self.prompts * self.group:
            raise ValueError(f"updates {self.updates} is more than the {self.prompts * self.group} rollouts of a step")
        if self.top_p < 1 and self.corrected != "none":
            raise ValueError(
                f"top_p {self.top_p:g} with the correction {self.corrected!r}: the sampler's log-probabilities are of "
                "the truncated distribution and the trainer's of the whole one, so their ratio corrects nothing. Set "
                "top_p: 1, or staleness: 0 and correction.kind: none"
            )
        if self.correction.low > self.correction.high:
            raise ValueError(
                f"correction.low {self.correction.low:g} is above correction.high {self.correction.high:g}"
            )
        if self.kl and self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_estimator k1 in the loss has a gradient of 0 on average. Use k2 or k3, or kl_in: reward"
            )
        return self
