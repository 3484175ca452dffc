"""The leaderboard: runs and submissions on the same problems, regraded, ranked as far as noise allows.

Nothing is imported here: the process that reads strangers' files (child.py) starts with what it needs and no more.
"""
