"""What is done to loaded problems: reserve, select, limit; and what must hold of any problems: unique ids, no empty
split, no problem in two splits, golds that can be read."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

from posttrain.data.config import SPLITS, DataConfig
from posttrain.errors import DataError
from posttrain.records import Problem
from posttrain.seeding import derive

# A problem that stands in a later split of this list is not one to train (or select) on.
_PRECEDENCE = ("train", "validation", "test")


def same_text(question: str) -> str:
    """What makes two questions the same: their words, whatever the white space and case."""
    return " ".join(question.split()).casefold()


def reserve(problems: Sequence[Problem], split: str, count: int, seed: int, name: str) -> list[Problem]:
    """Moves exactly `count` problems of train to `split`, drawn with `seed`; order is kept.

    Problems with the same text move together, so that reserving never leaks. DataError when the dataset brings that
    split already, or when train would be left empty.
    """
    if any(p.split == split for p in problems):
        raise DataError(
            f"{name} brings a {split} split of its own, so none can be taken out of train. Remove '{split}: {count}', "
            f"or shorten it with limit: {{{split}: {count}}}."
        )
    train = [p for p in problems if p.split == "train"]
    if count >= len(train):
        raise DataError(
            f"{count:,} {split} problems are to be taken out of the {len(train):,} training problems of {name}, which "
            f"leaves none to train on. Ask for fewer."
        )
    groups: dict[str, list[int]] = defaultdict(list)
    for index, problem in enumerate(problems):
        if problem.split == "train":
            groups[same_text(problem.question)].append(index)
    shuffled = list(groups.values())
    random.Random(derive(seed, f"reserve-{split}")).shuffle(shuffled)
    moved: set[int] = set()
    for group in shuffled:
        if len(moved) + len(group) <= count:
            moved.update(group)
    if len(moved) < count:
        raise DataError(
            f"{name}: repeated questions leave no way to take exactly {count:,} problems out of train and no copy of "
            f"them behind. Ask for {len(moved):,}, or remove the repetitions."
        )
    return [replace(p, split=split) if i in moved else p for i, p in enumerate(problems)]


def of_levels(problems: Sequence[Problem], config: DataConfig) -> list[Problem]:
    """Only the levels asked for. DataError for a dataset without levels."""
    if config.levels is None:
        return list(problems)
    if all(p.level is None for p in problems):
        raise DataError(f"{config.dataset} has no levels to choose from. Remove 'levels', or map a column to it.")
    return [p for p in problems if p.level in config.levels]


def limited(problems: Sequence[Problem], config: DataConfig) -> list[Problem]:
    """Only the first `limit` of each split."""
    if config.limit is None:
        return list(problems)
    limits = config.limit if isinstance(config.limit, dict) else dict.fromkeys(SPLITS, config.limit)
    taken: Counter[str] = Counter()
    result = []
    for problem in problems:
        limit = limits.get(problem.split)  # type: ignore[call-overload]
        if limit is None or taken[problem.split] < limit:
            taken[problem.split] += 1
            result.append(problem)
    return result


def check_ids(problems: Sequence[Problem], name: str) -> None:
    """DataError for an id that two problems have."""
    repeated = [id_ for id_, n in Counter(p.id for p in problems).items() if n > 1]
    if repeated:
        raise DataError(
            f"{name}: the id {repeated[0]!r} stands at {_times(problems, repeated[0])} problems"
            + (f" ({len(repeated):,} ids are repeated)" if len(repeated) > 1 else "")
            + ". Make ids unique, or map another column: columns: {id: NAME}; columns: {id: null} numbers the rows."
        )


def _times(problems: Sequence[Problem], id_: str) -> int:
    return sum(p.id == id_ for p in problems)


def check_filled(problems: Sequence[Problem], wanted: Collection[str], name: str) -> None:
    """DataError for a wanted split without problems."""
    present = Counter(p.split for p in problems)
    for split in sorted(wanted):
        if not present[split]:
            raise DataError(
                f"{name}: the {split} split is empty. Ask for more of it, or loosen 'levels', 'limit' and 'unreadable'."
            )


def part(problems: Sequence[Problem], config: DataConfig) -> tuple[list[Problem], int]:
    """(problems no two splits share, how many were dropped). DataError for a shared one unless `shared: drop`.

    Dropped are the copies in the split that is trained or selected on; the test split stays whole.
    """
    rank = {split: i for i, split in enumerate(_PRECEDENCE)}
    owner: dict[str, Problem] = {}
    for problem in problems:
        text = same_text(problem.question)
        if text not in owner or rank[problem.split] > rank[owner[text].split]:
            owner[text] = problem
    kept: list[Problem] = []
    shared: list[Problem] = []
    for problem in problems:
        first = owner[same_text(problem.question)]
        (kept if first.split == problem.split else shared).append(problem)
    if shared and config.shared == "refuse":
        one = shared[0]
        other = owner[same_text(one.question)]
        raise DataError(
            f"{config.dataset}: {len(shared):,} problems stand in two splits, for example {one.id} in {one.split} and "
            f"{other.id} in {other.split}. Write shared: drop to leave them out of {one.split}."
        )
    return kept, len(shared)


def readable(problems: Sequence[Problem], config: DataConfig) -> tuple[list[Problem], int]:
    """(problems whose gold `grading` reads, how many were dropped). DataError for another unless `unreadable: drop`."""
    if config.grading is None:
        return list(problems), 0
    from posttrain.grading import check_gold

    kept, dropped = [], 0
    for problem in problems:
        why = check_gold(problem, config.grading)
        if why is None:
            kept.append(problem)
        elif config.unreadable == "refuse":
            raise DataError(
                f"{config.dataset}: {why}. Correct the answer, choose another 'grading', or leave such problems out: "
                "unreadable: drop."
            )
        else:
            dropped += 1
    return kept, dropped
