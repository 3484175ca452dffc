"""Tiny random models of each architecture, and prompts for them."""

from __future__ import annotations

import random

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from posttrain.engines.base import Prompt

VOCAB = 101
CONTEXT = 256
ARCHITECTURES = ("qwen2", "qwen3", "llama")


def tiny(kind: str, *, seed: int = 0, **options: object) -> PreTrainedModel:
    """A model whose norms and biases are not the trivial ones of an untrained model, so that mixing them up shows."""
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel
        if kind == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**{**sizes, "tie_word_embeddings": True, **options}))
        elif kind == "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**{**sizes, "head_dim": 32, **options}))
        else:
            model = LlamaForCausalLM(LlamaConfig(**{**sizes, **options}))
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def prompts(count: int, *, shortest: int = 1, longest: int = 40, seed: int = 0) -> list[Prompt]:
    draw = random.Random(seed)
    return [
        Prompt(f"p{i}", tuple(draw.randrange(VOCAB) for _ in range(draw.randint(shortest, longest))), seed=i)
        for i in range(count)
    ]


def module_logprobs(model: torch.nn.Module, ids: tuple[int, ...]) -> torch.Tensor:
    """log p(id_t | id_<t) [T - 1] by the module's own forward, in its own precision."""
    row = torch.tensor([ids], device=next(model.parameters()).device)
    with torch.no_grad():
        logits = model(row).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(-1, row[0, 1:, None])[:, 0]
