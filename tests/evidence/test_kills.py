"""Twenty-four kills and more of every real stage, and where they landed: docs/evidence.md shows the result.

POSTTRAIN_EVIDENCE=FILE keeps the table as JSON (perf/results/kills.json is one that was kept).
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import torch
from tests.kill_stages import STAGES, Landed, lab

from posttrain.store.environment import code_version, hardware

KILLS = 24
WRITES_STATE = ("base", "sft", "sft-tokens", "rl")


@pytest.mark.evidence
def test_every_stage_survives_its_kills_bit_for_bit(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    with lab(tmp_path) as made:
        landed = [made.kill(stage, KILLS, seed + i) for i, stage in enumerate(STAGES)]
    keep(landed)
    for of in landed:
        assert of.kills >= KILLS
        if of.stage in WRITES_STATE:
            assert of.wrote["resume state"] + of.wrote["checkpoint"] > 0, f"no kill hit a checkpoint write: {of}"


def keep(landed: list[Landed]) -> None:
    """One JSON file, where one is asked for."""
    target = os.environ.get("POSTTRAIN_EVIDENCE")
    if not target:
        return
    table = {
        "title": "SIGKILL at uniformly random moments of every stage",
        "commit": code_version(),
        "machine": {**hardware(), "torch": torch.__version__, "threads": torch.get_num_threads()},
        "rows": [
            {
                "stage": of.stage,
                "seed": of.seed,
                "seconds": of.seconds,
                "kills": of.kills,
                "in a state or checkpoint write": of.wrote["resume state"] + of.wrote["checkpoint"],
                "half-written": dict(of.wrote),
                "ends compared": of.finished,
                "identical": of.finished,
                "most attempts": of.attempts,
            }
            for of in landed
        ],
    }
    Path(target).write_text(json.dumps(table, indent=2) + "\n")
