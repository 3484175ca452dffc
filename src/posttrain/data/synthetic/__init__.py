"""The synthetic task: grade-school word problems, unlimited, seeded, with split membership decided by the problem."""

from posttrain.data.synthetic.generate import problems, texts
from posttrain.data.synthetic.levels import LEVELS
from posttrain.data.synthetic.split import TEMPLATES

__all__ = ["LEVELS", "TEMPLATES", "problems", "texts"]
