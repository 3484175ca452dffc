"""The native engine beside its peers: ``python -m perf.engines [--quick] [--only NAMES] [--json FILE]``.

All on the same random Qwen2 weights, the same prompts and lengths, the same precision on both sides.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging

from perf.harness import Results, machine
from perf.roofline import Ceilings, measure, need
from posttrain.engines import NativeEngine, Prompt, Sampling

Run = Callable[[], int]

# The model of the house's baselines (6.4M parameters), and the shape of Qwen2.5-0.5B.
SMALL = {"hidden_size": 256, "layers": 6, "heads": 4, "kv_heads": 2, "intermediate_size": 1024, "vocab_size": 2048}
HALF_B = {"hidden_size": 896, "layers": 24, "heads": 14, "kv_heads": 2, "intermediate_size": 4864, "vocab_size": 151936}
ONE_AND_A_HALF_B = {
    "hidden_size": 1536, "layers": 28, "heads": 12, "kv_heads": 2, "intermediate_size": 8960, "vocab_size": 151936
}  # fmt: skip
CASES = ("fixed", "longtail", "groups", "sizes", "half_b", "vllm")
QUICK = ("fixed", "longtail")
LONGTAIL_STOPS = 34  # of 2,048 near-equally likely tokens: a mean length of 60


def build(shape: dict[str, int], dtype: torch.dtype, context: int = 1024) -> PreTrainedModel:
    """A randomly initialised Qwen2."""
    torch.manual_seed(0)
    config = Qwen2Config(
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        intermediate_size=shape["intermediate_size"],
        vocab_size=shape["vocab_size"],
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return Qwen2ForCausalLM(config).to(dtype).eval()


def make_prompts(count: int, length: int, vocab: int) -> list[Prompt]:
    draw = random.Random(0)
    return [Prompt(str(i), tuple(draw.randrange(64, vocab) for _ in range(length)), seed=i) for i in range(count)]


def native(
    model: PreTrainedModel,
    prompts: list[Prompt],
    new: int,
    rows: int,
    stops: tuple[int, ...] = (),
    static: bool | None = None,
) -> Run:
    """The native engine over all prompts with `rows` slots."""
    engine = NativeEngine(model, pad_id=0, max_batch=rows, static=static)
    sampling = Sampling(max_tokens=new, stop_token_ids=stops)
    return lambda: sum(len(c.token_ids) for c in engine.generate(prompts, sampling))


def generate(model: PreTrainedModel, prompts: list[Prompt], new: int, rows: int, stops: tuple[int, ...] = ()) -> Run:
    """transformers' generate, batches of `rows`; tokens up to and with the first stop are counted."""

    def run() -> int:
        done = 0
        for start in range(0, len(prompts), rows):
            ids = torch.tensor([p.token_ids for p in prompts[start : start + rows]], device=model.device)
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
            stopped = torch.isin(out, torch.tensor(stops, dtype=torch.long, device=out.device))
            first = torch.where(stopped.any(1), stopped.int().argmax(1) + 1, out.shape[1])
            done += int(first.sum())
        return done

    return run


def at_best(
    results: Results,
    name: str,
    model: PreTrainedModel,
    lengths: list[tuple[int, int]],
    rows: int,
    case: str = "native",
) -> None:
    """The roofline of a case beside what the native engine took for it: the least seconds, and which share that is."""
    ceilings = Ceilings(**results.facts["ceilings"])
    least = need(model, lengths, rows, ceilings)
    for row in results.rows:
        if (row.name, row.case) == (name, case):
            took = statistics.median(row.seconds)
            results.facts.setdefault("roofline", {})[f"{name}: {row.case}"] = {
                **asdict(least), "seconds": took, "share": least.least_seconds / took
            }  # fmt: skip


def fixed(results: Results, repeats: int) -> None:
    """64 sequences, 48 -> 128 tokens, float32 and bfloat16."""
    for dtype, ratio in ((torch.float32, "fixed_vs_generate"), (torch.bfloat16, "fixed_bf16_vs_generate")):
        model = build(SMALL, dtype)
        prompts = make_prompts(64, 48, SMALL["vocab_size"])
        cases = {"native": native(model, prompts, 128, 64), "generate": generate(model, prompts, 128, 64)}
        name = f"fixed {str(dtype)[6:]}"
        results.compare(name, cases, ratio=ratio, repeats=repeats)
        at_best(results, name, model, [(48, 128)] * 64, 64)


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


def groups(results: Results, repeats: int) -> None:
    """16 prompts of 256 tokens, 8 samples of 64 each: the prompts are computed once, by generate 8 times."""
    model = build(SMALL, torch.float32)
    prompts = make_prompts(16, 256, SMALL["vocab_size"])
    engine = NativeEngine(model, pad_id=0, max_batch=128)
    sampling = Sampling(n=8, max_tokens=64)
    repeated = [p for p in prompts for _ in range(8)]
    cases = {
        "native": lambda: sum(len(c.token_ids) for c in engine.generate(prompts, sampling)),
        "generate": generate(model, repeated, 64, 128),
    }
    results.compare("groups of 8", cases, ratio="groups_vs_generate", repeats=repeats)


def sizes(results: Results, repeats: int) -> None:
    """The fixed case by other batch sizes."""
    model = build(SMALL, torch.float32)
    for rows in (1, 8, 256):
        prompts = make_prompts(rows, 48, SMALL["vocab_size"])
        cases = {"native": native(model, prompts, 64, rows), "generate": generate(model, prompts, 64, rows)}
        results.compare(f"batch of {rows}", cases, ratio=f"batch_{rows}_vs_generate", repeats=repeats)


