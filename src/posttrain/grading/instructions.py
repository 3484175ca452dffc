"""Verifiable instructions: whether a response keeps what it was told of its length, words, letters and form.

The instructions and their arguments stand in a problem's `extra`, as the IFEval data writes them: `instruction_id_list`
and `kwargs`, one set of arguments each. Source: Zhou et al., Instruction-Following Evaluation for Large Language Models
(arXiv 2311.07911), appendix A; the rules are those of its published checkers, without NLTK and langdetect: sentences
end at `.`, `!` or `?` before a space, and languages are told apart in `language`.

Loose (section 2.2): kept by the response, or without its first line, its last line or both, each also without
asterisks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from posttrain.grading.language import speaks
from posttrain.records import Problem, Verdict

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool | None]  # None: can't be told without a model

_WORD = re.compile(r"\w+")
# Every pattern is linear: each starts only where no earlier start could have taken the same text.
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*+(?:\s|$)")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]*\]")
MAX_CHARS = 500_000  # of a response that are looked at
_ABBREVIATED = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|[A-Z])\.)$")
_SINGLE_STARS, _DOUBLE_STARS = re.compile(r"\*[^\n*]*\*"), re.compile(r"\*\*[^\n*]*\*\*")
_FENCES = ("```json", "```Json", "```JSON", "```")
_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _compare(count: int, arguments: Arguments, number: str, relation: str = "relation") -> bool:
    """`at least n`, or `less than n`."""
    bound = int(arguments[number])
    return count < bound if arguments.get(relation) == "less than" else count >= bound


def _count_word(text: str, word: str) -> int:
    return text.lower().count(word.strip().lower())


def _names_word(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def _sentences(text: str) -> int:
    """Sentences of a text; abbreviations don't end one."""
    ends = sum(
        not _ABBREVIATED.search(text, max(0, m.start() - 5), m.start() + 1) for m in _SENTENCE_END.finditer(text)
    )
    last = text.rstrip()
    return ends + (bool(last) and last[-1] not in ".!?\"')]")


def _paragraphs(text: str, arguments: Arguments) -> bool:
    """Paragraphs between lines of three asterisks; none of the inner ones may be empty."""
    parts = re.split(r"\s?\*\*\*\s?", text)
    if any(not part.strip() for part in parts[1:-1]):
        return False
    return sum(bool(part.strip()) for part in parts) == int(arguments["num_paragraphs"])


def _first_word(text: str, arguments: Arguments) -> bool:
    """The first word of the n-th of so many paragraphs, which blank lines divide."""
    parts = text.split("\n\n")
    filled = sum(bool(part.strip()) for part in parts)
    nth = int(arguments["nth_paragraph"])
    if not 1 <= nth <= filled or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'").lstrip('"')
    word = re.split(r"[.,?!'\"]", word)[0].lower()
    return filled == int(arguments["num_paragraphs"]) and word == str(arguments["first_word"]).lower()


def _bullets(text: str, arguments: Arguments) -> bool:
    lines = [line.lstrip() for line in text.splitlines()]
    starred = sum(len(line) > 1 and line[0] == "*" and line[1] != "*" for line in lines)
    return starred + sum(line.startswith("-") for line in lines) == int(arguments["num_bullets"])


def _highlights(text: str, arguments: Arguments) -> bool:
    found = [m.strip("*").strip() for m in _SINGLE_STARS.findall(text)]
    found += [m[2:-2].strip() for m in _DOUBLE_STARS.findall(text)]
    return sum(map(bool, found)) >= int(arguments["num_highlights"])


def _sections(text: str, arguments: Arguments) -> bool:
    parts = re.split(rf"\s?{re.escape(arguments['section_spliter'].strip())}\s?\d+\s?", text)
    return len(parts) - 1 >= int(arguments["num_sections"])


def _postscript(text: str, arguments: Arguments) -> bool:
    marker = arguments["postscript_marker"].strip().lower()
    pattern = {"p.p.s": r"p\.\s?p\.\s?s", "p.s.": r"p\.\s?s\."}.get(marker, re.escape(marker))
    return re.search(pattern, text.lower()) is not None


def _json(text: str, _: Arguments) -> bool:
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str, _: Arguments) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    said = [part.strip() for part in parts if part.strip()]
    return len(said) == 2 and said[0] != said[1]


def _ends_with(text: str, arguments: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(str(arguments["end_phrase"]).strip().lower())


def _quoted(text: str, _: Arguments) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _titled(text: str, _: Arguments) -> bool:
    """`<<title>>` somewhere in one line."""
    for line in text.splitlines():
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end and line[start:end].strip("<> \t"):
            return True
    return False


def _capital_words(text: str, arguments: Arguments) -> bool:
    words = sum(word.isupper() for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text))
    return _compare(words, arguments, "capital_frequency", "capital_relation")


