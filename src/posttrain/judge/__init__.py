"""LLM judges: correctness, quality, preference, safety and win rates of stored answers, with what the judge is
worth."""

from posttrain.judge.config import JudgeConfig, TaskConfig
from posttrain.judge.store import read_judgements, read_summary

__all__ = ["JudgeConfig", "TaskConfig", "read_judgements", "read_summary"]