def half_b(results: Results, repeats: int, shape: dict[str, int]) -> None:
    """The shape of Qwen2.5-0.5B, 8 sequences, 48 -> 32 tokens: our best precision against every peer's best."""
    prompts = make_prompts(8, 48, 2048)
    wide, narrow = build(shape, torch.float32), build(shape, torch.bfloat16)
    cases = {
        "native float32": native(wide, prompts, 32, 8),
        "native bfloat16": native(narrow, prompts, 32, 8),
        "generate float32": generate(wide, prompts, 32, 8),
        "generate bfloat16": generate(narrow, prompts, 32, 8),
    }
    with ExitStack() as stack:
        if has_vllm():
            for model, name in ((wide, "float32"), (narrow, "bfloat16")):
                ask = stack.enter_context(vllm_serving(model, dtype=name, max_batch=8))
                cases[f"vllm {name}"] = lambda ask=ask: ask(prompts, 32)
        else:
            results.skipped["half_b_vs_best: vllm"] = NO_VLLM
        results.compare("0.5B shape", cases, ratio="half_b_vs_best", repeats=repeats, ours=2)
    for case, model in (("native float32", wide), ("native bfloat16", narrow)):
        at_best(results, "0.5B shape", model, [(48, 32)] * 8, 8, case)


NO_VLLM = "no environment of vLLM: `make vllm` builds it"


def has_vllm() -> bool:
    from perf.vllm_peer import python_of_vllm

    return python_of_vllm() is not None


def vllm_serving(model: PreTrainedModel, **options: Any) -> AbstractContextManager[Callable[[list[Prompt], int], int]]:
    from perf.vllm_peer import serving

    return serving(model, **options)


def against_vllm(results: Results, repeats: int) -> None:
    """The fixed case against the vLLM server of the peers' environment, where it was made."""
    if not has_vllm():
        results.skipped["fixed_vs_vllm"] = NO_VLLM
        return
    model = build(SMALL, torch.float32)
    prompts = make_prompts(64, 48, SMALL["vocab_size"])
    with vllm_serving(model) as ask:
        cases = {"native": native(model, prompts, 128, 64), "vllm": lambda: ask(prompts, 128)}
        results.compare("fixed against vLLM", cases, ratio="fixed_vs_vllm", repeats=repeats)


def gpu(results: Results, repeats: int, *, tiny: bool) -> None:
    """The shape of Qwen2.5-1.5B, bfloat16, 256 sequences, 512 -> 1,024 tokens, on the GPU."""
    shape, count, prompt, new = (SMALL, 4, 16, 8) if tiny else (ONE_AND_A_HALF_B, 256, 512, 1024)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build(shape, torch.bfloat16, context=2048).to(device)
    prompts = make_prompts(count, prompt, shape["vocab_size"])
    cases = {
        "native": native(model, prompts, new, count, static=True),
        "generate": generate(model, prompts, new, count),
    }
    results.compare("1.5B shape on the GPU", cases, ratio="gpu_vs_generate", repeats=repeats)
    at_best(results, "1.5B shape on the GPU", model, [(prompt, new)] * count, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds, without the 0.5B shape and vLLM")
    parser.add_argument("--tiny", action="store_true", help="one round of everything with tiny shapes: does it run?")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES, help="these cases")
    parser.add_argument("--gpu", action="store_true", help="only the case for a GPU")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    if options.gpu and not (options.tiny or torch.cuda.is_available()):
        parser.error("there is no GPU at hand; --gpu --tiny runs the same code on the CPU")
    results = Results("engines", machine())
    repeats = 1 if options.tiny else 2 if options.quick else 5
    device = "cuda" if options.gpu and torch.cuda.is_available() else "cpu"
    results.facts["ceilings"] = asdict(measure(device, 0.1 if options.tiny else 1.0))
    if options.gpu:
        gpu(results, 1 if options.tiny else 3, tiny=options.tiny)
    else:
        shape = {**SMALL, "layers": 2} if options.tiny else HALF_B
        cases = (fixed, longtail, groups, sizes, partial(half_b, shape=shape), against_vllm)
        for name, case in zip(CASES, cases, strict=True):
            if name in options.only and not (options.quick and name not in QUICK):
                case(results, repeats)
    results.show()
    show_roofline(results)
    if options.json:
        results.write(options.json)


def show_roofline(results: Results) -> None:
    ceilings = results.facts["ceilings"]
    speeds = ", ".join(f"{value / 1e9:,.0f} GFLOP/s {name}" for name, value in ceilings["operations"].items())
    print(f"\nceilings: {ceilings['bandwidth'] / 1e9:.1f} GB/s read, {speeds}")
    print(f"{'native':<40}{'GB moved':>10}{'GFLOP':>10}{'least s':>10}{'took s':>10}{'share':>8}")
    for name, value in results.facts.get("roofline", {}).items():
        moved, work = value["bytes"] / 1e9, value["operations"] / 1e9
        print(f"{name:<40}{moved:>10.1f}{work:>10.0f}{value['least_seconds']:>10.3f}{value['seconds']:>10.3f}"
              f"{100 * value['share']:>7.0f}%")  # fmt: skip


if __name__ == "__main__":
    main()
