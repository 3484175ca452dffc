"""Other people's text on its way into a page: escaped, bounded, and with everything invisible made visible.

Two ways lead there: `plain` for labels (a string that the template escapes) and `paint` for texts with layers of marks
(token colours, differences, reflection words), which escapes here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from markupsafe import Markup, escape

from posttrain.evals.analytics import find_marks

LONGEST = 20_000  # characters of one text in a page
SHOWN_CONTROLS = 300  # of one text; what comes after is a plain replacement mark
# Controls, and what reorders or hides text: bidi marks, overrides and isolates, zero-width signs, tags, separators.
CONTROL = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e01ef])\\1*"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
Range = tuple[int, int, str]  # start, end, class


def clean(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def plain(value: object, limit: int = 200) -> str:
    """A label: one line, controls as ⟨U+202E⟩, cut at `limit` characters. Not escaped: templates do that."""
    text = clean(str(value))
    cut = text[:limit].replace("\n", " ").replace("\t", " ")
    shown = CONTROL.sub(lambda m: f"⟨{_code(m[1])}⟩", cut)
    return shown[:limit] + "…" if len(text) > limit or len(shown) > limit else shown


def paint(
    text: str, layers: Sequence[Sequence[Range]] = (), gone: Sequence[tuple[int, str]] = (), limit: int = LONGEST
) -> Markup:
    """The text with `<span class>` around ranges, and `<del>` where words of another text are missing.

    layers: each sorted and without overlap within itself; where several cover a character it gets all their classes.
    gone: (position, what stood there in the other text), sorted.
    """
    text = text[:limit]
    places = {0, len(text)}
    for layer in layers:
        for start, end, _ in layer:
            places.update((min(start, len(text)), min(end, len(text))))
    places.update(min(at, len(text)) for at, _ in gone)
    cuts = sorted(places)
    pointers = [0] * len(layers)
    removed: dict[int, list[str]] = {}
    for at, words in gone:
        if at <= len(text):
            removed.setdefault(at, []).append(words)
    controls = Controls()
    out: list[str] = []
    pending, last = "", ""
    for start, end in zip([*cuts[:-1], len(text)], [*cuts[1:], len(text)], strict=True):
        if start in removed:
            out.append(_span(pending, last, controls))
            pending = ""
            words = "".join(removed.pop(start))
            out.append(f"<del>{controls.show(words[:LONGEST])}</del>")
        classes = " ".join(c for i, layer in enumerate(layers) if (c := _class_at(layer, pointers, i, start)))
        if classes != last:
            out.append(_span(pending, last, controls))
            pending, last = "", classes
        pending += text[start:end]
    out.append(_span(pending, last, controls))
    return Markup("".join(out))


def _class_at(layer: Sequence[Range], pointers: list[int], i: int, at: int) -> str:
    while pointers[i] < len(layer) and layer[pointers[i]][1] <= at:
        pointers[i] += 1
    if pointers[i] < len(layer) and layer[pointers[i]][0] <= at:
        return layer[pointers[i]][2]
    return ""


def _span(text: str, classes: str, controls: Controls) -> str:
    if not text:
        return ""
    shown = controls.show(text)
    return f'<span class="{classes}">{shown}</span>' if classes else shown


class Controls:
    """Escapes text and shows its control characters, up to a number of them."""

    def __init__(self) -> None:
        self.left = SHOWN_CONTROLS

    def show(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return str(escape(text))
        parts: list[str] = []
        at = 0
        for found in CONTROL.finditer(text):
            parts.append(str(escape(text[at : found.start()])))
            parts.append(self._one(found[1], found.end() - found.start()))
            at = found.end()
        return "".join([*parts, str(escape(text[at:]))])

    def _one(self, sign: str, times: int) -> str:
        if self.left == 0:
            return "\ufffd"
        self.left -= 1
        many = f"×{times}" if times > 1 else ""
        return f'<span class="ctl" title="{escape(_name(sign))}">{_code(sign)}{many}</span>'


def _code(sign: str) -> str:
    return f"U+{ord(sign):04X}"


def _name(sign: str) -> str:
    return unicodedata.name(sign, "control character").lower()


def reflections(text: str, limit: int = LONGEST) -> list[Range]:
    """Where a trace stops and looks back: the marks that the analytics count."""
    return [(mark.start, mark.end, "rf") for mark in find_marks(text[:limit])]
