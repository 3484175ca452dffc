"""One page with every verb of the command line, its arguments and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click
from tools.reference.text import NOTICE, code, docstring, escaped, fenced, table

from posttrain.cli import VERBS, WITH_FLAGS, LazyGroup, cli
from posttrain.registry import STAGES


def page() -> str:
    """All verbs in the order of ``posttrain --help``."""
    parts = [
        "# Commands\n\n",
        NOTICE,
        "`posttrain VERB --help` says the same. `KEY=VALUE` sets a key, in YAML: `lr=1e-4`, `models='[a, b]'`. What "
        "the user did wrong ends with one message and exit code 2, an interruption with 130.\n\n",
        table(("verb", ""), ((f"[`{name}`](#{name})", escaped(words)) for name, words in VERBS.items())),
    ]
    assert isinstance(cli, LazyGroup)
    context = click.Context(cli)
    for name in (*VERBS, *(stage for stage in WITH_FLAGS if stage not in VERBS)):
        command = cli.get_command(context, name)
        parts.append(_section(name, command))
    stages = ", ".join(f"[`{name}`](stages/{name}.md)" for name in STAGES)
    parts.append(
        f"\n## Every stage\n\nEvery [stage](stages.md) is a verb too: {stages}; also one of your own, "
        "`posttrain mypackage.module:function`.\n\n"
        + fenced("posttrain STAGE [OPTIONS] [INPUT=FOLDER]... [KEY=VALUE]... [out=DIR] [seed=N]", "text")
    )
    return "".join(parts)


def _section(name: str, command: click.Command) -> str:
    usage = " ".join([f"posttrain {name}", "[OPTIONS]", *_arguments(command)])
    parts = [f"\n## {name}\n\n", fenced(usage, "text"), "\n", _help(command.help or ""), "\n"]
    rows = list(_options(command))
    if rows:
        parts += ["\n", table(("option", "value", "default", ""), rows)]
    return "".join(parts)


def _arguments(command: click.Command) -> Iterator[str]:
    for one in command.params:
        if isinstance(one, click.Argument):
            word = one.metavar or (one.name or "").upper()
            many = "..." if one.nargs == -1 and not word.endswith("...") else ""
            yield (word if one.required or word.startswith("[") else f"[{word}]") + many


def _options(command: click.Command) -> Iterator[tuple[str, str, str, str]]:
    for one in command.params:
        if isinstance(one, click.Option) and not one.hidden:
            names = ", ".join(map(code, [*one.opts, *one.secondary_opts]))
            default = one.to_info_dict()["default"]
            shown = "" if default in (None, False, ()) or callable(default) else code(str(default))
            many = ", several times" if one.multiple else ""
            yield names, _value(one) + many, "required" if one.required else shown, escaped(one.help or "")


def _value(one: click.Option) -> str:
    """What an option takes: nothing for a flag."""
    kind: Any = one.type
    if one.is_flag:
        return ""
    if isinstance(kind, click.Choice):
        return ", ".join(code(str(choice)) for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        low = "" if kind.min is None else f" {'>' if kind.min_open else '≥'} {kind.min:g}"
        high = "" if kind.max is None else f" {'<' if kind.max_open else '≤'} {kind.max:g}"
        word = "whole number" if isinstance(kind, click.IntRange) else "number"
        return f"{word}{low}{',' if low and high else ''}{high}"
    if one.metavar:
        return code(one.metavar)
    return {"integer": "whole number", "float": "number"}.get(kind.name, kind.name)


def _help(text: str) -> str:
    """A command's words; a paragraph under click's mark for "don't wrap" stands as it is."""
    blocks = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("\b"):
            blocks.append(fenced(paragraph.removeprefix("\b").strip("\n"), "text").rstrip())
        else:
            blocks.append(docstring(paragraph))
    return "\n\n".join(blocks)
