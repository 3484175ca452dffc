"""The preference stages. Heavy imports wait until a stage runs."""

from __future__ import annotations

from collections.abc import Iterator

from posttrain.errors import RecipeError
from posttrain.preference.config import DPOConfig, PairsConfig, SampleConfig
from posttrain.preference.forecast import dpo_forecast, pairs_forecast, sample_forecast
from posttrain.records import Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Judgements, Problems, Samples, Scores


def sample(config: SampleConfig, model: Checkpoint, problems: Problems, work: Workspace) -> Samples:
    """A model's own graded answers to problems: for pairs, for expert iteration."""
    from posttrain.preference.sampling import sample_answers

    sample_answers(config, model, problems, work)
    return Samples(work.dir)


def pairs(
    config: PairsConfig, samples: list[Samples | Scores], work: Workspace, judged: list[Judgements] | None = None
) -> Samples:
    """Pairs of a chosen and a rejected answer to the same problem, from graded samples or an evaluation's answers.

    judged: what a judge said of the evaluations in `samples`, for by: judge.
    """
    from posttrain.evals import read_answers
    from posttrain.preference.judged import judged_answers
    from posttrain.preference.pairs import make_pairs

    if (config.by == "judge") != bool(judged):
        raise RecipeError(
            "pairs: by: judge and the input `judged` (a stage judge) belong together, and one of them is missing."
        )

    def every() -> Iterator[Sample]:
        if judged:
            yield from judged_answers(samples, judged)
            return
        for artifact in samples:
            if isinstance(artifact, Scores):
                for answers in read_answers([artifact]):
                    yield from answers.samples
            else:
                yield from artifact.read()

    made = make_pairs(every(), config)
    generations, verdicts = samples_to_tables(made)
    work.write_table("samples.parquet", generations)
    work.write_table("verdicts.parquet", verdicts)
    work.summarise(pairs=len(made) // 2, problems=len({s.problem_id for s in made}))
    return Samples(work.dir)


def dpo(config: DPOConfig, model: Checkpoint, pairs: Samples, work: Workspace) -> Checkpoint:
    """Direct preference optimization of `model` on pairs, against its own starting weights."""
    from posttrain.preference.loop import prefer
    from posttrain.training.launch import launched

    with launched(config, "posttrain.preference.loop:prefer", {"model": model, "pairs": pairs}, work) as ranks:
        prefer(config, model, pairs, work, ranks)
    return Checkpoint(work.dir)


sample.forecast = sample_forecast  # type: ignore[attr-defined]
pairs.forecast = pairs_forecast  # type: ignore[attr-defined]
dpo.forecast = dpo_forecast  # type: ignore[attr-defined]