def _in_case(kept: Callable[[str], bool]) -> Check:
    """All of it in one case, and English."""

    def check(text: str, _: Arguments) -> bool | None:
        return speaks(text, "en") if kept(text) else False

    return check


CHECKS: dict[str, Check] = {
    "keywords:existence": lambda t, a: all(_count_word(t, word) for word in a["keywords"]),
    "keywords:forbidden_words": lambda t, a: not any(_names_word(t, word) for word in a["forbidden_words"]),
    "keywords:frequency": lambda t, a: _compare(_count_word(t, a["keyword"]), a, "frequency"),
    "keywords:letter_frequency": lambda t, a: _compare(
        t.lower().count(a["letter"].lower()), a, "let_frequency", "let_relation"
    ),
    "language:response_language": lambda t, a: speaks(t, a["language"]),
    "length_constraints:number_sentences": lambda t, a: _compare(_sentences(t), a, "num_sentences"),
    "length_constraints:number_words": lambda t, a: _compare(len(_WORD.findall(t)), a, "num_words"),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda t, a: len(_PLACEHOLDER.findall(t)) >= int(a["num_placeholders"]),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda t, _: any(said in t for said in _CONSTRAINED),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _titled,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda t, a: t.strip().lower().startswith(a["prompt_to_repeat"].strip().lower()),
    "startend:end_checker": _ends_with,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _in_case(str.isupper),
    "change_case:english_lowercase": _in_case(str.islower),
    "punctuation:no_comma": lambda t, _: "," not in t,
}


def variants(response: str) -> tuple[str, ...]:
    """The response as it is, and as the loose reading also takes it."""
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return (*cut, *(text.replace("*", "") for text in cut))


def follow(problem: Problem, response: str, *, loose: bool = False) -> tuple[Verdict, ...]:
    """One verdict per instruction of the problem, in order.

    Reasons: correct, wrong, undecided (only a model could tell). `extracted` is the instruction's id. An empty response
    keeps nothing. ValueError for an unknown instruction or missing arguments: `check_instructions` says so at load.
    """
    texts = variants(response) if loose else (response,)
    verdicts = []
    for name, arguments in _instructions(problem):
        kept = [CHECKS[name](text, arguments) if text.strip() else False for text in texts]
        correct = True if True in kept else None if None in kept else False
        reason = {True: "correct", False: "wrong", None: "undecided"}[correct]
        verdicts.append(Verdict(correct, correct is True, name, reason))
    return tuple(verdicts)


def judge(problem: Problem, answer: str, truncated: bool, *, loose: bool = False) -> Verdict:
    """All of a problem's instructions together. `extracted` lists those that were not kept."""
    del truncated  # a text that was cut off keeps what it keeps: nothing is read from its end that isn't there
    if check_instructions(problem) is not None:
        return Verdict(False, False, None, "no_gold")
    if not answer.strip():
        return Verdict(False, False, None, "no_answer")
    each = follow(problem, answer[:MAX_CHARS], loose=loose)
    verdicts = {v.correct for v in each}
    correct = False if False in verdicts else None if None in verdicts else True
    broken = ", ".join(v.extracted or "" for v in each if not v.correct)
    return Verdict(correct, correct is True, broken, {True: "correct", False: "wrong", None: "undecided"}[correct])


def judge_loosely(problem: Problem, answer: str, truncated: bool) -> Verdict:
    return judge(problem, answer, truncated, loose=True)


def check_instructions(problem: Problem) -> str | None:
    """None if every instruction can be checked, else what is wrong with the problem."""
    names = problem.extra.get("instruction_id_list")
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        return f"problem {problem.id!r} has no instruction_id_list"
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        return f"problem {problem.id!r} has instructions without a checker: {', '.join(map(str, unknown))}"
    arguments = problem.extra.get("kwargs")
    if not isinstance(arguments, Sequence) or len(arguments) != len(names):
        return f"problem {problem.id!r} has {len(names)} instructions and not as many kwargs"
    for name, given in _instructions(problem):
        try:
            CHECKS[name]("A word.", given)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return f"problem {problem.id!r}: {name} lacks an argument or has a wrong one ({error!r})"
    return None


def _instructions(problem: Problem) -> list[tuple[str, Arguments]]:
    names, arguments = problem.extra["instruction_id_list"], problem.extra["kwargs"]
    return [(name, given or {}) for name, given in zip(names, arguments, strict=True)]
