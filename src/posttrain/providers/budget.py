"""Money: a cap that holds whatever happens, and the bill.

A request is charged with the most it can cost before it leaves, and with what it did cost when its reply is there;
one that ended in doubt (a broken connection, a timeout, a kill) stays charged in full. So the sum can't pass the cap.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from posttrain.errors import BudgetError
from posttrain.providers.journal import Journal
from posttrain.providers.reply import UnreadableReply, parse_reply
from posttrain.providers.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Bill:
    """What a journal has cost. cost: dollars of replies with a known price; unknown: replies without one.

    doubtful: requests that were sent and brought nothing, which the provider may charge for; at_most: dollars for
    those and for replies without a price, at worst (of `unpriced` of them nobody knows).
    """

    replies: int
    cost: float
    unknown: int
    doubtful: int
    at_most: float
    unpriced: int


def bill(journal: Journal, teacher: Teacher) -> Bill:
    """The bill of `teacher`'s replies in a journal, at the prices that it has now."""
    count = unknown = 0
    cost = at_most = 0.0
    for record in journal.replies():
        if record.get("teacher") != teacher.name:
            continue
        count += 1
        try:
            paid = parse_reply(teacher, record).cost
        except UnreadableReply:
            paid = None
        if paid is None:
            unknown += 1
            at_most += float(record.get("worst") or 0.0)
        else:
            cost += paid
    doubts = [*journal.doubted, *journal.open_intents.values()]
    known = [worst for worst in doubts if worst is not None]
    return Bill(count, cost, unknown, len(doubts), at_most + sum(known), len(doubts) - len(known))


class Budget:
    """A cap in dollars that several teachers may share. Safe to use from several threads.

    What a journal has spent before counts too, so that the cap holds over all resumes together.
    """

    def __init__(self, max_cost: float | None = None) -> None:
        if max_cost is not None and not max_cost >= 0:
            raise BudgetError(f"max_cost is {max_cost}, which is no sum of money. Give dollars, such as 12.50.")
        self.max_cost = max_cost
        self.spent = 0.0  # dollars, those in doubt at their worst
        self.reserved = 0.0  # dollars that requests in flight may cost at most
        self._open = 0  # requests that something is set aside for
        self._opened: set[Path] = set()
        self._lock = threading.Lock()

    def open(self, journal: Journal, teacher: Teacher) -> None:
        """Counts what the journal has cost so far. BudgetError where a cap is set and prices are unknown."""
        if self.max_cost is None:
            return
        if teacher.prices is None:
            raise BudgetError(
                f"max_cost is set, and the prices of teacher '{teacher.name}' are unknown, so nobody can keep to it. "
                "Give them (prices: {input: …, output: …}, dollars per million tokens; an upper bound will do), or no "
                "max_cost."
            )
        path = journal.path.resolve()
        if path not in self._opened:
            self._opened.add(path)
            so_far = bill(journal, teacher)
            with self._lock:
                self.spent += so_far.cost + so_far.at_most

    def reserve(self, worst: float | None) -> bool:
        """True: `worst` dollars are set aside. False: they would pass the cap now."""
        with self._lock:
            if self.max_cost is not None:
                if worst is None:
                    raise BudgetError(
                        "max_cost is set, and a request names no max_tokens, so it may cost any amount. Set max_tokens."
                    )
                if self.spent + self.reserved + worst > self.max_cost * (1 + 1e-12):
                    return False
            self.reserved += worst or 0.0
            self._open += 1
            return True

    def settle(self, worst: float | None, cost: float | None) -> None:
        """A request that `worst` was set aside for has cost `cost`; None: nobody knows, so the worst stays."""
        with self._lock:
            self._open -= 1
            self.reserved = self.reserved - (worst or 0.0) if self._open else 0.0
            self.spent += cost if cost is not None else worst or 0.0

    @property
    def in_flight(self) -> int:
        """Requests that something is set aside for."""
        return self._open

    def used_up(self, worst: float | None) -> BudgetError:
        """The error for a run that stops here."""
        return BudgetError(
            f"the budget is used up: ${self.spent:.4f} of max_cost ${self.max_cost:.4f} are spent, and the next "
            f"request may cost ${worst or 0.0:.4f}. Raise max_cost to go on; everything so far is kept."
        )
