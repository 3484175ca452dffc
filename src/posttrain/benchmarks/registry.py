"""The registered benchmarks, as declarations. `load.py` turns one into a Benchmark."""

from __future__ import annotations

from posttrain.benchmarks.declaration import Declaration
from posttrain.engines.base import Sampling

LONG = Sampling(temperature=0.0, max_tokens=2048)

DECLARATIONS: tuple[Declaration, ...] = (
    Declaration(
        name="gsm8k",
        source="gsm8k_test",
        items=1319,
        sha256="0bb42e407392dda4251556a89d2c372b518edbaa9d67e95b7f5d8fc1e58b85e7",
        licence="MIT",
        grading="gsm8k",
        dataset="gsm8k",
        aliases=("lm-eval: gsm8k", "lighteval: gsm8k"),
        reference=("Qwen2.5-1.5B-Instruct 60.96 (greedy, 0-shot, as reported by a student distillation study)",),
    ),
    Declaration(
        name="math500",
        source="math500",
        items=500,
        sha256="afdfb49b3c3c254324ab85dc0aeb6ae3c3a91a8d0418512352c3e0389e18a964",
        licence="MIT",
        grading="math",
        sampling=LONG,
        dataset="math",
        aliases=("math", "lm-eval: hendrycks_math500", "lighteval: math_500"),
    ),
    Declaration(
        name="svamp",
        source="svamp",
        items=1000,
        sha256="c2fc0aabbe77d13245deea064440acd88d32f09350e326c3f5cfe2056aa98fa3",
        licence="MIT",
        grading="gsm8k",
    ),
    Declaration(
        name="gsm_hard",
        source="gsm_hard",
        items=1319,
        sha256="de171c3c1443b4874bf1358ccc619db2e748acf04827f97ef112d9cea754013f",
        licence="MIT",
        grading="gsm8k",
    ),
    Declaration(
        name="aime24",
        source="aime24",
        items=30,
        sha256="ce1dea55a73ac486923b7f2a21853fddf06922df899c3abbc2e41f52bf09b44b",
        licence="problems (c) MAA",
        grading="math",
        sampling=LONG,
        aliases=("lighteval: aime24",),
    ),
    Declaration(
        name="aime25",
        source="aime25",
        items=30,
        sha256="493946011889ab8a04178522d94abb7287a867f916c0d6a798d628b9b2b948f9",
        licence="problems (c) MAA",
        grading="math",
        sampling=LONG,
        aliases=("lighteval: aime25",),
    ),
    Declaration(
        name="amc23",
        source="amc23",
        items=40,
        sha256="e87a7479e5016505d97461b056eb8fcc455fb311470a2e9d25d56ad591b664b3",
        licence="problems (c) MAA",
        grading="math",
        sampling=LONG,
    ),
)

BY_NAME: dict[str, Declaration] = {
    name: d for d in DECLARATIONS for name in (d.name, *(a for a in d.aliases if ": " not in a))
}
