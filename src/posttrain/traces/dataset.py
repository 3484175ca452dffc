"""The traces as a data set for others: two Parquet files, all and correct, with flat columns, and a card.

It is made from the same samples as `samples.parquet`, holds no times of this run and no paths of this machine, and is
the folder that goes to the Hub.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from posttrain.records import Sample
from posttrain.store import write_atomic, write_table
from posttrain.traces.pilot import dollars
from posttrain.traces.rows import only_correct

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from posttrain.stage import Workspace
    from posttrain.traces.config import DatasetPushConfig, TracesConfig

FOLDER = "dataset"
ALL, CORRECT = "all.parquet", "correct.parquet"

# column → what it is; the card lists them in this order
COLUMNS = {
    "id": "of the problem",
    "sample": "number of the answer among those to its problem",
    "question": "as it was asked",
    "response": "what a student learns: cleaned, in the form asked for",
    "reasoning": "the teacher's thoughts, cleaned; null where it shows none",
    "reasoning_kind": "raw, summary (the provider's), tags (in the text) or none",
    "answer": "as the response gives it, numbers written in one way; null where it was cut off or names none",
    "gold": "the problem's own answer",
    "correct": "the grader's verdict: true, false, or null where it can't decide",
    "verdict": "the verdict's reason",
    "teacher": "who was asked",
    "model": "who the provider says answered",
    "finish_reason": "stop, length (cut off), cancelled (filtered)",
    "prompt_tokens": "as the provider counts them",
    "completion_tokens": "the same, reasoning included",
    "cost": "dollars; null where no price is known",
    "split": "of the problem",
}


def write_dataset(folder: Path, config: TracesConfig, samples: Sequence[Sample], spec: str) -> None:
    """``all.parquet``, ``correct.parquet`` and ``README.md`` in `folder`."""
    folder.mkdir(exist_ok=True)
    correct = only_correct(samples)
    write_table(folder / ALL, table_of(samples))
    write_table(folder / CORRECT, table_of(correct))
    with write_atomic(folder / "README.md") as file:
        file.write(card(config, samples, len(correct), spec).encode())


def table_of(samples: Sequence[Sample]) -> pa.Table:
    """The flat table of COLUMNS."""
    import pyarrow as pa

    kinds = {"sample": pa.int32(), "correct": pa.bool_(), "cost": pa.float64()}
    kinds |= dict.fromkeys(("prompt_tokens", "completion_tokens"), pa.int64())
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    return pa.Table.from_pylist([_row(sample) for sample in samples], schema=schema)


def _row(sample: Sample) -> dict[str, Any]:
    extra, usage = sample.extra, sample.extra.get("usage", {})
    verdict = sample.verdict
    return {
        "id": sample.problem_id,
        "sample": sample.index,
        "question": sample.question,
        "response": sample.response,
        "reasoning": extra.get("reasoning"),
        "reasoning_kind": extra.get("reasoning_kind"),
        "answer": extra.get("answer"),
        "gold": sample.gold,
        "correct": verdict.correct if verdict else None,
        "verdict": verdict.reason if verdict else None,
        "teacher": extra.get("teacher"),
        "model": extra.get("model"),
        "finish_reason": sample.finish_reason,
        "prompt_tokens": usage.get("prompt"),
        "completion_tokens": usage.get("completion"),
        "cost": extra.get("cost"),
        "split": sample.split,
    }


def card(config: TracesConfig, samples: Sequence[Sample], correct: int, spec: str) -> str:
    """The data set's README.md, with the front matter that the Hub reads."""
    settings = {
        "system prompt": config.system,
        "prompt": config.prompt,
        "template": config.template,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "longest answer": config.max_tokens,
        "answers per problem": config.samples,
        "form of the responses": config.format,
        "cleaned": "sentences about the form of the answer and echoes of the instructions" if config.clean else "no",
        "graded by": spec,
    }
    return "\n".join(
        [
            *_FRONT,
            "# Worked answers by " + ", ".join(config.teachers),
            "",
            f"{len(samples):,} answers to {len({s.problem_id for s in samples}):,} problems, {correct:,} of them "
            "correct by the grader. `all` has every answer, also wrong and truncated ones; `correct` has those that "
            "the grader calls correct. The teachers' terms of use and the licence of the problems apply.",
            "",
            "| teacher | model | answers | correct | wrong | undecided | truncated | tokens | cost |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_teacher_line(name, samples) for name in config.teachers),
            "",
            "## How they were asked",
            "",
            *(f"- {name}: {_told(value)}" for name, value in settings.items() if value is not None),
            "",
            "## Columns",
            "",
            *(f"- `{name}`: {meaning}" for name, meaning in COLUMNS.items()),
            "",
            "Made with posttrain.",
            "",
        ]
    )


_FRONT = (
    "---",
    "task_categories: [text-generation]",
    "language: [en]",
    "tags: [reasoning, synthetic, distillation, posttrain]",
    "configs:",
    "- config_name: all",
    f"  data_files: {ALL}",
    "- config_name: correct",
    f"  data_files: {CORRECT}",
    "---",
    "",
)


def _told(value: Any) -> str:
    text = str(value)
    return f"`{' '.join(text.split())}`" if isinstance(value, str) and (" " in text or "\n" in text) else text


def _teacher_line(name: str, samples: Sequence[Sample]) -> str:
    own = [s for s in samples if s.extra.get("teacher") == name]
    verdicts = Counter(s.verdict.correct for s in own if s.verdict)
    models = sorted({str(s.extra["model"]) for s in own})
    costs = [s.extra.get("cost") for s in own]
    tokens = [s.extra.get("usage", {}).get("completion") for s in own]
    cells = [
        name,
        ", ".join(models) or "-",
        f"{len(own):,}",
        *(f"{verdicts[which]:,}" for which in (True, False, None)),
        f"{sum(s.truncated for s in own):,}",
        f"{sum(t for t in tokens if t is not None):,}" if None not in tokens else "unknown",
        dollars(sum(c for c in costs if c is not None)) if None not in costs else "unknown",
    ]
    return f"| {' | '.join(cells)} |"


def push(folder: Path, config: DatasetPushConfig, work: Workspace) -> None:
    """Sends the data set to the Hub. What the Hub does not take is told and can be sent later: the traces stand."""
    from posttrain.hub.push import PushError, push_folder

    try:
        commit = push_folder(
            folder,
            config.repo,
            ["main"],
            private=config.private,
            message=work.dir.name,
            repo_type="dataset",
            existing=config.existing,
        )
    except PushError as error:
        work.note(f"the data set is not on the Hub: {error} Later: posttrain push {work.dir} --repo {config.repo}")
        work.summarise(push_failed=1)
    else:
        work.note(f"data set {config.repo}: {commit}")
        work.summarise(pushed=1)
