"""The people of the stories, and the shares they lose."""

from __future__ import annotations

PEOPLE: tuple[tuple[str, str], ...] = (
    ("Tom", "he"),
    ("Ann", "she"),
    ("Ben", "he"),
    ("Mia", "she"),
    ("Sam", "he"),
    ("Eva", "she"),
    ("Leo", "he"),
    ("Zoe", "she"),
    ("Max", "he"),
    ("Ida", "she"),
    ("Jim", "he"),
    ("Kim", "she"),
)

# Words for a share and the divisor that takes it; percentages whose share is one exact division.
PARTS: tuple[tuple[str, int], ...] = (
    ("half", 2),
    ("a third", 3),
    ("a quarter", 4),
    ("a fifth", 5),
    ("a tenth", 10),
    ("50 percent", 2),
    ("25 percent", 4),
    ("20 percent", 5),
    ("10 percent", 10),
)
