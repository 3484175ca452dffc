"""`build_board`: from folders to a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.errors import RecipeError
from posttrain.evals.comparison import MAX_UNDECIDED
from posttrain.leaderboard.golds import Golds
from posttrain.leaderboard.limits import Limits
from posttrain.leaderboard.ranks import Ranking, rank
from posttrain.leaderboard.regrading import Graded, Regrader, grade_all
from posttrain.leaderboard.schema import Behind, Board, Entry, Refused, Table
from posttrain.leaderboard.sources import Candidate, find_sources, iter_names
from posttrain.leaderboard.text import clean, in_words
from posttrain.records import Problem
from posttrain.store import fingerprint

REACHED = 0.9  # of the best entry's accuracy: the default target of time-to-accuracy


@dataclass
class Builder:
    """What a board is made of. Building again grades only what is new.

    paths: runs, evaluations, submissions or folders of them. problems: golds brought along, by split.
    target: the validation accuracy whose time is told; None = 0.9 of the best entry's accuracy, table by table.
    programs: whether submitted programs may be run to be graded.
    """

    paths: Sequence[Path]
    title: str = "Leaderboard"
    problems: Sequence[list[Problem]] = ()
    target: float | None = None
    confidence: float = 0.95
    programs: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.regrader = Regrader(Golds(given=list(self.problems)), self.programs)

    def build(self) -> Board:
        """Reads, grades and ranks. RecipeError where nothing can be put on a board."""
        found = find_sources(self.paths, self.limits)
        graded, refused = grade_all(found.candidates, self.regrader, self.confidence)
        for candidate, reason in refused:
            found.refuse(f"{candidate.name} on {candidate.claim.benchmark} ({candidate.source})", reason)
        if not graded:
            why = "; ".join(f"{r.source}: {r.reason}" for r in found.refused[:3]) or "there are no candidates"
            raise RecipeError(f"nothing can be put on the board: {why}")
        return Board(
            title=clean(self.title),
            confidence=self.confidence,
            tables=tuple(self._tables(graded)),
            refused=tuple(found.refused),
        )

    def _tables(self, graded: Sequence[Graded]) -> list[Table]:
        """One per fingerprint; those of one benchmark stand together, the fullest first."""
        names = dict(zip((id(g) for g in graded), iter_names([g.candidate for g in graded]), strict=True))
        groups: dict[str, list[Graded]] = {}
        for g in graded:
            groups.setdefault(g.candidate.claim.fingerprint, []).append(g)
        ordered = sorted(groups.values(), key=lambda gs: (gs[0].candidate.claim.benchmark, -len(gs)))
        first: dict[str, dict[str, Any]] = {}
        tables = []
        for group in ordered:
            claim = group[0].candidate.claim
            reference = first.setdefault(claim.benchmark, claim.settings)
            tables.append(self._table(group, [names[id(g)] for g in group], differences(reference, claim.settings)))
        return tables

    def _table(self, group: Sequence[Graded], names: Sequence[str], differs: tuple[str, ...]) -> Table:
        decided = [g for g in group if g.measures["undecided_rate"] <= MAX_UNDECIDED]
        k = max(int(g.measures["samples_per_item"]) for g in group)
        ranking = rank([g.scores for g in decided], k, self.confidence) if decided else None
        place = {id(g): i for i, g in enumerate(decided)}
        best = max((g.measures["accuracy"] for g in decided), default=0.0)
        target = self.target if self.target is not None else round(REACHED * best, 4) or None
        entries = [_entry(g, name, ranking, place.get(id(g)), target) for g, name in zip(group, names, strict=True)]
        entries.sort(key=lambda e: (e.rank is None, -e.accuracy, e.name))
        claim = group[0].candidate.claim
        return Table(
            benchmark=clean(claim.benchmark),
            fingerprint=claim.fingerprint,
            settings={clean(k, 60): in_words(v) for k, v in claim.settings.items()},
            differs=differs,
            n=int(group[0].measures["n"]),
            pairs=ranking.pairs if ranking else 0,
            test=ranking.test if ranking else "none",
            target=target if any(g.candidate.effort.curve for g in group) else None,
            entries=tuple(entries),
        )


def build_board(paths: Sequence[Path], **settings: Any) -> Board:
    """`Builder(paths, …).build()`."""
    return Builder(paths, **settings).build()


def _entry(g: Graded, name: str, ranking: Ranking | None, at: int | None, target: float | None) -> Entry:
    candidate, m = g.candidate, g.measures
    place = None if ranking is None or at is None else (ranking.best[at], ranking.worst[at], _behind(ranking, at))
    undecided = f"{100 * m['undecided_rate']:.1f} % of its verdicts are undecided"
    return Entry(
        id=entry_id(candidate),
        name=clean(name),
        kind="run" if candidate.kind == "run" else "submission",
        model=candidate.model,
        description=candidate.description,
        rank=place[0] if place else None,
        rank_worst=place[1] if place else None,
        unranked=None if place else f"{undecided}; above {100 * MAX_UNDECIDED:g} % nothing is compared",
        accuracy=m["accuracy"],
        interval=(m["interval"][0], m["interval"][1]),
        n=m["n"],
        samples_per_item=m["samples_per_item"],
        format_rate=m["format_rate"],
        truncation_rate=m["truncation_rate"],
        unparsed_rate=m["unparsed_rate"],
        undecided_rate=m["undecided_rate"],
        mean_tokens=m["mean_tokens"],
        claimed=candidate.claim.accuracy,
        claim="differs" if g.differs else "same",
        behind=place[2] if place else None,
        seconds=candidate.effort.seconds,
        dollars=candidate.effort.dollars,
        hardware=clean(candidate.effort.hardware) if candidate.effort.hardware else None,
        seconds_to_target=candidate.effort.seconds_to(target),
        samples_sha256=g.digest,
    )


def _behind(ranking: Ranking, at: int) -> Behind | None:
    paired, p = ranking.behind[at], ranking.adjusted[at]
    if paired is None or p is None:
        return None
    return Behind(difference=paired.difference, interval=(paired.low, paired.high), p_adjusted=p)


def entry_id(candidate: Candidate) -> str:
    """A name for its page that no stranger chooses."""
    facts = {"source": Path(candidate.source).name, "name": candidate.name, "asked": candidate.claim.fingerprint}
    return fingerprint(facts)[:16]


def differences(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, ...]:
    """The settings in which two ways of asking differ, with both values."""
    keys = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
    return tuple(f"{clean(k, 60)}: {in_words(b.get(k))} (above: {in_words(a.get(k))})" for k in keys)


def refused_lines(refused: Sequence[Refused]) -> list[str]:
    """For a terminal."""
    return [f"not on the board: {r.source}: {r.reason}" for r in refused]
