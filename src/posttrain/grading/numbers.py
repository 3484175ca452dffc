"""Numbers as they are written in answers, read exactly (as fractions): no floating point, no SymPy.

`1,234.50`, `$18.00`, `-3`, `1e6`, `3/4`, `50%`, `\\frac{3}{4}`, `1\\,234`, `½`.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

MAX_DIGITS = 1_000  # an answer with more digits is noise; Python's own limit for int(str) is 4,300
MAX_EXPONENT = 400

_MINUS = dict.fromkeys(map(ord, "−‒–—﹣－"), "-")
_DROP = dict.fromkeys(
    map(ord, "\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)
_SPACES = dict.fromkeys(
    map(ord, "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000"), " "
)
_CHARACTERS = {**_MINUS, **_DROP, **_SPACES}

NUMBER = (
    r"[+-]?(?:[1-9]\d{0,2}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,4}(?![\w.]))?"
    r"|[+-]?\.\d+"
)
VULGAR = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
          "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8)}  # fmt: skip
_VULGAR_RUN = re.compile("(\\d{0,9})\\s?([" + "".join(VULGAR) + "])")
_ONE = re.compile(rf"(?<![A-Za-z\d_.\u00c0-\u024f])(?:{NUMBER})(?:\s?/\s?\d+(?!\d|\.\d))?")
_LATEX_FRACTION = re.compile(r"([+-]?)\s*\\[dtc]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_LATEX_NOISE = re.compile(r"\\[!,;: ]|\\\$|\$|\{,\}|\\(?:text|mathrm|mathbf)\s*\{|[{}*~]")


def clean_characters(text: str) -> str:
    """One minus, ordinary spaces, no invisible or direction-changing characters. ASCII text is returned as it is."""
    return text if text.isascii() else text.translate(_CHARACTERS)


def fold_digits(text: str) -> str:
    """Full-width characters and the decimal digits of all scripts as ASCII; raised digits are left to the parser."""
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c))
        if c.isdecimal()
        else unicodedata.normalize("NFKC", c)
        if "\uff01" <= c <= "\uff5e"
        else c
        for c in text
    )


def exact(text: str) -> Fraction | None:
    """The value of one number literal or `a/b`, or None if the text is anything else or too long."""
    text = text.replace(",", "").replace(" ", "")
    if len(text) > MAX_DIGITS:
        return None
    top, slash, bottom = text.partition("/")
    value = _decimal(top)
    if value is None or not slash:
        return value
    below = _decimal(bottom)
    return None if not below else value / below


def _decimal(text: str) -> Fraction | None:
    mantissa, _, exponent = text.lower().partition("e")
    if exponent and (not exponent.lstrip("+-").isdigit() or abs(int(exponent)) > MAX_EXPONENT):
        return None
    digits = mantissa.lstrip("+-").replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return Fraction(text)
    except ValueError:
        return None


def plain(text: str) -> str:
    """The text with the LaTeX around its numbers taken away: fractions as a/b, no currency, no thin spaces."""
    text = fold_digits(clean_characters(text))
    if not text.isascii():
        text = _VULGAR_RUN.sub(_improper, text)
    if "\\" in text:
        text = _LATEX_FRACTION.sub(lambda m: f"{m[1]}{m[2] or m[3]}/{m[4] or m[5]}", text)
        text = text.replace("\\%", "%").replace("\\$", "")
    return _LATEX_NOISE.sub(lambda m: "," if m[0] == "{,}" else "", text)


def _improper(m: re.Match[str]) -> str:
    """`2½` as 5/2."""
    above, below = VULGAR[m[2]]
    return f"{int(m[1] or 0) * below + above}/{below}"


def find_numbers(text: str) -> list[str]:
    """Every number literal in a text that `plain` has seen, as written."""
    return [m[0].strip() for m in _ONE.finditer(text)]
