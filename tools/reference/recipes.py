"""The recipes that ship, with what their heads say."""

from __future__ import annotations

from pathlib import Path

from tools.reference.text import NOTICE, code, docstring, escaped, table

from posttrain.cli.recipes import head_comment
from posttrain.config import load_yaml


def page(root: Path) -> str:
    """One section per recipe: its head, its stages, its smoke form."""
    found = {path.stem: path for path in sorted((root / "recipes").glob("*.yaml"))}
    heads = {name: "\n".join(head_comment(path)) for name, path in found.items()}
    firsts = {name: head.partition("\n\n")[0].partition("\n")[0] for name, head in heads.items()}
    parts = [
        "# Recipes that ship\n\n",
        NOTICE,
        "`posttrain recipes NAME` prints one, `posttrain plan NAME` says what it would cost, `posttrain run NAME` runs "
        "it. How recipes are written: [recipes](../recipes.md).\n\n",
        table(("recipe", ""), ((f"[`{name}`](#{name})", escaped(first)) for name, first in firsts.items())),
    ]
    for name, path in found.items():
        values = load_yaml(path)
        stages = ", ".join(f"{code(stage)} ({_stage(body)})" for stage, body in values["stages"].items())
        smoke = f" It runs small: `posttrain run {name} --smoke`." if values.get("smoke") else ""
        parts.append(f"\n## {name}\n\n{docstring(heads[name])}\n\nStages: {stages}.{smoke} ")
        parts.append(f"The file: [{path.name}](../../recipes/{path.name}).\n")
    return "".join(parts)


def _stage(body: dict[str, object]) -> str:
    return f"[{body['stage']}](stages/{body['stage']}.md)" if "stage" in body else "a group, repeated"
