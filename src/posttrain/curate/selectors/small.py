"""What the literature says of small students, as a warning to whoever asks for the opposite.

Students of 3B parameters and less learn less from long traces than from short ones (Li et al., arXiv 2502.12143: a 1.5B
reaches 27.0 on long ones and 34.2 on short ones), and subsets of about a thousand hard problems, which serve a 32B
well, hurt them; they recover from 8,000 rows on.
"""

from __future__ import annotations

from posttrain.curate.base import Tools

SMALL = 3.5e9  # parameters; what is sold as 3B has up to 3.2e9
FEW = 8_000  # rows below which the literature saw hard subsets do harm


def is_small(parameters: int | None) -> bool | None:
    """Whether the student is small; None where its size is not known."""
    return None if parameters is None else parameters <= SMALL


def warning(parameters: int | None, budget: int, asked: str) -> str | None:
    """The warning for `asked`, which prefers hard rows or long traces; None for a large student or many rows."""
    if not is_small(parameters) or budget >= FEW:
        return None
    assert parameters is not None
    return (
        f"{asked} gives a student of {parameters / 1e9:.2g}B parameters {budget:,} hard rows with long traces. Of 3B "
        "and less they were worse off with long traces than with short ones (arXiv 2502.12143: a 1.5B reached 27.0 and "
        f"34.2) and recovered from small hard subsets at {FEW:,} rows and more. Consider select: student_aware."
    )


def warn_of_hard_and_long(tools: Tools, budget: int, asked: str) -> list[str]:
    """Says the warning where it applies, and returns it for the notes."""
    text = warning(tools.student_parameters(), budget, asked)
    if text is None:
        return []
    tools.note(f"warning: {text}")
    return [text]
