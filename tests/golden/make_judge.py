"""Writes judge.json: length-controlled win rates by alpaca_eval's own get_length_controlled_winrate, kappas by
scikit-learn.

Run in an environment of its own, since alpaca_eval wants much: pip install alpaca-eval==0.6.6, then
python tests/golden/make_judge.py [FILE]. AlpacaEval's difficulties and gamed judgements are downloaded by it; here they
are made up and given to it instead, so that nothing of theirs is kept.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from alpaca_eval.metrics import glm_winrate
from sklearn.metrics import cohen_kappa_score

HERE = Path(__file__).parent
N = 300
MINIMAL = {
    "formula": "np.tanh(std_delta_len) + not_gamed_baseline.astype(float) - 1",
    "regularize_to_baseline_lambda": None,
    "kwargs": {"n_splits": 5},
}
# name → (what the model is worth, what length is worth to the judge, how much longer its answers are)
SETS = {"long and liked": (-0.4, 1.2, 1.6), "short and good": (0.3, 0.8, 0.6), "far behind": (-2.5, 0.5, 1.0)}


def made_up(rng: np.random.Generator, worth: float, length: float, longer: float) -> dict[str, list[Any]]:
    """Judgements of one model: hard ones, some weighted, a few ties (0) and a few that could not be read."""
    difficulty = rng.normal(0, 0.8, N).round(4)
    baseline = rng.lognormal(7, 0.5, N).astype(int) + 20
    model = (longer * rng.lognormal(7, 0.6, N)).astype(int) + 5
    delta = (baseline - model) / (baseline - model).std(ddof=1)
    chance = 1 / (1 + np.exp(-(worth - length * np.tanh(delta) + 0.7 * difficulty)))
    hard = rng.random(N) < chance
    weighted = np.clip(chance + rng.normal(0, 0.1, N), 0.001, 0.999)
    preference = np.where(rng.random(N) < 0.5, hard, weighted) + 1.0
    preference[rng.random(N) < 0.02] = 0.0
    preference[rng.random(N) < 0.02] = np.nan
    return {
        "baseline": baseline.tolist(),
        "model": model.tolist(),
        "difficulty": difficulty.tolist(),
        "preference": [None if np.isnan(p) else round(float(p), 4) for p in preference],
    }


def gamed(rng: np.random.Generator, difficulty: list[float]) -> pd.DataFrame:
    """The baseline, told to be brief and told to be long, against itself."""
    rows = []
    for mean in (1.0, -1.0):
        length = rng.normal(mean, 0.7, N).round(4)
        chance = 1 / (1 + np.exp(1.1 * np.tanh(length)))
        rows.append(
            pd.DataFrame(
                {
                    "model": f"gamed {mean}",
                    "preference": np.clip(chance + rng.normal(0, 0.15, N), 0, 1).round(4),
                    "index": range(N),
                    "std_delta_len": length,
                    "instruction_difficulty": difficulty,
                    "not_gamed_baseline": False,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def theirs(one: dict[str, list[Any]], table: Path, glm: dict[str, Any] | None) -> dict[str, float]:
    """What the reference implementation says."""
    glm_winrate.hf_hub_download = lambda **_: str(table)
    annotations = pd.DataFrame(
        {
            "preference": [np.nan if p is None else p for p in one["preference"]],
            "output_1": ["x" * n for n in one["baseline"]],
            "output_2": ["x" * n for n in one["model"]],
            "generator_1": "baseline",
            "generator_2": "model",
            "annotator": "made up",
        }
    )
    found = glm_winrate.get_length_controlled_winrate(
        annotations, save_weights_dir=None, glm_info=glm, is_warn_extreme_changes=False
    )
    return {"win_rate": found["win_rate"], "length_controlled": float(found["length_controlled_winrate"])}


def kappas(rng: np.random.Generator) -> list[dict[str, Any]]:
    cases = []
    for k, noise in ((2, 0.1), (2, 0.45), (3, 0.3), (5, 0.5)):
        a = rng.integers(0, k, 80)
        b = np.where(rng.random(80) < noise, rng.integers(0, k, 80), a)
        for weights in (None, "linear", "quadratic"):
            value = float(cohen_kappa_score(a, b, labels=list(range(k)), weights=weights))
            cases.append({"a": a.tolist(), "b": b.tolist(), "k": k, "weights": weights, "kappa": value})
    return cases


def main(target: Path) -> None:
    rng = np.random.default_rng(20)
    sets = []
    for name, worth in SETS.items():
        one = made_up(rng, *worth)
        played = gamed(rng, one["difficulty"])
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "df_gamed.csv"
            played.to_csv(table, index=False)
            expected = {"minimal": theirs(one, table, MINIMAL), "length_controlled_v1": theirs(one, table, None)}
        columns = {c: played[c].tolist() for c in ("preference", "std_delta_len", "instruction_difficulty")}
        sets.append({"name": name, **one, "gamed": columns, "expected": expected})
    versions = {name: importlib.metadata.version(name) for name in ("alpaca-eval", "scikit-learn", "numpy", "pandas")}
    text = json.dumps({"versions": versions, "sets": sets, "kappas": kappas(rng)})
    target.write_text(text.replace('{"name"', '\n{"name"').replace('{"a"', '\n{"a"') + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "judge.json")
