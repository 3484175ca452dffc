"""The supervised stages. Heavy imports wait until a stage runs."""

from __future__ import annotations

from posttrain.sft.config import PretrainConfig, SFTConfig
from posttrain.sft.forecast import pretrain_forecast, sft_forecast
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems, Samples, Tokens


def pretrain(config: PretrainConfig, corpus: Problems, work: Workspace) -> Checkpoint:
    """A tiny base model from scratch: BPE tokenizer and plain language modelling over the corpus."""
    from posttrain.sft.pretrain import train_from_scratch
    from posttrain.training.launch import launched

    with launched(config, "posttrain.sft.pretrain:train_from_scratch", {"corpus": corpus}, work) as ranks:
        train_from_scratch(config, corpus, work, ranks)
    return Checkpoint(work.dir)


def sft(
    config: SFTConfig, model: Checkpoint, traces: Samples | Tokens, work: Workspace, problems: Problems | None = None
) -> Checkpoint:
    """Fine-tunes `model` on the traces' responses. `problems` gives the validation split where validation is on."""
    from posttrain.sft.finetune import finetune
    from posttrain.training.launch import launched

    inputs = {"model": model, "traces": traces, "problems": problems}
    with launched(config, "posttrain.sft.finetune:finetune", inputs, work) as ranks:
        finetune(config, model, traces, problems, work, ranks)
    return Checkpoint(work.dir)


pretrain.forecast = pretrain_forecast  # type: ignore[attr-defined]
sft.forecast = sft_forecast  # type: ignore[attr-defined]
