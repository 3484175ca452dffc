"""What a word-problem template is: an opening amount, things that happen to it, and a question about what is left.

Any template can be told at any level: the level decides how many things happen and how large the numbers are
(`levels.py`), the template only lends its sentences. In a sentence `{name}` is a person, `{he}` the pronoun,
`{items}` the counted things, `{n}` the number of the event and `{part}` a share such as "a quarter".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of story about one growing and shrinking amount.

    opening: states the first amount `{a}`.
    groups: states it as `{a}` groups of `{b}`, which costs a multiplication; None where that would sound odd.
    gains, losses: `{n}` more or fewer. times: the amount becomes `{n}` times as large.
    part: `{part}` of the amount goes away (two steps: the part, then what remains).
    share: the amount is split into `{n}` equal groups; this ends the story and brings its own question.
    """

    name: str
    items: tuple[str, ...]
    opening: str
    gains: tuple[str, str]
    losses: tuple[str, str]
    times: str
    part: str
    share: tuple[str, str]
    question: str
    groups: str | None = None
