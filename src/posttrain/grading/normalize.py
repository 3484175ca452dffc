r"""One spelling for what is written in many: Unicode, LaTeX decoration, thousands, degrees, percent.

String to string; the lexer reads the result. Nothing here knows the gold.
"""

from __future__ import annotations

import re

from posttrain.grading.numbers import VULGAR, clean_characters, fold_digits

_MATH = {
    "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "∖": r"\setminus ",
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": "/", "∕": "/", "⁄": "/", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ",
    "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "±": r"\pm ", "∓": r"\mp ", "°": r"^\circ ", "∅": r"\emptyset ",
    "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\varphi ",
    "ω": r"\omega ", "σ": r"\sigma ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "∣": "|", "′": "'", "“": '"', "”": '"', "’": "'", "，": ",", "、": ",", "。": ".", "：": ":", "（": "(", "）": ")",
    "≈": r"\approx ", "→": r"\to ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "€": " ", "£": " ", "¥": " ", "₹": " ", "²": "^{2}", "³": "^{3}",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_VULGAR = {sign: f"{above}/{below}" for sign, (above, below) in VULGAR.items()}
_TABLE = {ord(k): v for k, v in _MATH.items()}
_RAISED = re.compile("(?<=[\\w)\\]}])[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_VULGAR_RUN = re.compile("(\\d*)\\s?([" + "".join(_VULGAR) + "])")

_DECORATION = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|rm|bf|it|mathstrut|hfill"
    r"|strut|boldsymbol|bm|phantom|enspace|thinspace|medspace|smallskip|medskip|bigskip|small|large|Large)(?![a-zA-Z])"
    r"|\\q?quad"  # with or without a space behind it: no other command begins so
)
_SPACING = re.compile(
    r"(?<!\\)\\[!,;:> ]|~|\\hspace\*?\{[^{}]*\}|\\vspace\*?\{[^{}]*\}|\\label\{[^{}]*\}|\\tag\{[^{}]*\}"
)
_WRAPPERS = re.compile(r"\\(?:mathbf|mathit|mathcal|mathsf|overline|underline|vec|hat|widehat|bar|tilde)(?![a-zA-Z])")
_DEGREE = re.compile(r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])")
_THIN_GROUPS = re.compile(r"(?<![\d.])(\d{1,3})((?:(?: ?,? ?\\[,!;:] ?| ?\{ ?, ?\} ?|\\ )\d{3})+)(?!\d)")
_SPACE_GROUPS = re.compile(r"(?<![\d.,/^_])(\d{1,3})((?: \d{3})+)(?![\d/])")
_COMMA_GROUPS = re.compile(r"(?<![\d.,])([1-9]\d{0,2})((?:,(?:\\!)?\d{3})+)(?!,?\d)")
_SINGLE_SLASH = re.compile(r"(?<!\\)(?:\\\\)*\\(?!\\)")
_DOUBLE_SLASH = re.compile(r"\\\\(?=[a-zA-Z{%$])")
_BROKEN_ESCAPES = (("\x0crac", r"\frac"), ("\x08inom", r"\binom"), ("\x08egin", r"\begin"), ("\x08oxed", r"\boxed"),
                   ("\times", r"\times"), ("\text", r"\text"), ("\tfrac", r"\tfrac"))  # fmt: skip
_JOINED_WORDS = re.compile(r"(?<=[\d)\]}])\s*(and|or)(?=[\s\d(A-Z\\$+-]|[a-z]\b)")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_REPEATING = re.compile(r"(?<![\d.])(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{(\d{1,30})\}")
_GOING_ON = re.compile(r"(?<![\d.])(\d{0,9})\.(\d{0,9}?)(?:(\d)\3\3+|(\d{2,6}?)\4+)(?:\.\.\.|…|\\[lc]?dots)")
_MODULO = re.compile(r"\(\s*\\?(?:text\s*\{\s*)?[bp]?mod(?:ulo)?\s*\}?\s*\{?(\w+)\}?\s*\)")
_ORDINAL = re.compile(
    r"(?<=\d)(?:\^?\s*\{?\s*\\(?:text|mathrm)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?|(?:st|nd|rd|th)(?![a-zA-Z]))"
)
_PLAIN_TEXT = re.compile(r"\\text\s*\{([^a-zA-Z{}]*)\}")
_LETTER_UNION = re.compile(r"(?<=[\])])\s*U\s*(?=[\[(])")
_LEADING = re.compile(r"^(?:\\(?:approx|sim|simeq)(?![a-z])|≈|=|~|:)\s*")
_NON_DIGITS = re.compile(r"\D")


