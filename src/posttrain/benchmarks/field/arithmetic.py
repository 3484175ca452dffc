"""Word problems with a number as the answer."""

from __future__ import annotations

from posttrain.benchmarks import readers
from posttrain.benchmarks.declaration import Declaration, MirrorFile
from posttrain.data.synthetic import LEVELS, problems
from posttrain.engines.base import Sampling
from posttrain.prompts import GSM8K_SHOTS
from posttrain.records import Problem

SYNTHETIC_SEED = 20_250_101  # part of the benchmark: another seed is another benchmark
SYNTHETIC_ITEMS = 1_000

_GSM8K_TEST = MirrorFile("gsm8k_test.jsonl", "0bb42e407392dda4251556a89d2c372b518edbaa9d67e95b7f5d8fc1e58b85e7")
_GSM8K_ORIGIN = "openai/grade-school-math: grade_school_math/data/test.jsonl"


def _synthetic() -> list[Problem]:
    return problems(SYNTHETIC_SEED, "test", SYNTHETIC_ITEMS, tuple(LEVELS))


GSM8K = Declaration(
    name="gsm8k",
    files=(_GSM8K_TEST,),
    items=1319,
    licence="MIT",
    origin=_GSM8K_ORIGIN,
    grading="gsm8k",
    dataset="gsm8k",
    lm_eval="gsm8k",
    lighteval="gsm8k",
    note="`shots: k` shows the first k training problems.",
    reference=(
        "Qwen2.5-1.5B-Instruct 60.96 (greedy; baseline of a study that distils synthetic traces into it)",
        "Llama-3.1-8B 16.4 (baseline of a study of instruction tuning, CS336 assignment 5)",
    ),
)
GSM8K_COT = Declaration(
    name="gsm8k_cot",
    files=(_GSM8K_TEST,),
    items=1319,
    licence="MIT",
    origin=_GSM8K_ORIGIN,
    grading="gsm8k",
    template="plain",
    sampling=Sampling(temperature=0.0, max_tokens=512),
    shots=8,
    dataset="gsm8k",
    examples=GSM8K_SHOTS,
    lm_eval="gsm8k_cot",
    note="The eight worked examples of Wei et al. (arXiv:2201.11903, table 20); `shots: k` shows the first k.",
)
SVAMP = Declaration(
    name="svamp",
    files=(MirrorFile("svamp.jsonl", "c2fc0aabbe77d13245deea064440acd88d32f09350e326c3f5cfe2056aa98fa3"),),
    read=readers.plain,
    items=1000,
    licence="MIT",
    origin="arkilpatel/SVAMP, as in math-evaluation-harness: data/svamp",
    grading="gsm8k",
)
GSM_HARD = Declaration(
    name="gsm_hard",
    files=(MirrorFile("gsm_hard.jsonl", "de171c3c1443b4874bf1358ccc619db2e748acf04827f97ef112d9cea754013f"),),
    read=readers.plain,
    items=1319,
    licence="MIT",
    origin="reasoning-machines/pal, as in math-evaluation-harness: data/gsm_hard",
    grading="gsm8k",
    note="Golds were made by running programs with larger numbers; an unknown share makes no sense (negative amounts).",
)
SYNTHETIC = Declaration(
    name="synthetic",
    make=_synthetic,
    items=SYNTHETIC_ITEMS,
    licence="made here",
    origin=f"posttrain.data.synthetic, seed {SYNTHETIC_SEED}, all levels in turn",
    grading="gsm8k",
    sampling=Sampling(temperature=0.0, max_tokens=256),
    note="No problem of it can be in a synthetic training split: the problem itself decides its split.",
)

ALL = (GSM8K, GSM8K_COT, SVAMP, GSM_HARD, SYNTHETIC)
