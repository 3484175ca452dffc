"""The `contest` stage: several ways of making a model against a baseline, over seeds, and the answer in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pydantic import Field

from posttrain.config import Config
from posttrain.errors import DataError, RecipeError, did_you_mean
from posttrain.evals import Answers, compare_family, read_answers, refusal
from posttrain.evals.seeds import Method, compare_methods
from posttrain.evals.seeds import in_words as verdict_of_seeds
from posttrain.evals.table import markdown, p_value, percent, points
from posttrain.report.lineage import Made, ancestry, lineage_entry
from posttrain.report.selections import curations, plain_lines, selection_of
from posttrain.report.words import brief
from posttrain.stage import Workspace
from posttrain.stats import detectable_over_seeds, holm
from posttrain.store import Report, Scores, write_atomic

UNEQUAL = 0.05  # ways whose data differ by more than this share of tokens are not called equal
Ways = dict[str, list[Answers]]


class ContestConfig(Config):
    """Settings of the `contest` stage."""

    baseline: str = "random"
    """The way that every other one is held against."""
    repeats: bool = True
    """Models are called STAGE--WAY--REPEAT and the repeats of a way are its seeds; false: STAGE--WAY, one of each."""
    only: tuple[str, ...] = ()
    """The ways to hold against it; empty = all that were evaluated."""
    title: str | None = None
    """None = the run's name."""
    confidence: float = Field(0.95, gt=0.5, lt=1)


@dataclass(frozen=True)
class Contest:
    """What report.json says. `answers`: one sentence or more for each benchmark."""

    title: str
    baseline: str
    answers: list[str]
    notes: list[str]
    ways: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    selections: dict[str, list[dict[str, Any]]]
    """Of each way, its first repetition's selectors and what they noted of themselves."""
    made: list[Made]

    @property
    def tones(self) -> list[str]:
        """Of each answer: good where something beats the baseline, else unsure."""
        won = {c["benchmark"] for c in self.comparisons if c["verdict"] == "better"}
        benchmarks = dict.fromkeys(c["benchmark"] for c in self.comparisons)
        return ["good" if b in won else "unsure" for b in benchmarks]

    def as_json(self) -> dict[str, Any]:
        """Without times and paths, so that two equal runs give equal reports."""
        fields = ("title", "baseline", "answers", "notes", "ways", "comparisons", "selections")
        return {**{f: getattr(self, f) for f in fields}, "lineage": [lineage_entry(m) for m in self.made]}


def contest(config: ContestConfig, of: list[Scores], work: Workspace) -> Report:
    """Is any of these ways better than the baseline? Reads evaluations; generates nothing and loads no model."""
    found = hold(config, of, config.title or work.dir.resolve().parent.name)
    with write_atomic(work.dir / "report.md") as file:
        file.write(as_markdown(found).encode("utf-8", errors="replace"))
    with write_atomic(work.dir / "report.html") as file:
        file.write(as_html(found).encode("utf-8", errors="replace"))
    work.write_json("report.json", found.as_json())
    for line in [*found.answers, *found.notes]:
        work.note(line)
    work.summarise(comparisons=len(found.comparisons), better=sum(c["verdict"] == "better" for c in found.comparisons))
    return Report(work.dir)


def hold(config: ContestConfig, of: Sequence[Scores], title: str) -> Contest:
    """The contest of these evaluations. RecipeError where the baseline, or anything beside it, was not evaluated;
    DataError where two models must not be compared."""
    benchmarks: dict[str, Ways] = {}
    starts: list[Answers] = []
    for answers in read_answers(of):
        way = way_of(answers.model, config.repeats)
        if way is None:
            starts.append(answers)
        else:
            benchmarks.setdefault(answers.benchmark, {}).setdefault(way, []).append(answers)
    benchmarks = {b: _wanted(ways, b, config) for b, ways in benchmarks.items()}
    _check(benchmarks, config)
    comparisons = [c for ways in benchmarks.values() for c in _compare(ways, config)]
    made = ancestry(of)
    by_name = {m.name: m for m in made}
    first = next(iter(benchmarks.values()))
    budgets = {way: _budget(models, by_name) for way, models in first.items()}
    table = [_row(way, models, budgets[way]) for ways in benchmarks.values() for way, models in ways.items()]
    return Contest(
        title=title,
        baseline=config.baseline,
        answers=[in_words(b, config.baseline, [c for c in comparisons if c["benchmark"] == b]) for b in benchmarks],
        notes=_notes(budgets, config.baseline),
        ways=[_row(a.model, [a], {}) for a in starts] + table,
        comparisons=comparisons,
        selections={way: selection_of(models[0].model, by_name) for way, models in first.items()},
        made=made,
    )


def way_of(model: str, repeats: bool) -> str | None:
    """``sft--random--0`` → random; None for a model that no matrix made."""
    parts = model.split("--")
    inner = parts[1:-1] if repeats else parts[1:]
    return "--".join(inner) or None


