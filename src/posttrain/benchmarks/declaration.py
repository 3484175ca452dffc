"""What the registry says of a benchmark: data only, no code."""

from __future__ import annotations

from dataclasses import dataclass, field

from posttrain.engines.base import Sampling


@dataclass(frozen=True)
class Declaration:
    """A registered benchmark.

    source: name of the file in the mirror (``<source>.jsonl``). sha256: of that file, as the results here were made.
    dataset: name in posttrain.data, where it has one: it is then read from the Hub too, and its training problems can
    be shown in few-shot prompts. known_bad: ids with a gold known to be wrong.
    reference: published scores with their settings, for reading beside one's own.
    """

    name: str
    source: str
    items: int
    sha256: str
    licence: str
    grading: str
    version: int = 1
    split: str = "test"
    template: str = "chat"
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0, max_tokens=1024))
    shots: int = 0
    dataset: str | None = None
    known_bad: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
