"""Config shared by the training stages. No torch here: planning reads it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.models.config import LoraConfig, Quantization

Schedule = Literal["constant", "linear", "cosine", "wsd"]
OptimizerName = Literal["adamw", "adamw_8bit", "adafactor", "sgd"]
Strategy = Literal["ddp", "fsdp2", "zero2", "zero3"]
SHARDED = ("fsdp2", "zero3")  # no rank holds the whole weights


class OptimizerConfig(Config):
    """An optimizer with decoupled weight decay; the schedule runs over the stage's optimizer steps."""

    name: OptimizerName = "adamw"
    """adamw (fused), adamw_8bit (moments in 8 bits, needs the extra `qlora`), adafactor, or sgd (without momentum)."""
    lr: float = Field(1e-4, ge=0)
    """The highest learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    """Of matrices; norm gains and biases are not decayed."""
    schedule: Schedule = "cosine"
    """constant, linear, cosine or wsd (warm-up, stable, decay), after the warm-up."""
    warmup: float = Field(0.0, ge=0, le=1)
    """Share of the steps in which the rate rises to lr."""
    final: float = Field(0.1, ge=0, le=1)
    """Share of lr that is left at the last step (linear, cosine, wsd)."""
    decay: float = Field(0.2, gt=0, le=1)
    """Share of the steps, the last ones, in which wsd falls linearly."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the whole gradient."""


class ValidationConfig(Config):
    """Generated evaluation on the validation split while training; greedy."""

    every: int = Field(0, ge=0)
    """Optimizer steps between two; 0 = never."""
    problems: int = Field(128, ge=1)
    """How many, the first of the split."""
    max_tokens: int = Field(128, ge=1)
    """Of one answer."""
    engine: Literal["native", "hf", "vllm"] = "native"
    """What samples the answers: native, hf (transformers' generate, the slow reference), or, beside, a vLLM server."""
    vllm: VLLMConfig = VLLMConfig(memory=0.6)
    """The server's settings; the model for teacher-forced numbers stands on the same device."""
    beside: bool = Field(False, json_schema_extra={"fingerprint": False})
    """In a process of its own, which training never waits for: results come when they come, all by the end."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"fingerprint": False})
    """Where that process works: cpu, cuda:1 …; auto = a GPU that training does not use, else the CPU."""
    pending: int = Field(2, ge=1, json_schema_extra={"fingerprint": False})
    """Weights that may wait for it in memory (/dev/shm) at once; further ones wait on the disk."""

    @model_validator(mode="after")
    def _a_server_stands_beside(self) -> ValidationConfig:
        if self.engine == "vllm" and not self.beside:
            raise ValueError("engine vllm needs a process of its own. Set beside: true, or engine: native")
        return self


class CheckpointsConfig(Config):
    """Model folders that are kept beside the last one."""

    every: int = Field(0, ge=0)
    """Steps between two; 0 = only the last."""
    keep: int = Field(0, ge=0)
    """How many, the newest; 0 = all. The best one stays whatever its age."""
    best: bool = False
    """`model/` is the best checkpoint by the selection split (early_stopping.metric), not the last."""


class EarlyStoppingConfig(Config):
    """Stops when the selection split has not got better for a while."""

    patience: int = Field(0, ge=0)
    """Scores in a row without a new best; 0 = never stop."""
    metric: str = "val_accuracy"
    """Of the scores on the validation split; one with `loss` or `nll` in its name is better when lower."""
    min_delta: float = Field(0.0, ge=0)
    """What counts as better."""


class LaunchConfig(Config):
    """How many processes train one model, and what they share."""

    processes: int = Field(1, ge=1)
    """On each machine; one per GPU."""
    nodes: int = Field(1, ge=1)
    """Machines."""
    strategy: Strategy = "ddp"
    """ddp: each holds everything. fsdp2: weights, gradients and optimizer in parts. zero2, zero3: DeepSpeed's."""
    offload: bool = False
    """What is not at work stays in the host's memory (fsdp2, zero2, zero3)."""
    address: str | None = None
    """Where the other machines find the first one [default: MASTER_ADDR, or what SLURM calls it]."""
    port: int | None = Field(None, ge=1, le=65535)
    """On the first machine [default: MASTER_PORT, one of the job under SLURM, else 29500]."""

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.processes * self.nodes


