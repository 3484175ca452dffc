"""Every stage is a verb: ``posttrain sft model=… traces=… lr=1e-4 out=DIR``."""

from __future__ import annotations

from typing import Any

import click

from posttrain.config import apply_overrides
from posttrain.errors import RecipeError, did_you_mean
from posttrain.stage import StageSpec, stage_spec


def stage_command(name: str) -> click.Command:
    """The command that makes one artifact of stage `name`."""

    def callback(assignments: tuple[str, ...]) -> None:
        from posttrain.pipeline import run_stage

        values = apply_overrides({}, assignments)
        spec = stage_spec(name)
        out = values.pop("out", None) or f"runs/{name.replace(':', '.')}"
        seed = values.get("seed", 0) if "seed" in spec.config.model_fields else values.pop("seed", 0)
        names = [i.name for i in spec.inputs]
        known = [*names, *spec.config.model_fields, "out", "seed"]
        for key in values:
            if key not in known:
                raise RecipeError(f"stage '{name}': unknown key '{key}'.{did_you_mean(key, known)}")
        inputs = {key: values.pop(key) for key in names if key in values}
        made = run_stage(name, values, inputs, str(out), seed=seed)
        click.echo(f"{made.kind}: {made.path}")

    return click.Command(
        name,
        callback=callback,
        params=[click.Argument(["assignments"], nargs=-1, metavar="[KEY=VALUE]...")],
        help=(stage_spec(name).function.__doc__ or "").strip(),
        epilog=_keys(stage_spec(name)),
    )


def _keys(spec: StageSpec) -> str:
    rows: list[tuple[str, Any]] = [(i.name, "input") for i in spec.inputs]
    rows += [(key, "config") for key in spec.config.model_fields]
    return "Keys: " + ", ".join(f"{key} ({what})" for key, what in rows) + ", out, seed."
