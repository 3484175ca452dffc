"""Multiple choice by log-likelihood: equal to a direct forward of the module, and to lm-eval's rules."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evals.fakes import CharTokenizer

from posttrain.benchmarks import Benchmark, get_benchmark
from posttrain.benchmarks.likelihood import Likelihood
from posttrain.engines.base import Sampling
from posttrain.errors import DataError, RecipeError
from posttrain.evals import EvalConfig
from posttrain.evals.likelihood import likelihood_answers
from posttrain.evals.stages import evaluate
from posttrain.prompts import continuation_ids
from posttrain.records import Problem
from posttrain.stage import Workspace
from posttrain.store import Checkpoint

ITEM = Problem(
    "arc/1", "What is wet?", "B", choices=("a stone", "the sea", "fire"), subject="world_facts", split="test"
)
SHOTS = tuple(
    Problem(f"dev/{i}", f"{subject} {i}?", "A", choices=("yes", "no"), subject=subject)
    for subject in ("world_facts", "law")
    for i in range(3)
)


def benchmark(likelihood: Likelihood, *metrics: str, items: Sequence[Problem] = (ITEM,)) -> Benchmark:
    return Benchmark(
        "b",
        1,
        tuple(items),
        "plain",
        Sampling(temperature=0.0, max_tokens=1),
        "choice",
        shots=SHOTS,
        metrics=metrics or ("accuracy", "acc_norm"),
        likelihood=likelihood,
    )


class Fixed:
    """Gives every token of the continuations the log-probability that `per_token` says for its text."""

    context = 1000

    def __init__(self, per_token: dict[str, float]) -> None:
        self.per_token = per_token
        self.seen: list[list[int]] = []

    def score(self, sequences: Iterable[Sequence[int]]) -> Iterator[list[float]]:
        for ids in sequences:
            self.seen.append(list(ids))
            text = "".join(map(chr, ids))
            value = next(v for end, v in self.per_token.items() if text.endswith(end))
            yield [value] * (len(ids) - 1)


def test_the_prompts_are_lm_evals() -> None:
    letters = Likelihood("letters", intro="About {subject}.\n\n", shots=1, by_subject=True)
    assert letters.context(ITEM, SHOTS) == (
        "About world facts.\n\nworld_facts 0?\nA. yes\nB. no\nAnswer: A\n\n"
        "What is wet?\nA. a stone\nB. the sea\nC. fire\nAnswer:"
    )
    assert letters.continuations(ITEM) == [" A", " B", " C"]
    texts = Likelihood("texts", shots=4)
    assert texts.context(ITEM, SHOTS).endswith("Question: law 0?\nAnswer: yes\n\nQuestion: What is wet?\nAnswer:")
    assert texts.continuations(ITEM) == [" a stone", " the sea", " fire"]


def test_acc_takes_the_likeliest_choice_and_acc_norm_the_likeliest_per_character() -> None:
    # Sums: " a stone" 8 × −0.5 = −4, " the sea" 8 × −0.4 = −3.2, " fire" 5 × −0.6 = −3.0: fire; by character sea.
    engine = Fixed({" a stone": -0.5, " the sea": -0.4, " fire": -0.6})
    for metrics, chosen in ((("accuracy", "acc_norm"), "C"), (("acc_norm",), "B")):
        made = benchmark(Likelihood("texts"), *metrics)
        (sample,) = likelihood_answers(engine, CharTokenizer(), made, made.problems, source="m")  # type: ignore[arg-type]
        assert sample.response == chosen
        assert sample.extra["loglikelihoods"] == pytest.approx([-4.0, -3.2, -3.0])
        assert (sample.extra["choice"], sample.extra["choice_by_character"]) == ("C", "B")
        assert sample.verdict is not None
        assert sample.verdict.correct is (chosen == "B")


def test_a_prompt_beyond_the_context_loses_its_beginning_and_says_so() -> None:
    engine = Fixed({" A": -1.0, " B": -2.0, " C": -3.0})
    engine.context = 30
    made = benchmark(Likelihood("letters"))
    (sample,) = likelihood_answers(engine, CharTokenizer(), made, made.problems, source="m")  # type: ignore[arg-type]
    whole = made.likelihood.context(ITEM, ()) + " A" if made.likelihood else ""
    assert "".join(map(chr, engine.seen[0])) == whole[-30:]
    assert sample.extra["prompt_tokens_cut"] == len(whole) - 30


def test_spaces_at_the_end_of_a_context_go_to_the_continuation() -> None:
    before, after = continuation_ids("A: ", "x", CharTokenizer())  # type: ignore[arg-type]
    assert ("".join(map(chr, before)), "".join(map(chr, after))) == ("A:", " x")
    with pytest.raises(DataError, match="no token to score"):
        continuation_ids("A:", "", CharTokenizer())  # type: ignore[arg-type]


def test_too_few_examples_of_a_subject_are_refused() -> None:
    with pytest.raises(DataError, match=r"arc/1: 3 examples of world_facts to show, and shots is 4"):
        Likelihood("texts", shots=4, by_subject=True).context(ITEM, SHOTS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a model that knows nothing."""
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer(["What is wet? A. a stone B. the sea C. fire Answer: yes no"] * 4, 320)
    model = tiny_model(tokenizer, TinyConfig(hidden=32, layers=2, heads=2, context=256), seed=3)
    save_model(model, tokenizer, folder)
    return folder


