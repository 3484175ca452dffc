"""What is named on the command line as candidates for a board: runs, evaluations, submissions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from posttrain.errors import DataError, PosttrainError, RecipeError, StoreError
from posttrain.evals.regrade import problem_of
from posttrain.leaderboard.effort import Effort, effort_of
from posttrain.leaderboard.limits import Limits
from posttrain.leaderboard.reading import Answer, opened, read_answers
from posttrain.leaderboard.schema import Claim, Refused, Submission
from posttrain.leaderboard.text import clean
from posttrain.records import Problem
from posttrain.store import Manifest, Samples, Scores, fingerprint, sha256_file

DESCRIPTION = "submission.json"
EVALUATION = "scores.json"


@dataclass(frozen=True)
class Rows:
    """The samples of one entry of a trusted evaluation, read when they are asked for."""

    folder: Path
    entry: dict[str, Any]

    @property
    def path(self) -> Path:
        return self.folder / str(self.entry["folder"]) / "samples.parquet"

    def answers(self) -> tuple[list[Answer], str]:
        import pyarrow.parquet as pq

        names = ["problem_id", "index", "question", "response", "finish_reason", "token_ids"]
        if not self.path.is_file():
            raise StoreError(f"{self.path} is missing: the evaluation is not whole. Make it again.")
        rows = pq.read_table(self.path, columns=names).to_pylist()
        found = [
            Answer(
                r["problem_id"],
                r["index"],
                r["question"],
                r["response"],
                r["finish_reason"] == "length",
                len(r["token_ids"]) if r["token_ids"] is not None else None,
            )
            for r in rows
        ]
        return found, sha256_file(self.path)

    def problems(self) -> list[Problem]:
        return list({s.problem_id: problem_of(s) for s in Samples(self.path.parent).read()}.values())


@dataclass(frozen=True)
class Candidate:
    """One model's answers to one benchmark. read: fetches the answers, and their file's digest.

    rows: of a trusted run, which brings its golds; None for a submission.
    """

    source: str
    kind: str
    name: str
    claim: Claim
    read: Callable[[], tuple[list[Answer], str]]
    effort: Effort
    model: str | None = None
    description: str = ""
    rows: Rows | None = None


@dataclass
class Sources:
    """What was found: candidates, and what is no candidate with the reason."""

    candidates: list[Candidate] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, source: str, reason: str) -> None:
        self.refused.append(Refused(source=clean(source), reason=clean(reason, 600)))


def find_sources(paths: Sequence[Path], limits: Limits) -> Sources:
    """Everything below `paths`: runs, evaluations, submissions, or folders of submissions.

    RecipeError for a path that is none of these (with what stands there unfinished) or when nothing at all was found.
    """
    found = Sources()
    for path in paths:
        if not path.is_dir():
            raise RecipeError(f"{path} is no folder here. Give a run, an evaluation, or a folder of submissions.")
        if (path / DESCRIPTION).is_file():
            _add_submission(path, limits, found)
        elif (path / EVALUATION).is_file():
            _add_evaluation(path, found)
        elif not _add_children(path, limits, found):
            raise RecipeError(
                f"{path} has {_what_stands(path)}. Give a run with a finished evaluation, or submissions."
            )
    return found


def _add_children(path: Path, limits: Limits, found: Sources) -> bool:
    """The submissions and evaluations one level below (of runs two levels below); False where there is none."""
    seen = False
    children = sorted(p for p in path.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))
    for i, child in enumerate(children):
        if (child / DESCRIPTION).exists():
            seen = True
            if i >= limits.submissions:
                found.refuse(child.name, f"only {limits.submissions:,} submissions are read from one folder")
                continue
            _add_submission(child, limits, found)
        elif (child / EVALUATION).is_file() and "@" not in child.name:
            seen = _add_evaluation(child, found) or seen
        elif (child / "manifest.json").is_file():
            continue
        else:
            evaluations = [p.parent for p in sorted(child.glob(f"*/{EVALUATION}")) if "@" not in p.parent.name]
            for evaluation in evaluations:
                seen = _add_evaluation(evaluation, found) or seen
    return seen


def _what_stands(path: Path) -> str:
    """Why a folder gives nothing: it is empty, or its evaluations are still being made."""
    unfinished = []
    for child in sorted(p for p in path.iterdir() if p.is_dir()):
        manifest = Manifest.read(child)
        if manifest is not None and manifest.status != "finished":
            unfinished.append(f"{child.name} ({manifest.stage})")
    if unfinished:
        return f"no finished evaluation yet; still running or interrupted: {', '.join(unfinished)}"
    return "neither a submission nor an evaluation in it"


def _add_evaluation(path: Path, found: Sources) -> bool:
    """The entries of one evaluation of ours, which is trusted; False where it isn't finished."""
    manifest = Manifest.read(path)
    if manifest is not None and manifest.status != "finished":
        found.refuse(
            f"{path.resolve().parent.name}/{path.name}",
            f"{path.name} is not finished: its run is still going, or was interrupted",
        )
        return False
    for entry in Scores(path).read().get("entries", ()):
        claim = Claim(
            benchmark=entry["benchmark"],
            fingerprint=entry["fingerprint"],
            settings=entry["settings"],
            accuracy=entry["accuracy"],
            n=entry["n"],
            samples=f"{entry['folder']}/samples.parquet",
        )
        rows = Rows(path, entry)
        run = path.resolve().parent.name
        found.candidates.append(
            Candidate(
                source=f"{run}/{path.name}",
                kind="run",
                name=f"{run}/{entry['model']}",
                claim=claim,
                read=rows.answers,
                effort=effort_of(path, str(entry["model"]), entry.get("step")),
                rows=rows,
            )
        )
    return True


