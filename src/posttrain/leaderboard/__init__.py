"""The leaderboard: runs and submissions on the same problems, regraded, ranked as far as noise allows."""

from posttrain.leaderboard.build import build_board
from posttrain.leaderboard.schema import Board, Submission

__all__ = ["Board", "Submission", "build_board"]