def test_loglikelihoods_equal_a_direct_forward_of_the_module(tiny: Path) -> None:
    import torch

    from posttrain.evals.engines import open_engine
    from posttrain.models import load_model

    engine, tokenizer = open_engine(Checkpoint(tiny, name="tiny"))
    model: Any = load_model(tiny)
    items = [ITEM, Problem("arc/2", "Which one?", "A", choices=("no", "yes yes yes"), subject="law")]
    made = benchmark(Likelihood("texts", shots=2), items=items)
    for problem, sample in zip(items, likelihood_answers(engine, tokenizer, made, items, source="m"), strict=True):
        assert made.likelihood is not None
        context = made.likelihood.context(problem, SHOTS)
        for text, found in zip(made.likelihood.continuations(problem), sample.extra["loglikelihoods"], strict=True):
            before, after = tokenizer(context)["input_ids"], tokenizer(context + text)["input_ids"]
            with torch.no_grad():
                logprobs = model(torch.tensor([after])).logits[0].log_softmax(-1)
            expected = sum(float(logprobs[i - 1, after[i]]) for i in range(len(before), len(after)))
            assert math.isclose(found, expected, abs_tol=1e-4)


def own_benchmark(folder: Path, more: str = "") -> str:
    rows = [{"id": "a", "question": "Wet?", "answer": "B", "choices": ["stone", "sea"]}]
    rows += [{"id": "b", "question": "Hot?", "answer": "A", "choices": ["fire", "snow"]}]
    (folder / "arc.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "arc.yaml").write_text(f"name: arc\nproblems: arc.jsonl\nlikelihood: texts\nmetrics: [acc_norm]\n{more}")
    return str(folder / "arc.yaml")


def test_an_arc_like_benchmark_of_ones_own_is_evaluated_whatever_sampling_the_others_have(
    tiny: Path, tmp_path: Path
) -> None:
    name = own_benchmark(tmp_path, "shots: 1\nexamples: arc.jsonl\n")
    config = EvalConfig(benchmarks=(name,), n=4, temperature=0.7, template="chat", grading="math")
    scores = evaluate(config, [Checkpoint(tiny, name="m")], Workspace(tmp_path / "scores", quiet=True)).read()
    (entry,) = scores["entries"]
    assert (entry["n"], entry["samples_per_item"], entry["settings"]["grading"]) == (2, 1, "choice")
    assert entry["accuracy"] == entry["acc_norm"]
    assert entry["prompts_cut"] == 0
    assert len(entry["acc_interval"]) == 2
    assert entry["settings"]["likelihood"]["shots"] == 1
    assert "entropy" not in entry


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("metrics: [pass@1]\n", "unknown metric 'pass@1'"),
        ("likelihood: words\n", "letters"),
        ("shots: 9\n", "examples"),
    ],
)
def test_wrong_ones_are_refused(tmp_path: Path, more: str, complaint: str) -> None:
    name = own_benchmark(tmp_path)
    path = Path(name)
    kept = [line for line in path.read_text().splitlines() if line.split(":")[0] not in more]
    path.write_text("\n".join([*kept, more]))
    with pytest.raises(RecipeError, match=complaint):
        get_benchmark(name)


def test_mmlu_shows_the_dev_questions_of_the_items_subject(mirror: Path) -> None:
    made = get_benchmark("mmlu_likelihood", limit=40)
    assert made.likelihood is not None
    for problem in made.problems:
        context = made.likelihood.context(problem, made.shots)
        of = [s for s in made.shots if s.subject == problem.subject]
        assert len(of) == 5
        assert all(s.question.strip() in context for s in of)
        assert context.startswith("The following are multiple choice questions (with answers) about ")
    assert get_benchmark("mmlu_likelihood", limit=40, shots=2).fingerprint != made.fingerprint
