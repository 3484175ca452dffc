"""The atoms of the grammar: numbers, letters, commands with their arguments, brackets, matrices, big operators."""

from __future__ import annotations

import re
from fractions import Fraction

from posttrain.grading.cursor import Cursor
from posttrain.grading.lexer import Token
from posttrain.grading.tree import INFINITY, Node, ParseError, number, symbol
from posttrain.grading.vocabulary import (
    ALIASES,
    BIG,
    BINOMIALS,
    CONSTANTS,
    FRACTIONS,
    FUNCTIONS,
    GREEK,
    OPEN_FUNCTIONS,
    RELATIONS,
    SEPARATORS,
    TIMES,
)

SYMBOLS = {
    "emptyset": Node("set", ()),
    "varnothing": Node("set", ()),
    "dots": symbol("..."),
    "ldots": symbol("..."),
    "cdots": symbol("..."),
    **{name: symbol(name) for name in ("triangle", "angle", "prime", "odot", "star", "square", "mho")},
}
OPENING = frozenset({"lfloor", "lceil", "lvert", "langle", "mathbb", "boxed", "{"})
STARTING = (
    FRACTIONS | BINOMIALS | FUNCTIONS | GREEK | OPENING | frozenset(SYMBOLS) | frozenset(CONSTANTS) | frozenset(BIG)
)
_ROUNDING = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_TEXT_SEPARATOR = re.compile(r"[\s,;]*(?:and|or|,|;)[\s,;]*", re.IGNORECASE)
# Commands that mean something only together with what stands around them, and what we can't read.
_NOT_ALONE = frozenset(
    "} | right rfloor rceil rvert rangle mid not lim int iint iiint oint to pmod bmod mod over atop choose".split()
) | frozenset(RELATIONS) | TIMES | frozenset({"pm", "mp", "cup", "cap", "setminus", "backslash", "div"})  # fmt: skip
_MATRICES = frozenset({"pmatrix", "bmatrix", "matrix", "smallmatrix", "array", "cases"})


def separating(token: Token) -> bool:
    """Whether a token stands for a comma: `and`, `\\text{ or }`."""
    if token.kind == "text":
        return _TEXT_SEPARATOR.fullmatch(token.value) is not None
    if token.kind == "word":
        return token.value.lower() in SEPARATORS
    return token.kind == "command" and token.value in ("lor", "land", "vee", "wedge")