def unicode_to_latex(text: str) -> str:
    """Mathematical Unicode as LaTeX. A raised digit counts as an exponent only behind a base."""
    text = fold_digits(clean_characters(text))
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + m[0].translate(_SUBSCRIPTS) + "}", text)
    text = _VULGAR_RUN.sub(lambda m: f"({m[1]}+{_VULGAR[m[2]]})" if m[1] else f"({_VULGAR[m[2]]})", text)
    return text.translate(_TABLE)


def _going_on(m: re.Match[str]) -> str:
    """0.333... and 0.1666... written with a bar."""
    return f"{m[1]}.{m[2]}\\overline{{{m[3] or m[4]}}}"


def _repeating(m: re.Match[str]) -> str:
    """0.1\\overline{6} as a fraction: the digits once, less the part that doesn't repeat, over nines and zeros."""
    whole, once, period = m[1] or "0", m[2], m[3]
    above = int(whole + once + period) - int(whole + once)
    return f"({above}/{'9' * len(period)}{'0' * len(once)})"


def join_groups(text: str) -> str:
    """`1,234,567` as one number, at the outermost level only: inside brackets a comma separates."""

    def joined(m: re.Match[str]) -> str:
        before = text[: m.start()]
        nested = sum(before.count(c) for c in "([{") - sum(before.count(c) for c in ")]}")
        return m[0] if nested > 0 else _NON_DIGITS.sub("", m[0])

    return _COMMA_GROUPS.sub(joined, text)


def latex(text: str) -> str:
    """The spelling that the lexer reads; dollars, spacing, sizes and degree signs are gone."""
    text = text.strip("*") if "**" in text else text  # markdown
    for broken, whole in _BROKEN_ESCAPES:
        if broken in text:
            text = text.replace(broken, whole)
    if "\\\\" in text and not _SINGLE_SLASH.search(text):
        text = text.replace("\\\\", "\\")  # escaped twice, all of it
    if "..." in text or "dots" in text or "…" in text:
        text = _GOING_ON.sub(_going_on, text)
    if "mod" in text:
        text = _MODULO.sub(r"\\pmod{\1}", text)
    text = _THIN_GROUPS.sub(lambda m: _NON_DIGITS.sub("", m[0]), unicode_to_latex(text))
    text = text.replace("{,}", ".") if "{,}" in text else text  # not between thousands: a decimal comma
    if "\\" in text:
        if "\\\\" in text and "\\begin" not in text:
            text = _DOUBLE_SLASH.sub(r"\\", text)
        text = text.replace(r"\$", "").replace(r"\%", "%")
        text = text.replace(r"\(", " ").replace(r"\)", " ").replace(r"\[", " ") if "\\begin" not in text else text
        text = text.replace(r"\]", " ") if "\\begin" not in text else text
        text = _DEGREE.sub(r"\\frac{\\pi}{180} " if _TRIGONOMETRY.search(text) else " ", text)
        text = _REPEATING.sub(_repeating, text)
        text = _PLAIN_TEXT.sub(r"\1", text)
        text = _SPACING.sub(" ", text)
        text = _DECORATION.sub(" ", text)
        text = _WRAPPERS.sub(" ", text)
    text = _ORDINAL.sub("", text)
    text = text.replace("$", " ").replace("**", "^") if "$" in text or "**" in text else text
    text = _LETTER_UNION.sub(r" \\cup ", text)
    text = _SPACE_GROUPS.sub(lambda m: _NON_DIGITS.sub("", m[0]), text)
    text = _JOINED_WORDS.sub(lambda m: f" {m[1]} ", text)
    return strip_ends(text)


def strip_ends(text: str) -> str:
    """Without the punctuation and markdown that sentences put around an answer."""
    text = _LEADING.sub("", text.strip(' \t\r\n*`"'))
    while text and text[-1] in ".,;:\\" and not text.endswith("\\\\"):
        text = text[:-1].rstrip(' *`"\n')
    return text


def words(text: str) -> str:
    """Text answers for comparison: LaTeX text commands, case, articles and outer punctuation away."""
    text = re.sub(r"\\(?:text|textbf|textit|textrm|mathrm|mbox|operatorname)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\\(?=[^a-z])|[${}~]|\b(?:the|a|an)\b(?=\s+\w)", " ", text.lower())
    text = re.sub(r"(?<=[a-z])[,;:!?]+(?=\s)", "", text)
    return " ".join(text.split()).strip(" .,;:!?\"'()*")
