"""``posttrain doctor``."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(as_json: bool) -> None:
    """Look at what posttrain finds here, and say what is missing and how to get it. Changes nothing."""
    from posttrain.cli.checkup import look

    findings = look()
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
        return
    width = max(len(f.subject) for f in findings)
    for f in findings:
        click.echo(f"{'ok' if f.ok else '--'}  {f.subject:<{width}}  {f.fact}")
        if f.remedy:
            click.echo(f"    {'':<{width}}  {f.remedy}")
