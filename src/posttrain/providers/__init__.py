"""Model APIs as teachers: a registry, limits, retries, prices, and a journal that loses nothing that was paid for.

teacher = get_teacher("deepseek-reasoner")
for reply in ask(teacher, requests, Path("replies.jsonl"), budget=Budget(max_cost=20)):
    ...
"""

from posttrain.providers.ask import ask
from posttrain.providers.budget import Bill, Budget, bill
from posttrain.providers.journal import Journal
from posttrain.providers.live import Live
from posttrain.providers.registry import get_teacher, known_teachers
from posttrain.providers.reply import Reply, UnreadableReply, parse_reply
from posttrain.providers.teacher import Limits, Prices, Quirks, Request, Teacher, key_of, worst_cost

__all__ = [
    "Bill",
    "Budget",
    "Journal",
    "Limits",
    "Live",
    "Prices",
    "Quirks",
    "Reply",
    "Request",
    "Teacher",
    "UnreadableReply",
    "ask",
    "bill",
    "get_teacher",
    "key_of",
    "known_teachers",
    "parse_reply",
    "worst_cost",
]
