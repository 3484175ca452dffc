"""A position in a token stream, with the limits that keep a parse bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posttrain.grading.lexer import Token
from posttrain.grading.tree import MAX_DEPTH, ParseError


class Cursor:
    """Looking and stepping. `bars` counts the open `|`: inside them the next one closes.

    outward: inside `]a, b[`, where a square bracket closes too.
    """

    def __init__(self, stream: list[Token]) -> None:
        self.stream = stream
        self.at = 0
        self.depth = 0
        self.bars = 0
        self.outward = False

    @property
    def here(self) -> Token:
        return self.stream[self.at]

    def next(self) -> Token:
        token = self.stream[self.at]
        if token.kind != "stop":
            self.at += 1
        return token

    def sees(self, *values: str) -> bool:
        token = self.stream[self.at]
        return token.value in values and token.kind in ("op", "command")

    def take(self, *values: str) -> bool:
        if self.sees(*values):
            self.at += 1
            return True
        return False

    def expect(self, *values: str) -> str:
        if not self.sees(*values):
            raise ParseError(f"{values} expected at {self.here}")
        return self.next().value

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One level of nesting. ParseError beyond MAX_DEPTH."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ParseError("too deep")
        yield
        self.depth -= 1  # after an error the cursor is thrown away, so its depth needs no repair
