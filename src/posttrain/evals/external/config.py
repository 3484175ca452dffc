"""What of another suite is run. Knows no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from posttrain.config import Config

Suite = Literal["lm_eval", "lighteval"]

# What posttrain says itself, or what would send results, secrets or foreign code somewhere.
RESERVED: dict[str, frozenset[str]] = {
    "lm_eval": frozenset(
        "model tasks limit num_fewshot device output_path log_samples config samples predict_only show_config "
        "trust_remote_code confirm_run_unsafe_code hf_hub_log_args wandb_args wandb_config_args trackio_args".split()
    ),
    "lighteval": frozenset(
        "tasks max_samples output_dir save_details push_to_hub push_to_tensorboard public_run results_org wandb "
        "results_path_template dataset_loading_processes".split()
    ),
}
FILES = ("include_path", "custom_tasks")  # options that name the user's own task files


class SuiteConfig(Config):
    """Tasks of one suite, run on every model of the evaluation."""

    suite: Suite
    tasks: tuple[str, ...] = Field(min_length=1)
    """Names as the suite knows them: gsm8k, mmlu, gpqa:diamond …"""
    shots: int | None = Field(None, ge=0)
    """Worked examples before each question; None = the task's own number."""
    limit: int | None = Field(None, ge=1)
    """Only the first so many items of each task, in the suite's own order."""
    server: str | None = None
    """The address of a running OpenAI-compatible server, to be asked instead of loading the model: http://host:8000/v1"""
    args: dict[str, Any] = Field(default={})
    """Further options of the suite's command, without their dashes; `model_args` is a mapping of the model's own."""

    @field_validator("tasks")
    @classmethod
    def _plain_names(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if not task or task.startswith("-") or any(c in task for c in " ,|\n\0"):
                raise ValueError(f"{task!r} is no task name; write one name per entry, without shots")
        if len(set(tasks)) < len(tasks):
            raise ValueError("a task is named twice")
        return tasks

    @field_validator("server")
    @classmethod
    def _address(cls, server: str | None) -> str | None:
        if server is not None and not server.startswith(("http://", "https://")):
            raise ValueError("a server is an address such as http://127.0.0.1:8000/v1")
        return server

    @model_validator(mode="after")
    def _only_what_is_the_users_to_set(self) -> SuiteConfig:
        for key in self.args:
            if key.replace("-", "_") in RESERVED[self.suite]:
                raise ValueError(f"args: {key!r} is set by posttrain, or not allowed; leave it out")
        if not isinstance(self.args.get("model_args", {}), dict):
            raise ValueError("args: model_args is a mapping, e.g. {dtype: bfloat16}")
        return self

    def files(self) -> dict[str, Path]:
        """The user's own task files: their bytes count in an evaluation."""
        found: dict[str, Path] = {}
        for key in FILES:
            named = self.args.get(key, self.args.get(key.replace("_", "-")))
            if not isinstance(named, str):
                continue
            path = Path(named).expanduser()
            several = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
            found |= {f"{key}.{p.relative_to(path)}": p for p in several} if path.is_dir() else {key: path}
        return {key: path for key, path in found.items() if path.is_file()}
