"""Competition and university mathematics: answers are formulas, graded by `math`."""

from __future__ import annotations

from posttrain.benchmarks import readers
from posttrain.benchmarks.declaration import Declaration, MirrorFile
from posttrain.data.rows import Row
from posttrain.engines.base import Sampling

LONG = Sampling(temperature=0.0, max_tokens=2048)
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."  # Qwen2.5-Math's system prompt

_MATH500 = MirrorFile("math500.jsonl", "afdfb49b3c3c254324ab85dc0aeb6ae3c3a91a8d0418512352c3e0389e18a964")
_MATH_REST = MirrorFile("math_train.jsonl", "dff3c79ccbf18d1b3f04cef8a7967772b894e9bf6628efdd4ae40d571f45d2ba")


def _math_test(row: Row) -> bool:
    """Of Hendrycks' test set: MATH-500, and the 4,500 others that PRM800K's split trains on."""
    return bool(row.values.get("orig_split", "test") == "test")


MATH500 = Declaration(
    name="math500",
    files=(_MATH500,),
    items=500,
    licence="MIT",
    origin="hendrycks/math, the 500 of openai/prm800k; math-evaluation-harness@1b9885d: data/math500/test.jsonl",
    grading="math",
    system=BOXED,
    sampling=LONG,
    dataset="math",
    lm_eval="hendrycks_math500",
    lighteval="math_500",
)
MATH = Declaration(
    name="math",
    files=(_MATH500, _MATH_REST),
    read=readers.only(_math_test),
    items=5000,
    licence="MIT",
    origin="hendrycks/math, the whole test set: MATH-500 and math-evaluation-harness: data/math/test.jsonl",
    grading="math",
    system=BOXED,
    sampling=LONG,
    lm_eval="hendrycks_math",
    reference=(
        "Qwen2.5-Math-1.5B 2.9 as it is, 53.4 after SFT, 74.8 after GRPO (r1_zero prompt; CS336 5, validation)",
    ),
    note="4,500 of its problems are training problems of `dataset: math`: test models trained on that by math500.",
)
AIME24 = Declaration(
    name="aime24",
    files=(MirrorFile("aime24.jsonl", "ce1dea55a73ac486923b7f2a21853fddf06922df899c3abbc2e41f52bf09b44b"),),
    read=readers.plain,
    items=30,
    licence="problems (c) MAA",
    origin="mlfoundations/evalchemy@6ed6741: eval/chat_benchmarks/AIME24/data/aime24.json",
    grading="math",
    system=BOXED,
    sampling=LONG,
    lm_eval="aime24",
    lighteval="aime24",
    note="30 problems: at 30 % the 95 % interval is ±16 points.",
)
AIME25 = Declaration(
    name="aime25",
    files=(MirrorFile("aime25.jsonl", "493946011889ab8a04178522d94abb7287a867f916c0d6a798d628b9b2b948f9"),),
    read=readers.plain,
    items=30,
    licence="problems (c) MAA",
    origin="mlfoundations/evalchemy: eval/chat_benchmarks/AIME25/data/aime25.json",
    grading="math",
    system=BOXED,
    sampling=LONG,
    lm_eval="aime25",
    lighteval="aime25",
    note="30 problems: at 30 % the 95 % interval is ±16 points.",
)
AMC23 = Declaration(
    name="amc23",
    files=(MirrorFile("amc23.jsonl", "e87a7479e5016505d97461b056eb8fcc455fb311470a2e9d25d56ad591b664b3"),),
    read=readers.plain,
    items=40,
    licence="problems (c) MAA",
    origin="mlfoundations/evalchemy: eval/chat_benchmarks/AMC23/data/amc23.json, the set of Qwen2.5-Math",
    grading="math",
    system=BOXED,
    sampling=LONG,
)
AMC = Declaration(
    name="amc",
    files=(MirrorFile("amc.jsonl", "df710abfb908066f71d3eedcf530e5ec36781dd0c4ded4115cefee9caff287b4"),),
    read=readers.plain,
    items=83,
    licence="problems (c) MAA",
    origin="sail-sg/understand-r1-zero: datasets/evaluation_suite/amc (AMC 12 of 2022 and 2023, integer answers)",
    grading="math",
    system=BOXED,
    sampling=LONG,
)
MINERVA = Declaration(
    name="minerva",
    files=(MirrorFile("minerva.jsonl", "f4c464b1781b45c94b271a53f2abb47a1bde20d3157464dddf6eaac0b7ad9d1a"),),
    read=readers.minerva,
    items=272,
    licence="CC-BY-NC-SA-4.0 (MIT OpenCourseWare; not for commercial use)",
    origin="math-evaluation-harness: data/minerva_math/test.jsonl",
    grading="math",
    system=BOXED,
    sampling=LONG,
    note="The gold of minerva/72 is broken by stray dollar signs in the source; it is mended when read.",
)
OLYMPIADBENCH = Declaration(
    name="olympiadbench",
    files=(MirrorFile("olympiadbench.jsonl", "f091a34c62c8cc2c4d14c7c62c364bec4baa7269bbf4a9ed201715f4b67a48f7"),),
    read=readers.plain,
    items=675,
    licence="Apache-2.0",
    origin="OpenBMB/OlympiadBench (OE_TO_maths_en_COMP), as in math-evaluation-harness: data/olympiadbench/test.jsonl",
    grading="math",
    system=BOXED,
    sampling=LONG,
    known_bad={
        "olympiadbench/1965": "the gold is a formula and a sentence about it; no box that repeats it is read so"
    },
    note="94 problems have several answers; all are asked for, in any order. Units are not asked for.",
)

ALL = (MATH500, MATH, AIME24, AIME25, AMC23, AMC, MINERVA, OLYMPIADBENCH)