def _wanted(ways: Ways, benchmark: str, config: ContestConfig) -> Ways:
    for way in config.only:
        if way not in ways:
            raise RecipeError(
                f"only: {way!r} was not evaluated on {benchmark}.{did_you_mean(way, ways)} "
                f"Evaluated: {', '.join(ways)}."
            )
    return {w: a for w, a in ways.items() if not config.only or w in {config.baseline, *config.only}}


def _check(benchmarks: Mapping[str, Ways], config: ContestConfig) -> None:
    named = "STAGE--WAY--REPEAT" if config.repeats else "STAGE--WAY"
    if not benchmarks:
        raise RecipeError(
            f"no model of these evaluations is called {named}, so there are no ways to compare. Evaluate the branches "
            f"of a matrix, or set repeats: {str(not config.repeats).lower()}."
        )
    for benchmark, ways in benchmarks.items():
        if config.baseline not in ways:
            raise RecipeError(
                f"the baseline {config.baseline!r} was not evaluated on {benchmark}."
                f"{did_you_mean(config.baseline, ways)} Evaluated: {', '.join(ways)}."
            )
        if len(ways) < 2:
            raise RecipeError(f"only {config.baseline!r} was evaluated on {benchmark}. Evaluate another way beside it.")


def _compare(ways: Ways, config: ContestConfig) -> list[dict[str, Any]]:
    """Every way against the baseline on one benchmark; the verdicts use Holm's p over all of them."""
    base, others = ways[config.baseline], {w: a for w, a in ways.items() if w != config.baseline}
    if max(len(models) for models in ways.values()) == 1:
        return _compare_single(base[0], {w: a[0] for w, a in others.items()}, config)
    found = [
        compare_methods(Method(config.baseline, tuple(base)), Method(way, tuple(models)), confidence=config.confidence)
        for way, models in others.items()
    ]
    rows = []
    for one, p in zip(found, holm([f["p"] for f in found]), strict=True):
        rows.append(
            {
                "way": one["b"],
                "baseline": one["a"],
                "benchmark": one["benchmark"],
                "difference": one["difference"],
                "interval": [one["low"], one["high"]],
                "interval_over_problems": [one["items_low"], one["items_high"]],
                "p": one["p"],
                "p_adjusted": p,
                "verdict": verdict_of_seeds(one["difference"], p, config.confidence, one["seeds_needed"]),
                "n": one["n"],
                "seeds": [len(one["accuracies_a"]), len(one["accuracies_b"])],
                "test": one["test"],
                "detectable": detectable_over_seeds(one["accuracies_a"], one["accuracies_b"], config.confidence),
            }
        )
    return rows


def _compare_single(base: Answers, others: Mapping[str, Answers], config: ContestConfig) -> list[dict[str, Any]]:
    for other in others.values():
        reason = refusal(base, other)
        if reason is not None:
            raise DataError(reason)
    found = compare_family([(base, other) for other in others.values()], confidence=config.confidence)
    return [
        {
            "way": way,
            "baseline": config.baseline,
            "benchmark": c.benchmark,
            "difference": c.paired.difference,
            "interval": [c.paired.low, c.paired.high],
            "interval_over_problems": [c.paired.low, c.paired.high],
            "p": c.paired.p,
            "p_adjusted": c.p_adjusted,
            "verdict": c.verdict,
            "n": c.paired.n,
            "seeds": [1, 1],
            "test": c.paired.test,
            "detectable": c.paired.mde,
        }
        for way, c in zip(others, found, strict=True)
    ]


