"""What an evaluation is asked: benchmarks, prompt, sampling, grading, engine. Knows no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.engines.openai.config import ServerConfig
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.evals.external.config import SuiteConfig


class EvalConfig(Config):
    """Settings of the `eval` stage. None = what the benchmark (or, for a problems input, the template) says."""

    benchmarks: tuple[str, ...] = ()
    """Names in the registry, or paths of YAML files with one's own. The `problems` input, where there is one, is a
    benchmark beside them."""
    split: str = "test"
    """Split of the `problems` input."""
    limit: int | None = Field(None, ge=1)
    """Use only this many problems of each benchmark: those whose hashed id comes first, whatever the file's order."""
    template: str | None = Field(None, json_schema_extra={"file": True})
    """chat, r1_zero, alpaca, plain, or a .jinja file."""
    system: str | None = None
    """A system prompt, or another preamble for text templates."""
    shots: int = Field(0, ge=0)
    """Solved problems shown before each question, from the benchmark's own training problems."""
    grading: str | None = None
    """Grader spec."""

    results: bool = Field(False, json_schema_extra={"fingerprint": False})
    """Write evaluation_results.json, the entries so far, after each model."""

    suites: tuple[SuiteConfig, ...] = ()
    """Tasks of lm-eval and lighteval, which run in an environment of their own (make suites):
    [{suite: lm_eval, tasks: [arc_challenge], shots: 25, limit: 200, server: null, args: {}}]."""
    checkpoints: Literal["all", "last"] | tuple[int, ...] = "last"
    """For models that are folders of training stages: all that they kept on the way and the last, the last alone, or
    those of these steps."""

    n: int | None = Field(None, ge=1)
    """Samples of each problem."""
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    min_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = None
    """Seed of the sampling noise; None = derived from the run's. Two evaluations with one seed share their noise."""

    engine: Literal["native", "hf", "vllm", "openai"] = "native"
    """openai: any compatible server; `models` then names the models at that server."""
    server: ServerConfig | None = None
    """Where the server is, where the engine is openai."""
    vllm: VLLMConfig = VLLMConfig()
    """Settings of the vLLM server, where that is the engine."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int = Field(128, ge=1, json_schema_extra={"fingerprint": False})
    """Sequences decoded at once."""
    prefill_chunk: int = Field(8192, ge=1, json_schema_extra={"fingerprint": False})
    """Prompt tokens that the native engine computes between two tokens of the running samples."""
    block: int = Field(512, ge=1, json_schema_extra={"fingerprint": False})
    """Problems handed to the engine together. A resumed evaluation repeats the block it was interrupted in, so that
    every answer is computed in the same company as in an uninterrupted one and the files come out byte for byte."""

    def files(self) -> dict[str, Path]:
        """The files of the user's own benchmarks: their bytes count in the fingerprint."""
        from posttrain.benchmarks import is_user_file, user_files

        own = [name for name in self.benchmarks if is_user_file(name)]
        theirs = {f"suites.{i}.{key}": p for i, suite in enumerate(self.suites) for key, p in suite.files().items()}
        return (
            super().files()
            | theirs
            | {f"benchmarks.{name}.{key}": path for name in own for key, path in user_files(name).items()}
        )

    @model_validator(mode="after")
    def _server_and_engine_belong_together(self) -> EvalConfig:
        if (self.engine == "openai") != (self.server is not None):
            raise ValueError("engine: openai needs server: {url: …}, and no other engine takes it; set both or neither")
        return self

    @model_validator(mode="after")
    def _greedy_is_one_answer(self) -> EvalConfig:
        if self.temperature == 0 and (self.n or 1) > 1:
            raise ValueError(f"n = {self.n} at temperature 0 asks for the same answer {self.n} times; set temperature")
        return self
