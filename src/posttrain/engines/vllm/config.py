"""What can be set about a vLLM server. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from posttrain.config import Config

_HOW: dict[str, Any] = {"fingerprint": False}  # how it is run, not what comes out


class VLLMConfig(Config):
    """One or several replicas of `vllm` behind one engine, all on this machine."""

    replicas: int = Field(1, ge=1, json_schema_extra=_HOW)
    """Servers; each has `tensor_parallel` GPUs of its own, the last ones that this process may see."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=_HOW)
    """GPUs per replica."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Of weights and computation; None = what the stage says."""
    max_model_len: int | None = Field(None, ge=2)
    """Longest prompt and answer together; None = the model's."""
    memory: float = Field(0.9, gt=0, le=1, json_schema_extra=_HOW)
    """Share of each GPU's memory the server may take. Beside a trainer on the same GPU: 0.3 to 0.5."""
    port: int | None = Field(None, ge=1024, le=65535, json_schema_extra=_HOW)
    """Port of the first replica, the others follow; None = any that is free."""
    startup_timeout: float = Field(900.0, gt=0, json_schema_extra=_HOW)
    """Seconds until a server must be healthy."""
    request_timeout: float = Field(600.0, gt=0, json_schema_extra=_HOW)
    """Seconds of silence after which a request counts as lost; also the limit of a weight update."""
    on_loss: Literal["restart", "error"] = Field("restart", json_schema_extra=_HOW)
    """When a server dies: start it again and repeat what it had not finished, or stop."""
    reload: Literal["auto", "restart", "endpoint"] = Field("auto", json_schema_extra=_HOW)
    """New weights: through the server's endpoint, or by starting it again. auto: the endpoint, until the canary finds
    it serving wrong weights; from then on by restart."""
    tolerance: float | None = Field(None, gt=0)
    """What server and trainer may differ by on the canary's log-probabilities; None = 1e-4 at most in float32, 0.05 on
    average in bfloat16 and float16."""
    sleep: bool = Field(False, json_schema_extra=_HOW)
    """Give the GPU's memory back between two rounds of sampling."""
    env: str | None = Field(None, json_schema_extra=_HOW)
    """Folder of the environment vLLM is installed in; None = .venv-vllm, as `make vllm` builds it."""
    extra_args: tuple[str, ...] = ()
    """Further arguments of the server's command line, e.g. ["--enforce-eager"]."""
