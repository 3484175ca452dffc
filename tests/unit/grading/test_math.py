"""Mathematical answers: what is the same in other clothes, and what is not. Every pair is asked in both directions."""

from __future__ import annotations

import pytest

from posttrain.grading import grade
from posttrain.records import Problem

EQUIVALENT = [
    (r"x=1 \text{ or } x=2", r"x = 2 \text{ or } x = 1"),
    (r"1 \frac{1}{2}", "1.5"),
    (r"1\frac12", r"\frac{3}{2}"),
    (r"\{1\} \cup \{2\}", r"\{1, 2\}"),
    (r"\frac{13}{4} \text{ units}", "3.25"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    ("10^{-5}", "0.00001"),
    (r"1.0 \times 10^{-5}", "10^{-5}"),
    (r"\left\{-1, 3\right\}", "-1, 3"),
    (r"x \in \{1,2\}", r"\{2, 1\}"),
    (r"\sqrt[3]{8}", "2"),
    (r"\sqrt[3]{-8}", "-2"),
    (r"\frac{\pi}{2}", r"\pi/2"),
    (r"\frac{1}{2}\pi", r"\frac{\pi}{2}"),
    (r"6 \text{ hours}", "6"),
    (r"3,\!000", "3000"),
    (r"2\sqrt{3}+4", r"4+2\sqrt3"),
    ("(x+1)^2", "x^2+2x+1"),
    ("y = 2x + 1", "2x+1"),
    ("y = 2x+1", "2x - y + 1 = 0"),
    (r"(3, \frac{\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"(-\infty, 3) \cup (5, \infty)", r"x < 3 \text{ or } x > 5"),
    (r"[2, \infty)", r"x \ge 2"),
    (r"-2 < x \le 5", "(-2, 5]"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}"),
    (r"\frac{a}{b}", "a/b"),
    (r"\dfrac{x^2-1}{x-1}", "x+1"),
    (r"\sin^2 x + \cos^2 x", "1"),
    ("2^{10}", "1024"),
    (r"\log_{10} 100", "2"),
    (r"\ln e^2", "2"),
    (r"\binom{5}{2}", "10"),
    ("5!", "120"),
    (r"90^\circ", "90"),
    (r"\$15", "15"),
    (r"15\%", "15"),
    (r"\text{Friday}", "Friday"),
    (r"\text{odd}", "odd"),
    (r"\text{(B)}", "B"),
    ("(B)", "B"),
    ("x^{-1}", r"\frac{1}{x}"),
    ("e^{2x}", "(e^x)^2"),
    ("|x-3|", "|3-x|"),
    (r"3 \pm \sqrt{2}", r"3+\sqrt{2}, 3-\sqrt{2}"),
    (r"x = \frac{-1 \pm \sqrt{5}}{2}", r"\frac{-1-\sqrt5}{2}, \frac{-1+\sqrt5}{2}"),
    (r"\frac{3}{4}", "0.75"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"\frac{-1}{2}", "-1/2"),
    (r"0.\overline{3}", "1/3"),
    (r"12\text{ cm}^2", "12"),
    (r"12\text{ cm}^2", r"12 \text{ cm}^2"),
    ("12 square centimeters", "12"),
    ("f(x) = x^2", "x^2"),
    ("(1,2),(3,4)", "(3,4),(1,2)"),
    ("1:2", "2:4"),
    (r"i\sqrt{3}", r"\sqrt{3}i"),
    ("3+4i", "4i+3"),
    (r"\frac{1+i}{2}", r"\frac12+\frac{i}{2}"),
    ("2x+3y", "3y + 2x"),
    ("n(n+1)/2", r"\frac{n^2+n}{2}"),
    (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"),
    (r"\sum_{k=1}^{10} k", "55"),
    ("3x^2 y", "3yx^2"),
    (r"\mathbf{(1,2)}", "(1,2)"),
    ("10:30", "10:30"),
    (r"\frac{9}{11}\text{ ft}", r"\frac{9}{11}"),
    ("1,000,000", "10^6"),
    (r"\$1,234.50", "1234.5"),
    (r"\text{July 4}", "July 4"),
    (r"\emptyset", r"\{\}"),
    ("no solution", r"\text{no solution}"),
    (r"\arctan 1", r"\frac{\pi}{4}"),
    (r"\tan 45^\circ", "1"),
    (r"\sqrt{x^2+2x+1}", r"\sqrt{(x+1)^2}"),
    (r"x \neq 2", r"x \ne 2"),
    (r"k \ge -1", r"k\geq -1"),
    ("a^2-b^2", "(a-b)(a+b)"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\frac{2}{\sqrt{5}}", r"\frac{2\sqrt5}{5}"),
    (r"5\sqrt{5}", r"\sqrt{125}"),
    ("1/2", r"\frac{2}{4}"),
    ("3.0", "3"),
    ("(0,0)", "(0, 0.0)"),
    (r"\frac{10}{3}\pi", r"\frac{10\pi}{3}"),
    ("52_8", "52_{8}"),
    ("x=5, y=3", "(5,3)"),
    ("(x,y)=(5,3)", "(5,3)"),
    ("(x,y)=(5,3)", "x=5, y=3"),
    (r"\frac{n!}{(n-2)!}", "n(n-1)"),
    (r"\log 2", r"\log(2)"),
    ("e", "2.718281828"),
    (r"\text{Yes}", "yes"),
    ("f(x)=x+1", "y=x+1"),
    (r"2 \cdot 3", "6"),
    ("12,13", r"13 \text{ and } 12"),
    (r"1\ 000", "1000"),
    (r"\lfloor 3.7 \rfloor", "3"),
    (r"\frac{1}{2}, \frac{1}{3}", "1/3, 1/2"),
    (r"2\frac{1}{2}", "2.5"),
    ("x=3y", "3y=x"),
    (r"4 \times 10^{3}", "4000"),
    (r"\text{10 am}", "10 am"),
    (r"11\text{:}30", "11:30"),
    ("p=2,q=3", "q=3, p=2"),
    (r"\pm 2", "2, -2"),
    (r"\{ -2, 2 \}", r"\pm 2"),
    (r"\overrightarrow{v}", r"\overrightarrow{v}"),
    (r"\frac{\partial f}{\partial x}", r"\frac{\partial f}{\partial x}"),
    (r"\mathbb{R}", r"(-\infty,\infty)"),
    (r"\frac{NO}{BO}=\frac{1}{2}", r"\frac12"),
    ("p=5,q=2;p=7,q=2", "(5,2),(7,2)"),
    ("[42]", "42"),
    (
        r"\begin{pmatrix}1&2\\0&1\end{pmatrix}\begin{pmatrix}1&0\\0&2\end{pmatrix}",
        r"\begin{pmatrix}1&4\\0&2\end{pmatrix}",
    ),
    (r"x > 1 \text{ and } x < 2", "(1,2)"),
    (r"0.1\overline{6}", r"\frac{1}{6}"),
    ("xy^2", "y^2x"),
    ("(-1,2)\\cup[3,4]", "(-1,2)U[3,4]"),
    ("1.234,56", "1234.56"),
    ("P(X=2)=0.3", "0.3"),
    (r"\begin{cases}x=1\\y=2\end{cases}", "x=1, y=2"),
    (r"\frac{dy}{dx}=2x", "2x"),
    (r"\begin{pmatrix}\frac{1}{3x^{2/3}}\end{pmatrix}", r"\begin{pmatrix}\frac{1}{3\sqrt[3]{x}^2}\end{pmatrix}"),
    (r"\sec^2(y)", r"\tan^2(y)+1"),
    (r"\frac 9 10", "0.9"),
    (r"90 \mathrm{~km} / \mathrm{h}", "90"),
    ("1/3", "0.333333"),
]
DIFFERENT = [
    ("2", "-2"),
    (r"\frac{1}{2}", r"\frac{1}{3}"),
    ("(1,2)", "(2,1)"),
    ("[0,1]", "(0,1)"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    ("x+1", "x+2"),
    ("x > 2", "x < 2"),
    (r"x \ge 2", "x > 2"),
    (r"x \neq 3", "x = 3"),
    (r"\sqrt{2}", "1.41"),
    (r"\pi", "3.14"),
    (r"\frac{2}{3}", "0.67"),
    ("3+4i", "3-4i"),
    ("y=2x+1", "y=2x-1"),
    (r"\text{even}", r"\text{odd}"),
    ("A", "B"),
    (r"12\text{ cm}", r"12\text{ kg}"),
    ("1,2,3", "1,2"),
    ("100", "100.5"),
    ("2^{10}", "2^{11}"),
    ("x^2", "x^3"),
    ("|x|", "x"),
    (r"\sin x", r"\cos x"),
    ("1:2", "2:1"),
    ("10:30", "10:31"),
    ("52_8", "52_7"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    (r"3 \pm \sqrt{2}", r"3+\sqrt{2}"),
    (r"x=1 \text{ or } x=2", "x=1"),
    ("5", r"5 \text{ or } 6"),
    ("a", "b"),
    ("x=2", "y=3"),
    (r"\infty", r"-\infty"),
    (r"(-\infty,3)", r"(-\infty,3]"),
    ("0", "1e-9"),
    ("1000", "1,00,0"),
    ("18", "81"),
    (r"\text{Friday}", r"\text{Monday}"),
    ("no solution", "0"),
    ("e", "2.71"),
    ("e^x", "e^{-x}"),
    (r"\ln 2", r"\log_{10} 2"),
    ("5", "x"),
    ("x", "5"),
    ("(1,2)", r"\{1,2\}"),
    ("x^2+1=0", "x^2-1=0"),
    ("x<y", "y<x"),
    (r"\frac{1}{3}", "0.33333"),  # five digits could be anything
    ("xy^2", "(xy)^2"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("1.2", "1,2"),
]


def verdict(gold: str, answer: str) -> bool | None:
    return grade(Problem("p", "?", gold), rf"So the result is \boxed{{{answer}}}.", "math").correct


@pytest.mark.parametrize(("one", "other"), EQUIVALENT)
def test_equal_answers_are_equal_in_both_directions(one: str, other: str) -> None:
    assert (verdict(one, other), verdict(other, one)) == (True, True)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_answers_are_different_in_both_directions(one: str, other: str) -> None:
    assert (verdict(one, other), verdict(other, one)) == (False, False)


@pytest.mark.parametrize("answer", sorted({a for pair in EQUIVALENT + DIFFERENT for a in pair}))
def test_every_answer_equals_itself(answer: str) -> None:
    assert verdict(answer, answer) is True


@pytest.mark.parametrize(
    ("response", "extracted"),
    [
        ("<answer>4</answer> and not \\boxed{5}", "4"),
        (r"First \boxed{1}, but no: \boxed{2}", "2"),
        (r"\boxed{1}, \boxed{2} and \boxed{3}", "1, 2, 3"),
        (r"\boxed{\boxed{7}}", r"\boxed{7}"),
        (r"\boxed 7.", "7"),
        (r"\fbox{7}", "7"),
        ("The answer is 7.", "7"),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", r"\frac{1}{2}"),
        ("#### 7", "7"),
        ("so we get\n$$x = 7$$", "x = 7"),
        ("It is 7 because geometry proves it", "7"),
        ("**7**", "7"),
        ("28 + 32 = 60%", "28 + 32 = 60%"),
        ("Il paie 2,74 euros", "2,74"),
    ],
)
def test_the_answer_is_found_where_it_stands(response: str, extracted: str) -> None:
    assert grade(Problem("p", "?", "7"), response, "math").extracted == extracted


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{3 \text{ or } 4}",
        r"\boxed{3} or \boxed{4}",
        "3 or 4",
        "it is 4, or 3",
        "The answer is either 3 or 4",
        "Maybe 4, perhaps 3",
        r"\boxed{1,2,3,4}",
    ],
)
def test_a_hedge_is_no_answer(response: str) -> None:
    assert grade(Problem("p", "?", "3"), response, "math").correct is False


def test_a_false_equation_is_wrong_even_if_it_ends_in_the_gold() -> None:
    assert verdict("6", "5 = 6") is False
    assert verdict("6", "2 \\cdot 3 = 6") is True


def test_a_gold_may_be_a_whole_solution() -> None:
    solution = r"We add $2$ and $3$. Therefore the sum is $\boxed{5}$, as promised."
    assert grade(Problem("p", "?", solution), "The answer is 5", "math").correct is True


def test_r1_zero_wants_its_tags_and_then_the_answer() -> None:
    problem = Problem("p", "?", r"\frac12")
    judged = [
        grade(problem, response, "r1_zero")
        for response in (
            "I halve it. </think> <answer> 0.5 </answer>",
            "I halve it. </think> <answer> 0.6 </answer>",
            "I halve it. The answer is 0.5",
            "I halve it. </think> 0.5",
        )
    ]
    assert [(v.correct, v.format_ok, v.reason) for v in judged] == [
        (True, True, "correct"),
        (False, True, "wrong"),
        (False, False, "bad_format"),
        (False, False, "bad_format"),
    ]


@pytest.mark.parametrize(
    ("gold", "response", "correct"),
    [
        ("C", "thinking about it, the correct answer is C", True),
        ("C", "The answer is (c).", True),
        ("C", r"\boxed{\text{C}}", True),
        ("B", "Answer: B, which is cold.", True),
        ("B", "The answer is not A. The answer is B", True),
        ("A", "The answer is not A. The answer is B", False),
        ("B", "(B)", True),
        ("B", "The Pacific is the largest.", False),
        ("(D) Alina", "D", True),
    ],
)
def test_choices(gold: str, response: str, correct: bool) -> None:
    assert grade(Problem("p", "?", gold), response, "choice").correct is correct
