"""Every stage is a verb: ``posttrain sft model=… traces=… lr=1e-4 out=DIR``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from posttrain.config import Config, apply_overrides
from posttrain.errors import RecipeError, did_you_mean
from posttrain.pipeline.external import describe
from posttrain.stage import StageSpec, stage_spec


def stage_command(name: str) -> click.Command:
    """The command that makes one artifact of stage `name`."""
    spec = stage_spec(name)

    def callback(assignments: tuple[str, ...], fresh: bool, quiet: bool) -> None:
        from posttrain.pipeline import run_stage

        config, inputs, seed, out = sort_out(spec, apply_overrides({}, assignments))
        made = run_stage(name, config, inputs, out, seed=seed, fresh=fresh, quiet=quiet)
        click.echo(f"{made.kind}: {made.path}")

    return click.Command(
        name,
        callback=callback,
        params=[
            click.Argument(["assignments"], nargs=-1, metavar="[KEY=VALUE]..."),
            click.Option(["--fresh"], is_flag=True, help="Make it again; the old one is kept as OUT@1."),
            click.Option(["--quiet"], is_flag=True, help="No progress, only where the artifact is."),
        ],
        help=_help(spec),
    )


def sort_out(spec: StageSpec, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int, str]:
    """Config, inputs, seed and folder from KEY=VALUEs. RecipeError for a key that is none of them."""
    names, fields = [i.name for i in spec.inputs], list(spec.config.model_fields)
    known = [*names, *fields, "out", "seed"]
    for key in values:
        if key not in known:
            raise RecipeError(
                f"stage '{spec.name}': unknown key '{key}'.{did_you_mean(key, known)} "
                f"`posttrain {spec.name} --help` lists them."
            )
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise RecipeError(f"stage '{spec.name}': seed is {seed!r}; it must be a whole number.")
    out = values.get("out") or f"runs/alone/{spec.name.replace(':', '.')}"
    config = {key: value for key, value in values.items() if key in fields}
    return config, {key: values[key] for key in names if key in values}, seed, str(out)


def _help(spec: StageSpec) -> str:
    """The stage's own words, then its inputs and its config with defaults."""
    intro = (spec.function.__doc__ or "").strip().partition("\n\n")[0]
    lines = [f"  out=DIR  the folder to write ({spec.output.kind}; default runs/alone/{spec.name})"]
    if "seed" not in spec.config.model_fields:
        lines.append("  seed=0  the stage's own seed")
    for takes in spec.inputs:
        needed = "" if takes.required else ", optional"
        many = ", one or [several, of, them]" if takes.many else ""
        lines.append(f"  {takes.name}=FOLDER  input: {describe(takes)}{many}{needed}")
    lines += _keys(spec.config)
    return "\n\n".join([intro, "\b\nKeys:\n" + "\n".join(lines)])


def _keys(schema: type[Config], prefix: str = "") -> Iterator[str]:
    """One line per key with its default and its meaning; the keys of a config in it as ``optimizer.lr``."""
    for name, info in schema.model_fields.items():
        default = "…" if info.is_required() else info.get_default(call_default_factory=True)
        if isinstance(default, Config):
            yield from _keys(type(default), f"{prefix}{name}.")
        else:
            meaning = " ".join((info.description or "").replace("``", "").split())
            yield f"  {prefix}{name}={_shown(default)}  {meaning}".rstrip()


def _shown(default: Any) -> str:
    """A default as one would write it on the command line."""
    if isinstance(default, tuple):
        default = list(default)
    return default if isinstance(default, str) else json.dumps(default)
