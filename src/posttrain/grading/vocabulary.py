"""The words the parser knows: functions, constants, Greek letters, operators, units."""

from __future__ import annotations

FUNCTIONS = frozenset(
    {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh",
    "asin", "acos", "atan", "log", "ln", "lg", "exp", "sqrt", "gcd", "lcm", "max", "min", "floor", "ceil", "abs",
    "det", "arg", "Gamma", "Re", "Im", "deg", "dim", "ker", "inf", "sup", "lim",
    }
)  # fmt: skip
ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
# Functions that take what follows without parentheses.
OPEN_FUNCTIONS = FUNCTIONS - {"max", "min", "gcd", "lcm", "inf", "sup", "lim"}

CONSTANTS = {"pi": "pi", "infty": "inf", "infinity": "inf", "inf": "inf", "oo": "inf"}
GREEK = frozenset(
    {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "varrho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega",
    "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega", "ell", "hbar", "aleph",
    }
)  # fmt: skip
FRACTIONS = frozenset({"frac", "dfrac", "tfrac", "cfrac"})
BINOMIALS = frozenset({"binom", "dbinom", "tbinom"})
TIMES = frozenset({"cdot", "times", "ast"})
RELATIONS = {
    "=": "=", "==": "=", "<": "<", ">": ">", "<=": "<=", "=<": "<=", ">=": ">=", "!=": "!=",
    "le": "<=", "leq": "<=", "leqslant": "<=", "lt": "<", "ge": ">=", "geq": ">=", "geqslant": ">=", "gt": ">",
    "ne": "!=", "neq": "!=", "in": "in", "approx": "~", "simeq": "~", "sim": "~", "equiv": "=",
}  # fmt: skip
BIG = {"sum": "sum", "prod": "prod"}
SEPARATORS = frozenset({"and", "or"})
PERCENT = frozenset({"percent", "pct", "percentage"})

UNITS = {
    "mm": "mm", "millimeter": "mm", "millimetre": "mm", "cm": "cm", "centimeter": "cm", "centimetre": "cm", "m": "m",
    "meter": "m", "metre": "m", "km": "km", "kilometer": "km", "kilometre": "km", "in": "inch", "inch": "inch",
    "inche": "inch", "ft": "foot", "foot": "foot", "feet": "foot", "yd": "yard", "yard": "yard", "mile": "mile",
    "mi": "mile", "mg": "mg", "g": "g", "gram": "g", "kg": "kg", "kilogram": "kg", "lb": "pound", "pound": "pound",
    "oz": "ounce", "ounce": "ounce", "ton": "ton", "l": "liter", "liter": "liter", "litre": "liter", "ml": "ml",
    "s": "second", "sec": "second", "second": "second", "min": "minute", "minute": "minute", "h": "hour", "hr": "hour",
    "hour": "hour", "day": "day", "week": "week", "month": "month", "year": "year", "mph": "mph", "cent": "cent",
    "dollar": "dollar", "euro": "euro", "unit": "unit", "degree": "degree", "radian": "radian", "rad": "radian",
    "hz": "hertz", "joule": "joule", "watt": "watt", "volt": "volt", "newton": "newton", "people": "person",
    "person": "person", "student": "student", "apple": "apple", "way": "way", "square": "square", "sq": "square",
    "cubic": "cubic", "time": "time", "point": "point", "page": "page", "book": "book", "ticket": "ticket",
    "usd": "dollar", "eur": "euro", "gbp": "pound", "rupee": "rupee", "yuan": "yuan",
}  # fmt: skip
# Words that carry no physical unit: naming them says nothing about the value.
COUNTED = frozenset(
    {"unit", "degree", "person", "student", "apple", "way", "time", "point", "page", "book", "ticket", "dollar"}
)


def unit_of(phrase: str) -> str:
    """The canonical unit that a phrase names; the lower-cased phrase itself if it is not known."""
    parts = [p for p in phrase.lower().replace(".", " ").replace("/", " per ").split() if p not in {"of", "the"}]
    words = [UNITS.get(p) or UNITS.get(p.removesuffix("s")) or p for p in parts]
    for power, prefix in (("^2", "square"), ("^3", "cubic")):  # square feet, cm^2
        while prefix in words[:-1]:
            at = words.index(prefix)
            words[at : at + 2] = [words[at + 1] + power]
    return " ".join(words)


def is_unit(word: str) -> bool:
    """Whether a bare word behind a number is a unit rather than a product of letters."""
    low = word.lower()
    return len(low) > 1 and (low in UNITS or low.removesuffix("s") in UNITS)
