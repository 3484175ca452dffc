"""``posttrain algorithms``."""

from __future__ import annotations

from typing import Any

import click

from posttrain.errors import RecipeError, did_you_mean
from posttrain.rl.algorithms.peers import PEERS
from posttrain.rl.algorithms.presets import PRESETS, Preset

COLUMNS = ("advantage", "objective", "aggregation", "kl")


@click.command()
@click.argument("name", required=False)
@click.option("--diff", type=click.Choice(sorted(PEERS)), help="How ours differs from what this library calls so.")
def algorithms(name: str | None, diff: str | None) -> None:
    """The RL algorithms by name, each with its paper; with NAME, every key that `algorithm: NAME` sets."""
    if name is not None and name not in PRESETS:
        raise RecipeError(f"unknown algorithm {name!r}.{did_you_mean(name, PRESETS)} Known: {', '.join(PRESETS)}.")
    chosen = [PRESETS[name]] if name is not None else list(PRESETS.values())
    if diff is not None:
        for preset in chosen:
            _difference(preset, diff)
    elif name is not None:
        _whole(chosen[0])
    else:
        _table(chosen)


def _table(presets: list[Preset]) -> None:
    rows: list[tuple[Any, ...]] = [("name", *COLUMNS, "clip", "paper")]
    for p in presets:
        s = p.settings
        clip = "–" if s["objective"] == "reinforce" else f"{s['clip_low']:g}, {s['clip_high']:g}"
        kl = f"{s['kl']:g}" if s["kl"] else "–"
        rows.append((p.name, s["advantage"], s["objective"], s["aggregation"], kl, clip, p.paper))
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        click.echo("  ".join([*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[-1]]))
    click.echo("\nUse one with `algorithm: NAME` in a stage `rl`; a key that you set yourself wins over the row's.")


def _whole(preset: Preset) -> None:
    click.echo(f"{preset.name}: {preset.title} ({preset.paper})")
    for key, value in preset.settings.items():
        click.echo(f"  {key}: {value}")
    if preset.note:
        click.echo(preset.note)


def _difference(preset: Preset, library: str) -> None:
    peer = PEERS[library][preset.name]
    if peer is None:
        click.echo(f"{preset.name}: {library} has nothing of that name.\n")
        return
    click.echo(f"{preset.name}, in {library}: {peer.ask}")
    for key, words in peer.differences.items():
        click.echo(f"  {key}: {words}")
    click.echo()
