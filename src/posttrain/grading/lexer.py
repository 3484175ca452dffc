r"""LaTeX and ASCII mathematics as tokens: one regular expression, a bounded number of tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from posttrain.grading.extract import closing_brace
from posttrain.grading.tree import MAX_TOKENS, ParseError

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<begin>\\begin\s*\{(?P<env>[a-z]*)\*?\}(?:\s*\{[|clr\s]*\})?)
  | (?P<end>\\end\s*\{[a-z]*\*?\})
  | (?P<text>\\(?:text[a-z]*|mathrm|mbox|operatorname\*?)\s*\{)
  | (?P<row>\\\\(?:\[[^\]]*\])?)
  | (?P<command>\\[a-zA-Z]+)
  | (?P<escaped>\\[{}|])
  | (?P<number>\d+\.\d+|\d+\.(?!\.)|\.\d+|\d+)(?P<exponent>[eE][+-]?\d{1,4}(?![\w.]))?
  | (?P<word>[a-zA-Z]+)
  | (?P<op><=|>=|!=|==|=<|=>|->|\.\.\.|[-+*/^_!'(),;:=<>|%\[\]{}&])
    )""",
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str  # number, word, command, op, text, begin, end, row, stop
    value: str
    spaced: bool  # white space stands before it


def tokens(text: str) -> list[Token]:
    """All tokens and a final `stop`. ParseError for characters outside the language or too many tokens."""
    found: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        m = _TOKEN.match(text, at)
        if m is None or len(found) >= MAX_TOKENS:
            raise ParseError(text[at : at + 20])
        spaced = text[at].isspace()
        kind = m.lastgroup or ""
        at = m.end()
        if m["begin"]:
            found.append(Token("begin", m["env"], spaced))
        elif kind == "text":
            close = closing_brace(text, at - 1)
            if close < 0:
                raise ParseError("open text")
            found.append(Token("text", text[at:close], spaced))
            at = close + 1
        elif m["number"]:
            found.append(Token("number", m["number"] + (m["exponent"] or ""), spaced))
        elif kind == "command" or kind == "escaped":
            found.append(Token("command", m[kind][1:], spaced))
        else:
            found.append(Token(kind, m[kind], spaced))
    found.append(Token("stop", "", False))
    return found
