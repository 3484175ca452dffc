"""One pair or two for every rule that reading and comparing follow; the id names the rule."""

from __future__ import annotations

import pytest

from posttrain.grading import grade
from posttrain.records import Problem

SAME = {
    "decimal comma": ("0.125", "0,125"),
    "decimal comma in braces": ("3.5", "3{,}5"),
    "thousands in braces, spaced": ("18234", r"18 {, }234"),
    "escaped twice throughout": (
        r"\begin{pmatrix} 1 \\ \frac12 \end{pmatrix}",
        r"\\begin{pmatrix} 1 \\\\ 0.5 \\end{pmatrix}",
    ),
    "a command glued to quad": (r"a=1,\quadb=2", "a=1, b=2"),
    "a repeating dot": (r"0.\dot{3}", "1/3"),
    "a repetition that goes on": ("0.1666...", "1/6"),
    "roots in Unicode": ("∛8 + ∜16", "4"),
    "an ordinal": (r"21^{\text{st}}", "21"),
    "an ordinal in letters": ("5th", "5"),
    "currency signs": ("€12.50", "12.5"),
    "currency codes": ("40 USD", "40"),
    "markdown around a number": ("649", "**649**"),
    "square units": (r"12\text{ ft}^2", "12 square feet"),
    "cubic units": (r"24\text{ cm}^3", "24 cm^3"),
    "percent of a mixed number": (r"5\frac{1}{2}\%", r"5.5\%"),
    "rounded scientific notation": (r"2.314814815 \times 10^{-3}", r"\frac{1}{432}"),
    "approximately": ("x=11", r"x \approx 11"),
    "a chain of equations ends in its value": ("7", "2x + 1 = 3 + 4 = 7"),
    "an inverse function is a name": ("f^{-1}(x) = x - 1", "x - 1"),
    "an unknown command is a name": (r"\foo + 1", r"1 + \foo"),
    "modulo": (r"x \equiv 3 \pmod 7", r"x\equiv 3 \pmod{7}"),
    "modulo in words": (r"x \equiv 3 (\text{mod } 7)", r"x \equiv 3 \pmod 7"),
    "choose": (r"{5 \choose 2}", "10"),
    "the range of a letter": (r"x = k\pi, k \in \mathbb{Z}", r"x = \pi k"),
    "set builder with a colon": (r"\{x : x > 2\}", r"(2,\infty)"),
    "brackets that look outward": ("]-1,2[", "(-1,2)"),
    "a number joined to an interval": (r"(0,1] \cup \{2\}", "(0,1] \\cup {2}"),
    "bars, less": ("|x - 1| \\le 3", "[-2,4]"),
    "bars, greater": ("|x| > 2", r"(-\infty,-2)\cup(2,\infty)"),
    "bars, between": (r"1 \le |z| \le \frac32", r"z \in [-\frac32,-1] \cup [1,\frac32]"),
    "all but a point": (r"x \ne 0", r"(-\infty,0)\cup(0,\infty)"),
    "the line without points": (r"\mathbb{R} \setminus \{1,2\}", r"(-\infty,1)\cup(1,2)\cup(2,\infty)"),
    "an inequality of a function": ("0 < f(x) < 1", "(0,1)"),
    "bounds with letters": (r"a \le x \le b", "[a,b]"),
    "a sum of matrices": (
        r"\begin{pmatrix}6 & 8\end{pmatrix}",
        r"\begin{pmatrix}1 & 2\end{pmatrix} + \begin{pmatrix}5 & 6\end{pmatrix}",
    ),
    "rows in brackets": (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[3,4]]"),
    "steps": (r"\lfloor \frac{n}{2} \rfloor", r"\lfloor n/2 \rfloor"),
    "nowhere real": (r"\sqrt{-x^2-1}", r"\sqrt{-(x^2+1)}"),
    "quotients of factorials": (r"\frac{n!}{(n-k)!\,k!}", r"\binom{n}{k}"),
    "a time of day with seconds": ("20:34", "20:34:00"),
    "a time of day, half said": ("20:34", r"08:34 \text{ P.M.}"),
    "a choice with its text": ("C. x = 42", "C"),
    "a choice with a name": ("B Bernard", "(B)"),
    "a choice in a sentence": ("B", "it can't be A, so I think it's B"),
    "a sentence in the box": ("90", "the angle is 90 degrees in all"),
    "punctuation between words": ("hello world", "Hello, world!"),
}  # fmt: skip
OTHER = {
    "thousands need three digits": ("1234", "12,34"),
    "times of day": ("12:00", "1:00"),
    "half a day apart": ("14:00", "2:00 a.m."),
    "another modulus": (r"x \equiv 3 \pmod 7", r"x \equiv 3 \pmod 5"),
    "another function is another name": (r"\sin x = \frac{42}{59}", r"\cos x = \frac{42}{59}"),
    "another angle is another name": (r"\angle BEA_1 = 90", r"\angle BEA_2 = 90"),
    "a function at zero is not zero": ("I(0) e^{-t}", "I(0) e^{t}"),
    "a capital letter is another name": (r"\Pi", r"\pi"),
    "steps apart": (r"\lfloor\sqrt{n-1}\rfloor", r"\lfloor\sqrt{n+1}\rfloor"),
    "nowhere real, and another": (r"\sqrt{-x^2-1}", r"\sqrt{-x^2-2}"),
    "closed is not open, outward": ("]-1,2]", "(-1,2)"),
    "bars the other way": ("|x| > 2", "|x| < 2"),
    "another point is missing": (r"\mathbb{R}\setminus\{1\}", r"\mathbb{R}\setminus\{2\}"),
    "another sum": (
        r"(\begin{pmatrix}6&9\end{pmatrix})",
        r"\begin{pmatrix}1&2\end{pmatrix}+\begin{pmatrix}5&6\end{pmatrix}",
    ),
    "scientific notation rounded too far": (r"2.31 \times 10^{-3}", r"\frac{1}{432}"),
    "letters glued to a number": ("42", "42abc"),
    "a list in a sentence is no single answer": ("5", "the two roots are 3 and 5"),
    "a choice that is denied": ("A", "it is certainly not A"),
    "prose without a number": ("42", "I don't know"),
}  # fmt: skip
READ = {
    "the value behind the copula": ("The volume of $ABC$ is 120.", "120"),
    "formulas that belong together": ("The answer is $x=2$ or $x=-2$.", "x=2, x=-2"),
    "the list that ends a text": ("So we find the roots 3 and 5.", "3 and 5"),
    "a year before a number is no list": ("In 2020, 15 people came.", "15"),
    "a conclusion behind a formula": (r"$$\frac{a}{b}$$ Therefore it rises by 100%.", "100%"),
    "an escaped dollar": (r"Answer: $\$20$", r"\$20"),
    "an exclamation is no factorial": ("The answer is 42!", "42"),
    "a fraction before a full stop": ("so the chance is 2/3.", "2/3"),
    "a vulgar fraction in a sentence": ("we end with 2½ in the end", "5/2"),
    "boxes joined inside formulas": (r"\(\boxed{1}\) and \(\boxed{-2}\).", "1, -2"),
    "named boxes": (r"$x = \boxed{1}$ and $y = \boxed{2}$", "1, 2"),
    "an empty box counts for nothing": (r"\boxed{5} oops \boxed{}", "5"),
    "a final answer behind the box": (r"\boxed{255} so we get more. The final answer is $10,455$.", "10,455"),
    "somebody else's turn": ("It is 7.<|im_start|>user\nAnd 8?", "7"),
    "a line about confidence": ("7\nConfidence: 95", "7"),
    "a command that ends in boxed": (r"\finalboxed{8}", "8"),
}


