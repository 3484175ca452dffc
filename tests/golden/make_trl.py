"""Writes trl-1.16.json: losses and gradients by TRL's own GRPOTrainer._compute_loss on the batch of batch.json.

Run with the peers' Python (`make perf-env`): .venv-perf/bin/python tests/golden/make_trl.py [FILE]
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import trl
from trl import GRPOTrainer

HERE = Path(__file__).parent
# Settings of GRPOConfig by our row's name; the batch is one micro-batch, so nothing is accumulated.
ROWS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", "beta": 0.04},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.06},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.5},
    "grpo, dual clip": {"loss_type": "grpo", "delta": 1.6},
    "grpo, KL as TRL ships it": {"loss_type": "grpo", "beta": 0.04, "bias_correction": True},
}


class Stub(SimpleNamespace):
    """What _compute_loss reads of a trainer, and nothing of what it needs a model for."""

    def _get_per_token_logps_and_entropies(self, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        return self.logps, torch.zeros_like(self.logps), None


def trainer(logps: torch.Tensor, row: dict[str, Any], limit: int) -> Any:
    same = lambda x, **_: x  # noqa: E731
    accelerator = SimpleNamespace(num_processes=1, gather=same, gather_for_metrics=same, reduce=same)
    return Stub(
        logps=logps,
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(
            delta=row.get("delta"),
            use_bias_correction_kl=row.get("bias_correction", False),
            steps_per_generation=1,
        ),
        accelerator=accelerator,
        _metrics=defaultdict(lambda: defaultdict(list)),
        loss_type=row["loss_type"],
        beta=row.get("beta", 0.0),
        epsilon_low=row.get("epsilon_low", 0.2),
        epsilon_high=row.get("epsilon_high", 0.2),
        importance_sampling_level=row.get("importance_sampling_level", "token"),
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=limit,
    )


def main() -> None:
    batch = json.loads((HERE / "batch.json").read_text())
    rows = {}
    for name, row in ROWS.items():
        logps = torch.tensor(batch["logprobs"], dtype=torch.float64, requires_grad=True)
        mask = torch.tensor(batch["mask"])
        inputs = {
            "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.long),
            "prompt_mask": torch.ones(len(mask), 1, dtype=torch.long),
            "completion_ids": torch.zeros_like(mask),
            "completion_mask": mask,
            "advantages": torch.tensor(batch["advantages"], dtype=torch.float64),
            "old_per_token_logps": torch.tensor(batch["old"], dtype=torch.float64),
            "ref_per_token_logps": torch.tensor(batch["reference"], dtype=torch.float64),
            "num_items_in_batch": mask.sum(),
        }
        with contextlib.redirect_stdout(sys.stderr):
            loss = GRPOTrainer._compute_loss(trainer(logps, row, batch["limit"]), None, inputs)
        loss.backward()
        rows[name] = {"settings": row, "loss": loss.item(), "gradient": logps.grad.tolist()}
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "trl-1.16.json"
    target.write_text(json.dumps({"trl": trl.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
