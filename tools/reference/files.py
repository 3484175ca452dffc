"""The files of a run: the columns of its tables, and the manifest. A column without words here is an error."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tools.reference.text import NOTICE, code, table

from posttrain.curate.ledger import ledger
from posttrain.curate.rows import Rows
from posttrain.judge.asks import judgements_schema
from posttrain.records import problem_schema, sample_schema, verdict_schema
from posttrain.rl.journal import write_tokens
from posttrain.training.tokenise import examples_table

INTRO = """\
Tables are Parquet (zstd), configurations and results JSON, journals and metrics JSON lines, weights safetensors. Any
library reads them; nothing is pickled. [The store](../store.md) tells what stands in which folder and what
`manifest.json` says.

```python
import pyarrow.parquet as pq

answers = pq.read_table("runs/quickstart/scores/sft/problems/samples.parquet").to_pandas()
```

A column that ends in *JSON* holds a JSON object as text. Columns marked *required* are never null.
"""

COMMON = {
    "problem_id": "the problem's id",
    "index": "which of the answers to one problem, from 0",
    "question": "what is asked",
    "step": "the training step it was sampled at; null where nothing trains",
    "split": "train, validation or test",
    "extra": "what the source gave beside, or what it cost (usage, price, model, times); JSON",
    "subject": "as the source names it",
    "level": "how hard, as the source says",
    "response": "the answer as text",
    "reason": "a code: [grading](../grading.md#specs)",
    "model": "the model's name in the evaluation",
}
WORDS: dict[str, dict[str, str]] = {
    "problems.parquet": {
        "id": "unique in the table",
        "answer": "the gold; null where none exists",
        "solution": "a worked solution",
        "choices": "of a multiple choice",
    },
    "samples.parquet": {
        "source": "who wrote it: a teacher, a checkpoint, `reference`",
        "gold": "the problem's answer when it was made",
        "token_ids": "as sampled, with the token that ended it",
        "logprobs": "natural logarithms, of the distribution that was sampled from, one per token",
        "prompt_ids": "what the engine was given",
        "finish_reason": "stop, length (cut at the limit) or cancelled",
        "weights_version": "of the policy that sampled it",
        "reward": "of a rollout",
        "advantage": "of a rollout",
    },
    "verdicts.parquet": {
        "correct": "null is undecided",
        "format_ok": "the answer stood where it was asked for",
        "extracted": "what was taken for the answer",
        "isolation": "how a program was shut in while it ran",
    },
    "judgements.parquet": {
        "task": "correctness, quality, preference, win_rate or safety",
        "benchmark": "what was answered",
        "other": "the other model of a pair, or `reference`",
        "order": "1: the pair was shown the other way round",
        "status": "ok, unparsed, refused or failed",
        "verdict": "of correctness and safety",
        "preference": "1: this model's answer; 0: the other; 0.5: a tie",
        "scores": "of quality; JSON",
        "reason": "the judge's words",
        "reply": "as it came",
        "first_reply": "where it was asked again",
        "judge": "the model that answered",
        "prompt_tokens": "as the provider counts",
        "completion_tokens": "as the provider counts",
        "cost": "dollars; null is unknown",
    },
    "ledger.parquet": {
        "row": "place in the input",
        "dataset": "the artifact it came from",
        "id": "the problem's id",
        "response": "its beginning",
        "kept": "what became of it",
        "dropped_by": "the first step that dropped it, `2-length`",
        "reason": "why, in words",
        "length": "tokens",
    },
    "tokens.parquet (rl)": {
        "logprobs": "of every token of the rollout",
        "entropy": "nats, of the distribution it was drawn from",
    },
    "tokens.parquet (preprocess)": {"ids": "prompt, then response", "mask": "1: this token carries loss"},
}
ABOUT = {
    "problems.parquet": "Of `data` and `curate-problems`.",
    "samples.parquet": "Answers: traces of a teacher, rollouts of a policy, answers of a checkpoint. What was "
    "generated and nothing that was thought of it.",
    "verdicts.parquet": "What a grader says of them, joined by problem_id, index and step. `regrade` replaces this "
    "file and no other.",
    "judgements.parquet": "Of `judge`: one row per question to the judge.",
    "ledger.parquet": "Of `curate`: one row per input row. Each step adds columns of its own, `2-length.score` and "
    "others.",
    "tokens.parquet (rl)": "Beside a stored step's rollouts, for `keep_tokens` of them.",
    "tokens.parquet (preprocess)": "Tokenised examples; tokens.json beside it has the template and the tokenizer's "
    "digest.",
}


def page() -> str:
    """All tables."""
    schemas = {
        "problems.parquet": problem_schema(),
        "samples.parquet": sample_schema(),
        "verdicts.parquet": verdict_schema(),
        "judgements.parquet": judgements_schema(),
        "ledger.parquet": ledger(_no_rows(), (), np.zeros(0, np.int64)).schema,
        "tokens.parquet (rl)": _rollout_tokens(),
        "tokens.parquet (preprocess)": examples_table(()).schema,
    }
    parts = ["# Files\n\n", NOTICE, INTRO]
    for name, schema in schemas.items():
        known = {**COMMON, **WORDS[name]}
        rows = [(code(f.name), _kind(f.type) + ("" if f.nullable else ", required"), known[f.name]) for f in schema]
        parts += [f"\n## {name}\n\n{ABOUT[name]}\n\n", table(("column", "type", ""), rows)]
    return "".join(parts)


def _kind(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def _no_rows() -> Rows:
    table_of_none = sample_schema().empty_table()
    return Rows("samples", np.zeros(0, np.int64), *[()] * 11, table=table_of_none)


def _rollout_tokens() -> pa.Schema:
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(Path(folder), 0, {})
        return pq.read_schema(Path(folder) / "tokens.parquet")
