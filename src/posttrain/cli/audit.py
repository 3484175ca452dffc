"""``posttrain audit SAMPLES``: what does a second, independent grader say?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from posttrain.grading.second_opinion import Audit, Pair

WIDTH = 60


@click.command()
@click.argument("samples", type=click.Path(path_type=Path, exists=True))
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Audit at most so many samples.")
@click.option(
    "--show", type=click.IntRange(0), default=20, show_default=True, help="List so many disagreements each way."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all disagreements included.")
def audit(samples: Path, limit: int, show: int, as_json: bool) -> None:
    """Run a second, independent grader (math-verify) over judged samples and list where the two disagree.

    SAMPLES: a folder with samples.parquet and verdicts.parquet, an evaluation, or rows that `posttrain grade` wrote.
    """
    from posttrain.grading import second_opinion

    pairs = read_pairs(samples, limit)
    result = second_opinion.audit(pairs)
    click.echo(json.dumps(as_dict(result), indent=2, ensure_ascii=False) if as_json else in_words(result, show))


def read_pairs(path: Path, limit: int) -> list[Pair]:
    """The judged samples behind a path, those with a gold. DataError if there are none."""
    from posttrain.errors import DataError

    pairs = _from_rows(path) if path.is_file() else _from_folders(path)
    if not pairs:
        raise DataError(f"{path} holds no judged samples with a gold. Grade them first: posttrain grade, or eval.")
    return pairs[:limit]


def _from_rows(path: Path) -> list[Pair]:
    from posttrain.errors import DataError
    from posttrain.grading.rows import read_rows
    from posttrain.grading.second_opinion import Pair

    pairs = []
    for number, row in enumerate(read_rows(path), start=1):
        verdict = row.get("verdict")
        if not isinstance(verdict, dict):
            raise DataError(
                f"{path}, row {number} has no verdict. Grade the file first: posttrain grade {path} --out …"
            )
        if isinstance(row["gold"], str) and isinstance(row["response"], str):
            key = str(row.get("id", number))
            extracted, reason, correct = (verdict.get(k) for k in ("extracted", "reason", "correct"))
            pairs.append(Pair(key, row["gold"], row["response"], extracted, str(reason), correct))
    return pairs


def _from_folders(path: Path) -> list[Pair]:
    from posttrain.grading.second_opinion import Pair
    from posttrain.store import Samples

    pairs = []
    for file in sorted(path.rglob("samples.parquet")):
        for s in Samples(file.parent).read():
            if s.verdict is not None and s.gold:
                key = f"{s.source}/{s.problem_id}/{s.index}"
                v = s.verdict
                pairs.append(Pair(key, s.gold, s.response, v.extracted, v.reason, v.correct))
    return pairs


def as_dict(result: Audit) -> dict[str, object]:
    def rows(pairs: tuple[Pair, ...]) -> list[dict[str, object]]:
        return [{"key": p.key, "gold": p.gold, "extracted": p.extracted, "end": p.response[-200:]} for p in pairs]

    return {
        "n": result.n,
        "undecided": result.undecided,
        "agreement": result.agreement,
        "both_correct": result.both_correct,
        "both_wrong": result.both_wrong,
        "only_posttrain": rows(result.only_first),
        "only_math_verify": rows(result.only_second),
    }


def in_words(result: Audit, show: int) -> str:
    disagree = len(result.only_first) + len(result.only_second)
    lines = [
        f"{result.n} samples decided by both graders ({result.undecided} by one or none): "
        f"they agree on {result.n - disagree} ({result.agreement:.1%}).",
        f"both correct {result.both_correct} · both wrong {result.both_wrong} · "
        f"only posttrain {len(result.only_first)} · only math-verify {len(result.only_second)}",
    ]
    for title, pairs in (
        ("posttrain says correct, math-verify wrong", result.only_first),
        ("math-verify says correct, posttrain wrong", result.only_second),
    ):
        if pairs and show:
            lines += ["", f"{title}:", f"  {'gold':{WIDTH}}  extracted"]
            lines += [
                f"  {_short(p.gold):{WIDTH}}  {_short(p.extracted or f'({p.reason})')}   [{p.key}]"
                for p in pairs[:show]
            ]
            lines += [f"  … and {len(pairs) - show} more"] if len(pairs) > show else []
    return "\n".join(lines)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else "…" + text[1 - WIDTH :]
