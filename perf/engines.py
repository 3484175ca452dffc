"""The native engine beside its peers: ``python -m perf.engines [--quick] [--json FILE]``.

All on the same random Qwen2 weights, the same prompts and lengths, the same precision on both sides.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging

from perf.harness import Results, machine
from posttrain.engines import NativeEngine, Prompt, Sampling

Run = Callable[[], int]

# The model of the house's baselines (6.4M parameters), and the shape of Qwen2.5-0.5B.
SMALL = {"hidden_size": 256, "layers": 6, "heads": 4, "kv_heads": 2, "intermediate_size": 1024, "vocab_size": 2048}
HALF_B = {"hidden_size": 896, "layers": 24, "heads": 14, "kv_heads": 2, "intermediate_size": 4864, "vocab_size": 151936}
LONGTAIL_STOPS = 34  # of 2,048 near-equally likely tokens: a mean length of 60


def build(shape: dict[str, int], dtype: torch.dtype) -> PreTrainedModel:
    """A randomly initialised Qwen2."""
    torch.manual_seed(0)
    config = Qwen2Config(
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        intermediate_size=shape["intermediate_size"],
        vocab_size=shape["vocab_size"],
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return Qwen2ForCausalLM(config).to(dtype).eval()


def make_prompts(count: int, length: int, vocab: int) -> list[Prompt]:
    draw = random.Random(0)
    return [Prompt(str(i), tuple(draw.randrange(64, vocab) for _ in range(length)), seed=i) for i in range(count)]


def native(model: PreTrainedModel, prompts: list[Prompt], new: int, rows: int, stops: tuple[int, ...] = ()) -> Run:
    """The native engine over all prompts with `rows` slots."""
    engine = NativeEngine(model, pad_id=0, max_batch=rows)
    sampling = Sampling(max_tokens=new, stop_token_ids=stops)
    return lambda: sum(len(c.token_ids) for c in engine.generate(prompts, sampling))


def generate(model: PreTrainedModel, prompts: list[Prompt], new: int, rows: int, stops: tuple[int, ...] = ()) -> Run:
    """transformers' generate, batches of `rows`; tokens up to and with the first stop are counted."""

    def run() -> int:
        done = 0
        for start in range(0, len(prompts), rows):
            ids = torch.tensor([p.token_ids for p in prompts[start : start + rows]])
            with torch.no_grad():
                out = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=True,
                    top_k=0,
                    max_new_tokens=new,
                    pad_token_id=0,
                    eos_token_id=list(stops) or None,
                )[:, ids.shape[1] :]
            stopped = torch.isin(out, torch.tensor(stops, dtype=torch.long))
            first = torch.where(stopped.any(1), stopped.int().argmax(1) + 1, out.shape[1])
            done += int(first.sum())
        return done

    return run


def fixed(results: Results, repeats: int) -> None:
    """64 sequences, 48 -> 128 tokens, float32 and bfloat16."""
    for dtype, ratio in ((torch.float32, "fixed_vs_generate"), (torch.bfloat16, "fixed_bf16_vs_generate")):
        model = build(SMALL, dtype)
        prompts = make_prompts(64, 48, SMALL["vocab_size"])
        cases = {"native": native(model, prompts, 128, 64), "generate": generate(model, prompts, 128, 64)}
        results.compare(f"fixed {str(dtype)[6:]}", cases, ratio=ratio, repeats=repeats)


def longtail(results: Results, repeats: int) -> None:
    """256 requests in 64 slots whose lengths vary as answers do: mean 60, at most 256 tokens."""
    model = build(SMALL, torch.float32)
    prompts = make_prompts(256, 48, SMALL["vocab_size"])
    stops = tuple(range(1, 1 + LONGTAIL_STOPS))
    cases = {
        "native": native(model, prompts, 256, 64, stops),
        "generate": generate(model, prompts, 256, 64, stops),
    }
    results.compare("long-tailed", cases, ratio="longtail_vs_generate", repeats=repeats)


def half_b(results: Results, repeats: int) -> None:
    """The shape of Qwen2.5-0.5B, 8 sequences, 48 -> 32 tokens, float32."""
    model = build(HALF_B, torch.float32)
    prompts = make_prompts(8, 48, HALF_B["vocab_size"])
    cases = {"native": native(model, prompts, 32, 8), "generate": generate(model, prompts, 32, 8)}
    results.compare("0.5B shape", cases, ratio="half_b_vs_best", repeats=repeats)


def against_vllm(results: Results, repeats: int) -> None:
    """The fixed case against the vLLM server of the peers' environment, where it was made."""
    from perf.vllm_peer import python_of_vllm, serving

    if python_of_vllm() is None:
        results.skipped["fixed_vs_vllm"] = "no .venv-vllm: `make vllm` builds it"
        return
    model = build(SMALL, torch.float32)
    prompts = make_prompts(64, 48, SMALL["vocab_size"])
    with serving(model) as ask:
        cases = {"native": native(model, prompts, 128, 64), "vllm": lambda: ask(prompts, 128)}
        results.compare("fixed against vLLM", cases, ratio="fixed_vs_vllm", repeats=repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds, without the 0.5B shape and vLLM")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    results = Results("engines", machine())
    repeats = 2 if options.quick else 5
    fixed(results, repeats)
    longtail(results, repeats)
    if not options.quick:
        half_b(results, repeats)
        against_vllm(results, repeats)
    results.show()
    if options.json:
        results.write(options.json)


if __name__ == "__main__":
    main()