def literal(text: str) -> Node:
    """A number token; a decimal remembers its places."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > 1_000 or (exponent and abs(int(exponent)) > 400):
        raise ParseError("number too long")
    value = Fraction(text)
    if "." not in mantissa or exponent:
        return Node("num", (value,))
    return Node("dec", (value, len(mantissa.partition(".")[2])))


def shown(node: Node) -> str:
    """A short spelling of an index or an exponent of a unit."""
    if node.kind == "num":
        return str(node.args[0])
    if node.kind == "text":
        return str(node.args[0])
    return "".join(shown(a) if isinstance(a, Node) else str(a) for a in node.args)


def indexed(base: Node, index: Node) -> Node:
    """`x_1` is a symbol of its own; `204_5` is a numeral in a base."""
    if base.kind == "sym":
        return symbol(f"{base.args[0]}_{shown(index)}")
    if base.kind == "num" and index.kind == "num" and base.args[0].denominator == 1:
        return Node("based", (str(base.args[0]), int(index.args[0])))
    raise ParseError("index")


class Atoms(Cursor):
    """Everything that stands alone. The grammar's levels above are supplied by `parser.Parser`."""

    def relation(self) -> Node:
        raise NotImplementedError

    def separator(self) -> bool:
        raise NotImplementedError

    def listing(self) -> Node:
        raise NotImplementedError

    def factors(self) -> Node:
        raise NotImplementedError

    def sum(self) -> Node:
        raise NotImplementedError

    def product(self) -> Node:
        raise NotImplementedError

    def script(self) -> Node:
        raise NotImplementedError

    def index(self) -> Node:
        raise NotImplementedError

    def starts_factor(self) -> bool:
        raise NotImplementedError

    def atom(self) -> Node:
        with self.deeper():
            kind, value, _ = self.next()
            if kind == "number":
                return literal(value)
            if kind == "word":
                return self.word(value)
            if kind == "text":
                return self.text(value)
            if kind == "begin":
                return self.matrix(value)
            if kind == "command":
                return self.command(value)
            if kind == "op" and value in "([":
                return self.bracket(value)
            if kind == "op" and value == "]":
                return self.outward_interval()
            if kind == "op" and value == "{":
                return self.brace("}")
            if kind == "op" and value == "|":
                return self.bar("|")
            raise ParseError(f"unexpected {value!r}")

    def word(self, run: str) -> Node:
        """A run of letters: a constant, a function, one name, or a product of letters."""
        low = run.lower()
        if low in CONSTANTS:
            return Node("const", (CONSTANTS[low],))
        if run in FUNCTIONS or run in ALIASES:
            return self.function(ALIASES.get(run, run))
        if run in ("e", "i"):
            return Node("const", (run,))
        if len(run) == 1 or run in GREEK:
            return symbol(run + "(0)" if self.takes_zero() else run)
        if low in SEPARATORS:
            raise ParseError("separator")
        for size in (6, 5, 4, 3, 2):  # "sinx", "pir"
            head, tail = run[:size], run[size:]
            if tail and (head in OPEN_FUNCTIONS or head == "pi"):
                self.at -= 1
                self.stream[self.at : self.at + 1] = [Token("word", head, False), Token("word", tail, False)]
                return self.word(self.next().value)
        if len(run) > 3:
            return symbol(run)
        # "xy^2" is x times y^2: the rest of the letters goes back to the stream
        self.stream.insert(self.at, Token("word", run[1:], False))
        return self.word(run[0])

    def takes_zero(self) -> bool:
        """`I(0)`: a function at zero; read as a product it would make everything around it zero."""
        ahead = self.stream[self.at : self.at + 3]
        if [token.value for token in ahead] != ["(", "0", ")"] or ahead[0].spaced:
            return False
        self.at += 3
        return True

    def text(self, content: str) -> Node:
        """Text in the place of an expression: one letter is that letter; prose before an expression is skipped."""
        content = content.strip()
        if len(content) == 1 and content.isalpha():
            return self.word(content)
        if separating(Token("text", content, False)) or self.starts_factor() or self.sees("-"):
            return self.factors()
        if not content:
            raise ParseError("empty text")
        return Node("text", (" ".join(content.lower().split()),))

    def command(self, name: str) -> Node:
        if name in FRACTIONS:
            return Node("div", (self.argument(), self.argument(last=True)))
        if name in BINOMIALS:
            return Node("fn", ("binom", self.argument(), self.argument(last=True)))
        if name in FUNCTIONS or name in ALIASES:
            return self.function(ALIASES.get(name, name))
        if name in CONSTANTS:
            return INFINITY if CONSTANTS[name] == "inf" else Node("const", (CONSTANTS[name],))
        if name in GREEK:
            return symbol(name)
        if name in SYMBOLS:
            return SYMBOLS[name]
        if name in BIG:
            return self.big(BIG[name])
        if name in _ROUNDING:
            closer, function = _ROUNDING[name]
            inner = self.listing()
            self.expect(closer)
            return Node("fn", (function, inner))
        if name == "lvert":
            return self.bar("rvert")
        if name == "langle":
            return self.bracket("langle")
        if name == "{":
            return self.brace("\\}")
        if name == "mathbb":
            return symbol("\\mathbb " + shown(self.argument()))
        if name.endswith("boxed"):
            return self.argument()
        if name in _NOT_ALONE:
            raise ParseError(f"command {name!r}")
        return symbol("\\" + name)  # unknown: a name of its own

    def argument(self, last: bool = False) -> Node:
        """What TeX takes as one argument: a group, a command, or a single digit (`\\frac12`)."""
        kind, value, spaced = self.here
        whole = spaced and (last or self.stream[self.at + 1].kind == "number")  # \\frac 9 10
        if kind == "number" and len(value) > 1 and value.isdigit() and not whole:
            self.stream[self.at : self.at + 1] = [Token("number", value[0], spaced), Token("number", value[1:], False)]
        elif kind == "word" and len(value) > 1:
            self.stream[self.at : self.at + 1] = [Token("word", value[0], spaced), Token("word", value[1:], False)]
        if self.take("-"):
            return Node("neg", (self.argument(),))
        return self.atom()

    def function(self, name: str) -> Node:
        """A named function with its base or root index, its exponent and its argument."""
        index: list[Node] = []
        exponent: Node | None = None
        if name == "sqrt" and self.take("["):
            index.append(self.listing())
            self.expect("]")
        while self.sees("_", "^"):
            if self.next().value == "_":
                index.append(self.index())
            else:
                exponent = self.script()
        if exponent == Node("neg", (number(1),)) and name in _INVERSE:
            name, exponent = _INVERSE[name], None
        arguments = self.arguments(name)
        applied = Node("fn", (name, *arguments, *index))
        return Node("pow", (applied, exponent)) if exponent else applied

    def arguments(self, name: str) -> tuple[Node, ...]:
        if name == "sqrt" and self.here.kind != "op":
            return (self.atom(),)
        if self.sees("(", "{", "["):
            inner = self.atom()
            if inner.kind in ("seq", "set"):
                return tuple(a for a in inner.args if isinstance(a, Node))
            return (inner,)
        if name not in OPEN_FUNCTIONS:
            raise ParseError(f"{name} without arguments")
        return (self.factors(),)

    def bracket(self, opener: str) -> Node:
        """A group, a tuple or an interval: one item in round brackets is itself."""
        bars, self.bars = self.bars, 0
        items = [self.relation()]
        while self.separator():
            items.append(self.relation())
        self.bars = bars
        closer = self.expect("rangle") if opener == "langle" else self.expect(")", "]")
        if opener == "langle":
            opener, closer = "(", ")"
        if len(items) == 1:
            if opener == "(" and closer == ")":
                return items[0]
            if opener == "(" or closer == ")":
                raise ParseError("half-open group")
        return Node("seq", (opener, closer, *items))

    def outward_interval(self) -> Node:
        """`]a, b[`: an interval whose brackets look away from what they leave out."""
        self.outward = True
        items = [self.sum()]
        while self.separator():
            items.append(self.sum())
        self.outward = False
        closer = self.expect("[", "]", ")")
        if len(items) != 2:
            raise ParseError("interval")
        return Node("seq", ("(", "]" if closer == "]" else ")", *items))

    def brace(self, closer: str) -> Node:
        """`{...}` groups unless it lists; `\\{...\\}` is always a set, or the condition of a set builder."""
        bars, self.bars = (
            self.bars,
            1 if closer == "\\}" else 0,
        )  # a bar in a set builder doesn't open an absolute value
        is_set = closer == "\\}"
        if is_set and self.here == Token("command", "}", self.here.spaced):
            self.at += 1
            return Node("set", ())
        names = is_set and self.here.kind == "word" and self.stream[self.at + 1].value == ":"
        items = [self.atom() if names else self.relation()]  # {x : x > 2} is no ratio
        if is_set and (self.take("mid") or self.take("|") or (names and self.take(":"))):
            items = [self.listing()]
            is_set = False
        while self.separator():
            items.append(self.relation())
        self.bars = bars
        if self.here.value != "}":
            raise ParseError("brace expected")
        self.at += 1
        if is_set:
            return Node("set", tuple(items))
        return items[0] if len(items) == 1 else Node("list", tuple(items))

    def bar(self, closer: str) -> Node:
        self.bars += 1
        inner = self.listing()
        self.bars -= 1
        self.expect(closer)
        return Node("abs", (inner,))

    def matrix(self, environment: str) -> Node:
        if environment not in _MATRICES:
            raise ParseError(f"environment {environment!r}")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while True:
            row.append(self.relation())
            if self.take("&"):
                continue
            rows.append(tuple(row))
            row = []
            if self.here.kind == "row":
                self.at += 1
            if self.here.kind == "end":
                self.at += 1
                if environment == "cases" and all(len(r) == 1 and r[0].kind == "rel" for r in rows):
                    return Node("list", tuple(r[0] for r in rows))  # a system of equations
                return Node("matrix", tuple(rows))
            if self.here.kind == "stop":
                raise ParseError("open matrix")

    def big(self, operator: str) -> Node:
        """`\\sum_{i=1}^{n} body` and `\\prod`. Integrals are not read."""
        self.expect("_")
        start = self.index()
        self.expect("^")
        high = self.script()
        if start.kind != "rel" or start.args[0] != ("=",) or start.args[1].kind not in ("sym", "const"):
            raise ParseError("index of a sum")
        variable, low = start.args[1], start.args[2]
        return Node("big", (operator, str(variable.args[0]), low, high, self.product()))
