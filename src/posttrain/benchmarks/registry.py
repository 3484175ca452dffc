"""The registered benchmarks by name. A new one is one declaration in `field`."""

from __future__ import annotations

from posttrain.benchmarks.declaration import Declaration
from posttrain.benchmarks.field import arithmetic, instructions, knowledge, mathematics, programs

DECLARATIONS: tuple[Declaration, ...] = (
    *arithmetic.ALL,
    *mathematics.ALL,
    *knowledge.ALL,
    *programs.ALL,
    *instructions.ALL,
)


def _by_name() -> dict[str, Declaration]:
    """Own names win over what other suites call the same items."""
    theirs = {alias: d for d in DECLARATIONS for alias in (d.lm_eval, d.lighteval) if alias}
    return theirs | {d.name: d for d in DECLARATIONS}


BY_NAME: dict[str, Declaration] = _by_name()
