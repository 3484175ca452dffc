"""One story: a template told with numbers, its question, its chain of thought and its answer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from posttrain.data.synthetic.levels import Level, Operation
from posttrain.data.synthetic.template import Template
from posttrain.data.synthetic.words import PARTS, PEOPLE


@dataclass(frozen=True, slots=True)
class Story:
    """`key` tells what is asked (template, events, numbers) whoever it happens to: two stories with one key differ only
    in the person and the thing counted, and stand in the same split."""

    opening: tuple[str, ...]
    question: str
    equations: tuple[str, ...]
    answer: int
    key: str

    @property
    def text(self) -> str:
        return " ".join((*self.opening, self.question))

    @property
    def solution(self) -> str:
        return "\n".join((*(f"{equation}." for equation in self.equations), f"The answer is {self.answer}."))


class _Telling:
    """A story while it is told: the amount so far, the sentences and the equations."""

    def __init__(self, template: Template, level: Level, rng: random.Random) -> None:
        self.template, self.level, self.rng = template, level, rng
        name, pronoun = rng.choice(PEOPLE)
        self.words = {"name": name, "he": pronoun, "items": rng.choice(template.items)}
        self.sentences: list[str] = []
        self.equations: list[str] = []
        self.key: list[str] = [template.name]
        self.amount = 0

    def say(self, sentence: str, **numbers: int | str) -> None:
        text = sentence.format(**self.words, **numbers)
        self.sentences.append(text[0].upper() + text[1:])
        self.key.append(":".join([sentence, *map(str, numbers.values())]))

    def compute(self, operator: str, operand: int) -> None:
        before = self.amount
        self.amount = {
            "+": before + operand,
            "-": before - operand,
            "*": before * operand,
            "/": before // operand,
        }[operator]
        self.equations.append(f"{before} {operator} {operand} = {self.amount}")

    def change(self, operation: Operation, sentence: str) -> bool:
        """Tells one event; False when no number fits the amount so far."""
        if operation == "part":
            return self._part(sentence)
        low, operator = 2, {"gain": "+", "loss": "-", "times": "*", "share": "/"}[operation]
        level, amount = self.level, self.amount
        if operation == "share":
            choices = [n for n in range(2, level.factor + 1) if amount % n == 0 and amount // n >= 2]
            if not choices:
                return False
            n = self.rng.choice(choices)
        else:
            high = {
                "gain": min(level.operand, level.below - 1 - amount),
                "loss": min(level.operand, amount - 1),
                "times": min(level.factor, (level.below - 1) // amount),
            }[operation]
            if high < low:
                return False
            n = self.rng.randint(low, high)
        self.say(sentence, n=n)
        self.compute(operator, n)
        return True

    def _part(self, sentence: str) -> bool:
        choices = [(word, d) for word, d in PARTS if self.amount % d == 0 and self.amount >= 2 * d]
        if not choices:
            return False
        word, divisor = self.rng.choice(choices)
        self.say(sentence, part=word)
        whole, part = self.amount, self.amount // divisor
        self.equations.append(f"{whole} / {divisor} = {part}")
        self.amount = whole
        self.compute("-", part)
        return True


def tell(template: Template, level: Level, steps: int, rng: random.Random) -> Story:
    """A story of exactly `steps` operations, every amount in it a whole number from 1 to ``level.below - 1``."""
    while True:
        story = _attempt(_Telling(template, level, rng), steps)
        if story is not None:
            return story


def _attempt(telling: _Telling, steps: int) -> Story | None:
    """None when the numbers drawn leave no room for the events drawn; the caller draws again."""
    template, level, rng = telling.template, telling.level, telling.rng
    question = template.question
    if template.groups and "groups" in level.operations and rng.random() < 0.3:
        a, b = rng.randint(2, level.factor), rng.randint(2, min(level.operand, level.below // level.factor - 1))
        telling.say(template.groups, a=a, b=b)
        in_order = template.groups.index("{a}") < template.groups.index("{b}")  # computed as it is told
        telling.amount = a if in_order else b
        telling.compute("*", b if in_order else a)
    else:
        telling.amount = rng.randint(3, max(3, min(level.operand * 2, level.below - 3)))
        telling.say(template.opening, a=telling.amount)
    events = _events(template, level)
    rng.shuffle(events)
    for operation, sentence in events:
        missing = steps - len(telling.equations)
        if missing == 0:
            break
        if (operation == "share" and missing != 1) or (operation == "part" and missing < 2):
            continue
        if not telling.change(operation, sentence):
            return None
        if operation == "share":
            question = template.share[1]
    if len(telling.equations) != steps:
        return None
    asked = question.format(**telling.words)
    return Story(tuple(telling.sentences), asked, tuple(telling.equations), telling.amount, "|".join(telling.key))


def _events(template: Template, level: Level) -> list[tuple[Operation, str]]:
    pool: list[tuple[Operation, str]] = [
        *(("gain", sentence) for sentence in template.gains),
        *(("loss", sentence) for sentence in template.losses),
        ("times", template.times),
        ("part", template.part),
        ("share", template.share[0]),
    ]
    return [event for event in pool if event[0] in level.operations]
