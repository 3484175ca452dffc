"""A teacher's worked answers to problems; stages.py has the `traces` stage."""
