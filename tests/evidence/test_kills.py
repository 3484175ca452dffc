"""At least 24 kills of every real stage, and where they landed: docs/evidence.md shows the result.

POSTTRAIN_EVIDENCE=FILE keeps the table as JSON (perf/results/kills.json is one that was kept).
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.kill_stages import STAGES, Landed, lab

from posttrain.store.environment import code_version, hardware

KILLS = 24
WRITES = {  # what each training stage writes in several files, by the glob of its temporary; these get twice the kills
    "base": (".work/.resume-*.tmp", "checkpoints/.step-*.tmp", ".model.*.tmp"),
    "sft": (".work/.resume-*.tmp", "checkpoints/.step-*.tmp", ".model.*.tmp"),
    "sft-tokens": (".work/.resume-*.tmp", ".model.*.tmp"),
    "rl": (".work/.resume-*.tmp", "checkpoints/.step-*.tmp", ".model.*.tmp"),
}


@pytest.mark.evidence
def test_every_stage_survives_its_kills_bit_for_bit(tmp_path: Path) -> None:
    code = code_version()
    seed = random.SystemRandom().randrange(2**32)
    landed = []
    with lab(tmp_path) as made:
        for i, stage in enumerate(STAGES):
            writes = WRITES.get(stage, ())
            landed.append(made.kill(stage, 2 * KILLS if writes else KILLS, seed + i))
            for where in writes:
                made.kill_inside(stage, where)
                landed[-1].aimed += 1
    keep(landed, code)
    assert all(of.kills >= KILLS for of in landed)
    assert sum(inside(of) for of in landed) > 0, "no random kill hit the write of a state or checkpoint"


def inside(of: Landed) -> int:
    """Random kills between the start and the rename of a resume state or model folder."""
    return of.wrote["resume state"] + of.wrote["checkpoint"]


def keep(landed: list[Landed], code: dict[str, Any]) -> None:
    """One JSON file, where one is asked for."""
    target = os.environ.get("POSTTRAIN_EVIDENCE")
    if not target:
        return
    table = {
        "title": "SIGKILL at uniformly random moments of every stage",
        "code": code,
        "machine": {**hardware(), "torch": torch.__version__, "threads": torch.get_num_threads()},
        "rows": [
            {
                "stage": of.stage,
                "seed": of.seed,
                "seconds": of.seconds,
                "kills": of.kills,
                "inside the write of a state or checkpoint": inside(of),
                "half-written": dict(of.wrote),
                "aimed into such a write": of.aimed,
                "ends compared and identical": of.finished + of.aimed,
                "most attempts": of.attempts,
            }
            for of in landed
        ],
    }
    Path(target).write_text(json.dumps(table, indent=2) + "\n")
