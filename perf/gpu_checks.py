"""Everything that needs a GPU, in one go: ``python -m perf.gpu_checks [--json FILE]``.

First what must be right (log-probabilities of graph and eager decoding against the module, greedy text against
transformers, weights that change under captured graphs), then what must be fast (`perf.engines --gpu`). Exits with 1
where something is not right. Needs torch with CUDA, transformers and this repository; no network.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

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

from perf.engines import make_prompts
from posttrain.engines import HFEngine, NativeEngine, Sampling
from posttrain.engines.parity import Parity, parity, sampled_parity

SIZES = {
    "vocab_size": 2048, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 512, "max_position_embeddings": 1024, "bos_token_id": None, "eos_token_id": None,
    "initializer_range": 0.06,
}  # fmt: skip


def models() -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    return {
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=64)),
        "llama": LlamaForCausalLM(LlamaConfig(**SIZES)),
    }


def check(what: str, found: Parity, *, largest: float | None = None, mean: float | None = None) -> bool:
    right = (largest is None or found.max_difference <= largest) and (mean is None or found.mean_difference <= mean)
    print(f"{'ok  ' if right else 'FAIL'} {what}: max {found.max_difference:.2e}, mean {found.mean_difference:.2e}")
    return right


def right(device: str) -> bool:
    """Parity, graphs, changing weights and greedy text on `device`."""
    torch.backends.cuda.matmul.allow_tf32 = False
    results = []
    prompts = [
        p for length in (3, 40, 130) for p in make_prompts(2 if device == "cpu" else 16, length, SIZES["vocab_size"])
    ]  # type: ignore[arg-type]
    sampling = Sampling(n=2, max_tokens=20 if device == "cpu" else 150, stop_token_ids=tuple(range(8)))
    for name, model in models().items():
        wide = model.to(device).eval()
        for static in (True, False):
            engine = NativeEngine(wide, pad_id=0, max_batch=24, static=static)
            how = "graphs" if static else "eager"
            results.append(
                check(f"{name} float32 {how}", sampled_parity(engine, wide, prompts, sampling), largest=1e-4)
            )
            with torch.no_grad():
                for parameter in wide.parameters():
                    parameter.mul_(1.01)
            again = sampled_parity(engine, wide, prompts, sampling)
            results.append(check(f"{name} float32 {how}, changed weights", again, largest=1e-4))
        scored = parity(NativeEngine(wide, pad_id=0), wide, [p.token_ids for p in prompts])
        results.append(check(f"{name} float32 scored", scored, largest=1e-4))
        greedy = Sampling(temperature=0, max_tokens=60)
        ours = {c.key: c.token_ids for c in NativeEngine(wide, pad_id=0).generate(prompts[:16], greedy)}
        theirs = {c.key: c.token_ids for c in HFEngine(wide, pad_id=0).generate(prompts[:16], greedy)}
        results.append(ours == theirs)
        print(f"{'ok  ' if results[-1] else 'FAIL'} {name} greedy text is transformers'")
        narrow = wide.to(torch.bfloat16)
        engine = NativeEngine(narrow, pad_id=0, max_batch=24, static=True)
        results.append(check(f"{name} bfloat16 graphs", sampled_parity(engine, narrow, prompts, sampling), mean=0.01))
    return all(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the measurement here")
    parser.add_argument("--cpu", action="store_true", help="only what must be right, on the CPU: does this script run?")
    options = parser.parse_args()
    if not (options.cpu or torch.cuda.is_available()):
        parser.error("there is no GPU at hand; --cpu runs what must be right without one")
    if not right("cpu" if options.cpu else "cuda"):
        sys.exit(1)
    if not options.cpu:
        command = [sys.executable, "-m", "perf.engines", "--gpu"]
        subprocess.run([*command, *(["--json", str(options.json)] if options.json else [])], check=True)


if __name__ == "__main__":
    main()
