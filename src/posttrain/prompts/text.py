"""Plain-text formats: few-shot "Q: A:", the R1-Zero conversation and the Alpaca instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from posttrain.errors import DataError
from posttrain.prompts.template import Template, Tokenizer
from posttrain.records import Problem

# DeepSeek-R1 (arXiv:2501.12948, table 1) as worded in Dr. GRPO (arXiv:2503.20783, appendix) and CS336 assignment 5.
R1_ZERO_PREAMBLE = (
    "A conversation between User and Assistant. The User asks a question, and the Assistant solves it. The Assistant "
    "first thinks about the reasoning process in the mind and then provides the User with the answer. The reasoning "
    "process is enclosed within <think> </think> and answer is enclosed within <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>.\n"
)

# Stanford Alpaca, the prompt without input (github.com/tatsu-lab/stanford_alpaca, train.py).
ALPACA_PREAMBLE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
)
# The same with input: instruction and input are sections of their own.
ALPACA_INPUT_PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)


def plain(shots: Sequence[Problem], system: str | None) -> Template:
    """The question and a line break; with shots ``Q: …\\nA: … The answer is N.`` (Wei et al., arXiv:2201.11903)."""
    head = f"{system}\n\n" if system else ""
    if not shots:
        return Template("plain", lambda question, tokenizer: f"{head}{question}\n")
    before = head + "".join(f"Q: {shot.question}\nA: {worked(shot)}\n\n" for shot in shots)

    def render(question: str, tokenizer: Tokenizer) -> str:
        return f"{before}Q: {question}\nA:"

    return Template("plain", render, stop=("\n\nQ:", "\nQ:"), lead=" ")


def r1_zero(shots: Sequence[Problem], system: str | None) -> Template:
    """A conversation whose Assistant has already begun to think: the prompt ends with ``<think>``."""
    head = system.rstrip("\n") + "\n" if system else R1_ZERO_PREAMBLE
    before = head + "".join(f"User: {shot.question}\nAssistant: <think>{tagged(shot)}\n" for shot in shots)

    def render(question: str, tokenizer: Tokenizer) -> str:
        return f"{before}User: {question}\nAssistant: <think>"

    return Template("r1_zero", render, stop=("</answer>",), grading="r1_zero", opened="<think>")


def alpaca(shots: Sequence[Problem], system: str | None) -> Template:
    """Instruction and response sections, without input."""
    head = system.rstrip("\n") + "\n\n" if system else ALPACA_PREAMBLE
    before = head + "".join(f"### Instruction:\n{s.question}\n\n### Response:\n{worked(s)}\n\n" for s in shots)

    def render(question: str, tokenizer: Tokenizer) -> str:
        return f"{before}### Instruction:\n{question}\n\n### Response:\n"

    return Template("alpaca", render, stop=("\n### Instruction:",))


def with_input(template: Template, instruction: str, given: str) -> Template:
    """The alpaca format of one instruction that comes with an input."""

    def render(question: str, tokenizer: Tokenizer) -> str:
        return f"{ALPACA_INPUT_PREAMBLE}### Instruction:\n{instruction}\n\n### Input:\n{given}\n\n### Response:\n"

    return replace(template, render=render)


def worked(problem: Problem) -> str:
    """A problem's solution, ending in ``The answer is N.``. DataError where there is no solution."""
    if problem.solution is None:
        raise DataError(
            f"problem {problem.id} has no solution to show. Take shots from problems with solutions (for example the "
            "train split of gsm8k), or map a column to 'solution'."
        )
    solution = problem.solution.rstrip()
    if problem.answer is None or solution.endswith(f"The answer is {problem.answer}."):
        return solution
    return f"{solution}\nThe answer is {problem.answer}."


def tagged(problem: Problem) -> str:
    """A solution as it goes on after ``<think>``: `` … </think> <answer> N </answer>``."""
    thought = worked(problem).removesuffix(f"The answer is {problem.answer}.").rstrip() or worked(problem)
    return f" {thought} </think> <answer> {problem.answer} </answer>"
