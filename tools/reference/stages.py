"""One page per stage: what it takes, what it makes, and its keys."""

from __future__ import annotations

import inspect
from pathlib import Path

from tools.reference.keys import keys_table
from tools.reference.text import NOTICE, code, docstring, escaped, fenced, table

import posttrain
from posttrain.curate.filters import FILTERS
from posttrain.curate.selectors import SELECTORS
from posttrain.pipeline.external import describe
from posttrain.registry import STAGES
from posttrain.stage import StageSpec, stage_spec

SOURCE = Path(posttrain.__file__).resolve().parent.parent
# stage → the page (and heading) that tells how it is used
GUIDES = {
    "data": "data.md",
    "examples": "data.md#examples",
    "export": "selection.md#for-llama-factory",
    "plant": "data.md#traces",
    "preprocess": "training.md#sft",
    "traces": "traces.md",
    "curate": "curation.md",
    "curate-problems": "curation.md",
    "pretrain": "training.md#pretrain",
    "sft": "training.md#sft",
    "rl": "training.md#rl",
    "sample": "training.md#sample-pairs-dpo",
    "pairs": "training.md#sample-pairs-dpo",
    "dpo": "training.md#sample-pairs-dpo",
    "eval": "evaluation.md",
    "sweep": "sweep.md",
    "regrade": "evaluation.md#what-an-evaluation-leaves",
    "results": "evaluation.md#what-an-evaluation-leaves",
    "judge": "judge.md",
    "report": "evaluation.md#the-report",
    "contest": "selection.md",
}
CURATION = ("curate", "curate-problems")


def overview() -> str:
    """The list of stages."""
    rows = []
    for name, (_, summary) in STAGES.items():
        spec = stage_spec(name)
        takes = ", ".join(code(one.name) + ("" if one.required else " (optional)") for one in spec.inputs) or "–"
        rows.append((f"[`{name}`](stages/{name}.md)", escaped(summary), takes, spec.output.kind))
    text = (
        "# Stages\n\n" + NOTICE + "A stage is a function from a config and artifacts to one artifact. It stands in a "
        "[recipe](../recipes.md) as `{stage: NAME, …}`, runs alone as `posttrain NAME KEY=VALUE … out=DIR`, and is "
        "called from Python through `posttrain.pipeline.run_stage`. Keys of a config in a config are written with a "
        "dot. A key without effect on the result is in no fingerprint: changing it makes nothing stale.\n\n"
    )
    return text + table(("stage", "what it makes", "inputs", "kind"), rows)


def pages() -> dict[str, str]:
    """Stage → its page."""
    return {name: _page(stage_spec(name), STAGES[name][1]) for name in STAGES}


def _page(spec: StageSpec, summary: str) -> str:
    about = docstring(spec.function.__doc__)
    parts = [f"# {spec.name}\n\n", NOTICE, about or escaped(summary), "\n\n"]
    parts.append(f"How it is used: [{GUIDES[spec.name].partition('#')[0].removesuffix('.md')}]")
    parts.append(f"(../../{GUIDES[spec.name]}). It makes **{spec.output.kind}**, in `{_home(spec)}`")
    parts.append(f" (version {spec.version}).\n\n" if spec.version > 1 else ".\n\n")
    words = " ".join(f"{one.name}=…" for one in spec.inputs if one.required)
    parts.append(fenced(f"posttrain {' '.join(filter(None, [spec.name, words]))} KEY=VALUE … out=DIR", "text"))
    if spec.inputs:
        rows = [
            (code(one.name), describe(one) + (", one or several" if one.many else ""), "yes" if one.required else "no")
            for one in spec.inputs
        ]
        parts += ["\n## Inputs\n\n", table(("input", "what", "needed"), rows)]
    parts += ["\n## Keys\n\n", keys_table(spec.config)]
    if spec.name in CURATION:
        parts += _steps()
    return "".join(parts)


def _home(spec: StageSpec) -> str:
    file = Path(inspect.getfile(inspect.unwrap(spec.function))).resolve()
    return f"src/{file.relative_to(SOURCE).as_posix()}"


def _steps() -> list[str]:
    """What may stand in `steps:` of a curation."""
    parts = ["\n## Filters\n\nA step `{filter: NAME, …}`.\n"]
    for title, entries in (("", FILTERS), ("## Selectors\n\nA step `{select: NAME, budget: N, …}`.\n", SELECTORS)):
        parts.append(f"\n{title}" if title else "")
        for name, entry in entries.items():
            words = docstring(entry.config.__doc__)
            parts.append(f"\n### {name}\n\n{escaped(entry.help)}\n\n" + (f"{words}\n\n" if words else ""))
            if entry.config.model_fields:
                parts.append(keys_table(entry.config))
    return parts
