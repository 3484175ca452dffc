"""The `ray` block of a recipe: which cluster, what stages ask of it, where artifacts go."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator

from posttrain.config import Config


class Resources(Config):
    """What one task of a stage asks for. None = by the stage's needs (docs/cluster.md)."""

    cpus: float | None = Field(None, ge=0)
    gpus: float | None = Field(None, ge=0)
    memory_gb: float | None = Field(None, gt=0)
    """Of main memory."""
    custom: dict[str, float] = Field(default={})
    """Ray's own named resources: {a100: 1}."""


class RayConfig(Config):
    """How a recipe runs on Ray."""

    address: str | None = None
    """host:port of a running cluster, or `auto` for the one that this machine belongs to; None = one of this machine
    alone, started for the run."""
    storage: str | None = None
    """Folder or URL (file://, s3://, …) that all nodes reach, through which artifacts go. None = the runs folder itself
    is on a file system that all nodes share at the same path."""
    storage_options: dict[str, str | bool | int | dict[str, str]] = Field(default={})
    """Handed to fsspec: {endpoint_url: "http://minio:9000"}. No keys here: they come from the nodes' environment."""
    shards: int | None = Field(None, ge=1)
    """Tasks among which an evaluation or the asking of a model is shared; None = as many as the cluster can run at
    once."""
    resources: dict[str, Resources] = Field(default={})
    """By stage, as the recipe calls it: {student: {gpus: 2}, scores: {cpus: 4}}."""
    here: tuple[str, ...] = ()
    """Stages made by this machine, not by the cluster: those that need its keys or its files."""
    losses: int = Field(10, ge=0)
    """How many workers a stage may lose before the run gives up."""
    env: dict[str, str] = Field(default={})
    """Environment variables of the tasks."""

    @field_validator("storage_options")
    @classmethod
    def _no_keys(cls, value: Mapping[str, object]) -> Mapping[str, object]:
        for name in value:
            if name.lower() in ("key", "secret", "token", "password", "access_key", "secret_key"):
                raise ValueError(f"{name!r} is a secret and has no place in a recipe; set it in the nodes' environment")
        return value