def _add_submission(folder: Path, limits: Limits, found: Sources) -> None:
    """A stranger's folder. Whatever is wrong with it refuses it, with the reason, and nothing else."""
    try:
        submission = read_submission(folder, limits)
    except PosttrainError as error:
        found.refuse(folder.name, str(error))
        return
    effort = Effort(
        submission.seconds,
        submission.dollars,
        submission.hardware,
        tuple((p.seconds, p.accuracy) for p in submission.curve),
    )
    asked = [claim.fingerprint for claim in submission.results]
    if len(set(asked)) < len(asked):
        found.refuse(folder.name, "two of its results were asked the same way. Submit each of them on its own.")
        return
    for claim in submission.results:
        found.candidates.append(
            Candidate(
                source=folder.name,
                kind="submission",
                name=clean(submission.name) or "unnamed",
                claim=claim,
                read=_reader(folder, claim.samples, limits),
                effort=effort,
                model=clean(submission.model) if submission.model else None,
                description=clean(submission.description, 2_000),
            )
        )


def _reader(folder: Path, name: str, limits: Limits) -> Callable[[], tuple[list[Answer], str]]:
    return lambda: read_answers(folder, name, limits)


def read_submission(folder: Path, limits: Limits) -> Submission:
    """submission.json, checked. DataError where it is too large, no JSON, or not what the schema says."""
    with opened(folder, DESCRIPTION, limits.description_bytes) as file:
        text = file.read(limits.description_bytes + 1)
    try:
        fingerprint(
            json.loads(text)
        )  # what has no canonical form (infinities, halves of characters) can have no fingerprint
        return Submission.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DataError(
            f"{DESCRIPTION}: {clean(where, 80)}: {first['msg']}. submission.schema.json says what it must be."
        ) from None
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else clean(str(error), 120)
        raise DataError(f"{DESCRIPTION} is no JSON: {said}. Write it anew.") from None


def iter_names(candidates: Sequence[Candidate]) -> Iterator[str]:
    """What each is called on the board: with its folder where several of one table have one name."""
    taken: dict[tuple[str, str], int] = {}
    for c in candidates:
        taken[c.claim.fingerprint, c.name] = taken.get((c.claim.fingerprint, c.name), 0) + 1
    for c in candidates:
        twice = taken[c.claim.fingerprint, c.name] > 1
        yield f"{c.name} ({clean(c.source, 80)})" if twice else c.name
