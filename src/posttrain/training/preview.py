"""One training example on the screen, with what carries loss in colour."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from posttrain.training.batches import Masked

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from transformers import PreTrainedTokenizerBase

LONGEST = 400  # tokens shown; the middle of a longer example is left out


def show(example: Masked, tokenizer: PreTrainedTokenizerBase, console: Console | None = None) -> None:
    """Context dim, supervised tokens green, between brackets where there are no colours."""
    from rich.console import Console

    console = console or Console(highlight=False)
    console.print("  one example (what carries loss is [green]green[/green]):")
    console.print(coloured(example, tokenizer, brackets=console.color_system is None), soft_wrap=True)


def coloured(example: Masked, tokenizer: PreTrainedTokenizerBase, *, brackets: bool = False) -> Text:
    """The example's text with its mask as styles. Characters that would steer the terminal are spelled out."""
    from rich.text import Text

    pairs = list(zip(example.ids, example.mask, strict=True))
    hidden = len(pairs) - LONGEST
    if hidden > 0:
        half = LONGEST // 2
        parts = [pairs[:half], pairs[-half:]]
    else:
        parts = [pairs]
    text = Text()
    for number, part in enumerate(parts):
        if number:
            text.append(f" …{hidden} tokens… ", style="italic")
        for supervised, run in groupby(part, key=lambda pair: bool(pair[1])):
            words = _visible(tokenizer.decode([i for i, _ in run]))
            if supervised and brackets:
                words = f"⟦{words}⟧"
            text.append(words, style="green" if supervised else "dim")
    return text


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
