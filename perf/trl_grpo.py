"""TRL's GRPOTrainer as a peer that takes one step when it is told to. Runs in .venv-perf; perf.rl starts it.

Standard input: one JSON line with the task, then a line per step. Standard output: "ready" before the first, then a
JSON line per step: seconds, mean reward, mean length.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def main() -> None:
    task = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # libraries print too: theirs goes to standard error
    os.dup2(2, 1)
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from transformers.utils import logging
    from trl import GRPOConfig, GRPOTrainer

    logging.set_verbosity_error()
    torch.set_num_threads(task["threads"])
    seen: dict[str, float] = {}

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        found = [sum(i % 2 == 0 for i in ids) / len(ids) for ids in completion_ids]
        seen["reward"] = sum(found) / len(found)
        seen["tokens"] = sum(map(len, completion_ids))
        return found

    class Turns(TrainerCallback):  # type: ignore[misc]
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if not sys.stdin.readline():
                os._exit(0)

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            answers.write("ready\n")

    config = GRPOConfig(
        output_dir=task["folder"] + "/trl",
        use_cpu=task["device"] == "cpu",
        bf16=task["dtype"] == "bfloat16",
        per_device_train_batch_size=task["prompts"] * task["group"],
        num_generations=task["group"],
        max_completion_length=task["max_tokens"],
        temperature=1.0,
        beta=0.0,
        epsilon=0.2,
        loss_type="dapo",
        learning_rate=task["lr"],
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        max_steps=task["steps"],
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        dataloader_num_workers=0,
    )
    tokenizer = AutoTokenizer.from_pretrained(task["folder"])
    trainer = GRPOTrainer(
        model=task["folder"],
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": text} for text in task["texts"]]),
        processing_class=tokenizer,
        callbacks=[Turns()],
    )
    step = trainer.training_step

    def timed(*arguments: Any, **named: Any) -> Any:
        seen["began"] = time.perf_counter()
        return step(*arguments, **named)

    trainer.training_step = timed

    class After(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds = time.perf_counter() - seen["began"]  # sampling, reward, loss, gradient and optimizer
            row = {"seconds": seconds, "reward": seen["reward"], "tokens": seen["tokens"]}
            answers.write(json.dumps(row) + "\n")

    trainer.add_callback(After())
    with contextlib.suppress(BrokenPipeError):
        trainer.train()
    answers.close()


if __name__ == "__main__":
    sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).parent]
    main()
