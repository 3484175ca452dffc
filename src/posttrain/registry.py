"""The stages that ship, as strings: reading this imports nothing, so ``posttrain --help`` can list them."""

from __future__ import annotations

# name → ("module:function", one line of help). The modules import no torch at their top.
STAGES: dict[str, tuple[str, str]] = {
    "data": ("posttrain.data.stages:data", "Problems with checkable answers, split."),
    "examples": ("posttrain.data.examples:examples", "Published instruction data as answers to learn from."),
    "export": ("posttrain.data.export:export", "Answers to learn from as a LLaMA-Factory dataset."),
    "plant": ("posttrain.data.planting:plant", "Traces with known defects among them, to test curation."),
    "preprocess": ("posttrain.training.stages:preprocess", "Tokenised examples with loss masks."),
    "traces": ("posttrain.traces.stages:traces", "A teacher's worked answers to problems."),
    "curate": ("posttrain.curate.stages:curate", "The traces worth teaching, and for every row why."),
    "curate-problems": ("posttrain.curate.stages:curate_problems", "The problems worth asking, and for every row why."),
    "pretrain": ("posttrain.sft.stages:pretrain", "A base model by plain language modelling."),
    "sft": ("posttrain.sft.stages:sft", "Supervised fine-tuning on traces."),
    "rl": ("posttrain.rl.stages:rl", "Reinforcement learning with verifiable rewards."),
    "sample": ("posttrain.preference.stages:sample", "A model's own graded answers to problems."),
    "pairs": ("posttrain.preference.stages:pairs", "Better and worse answers to the same problem."),
    "dpo": ("posttrain.preference.stages:dpo", "Direct preference optimization on pairs."),
    "eval": ("posttrain.evals.stages:evaluate", "Answers and scores of models on benchmarks."),
    "regrade": ("posttrain.evals.regrade:regrade", "New verdicts from stored answers; nothing is generated."),
    "results": ("posttrain.report.results:results", "Several trained models in one table, with their training logs."),
    "report": ("posttrain.report.stages:report", "Tables, comparisons and curves as HTML, Markdown and JSON."),
    "contest": ("posttrain.report.contest:contest", "Several ways of making a model against a baseline, over seeds."),
}
