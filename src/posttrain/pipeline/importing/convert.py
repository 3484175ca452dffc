"""From foreign settings to a recipe, with a list of what found no place in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from posttrain.errors import RecipeError
from posttrain.pipeline.importing import llama_factory, trainer, trl
from posttrain.pipeline.importing.settings import Settings, Unmapped

# kind → how it is converted, and what of it needs no words
KINDS: dict[str, tuple[Callable[[Settings, int], dict[str, Any]], Mapping[str, str]]] = {
    "llama-factory": (llama_factory.convert, llama_factory.NOTHING),
    "trl-sft": (trl.convert_sft, {}),
    "trl-grpo": (trl.convert_grpo, {}),
}
_SIGNS = {
    "llama-factory": ("stage", "finetuning_type", "cutoff_len", "dataset_dir"),
    "trl-grpo": ("num_generations", "max_completion_length", "reward_funcs", "loss_type"),
    "trl-sft": ("dataset_name", "max_seq_length", "max_length", "assistant_only_loss", "completion_only_loss"),
}


@dataclass(frozen=True, slots=True)
class Imported:
    """recipe: a recipe's mapping. unmapped: settings without a place. assumed: what a person should look at."""

    kind: str
    recipe: dict[str, Any]
    unmapped: list[Unmapped]
    assumed: list[str]


def import_settings(values: Mapping[str, Any], source: str, kind: str | None = None, *, processes: int = 1) -> Imported:
    """The recipe that does what `values` ask for.

    kind: llama-factory, trl-sft or trl-grpo; told from the keys where None. processes: of the training that the
    settings were written for; batch sizes are per process there and in all here.
    RecipeError where the kind can't be told, or a setting that everything hangs on is missing.
    """
    chosen = kind or _kind(values, source)
    if chosen not in KINDS:
        raise RecipeError(f"there is no kind {chosen!r} of configuration. Known: {', '.join(KINDS)}.")
    convert, nothing = KINDS[chosen]
    settings = Settings(dict(values), source)
    recipe = convert(settings, processes)
    settings.leave_all({**trainer.NOTHING, **nothing})
    settings.leave_rest()
    recipe["name"] = re.sub(r"[^\w.+-]+", "-", recipe["name"]).strip("-.") or "imported"
    if not recipe["tracking"]:
        del recipe["tracking"]
    return Imported(chosen, recipe, settings.unmapped, settings.assumed)


def _kind(values: Mapping[str, Any], source: str) -> str:
    for kind, signs in _SIGNS.items():
        if any(sign in values for sign in signs):
            return kind
    raise RecipeError(
        f"{source} is neither LLaMA-Factory's nor TRL's, as far as its keys tell. Say what it is: --as KIND "
        f"({', '.join(KINDS)})."
    )


def as_yaml(found: Imported, source: str) -> str:
    """The recipe as a file, with what has no place in it as its head."""
    lines = [f"# Imported from {source} ({found.kind})."]
    if found.assumed:
        lines += ["#", "# Please check:", *(f"#   - {text}" for text in found.assumed)]
    if found.unmapped:
        lines += ["#", "# Without a place here:"]
        lines += [f"#   {one.key}: {_short(one.value)} – {one.reason}" for one in found.unmapped]
    return "\n".join(lines) + "\n" + yaml.safe_dump(found.recipe, sort_keys=False, allow_unicode=True, width=110)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
