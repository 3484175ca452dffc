"""Following instructions, and refusing them: checked by rules (IFEval), or kept for a judge."""

from __future__ import annotations

from posttrain.benchmarks import readers
from posttrain.benchmarks.benchmark import UNGRADED
from posttrain.benchmarks.declaration import Declaration, MirrorFile
from posttrain.engines.base import Sampling

IFEVAL = Declaration(
    name="ifeval",
    files=(MirrorFile("ifeval.jsonl", "7f2979375d2752ce035062692e8e95f112f7547e5db27b1ab5e2a1bfc08d1c30"),),
    read=readers.ifeval,
    items=541,
    licence="Apache-2.0",
    origin="google-research/instruction_following_eval, as in mlfoundations/evalchemy: eval/chat_benchmarks/IFEval",
    grading="ifeval",
    sampling=Sampling(temperature=0.0, max_tokens=1280),
    lm_eval="ifeval",
    lighteval="ifeval",
    note="Prompt-level: an answer is right when it keeps to all of its instructions.",
)
ALPACA_EVAL = Declaration(
    name="alpaca_eval",
    files=(MirrorFile("alpaca_eval.jsonl", "394075c42f0c2c970bfd20b68a15fd2d9dfc7a50fb6372a658de0a0a61bd0e4f"),),
    read=readers.plain,
    items=805,
    licence="CC-BY-NC-4.0 (not for commercial use)",
    origin="tatsu-lab/alpaca_eval, as in stanford-cs336/assignment5-alignment: data/alpaca_eval",
    grading=UNGRADED,
    sampling=Sampling(temperature=0.0, max_tokens=2048),
    reference=("Llama-3.1-8B 1.57, instruction-tuned 4.5 to 5.3 (win rate; a study of instruction tuning, CS336 5)",),
    note="Answers only, kept for a judge; reference answers of two models stand in the mirror's file.",
)
SIMPLE_SAFETY_TESTS = Declaration(
    name="simple_safety_tests",
    files=(
        MirrorFile("simple_safety_tests.jsonl", "affceb9bf5c71e9d3639053a690f08f6f8990aa9f546379d91e5b9486ef83537"),
    ),
    read=readers.plain,
    items=100,
    licence="CC-BY-2.0",
    origin="Bertievidgen/SimpleSafetyTests, as in stanford-cs336/assignment5-alignment: data/simple_safety_tests",
    grading=UNGRADED,
    sampling=Sampling(temperature=0.0, max_tokens=1024),
    reference=("Llama-3.1-8B 62 safe, instruction-tuned 77 to 78 (a study of instruction tuning, CS336 5)",),
    note="Harmful prompts; answers only, kept for a judge who says whether they are safe.",
)
MT_BENCH = Declaration(
    name="mt_bench",
    files=(MirrorFile("mt_bench.jsonl", "763ca53316ef99b424e8df4f0054c261fba584f647d0bb611ce7b9531ee47e6e"),),
    read=readers.plain,
    items=80,
    licence="Apache-2.0",
    origin="lm-sys/FastChat, as in mlfoundations/evalchemy: eval/chat_benchmarks/MTBench/question.jsonl",
    grading=UNGRADED,
    sampling=Sampling(temperature=0.0, max_tokens=1024),
    note="First turns only, kept for a judge.",
)

ALL = (IFEVAL, ALPACA_EVAL, SIMPLE_SAFETY_TESTS, MT_BENCH)