def verdict(gold: str, answer: str) -> bool | None:
    return grade(Problem("p", "?", gold), rf"\boxed{{{answer}}}", "math").correct


@pytest.mark.parametrize("rule", SAME)
def test_the_same_by_the_rule_of(rule: str) -> None:
    gold, answer = SAME[rule]
    assert verdict(gold, answer) is True


@pytest.mark.parametrize("rule", OTHER)
def test_not_the_same_by_the_rule_of(rule: str) -> None:
    gold, answer = OTHER[rule]
    assert verdict(gold, answer) is False


@pytest.mark.parametrize("rule", READ)
def test_read_by_the_rule_of(rule: str) -> None:
    response, extracted = READ[rule]
    assert grade(Problem("p", "?", "1"), response, "math").extracted == extracted


def test_a_gold_of_several_boxes_may_name_what_they_hold() -> None:
    gold = Problem("p", "?", r"\boxed{1} paper and \boxed{2} bins")
    assert grade(gold, r"\boxed{1, 2}", "math").correct is True
    story = grade(Problem("p", "?", "2"), r"\boxed{1} no, and \boxed{2}", "math")
    assert story.correct is True, "in a response the last box wins"


def test_a_response_that_is_the_gold_word_for_word_is_correct() -> None:
    gold = r"all odd $n$ with $n \equiv 1$"
    assert grade(Problem("p", "?", gold), gold, "math").correct is True
