"""A board as files: a static site, and the entries of runs as submissions for somebody else's board."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from posttrain.benchmarks import slug
from posttrain.errors import RecipeError
from posttrain.leaderboard.limits import Limits
from posttrain.leaderboard.pages import Site
from posttrain.leaderboard.schema import Point, Submission
from posttrain.leaderboard.sources import DESCRIPTION, find_sources
from posttrain.store import write_atomic, write_json

CURVE = 1_000  # points of a submitted curve


def write_site(site: Site, folder: Path) -> None:
    """Writes every page below `folder`. RecipeError where it holds something that is no board."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "board.json").is_file())):
        raise RecipeError(f"{folder} holds something else than a board. Give an empty or new folder.")
    shutil.rmtree(folder / "entry", ignore_errors=True)  # entries that are no more
    for name, page in site.pages.items():
        with write_atomic(folder / name) as file:
            file.write(page.body)


def write_submissions(paths: Sequence[Path], folder: Path) -> list[Path]:
    """The entries of runs and evaluations as submissions, one folder per model. RecipeError where there is none.

    The answers are copied as they are; golds in them are of no use to a board, which has its own.
    """
    limits = Limits()
    candidates = [c for c in find_sources(paths, limits).candidates if c.rows is not None]
    if not candidates:
        raise RecipeError("there is no evaluation to submit. Give a run with a finished evaluation.")
    groups: dict[str, list[int]] = {}
    for i, candidate in enumerate(candidates):
        groups.setdefault(candidate.name, []).append(i)
    written = []
    for name, members in groups.items():
        target = folder / slug(name)
        results = []
        for i in members:
            rows = candidates[i].rows
            assert rows is not None
            file = f"{slug(candidates[i].claim.benchmark)}-{candidates[i].claim.fingerprint[:8]}.parquet"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(rows.path, target / file)
            results.append(candidates[i].claim.model_copy(update={"samples": file}))
        effort = candidates[members[0]].effort
        thin = effort.curve[:: -(-len(effort.curve) // CURVE) or 1]
        submission = Submission(
            version=1,
            name=name,
            seconds=effort.seconds,
            dollars=effort.dollars,
            hardware=effort.hardware,
            curve=tuple(Point(seconds=s, accuracy=a) for s, a in thin),
            results=tuple(results),
        )
        write_json(target / DESCRIPTION, submission.model_dump(mode="json", exclude_none=True))
        written.append(target)
    return written
