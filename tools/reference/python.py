"""One page per room of the public Python API: signatures as they stand in the source, and docstrings."""

from __future__ import annotations

from pathlib import Path

from tools.reference.source import find, module_doc, public_names
from tools.reference.text import NOTICE, code, docstring, escaped, fenced, table

# page → the modules on it. What stands nowhere here is no public API and may change without notice.
ROOMS: dict[str, tuple[str, ...]] = {
    "pipeline": ("posttrain.pipeline",),
    "stage": ("posttrain.stage", "posttrain.seeding"),
    "config": ("posttrain.config",),
    "records": ("posttrain.records",),
    "errors": ("posttrain.errors",),
    "store": ("posttrain.store",),
    "tracking": ("posttrain.tracking",),
    "prompts": ("posttrain.prompts",),
    "models": ("posttrain.models",),
    "hub": ("posttrain.hub",),
    "engines": ("posttrain.engines",),
    "providers": ("posttrain.providers",),
    "grading": ("posttrain.grading",),
    "benchmarks": ("posttrain.benchmarks",),
    "evals": ("posttrain.evals",),
    "stats": ("posttrain.stats",),
    "losses": (
        "posttrain.training.aggregation",
        "posttrain.rl.algorithms.advantages",
        "posttrain.rl.algorithms.objectives",
        "posttrain.rl.algorithms.correction",
        "posttrain.rl.algorithms.divergence",
        "posttrain.rl.algorithms.loss",
        "posttrain.rl.algorithms.presets",
        "posttrain.preference.losses",
    ),
    "judge": ("posttrain.judge",),
    "cs336": ("posttrain.cs336",),
}


def overview() -> str:
    """The rooms."""
    rows = []
    for page, modules in ROOMS.items():
        what = "Aggregation, advantages, objectives, corrections, preference losses: pure functions."
        if len(modules) == 1 or page == "stage":
            what = module_doc(ROOT, modules[0]).partition("\n\n")[0]
        rows.append((f"[{page}](python/{page}.md)", ", ".join(map(code, modules)), escaped(what)))
    text = (
        "# Python\n\n" + NOTICE + "The command line is a thin layer over these. Every error meant for the user is a "
        "[`PosttrainError`](python/errors.md).\n\n"
    )
    return text + table(("page", "modules", ""), rows)


ROOT = Path(__file__).resolve().parents[2]


def pages(root: Path) -> dict[str, str]:
    """Page → its text."""
    return {page: _page(page, modules, root) for page, modules in ROOMS.items()}


def _page(title: str, modules: tuple[str, ...], root: Path) -> str:
    parts = [f"# {title}\n\n", NOTICE]
    for module in modules:
        doc = docstring(module_doc(root, module))
        parts.append(f"{'' if len(modules) == 1 else chr(10)}## {module}\n\n{doc}\n")
        parts += [_entry(root, module, name) for name in public_names(root, module)]
    return "".join(parts)


def _entry(root: Path, module: str, name: str) -> str:
    found = find(root, module, name)
    home = "" if found.module == module else f" (in `{found.module}`)"
    told = docstring(found.doc)
    return f"\n### {escaped(name)}\n\n{fenced(found.outline(), 'python')}" + (
        f"\n{told}{home}\n" if told else f"\n{home.strip()}\n" if home else ""
    )
