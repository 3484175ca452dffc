"""Prints the table of docs/hardware.md: which training fits which GPU. ``python tools/fit_table.py [--write]``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.evals.table import markdown
from posttrain.forecast import Expected
from posttrain.models.config import LoraConfig
from posttrain.models.gpus import Gpu, gpu_table, planned_on
from posttrain.models.size import Shape, shape_of
from posttrain.pipeline.plan import cost_in_words
from posttrain.rl.config import RLConfig
from posttrain.rl.forecast import forecast as rl_forecast
from posttrain.sft.config import SFTConfig
from posttrain.sft.forecast import sft_forecast
from posttrain.store import Checkpoint, Problems, Samples
from posttrain.training.config import LaunchConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "hardware.md"
BEGIN, END = "<!-- tools/fit_table.py writes this table -->", "<!-- end of the table -->"
COUNTS = (1, 4)


def _model(kind: str, *sizes: int, tied: bool) -> Shape:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    config = {"model_type": kind, "tie_word_embeddings": tied, **dict(zip((*names, "vocab_size"), sizes, strict=True))}
    shape = shape_of(config)
    assert shape is not None
    return shape


MODELS = {
    "Qwen2.5-0.5B": _model("qwen2", 896, 24, 14, 2, 4864, 151936, tied=True),
    "Qwen2.5-1.5B": _model("qwen2", 1536, 28, 12, 2, 8960, 151936, tied=True),
    "Qwen2.5-3B": _model("qwen2", 2048, 36, 16, 2, 11008, 151936, tied=True),
    "Llama-3.1-8B": _model("llama", 4096, 32, 32, 8, 14336, 128256, tied=False),
}
COMMON: dict[str, Any] = {"dtype": "bfloat16", "gradient_checkpointing": True, "token_budget": 4096}
LORA = LoraConfig(rank=64, alpha=128)
METHODS: dict[str, dict[str, Any]] = {
    "SFT, full": {},
    "SFT, LoRA": {"lora": LORA},
    "SFT, QLoRA": {"lora": LORA, "quantize": "nf4"},
    "GRPO, full": {},
    "GRPO, LoRA": {"lora": LORA},
}
# GSM8K: every training problem twice, in 320 tokens with its answer; 300 updates of 32 × 8 answers of 200 tokens.
TRACES = {"rows": 7473, "tokens": 320}
PROBLEMS = {"question_tokens": 100, "solution_tokens": 200}


def told(method: str, shape: Shape, count: int) -> Mapping[str, float | None]:
    """The forecast of one training on `count` GPUs of the kind that is being planned for."""
    own = METHODS[method]
    strategy = "ddp" if "quantize" in own or count == 1 else "fsdp2"
    launch = LaunchConfig(processes=count, strategy=strategy)
    model = Expected(Checkpoint(Path("model")), {"shape": shape})
    if method.startswith("SFT"):
        config = SFTConfig(epochs=2, launch=launch, **COMMON, **own)
        return sft_forecast(config, {"model": model, "traces": Expected(Samples(Path("traces")), TRACES)})
    update = RLConfig(steps=300, prompts=32, group=8, max_tokens=512, launch=launch, **COMMON, **own)
    return rl_forecast(update, {"model": model, "problems": Expected(Problems(Path("problems")), PROBLEMS)})


def rows() -> Iterator[list[str]]:
    """One row per model and method."""
    table = gpu_table()
    for name, shape in MODELS.items():
        for method in METHODS:
            cells = [_cell(method, shape, count, gpu) for gpu in table.gpus for count in COUNTS]
            yield [name, method, *cells]


def _cell(method: str, shape: Shape, count: int, gpu: Gpu) -> str:
    with planned_on(gpu):
        costs = told(method, shape, count)
    memory, seconds = costs["memory_bytes"], costs["seconds"]
    assert memory is not None
    assert seconds is not None
    size = cost_in_words("memory_bytes", memory)
    if memory > gpu.usable:
        return f"no ({size})"
    money = count * gpu.price * seconds / 3600
    return f"{size}, {cost_in_words('seconds', seconds)}, {cost_in_words('dollars', money)}"


def as_markdown() -> str:
    """The whole table."""
    gpus = gpu_table().gpus
    head = ["model", "method", *(f"{count} × {gpu.memory_gb} GB" for gpu in gpus for count in COUNTS)]
    return markdown(head, list(rows()))


def page(text: str) -> str:
    """The page with the table in its place."""
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{as_markdown()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(as_markdown())
