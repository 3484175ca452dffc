"""One contestant of perf/sft.py in a process of its own: ``python sft_contestants.py WHO FOLDER``.

Reads one JSON request per line (dtype, steps, batch, variant), prepares, says "ready", waits for a line, trains, and
says what it did: real tokens, seconds, peak memory, the loss of every step. FOLDER holds `model/` and `examples.json`
(ids and masks). Only the project's own contestant imports the project: TRL lives in an environment without it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LR = 3e-4
BETAS = (0.9, 0.95)
Run = Callable[[], list[float]]


def peak_memory() -> int:
    """The highest resident size since the last `forget_peak`, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder / "model", dtype="float32").train()


def batches(request: dict[str, Any], examples: list[Any]) -> Iterator[list[Any]]:
    """The examples of every step, in file order, over and over."""
    size = request["batch"]
    for step in range(request["steps"]):
        yield [examples[i % len(examples)] for i in range(step * size, (step + 1) * size)]


def ours(folder: Path, request: dict[str, Any], examples: list[Any]) -> Run:
    """The project's step: what the stage `sft` runs."""
    from posttrain.prompts import Example
    from posttrain.sft.supervised import supervised_step
    from posttrain.training.batches import micro_batches
    from posttrain.training.config import OptimizerConfig, TrainingConfig
    from posttrain.training.update import Updater

    model = load(folder)
    optimizer = OptimizerConfig(lr=LR, betas=BETAS, schedule="constant")
    config = TrainingConfig(dtype=request["dtype"], optimizer=optimizer)
    updater = Updater.make(model, optimizer, request["steps"])

    def run() -> list[float]:
        losses = []
        for step, batch in enumerate(batches(request, examples)):
            masked = [Example(tuple(ids), tuple(mask)) for ids, mask in batch]
            micros = micro_batches(masked, config.token_budget, 0, padded=False)
            losses.append(supervised_step(config, "token_mean", micros, len(batch), model, updater, step)["loss"])
        return losses

    return run


def loop(folder: Path, request: dict[str, Any], examples: list[Any]) -> Run:
    """A plain transformers loop: padded batches, the model's own loss."""
    import torch

    model = load(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, weight_decay=0.0, fused=True)

    def run() -> list[float]:
        losses = []
        for batch in batches(request, examples):
            longest = max(len(ids) for ids, _ in batch)
            ids = torch.tensor([i + [0] * (longest - len(i)) for i, _ in batch])
            seen = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i, _ in batch])
            labels = torch.tensor(
                [
                    [t if m else -100 for t, m in zip(i, mask, strict=True)] + [-100] * (longest - len(i))
                    for i, mask in batch
                ]
            )
            with torch.autocast("cpu", torch.bfloat16, enabled=request["dtype"] == "bfloat16"):
                loss = model(input_ids=ids, attention_mask=seen, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(float(loss.detach()))
        return losses

    return run


# TRL's settings worth trying on a CPU. Packed batches are one long row there, whose attention mask is dense.
VARIANTS: dict[str, dict[str, Any]] = {
    "padded": {},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "quarters": {"train_sampling_strategy": "group_by_length", "split": 4},
    "padding-free": {"padding_free": True, "split": 4},
}


def trl(folder: Path, request: dict[str, Any], examples: list[Any]) -> Run:
    """TRL's SFTTrainer over the same ids and masks."""
    import warnings

    warnings.simplefilter("ignore")
    from datasets import Dataset
    from transformers import AutoTokenizer
    from transformers.utils import logging
    from trl import SFTConfig, SFTTrainer

    logging.set_verbosity_error()
    settings = dict(VARIANTS[request["variant"]])
    split = settings.pop("split", 1)
    flat = [example for batch in batches(request, examples) for example in batch]
    rows = {
        "input_ids": [ids for ids, _ in flat],
        "labels": [[t if m else -100 for t, m in zip(ids, mask, strict=True)] for ids, mask in flat],
    }
    config = SFTConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=request["dtype"] == "bfloat16",
        per_device_train_batch_size=request["batch"] // split,
        gradient_accumulation_steps=split,
        max_steps=request["steps"],
        learning_rate=LR,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        max_length=None,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataset_num_proc=None,
        **{"train_sampling_strategy": "sequential", **settings},
    )
    trainer = SFTTrainer(
        model=load(folder),
        args=config,
        train_dataset=Dataset.from_dict(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )

    def run() -> list[float]:
        stdout, sys.stdout = sys.stdout, sys.stderr  # its log lines are not answers
        try:
            trainer.train()
        finally:
            sys.stdout = stdout
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    return run


def main() -> None:
    who, folder = sys.argv[1], Path(sys.argv[2])
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    examples = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    prepare = {"ours": ours, "loop": loop, "trl": trl}[who]
    for line in sys.stdin:
        request = json.loads(line)
        torch.manual_seed(0)
        run = prepare(folder, request, examples)
        tokens = sum(len(ids) for batch in batches(request, examples) for ids, _ in batch)
        forget_peak()
        print("ready", flush=True)
        sys.stdin.readline()
        start, cpu = time.perf_counter(), time.process_time()
        losses = run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        answer = {
            "tokens": tokens,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "losses": losses,
            "peak_bytes": peak_memory(),
        }
        print(json.dumps(answer), flush=True)
        del run


if __name__ == "__main__":
    main()