class PushConfig(Config):
    """Checkpoints as revisions of a repository on the Hub. The token is read from HF_TOKEN and from nowhere else."""

    repo: str
    """org/name; it is made where it doesn't exist."""
    private: bool = True
    existing: Literal["refuse", "add", "replace"] = "refuse"
    """Where a branch has other content: send nothing, leave what is not ours, or take it away."""
    every: int = Field(0, ge=0)
    """Steps between two pushed checkpoints, a multiple of checkpoints.every; 0 = only the last."""


class TrainingConfig(Config):
    """What every training stage takes."""

    dealt: ClassVar[str] = "batch_size"  # the key that says how much of a step there is to deal out to processes
    starts_whole: ClassVar[bool] = False  # the starting weights are asked, or copied, before ranks cut them

    optimizer: OptimizerConfig = OptimizerConfig()
    lora: LoraConfig | None = None
    """Train low-rank adapters and leave the weights as they are."""
    quantize: Quantization | None = None
    """Of the frozen weights below adapters: nf4 (QLoRA, arXiv 2305.14314) or int8. Needs the extra `qlora`."""
    token_budget: int = Field(8192, ge=16)
    """Tokens of a micro-batch, padding included. Changes memory and rounding, nothing else."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass; the weights that are trained stay float32."""
    gradient_checkpointing: bool = False
    """Keep only the layers' inputs and compute the rest again: less memory, a third more work, the same gradients."""
    compile: bool = False
    """torch.compile of the transformer's body. Changes speed and rounding, nothing else."""
    attention: Literal["auto", "flex"] = Field("auto", json_schema_extra={"fingerprint": False})
    """On a GPU: auto is FlashAttention where it is at hand, flex PyTorch's FlexAttention. Changes speed and rounding,
    nothing else."""
    save_every: int = Field(0, ge=0, json_schema_extra={"fingerprint": False})
    """Steps between two saved states for a resume; 0 = every 10 seconds."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    launch: LaunchConfig = Field(LaunchConfig(), json_schema_extra={"fingerprint": False})
    push: PushConfig | None = Field(None, json_schema_extra={"fingerprint": False})

    @model_validator(mode="after")
    def _methods_fit(self) -> TrainingConfig:
        launch = self.launch
        if self.quantize and self.lora is None:
            raise ValueError(
                f"quantize {self.quantize!r} freezes the weights, so nothing is left to train. Add lora: {{}}"
            )
        if self.quantize and launch.world > 1 and launch.strategy in SHARDED:
            raise ValueError(f"quantized weights can't be cut in parts by {launch.strategy}. Use launch.strategy: ddp")
        of_a_step = getattr(self, self.dealt, None)
        if of_a_step is not None and launch.world > of_a_step:
            raise ValueError(
                f"launch asks for {launch.world} processes (processes {launch.processes} × nodes {launch.nodes}) and "
                f"{self.dealt} is {of_a_step}: some would have nothing to do. Raise {self.dealt}, best to a multiple "
                f"of {launch.world}, or start fewer"
            )
        if launch.offload and launch.strategy == "ddp":
            raise ValueError("launch.offload needs a strategy that cuts the state in parts: fsdp2, zero2 or zero3")
        if self.push and self.push.every and (not self.checkpoints.every or self.push.every % self.checkpoints.every):
            raise ValueError(
                f"push.every {self.push.every} is not a multiple of checkpoints.every {self.checkpoints.every}: only "
                "checkpoints that are kept can be pushed"
            )
        return self
