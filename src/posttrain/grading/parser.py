r"""Our own parser of LaTeX and ASCII mathematics: recursive descent into a bounded tree (`tree.Node`).

Lowest to highest: lists (`,` `;` and or) · relations · ratio and union · sums · products, written or not · signs ·
powers, factorials, percent · atoms. Depth, tokens and characters are limited, so no text can hang or overflow it, and
model text is never handed to `eval`, `sympify` or `parse_expr`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from posttrain.grading.atoms import STARTING, Atoms, indexed, separating, shown
from posttrain.grading.lexer import tokens
from posttrain.grading.normalize import join_groups, latex
from posttrain.grading.tree import MAX_PIECE, Node, ParseError, number
from posttrain.grading.vocabulary import (
    FRACTIONS,
    FUNCTIONS,
    PERCENT,
    RELATIONS,
    SEPARATORS,
    TIMES,
    UNITS,
    is_unit,
    unit_of,
)

_SETS = {"cup": "cup", "cap": "cap", "setminus": "minus", "backslash": "minus"}
_DECIMAL_COMMA = re.compile(r"-?(?:\d{4,},\d+|0,\d+|\d{1,3},(?:\d\d|\d{4,}))(?![\d,])[^,]*")
_EUROPEAN_GROUPS = re.compile(r"-?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})")


class Parser(Atoms):
    """The levels of the grammar; each method returns a Node or raises ParseError."""

    def answer(self) -> Node:
        """The whole text."""
        node = self.listing()
        if self.here.kind != "stop":
            raise ParseError(f"left over at {self.here}")
        return node

    def listing(self) -> Node:
        """Items between commas, semicolons, `and`, `or`; one item is itself; `1,2; 3,4` are two pairs."""
        groups = [[self.relation()]]
        while self.sees(",", ";") or separating(self.here):
            starts_group = self.sees(";")
            if not self.separator() or self.here.kind == "stop":
                break
            if starts_group:
                groups.append([])
            groups[-1].append(self.relation())
        if len(groups) > 1 and any(len(group) > 1 for group in groups):
            return Node("list", tuple(_pair(group) for group in groups))
        items = [item for group in groups for item in group]
        return items[0] if len(items) == 1 else Node("list", tuple(items))

    def separator(self) -> bool:
        found = False
        while self.sees(",", ";") or separating(self.here):
            self.at += 1
            found = True
        return found

    def relation(self) -> Node:
        """A chain of sides between relation signs."""
        with self.deeper():
            sides, operators = [self.ratio()], []
            while self.here.kind in ("op", "command") and (operator := RELATIONS.get(self.here.value)):
                self.at += 1
                operators.append(operator)
                sides.append(self.ratio())
            return Node("rel", (tuple(operators), *sides)) if operators else sides[0]

    def ratio(self) -> Node:
        """`a : b : c`, and unions of intervals and sets."""
        first = self.sum()
        if self.take("pmod", "bmod", "mod"):
            return Node("unit", (first, f"mod {shown(self.argument(last=True))}"))
        if self.take("choose"):
            return Node("fn", ("binom", first, self.sum()))
        if self.sees(":"):
            parts = [first]
            while self.take(":"):
                parts.append(self.sum())
            return Node("ratio", tuple(parts))
        while self.sees(*_SETS):
            operator = _SETS[self.next().value]
            other = self.sum()
            if operator == "cup":
                first = Node("union", (*(first.args if first.kind == "union" else (first,)), other))
            else:
                first = Node("fn", (operator, first, other))
        return first

    def sum(self) -> Node:
        terms = [self.product()]
        while True:
            if self.take("+"):
                terms.append(self.product())
            elif self.take("-"):
                terms.append(Node("neg", (self.product(),)))
            elif self.sees("pm", "mp"):
                kind = self.next().value
                terms = [Node(kind, (_sum(terms), self.product()))]
            else:
                return _sum(terms)

    def product(self) -> Node:
        left = self.signed()
        while True:
            if self.take("*") or self.take(*TIMES):
                left = _times(left, self.signed())
            elif self.take("/") or self.take("div"):
                left = Node("div", (left, self.signed()))
            elif self.here.kind == "text" and not separating(self.here):
                left = self.annotation(left)
            elif self.here.kind == "word" and self.names_unit():
                left = self.bare_unit(left)
            elif (part := self.fraction_of_mixed(left)) is not None:
                left = _plus_fraction(left, part)
                left = Node("percent", (left,)) if self.take("%") else left
            elif self.starts_factor():
                left = _times(left, self.power())
            else:
                return left

    def factors(self) -> Node:
        """Juxtaposed factors only: the argument of a function written without parentheses."""
        left = self.signed()
        while self.starts_factor() and self.here.value not in FUNCTIONS:
            left = _times(left, self.power())
        return left

    def signed(self) -> Node:
        """A sign belongs to the power behind it: -x^2 is -(x^2)."""
        with self.deeper():
            if self.take("-"):
                return Node("neg", (self.signed(),))
            if self.take("+"):
                return self.signed()
            if self.sees("pm", "mp"):
                return Node(self.next().value, (number(0), self.signed()))
            return self.power()

    def power(self) -> Node:
        """An atom with its exponents, factorials, primes, percent signs and index."""
        base = self.atom()
        while True:
            if self.take("_"):
                base = indexed(base, self.index())
            elif self.take("^"):
                base = Node("fn", ("'", base)) if self.take("prime", "'") else Node("pow", (base, self.script()))
            elif self.take("!"):
                base = Node("fact", (base,))
            elif self.take("'"):
                base = Node("fn", ("'", base))
            elif self.take("%"):
                base = Node("percent", (base,))
            else:
                return base

    def script(self) -> Node:
        """What stands behind ^: a group or one atom, right-associative."""
        with self.deeper():
            if self.take("-"):
                return Node("neg", (self.script(),))
            inner = self.atom()
            return Node("pow", (inner, self.script())) if self.take("^") else inner

    def index(self) -> Node:
        """What stands behind _: a group or one atom; a ^ behind it belongs to the base."""
        return Node("neg", (self.atom(),)) if self.take("-") else self.atom()

    def starts_factor(self) -> bool:
        """Whether the next token can begin a factor that is multiplied without a sign."""
        kind, value, _ = self.here
        if kind == "word":
            return value.lower() not in SEPARATORS
        if kind == "command":
            return value in STARTING
        if kind == "op":
            return (value in "([{" and not (value == "[" and self.outward)) or (value == "|" and not self.bars)
        return kind in ("number", "begin")

    def names_unit(self) -> bool:
        if not (self.here.spaced or self.stream[self.at - 1].kind == "number"):
            return False  # a piece of a run of letters
        return is_unit(self.here.value) or self.here.value.lower() in PERCENT

    def annotation(self, left: Node) -> Node:
        """`5 \\text{ cm}^2`: the text is the unit of what stands before it."""
        word = self.next().value.strip()
        while True:  # km / h^2
            if self.take("^"):
                word = (UNITS.get(word.lower()) or word) + f"^{shown(self.script())}"
            elif self.sees("/") and self.stream[self.at + 1].kind == "text":
                self.at += 1
                word += " per " + self.next().value.strip()
            else:
                break
        if word.lower() in PERCENT:
            return Node("percent", (left,))
        return Node("unit", (left, unit_of(word))) if word else left

    def bare_unit(self, left: Node) -> Node:
        """`5 square feet`, `12 percent` written as plain words."""
        words = []
        while self.here.kind == "word" and self.names_unit():
            words.append(self.next().value)
        if words[0].lower() in PERCENT:
            return Node("percent", (left,))
        if self.take("^"):
            words[-1] = (UNITS.get(words[-1].lower()) or words[-1]) + f"^{shown(self.script())}"
        return Node("unit", (left, unit_of(" ".join(words))))

    def fraction_of_mixed(self, left: Node) -> Node | None:
        """The fraction of a mixed number behind its whole part (`2 1/2`, `2\\frac12`), if that is what follows."""
        whole = left.args[0] if left.kind == "neg" else left
        if whole.kind != "num" or whole.args[0].denominator != 1 or self.stream[self.at - 1].kind != "number":
            return None
        kind, value, spaced = self.here
        if kind == "command" and value in FRACTIONS:
            start, part = self.at, self.atom()
            if all(side.kind == "num" for side in part.args) and part.kind == "div":
                return part
            self.at = start  # `\frac12` was split into digits meanwhile, which reads the same again
            return None
        ahead = self.stream[self.at + 1 : self.at + 3]
        if kind == "number" and spaced and len(ahead) == 2 and ahead[0].value == "/" and ahead[1].kind == "number":
            above = self.atom()
            self.expect("/")
            return Node("div", (above, self.atom()))
        return None


def _sum(terms: list[Node]) -> Node:
    return terms[0] if len(terms) == 1 else Node("add", tuple(terms))


def _pair(group: list[Node]) -> Node:
    return group[0] if len(group) == 1 else Node("seq", ("(", ")", *group))


def _times(left: Node, right: Node) -> Node:
    return Node("mul", (*left.args, right) if left.kind == "mul" else (left, right))


def _plus_fraction(whole: Node, part: Node) -> Node:
    if whole.kind == "neg":
        return Node("neg", (Node("add", (whole.args[0], part)),))
    return Node("add", (whole, part))


def readings(text: str) -> tuple[Node, ...]:
    """Every tree a text may mean; () where it is no mathematics of this language, or too much of it.

    `1,234` is one number or two, `2,74` a list or a European decimal.
    """
    if len(text) > MAX_PIECE:
        return ()
    spelled = latex(text)
    spellings = [join_groups(spelled)]
    if spellings[0] != spelled:
        spellings.append(spelled)
    if _EUROPEAN_GROUPS.fullmatch(spelled):
        spellings.append(spelled.replace(".", "").replace(",", "."))
    elif spelled.count(",") == 1 and _DECIMAL_COMMA.fullmatch(spelled):
        spellings.append(spelled.replace(",", "."))
    return tuple(tree for tree in map(parse_spelled, spellings) if tree is not None)


def parse(text: str) -> Node | None:
    """The first reading of a text."""
    trees = readings(text)
    return trees[0] if trees else None


@lru_cache(maxsize=4_096)
def parse_spelled(spelled: str) -> Node | None:
    """The tree of a text that `normalize.latex` has seen."""
    try:
        return Parser(tokens(spelled)).answer()
    except ParseError:
        return None