def in_words(benchmark: str, baseline: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The answer to "does anything beat the baseline?" on one benchmark."""
    better = sorted((r for r in rows if r["verdict"] == "better"), key=lambda r: -r["difference"])
    worse = [r for r in rows if r["verdict"] == "worse"]
    also = f" Worse than {baseline}: {'; '.join(map(_numbers, worse))}." if worse else ""
    if better:
        verb = "beats" if len(better) == 1 else "beat"
        of = f" (of {len(rows)} tried)" if len(rows) > len(better) else ""
        open_ = ", ".join(r["way"] for r in rows if r["verdict"].startswith("cannot tell"))
        also += f" No difference could be shown for {open_}." if open_ else ""
        return f"On {benchmark}, {'; '.join(map(_numbers, better))} {verb} {baseline}{of}.{also}"
    best = max(rows, key=lambda r: r["difference"])
    who = f"none of the {len(rows)} ways beats {baseline}; the best is {_numbers(best)}"
    text = f"On {benchmark}, {who if len(rows) > 1 else f'{_numbers(best)} does not beat {baseline}'}."
    if best["verdict"].startswith("cannot tell") and best["detectable"]:
        more = best["verdict"].removeprefix("cannot tell")
        text += f" What was done here could show a difference of {100 * best['detectable']:.1f} points{more}."
    return text + also


def _numbers(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    seeds = f"{row['seeds'][1]} seeds, " if row["seeds"][1] > 1 else ""
    return (
        f"{row['way']} ({points(row['difference'])} points [{points(low)}, {points(high)}], "
        f"{p_value(row['p_adjusted'])}, {seeds}n = {row['n']:,})"
    )


def _budget(models: Sequence[Answers], by_name: Mapping[str, Made]) -> dict[str, Any]:
    """Mean rows, tokens of data and tokens trained on, over a way's models; what is not known is left out."""
    facts: dict[str, list[float]] = {}
    for answers in models:
        model = by_name.get(answers.model)
        if model is None:
            continue
        data = curations(answers.model, by_name)[:1]
        told = {"trained_tokens": model.summary.get("tokens"), "steps": model.summary.get("steps")}
        for one in data:
            told |= {"rows": one.summary.get("rows"), "tokens": one.summary.get("total_tokens")}
        for name, value in told.items():
            if isinstance(value, int | float):
                facts.setdefault(name, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in facts.items()}


def _row(way: str, models: Sequence[Answers], budget: Mapping[str, float]) -> dict[str, Any]:
    each = [float(a.entry["accuracy"]) for a in models]
    mean = sum(each) / len(each)
    spread = (sum((x - mean) ** 2 for x in each) / (len(each) - 1)) ** 0.5 if len(each) > 1 else None
    names = ("truncation_rate", "unparsed_rate", "undecided_rate")
    return {
        "name": way,
        "benchmark": models[0].benchmark,
        "accuracy": mean,
        "each": each,
        "spread": spread,
        "n": models[0].entry["n"],
        **{name: sum(a.entry[name] for a in models) / len(models) for name in names},
        "budget": dict(budget),
    }


def _notes(budgets: Mapping[str, Mapping[str, float]], baseline: str) -> list[str]:
    """What must be known to read the answer: ways that were given more or less data than the baseline."""
    notes = []
    for name, what in (("tokens", "tokens of data"), ("trained_tokens", "tokens trained on")):
        base = budgets[baseline].get(name)
        if not base:
            continue
        for way, facts in budgets.items():
            share = facts.get(name, base) / base - 1
            if abs(share) > UNEQUAL:
                notes.append(
                    f"{way} had {abs(100 * share):.0f} % {'more' if share > 0 else 'fewer'} {what} than {baseline} "
                    f"({facts[name]:,.0f} and {base:,.0f}): their difference is not the selection's alone."
                )
    return notes


def as_markdown(found: Contest) -> str:
    """report.md."""
    text = "\n".join(f"- {line}" for line in [*found.answers, *found.notes])
    return (
        "\n\n".join(
            [
                f"# {found.title}",
                text,
                "## Ways",
                _ways(found),
                "## Comparisons",
                _comparisons(found),
                *_selections(found),
            ]
        )
        + "\n"
    )


def _ways(found: Contest) -> str:
    header = ["way", "benchmark", "accuracy", "each seed", "n", "truncated", "unparsed", "rows", "tokens", "trained on"]
    rows = []
    for w in found.ways:
        budget = [f"{w['budget'][k]:,.0f}" if k in w["budget"] else "–" for k in ("rows", "tokens", "trained_tokens")]
        spread = "" if w["spread"] is None else f" (sd {100 * w['spread']:.1f})"
        each = ", ".join(percent(a) for a in w["each"])
        rates = [percent(w[k]) for k in ("truncation_rate", "unparsed_rate")]
        rows.append([w["name"], w["benchmark"], percent(w["accuracy"]), each + spread, f"{w['n']:,}", *rates, *budget])
    return markdown(header, rows)


def _comparisons(found: Contest) -> str:
    header = ["comparison", "benchmark", "difference", "interval", "p (Holm)", "over problems", "detectable", "verdict"]
    rows = [
        [
            f"{c['way']} − {c['baseline']}",
            c["benchmark"],
            points(c["difference"]),
            f"{points(c['interval'][0])} to {points(c['interval'][1])}",
            p_value(c["p_adjusted"]).removeprefix("p ").removeprefix("= "),
            f"{points(c['interval_over_problems'][0])} to {points(c['interval_over_problems'][1])}",
            f"{100 * c['detectable']:.1f}" if c["detectable"] else "–",
            c["verdict"],
        ]
        for c in found.comparisons
    ]
    return markdown(header, rows)


def _selections(found: Contest) -> list[str]:
    rows = [
        [way, what, "; ".join(f"{k} {brief(v)}" for k, v in told.items())]
        for way, what, told in plain_lines(found.selections)
    ]
    return (
        ["## How each way chose", markdown(["way", "selector", "facts of the first repetition"], rows)] if rows else []
    )


def as_html(found: Contest) -> str:
    """report.html: one file with everything in it; all text from outside is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from posttrain.report.words import tone

    environment = Environment(
        loader=PackageLoader("posttrain.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(brief=brief, p_value=p_value, percent=percent, points=points, tone=tone)
    css = files("posttrain.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    return environment.get_template("contest.html.jinja").render(c=found, css=Markup(css))
