"""The real lm-eval and lighteval, in their own environment, on a tiny checkpoint: local task files over GSM8K and MMLU.

`make test-real` makes the environment. Tasks that are read from the Hub are not exercised here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from posttrain.evals import EvalConfig, read_answers
from posttrain.evals.stages import evaluate
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Scores

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
ITEMS = 12

GSM8K_TASK = """
task: gsm8k_here
dataset_path: json
dataset_kwargs: {data_files: {test: GSM8K}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{problem}}\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:"], do_sample: false, max_gen_toks: 24}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - name: flexible-extract
    filter: [{function: regex, group_select: -1, regex_pattern: "(-?[$0-9.,]{2,})|(-?[0-9]+)"}, {function: take_first}]
"""
MMLU_TASK = """
task: mmlu_here
dataset_path: json
dataset_kwargs: {data_files: {test: MMLU, dev: DEV}}
test_split: test
fewshot_split: dev
fewshot_config: {sampler: first_n}
output_type: multiple_choice
description: "The following are multiple choice questions (with answers) about abstract algebra.\\n\\n"
doc_to_text: "{{problem.strip()}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nC. {{choices[2]}}\\n\
D. {{choices[3]}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
num_fewshot: 5
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ARC_TASK = """
task: arc_here
dataset_path: json
dataset_kwargs: {data_files: {test: MMLU}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{problem}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{['A', 'B', 'C', 'D'].index(answer)}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
LIGHTEVAL_TASKS = """
from pathlib import Path

from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

HERE = Path(__file__).parent


def ask(line, task_name=None):
    query = f"Question: {line['problem']}\\nAnswer:"
    return Doc(task_name=task_name, query=query, choices=[f" {line['answer']}"], gold_index=0)


def choose(line, task_name=None):
    listed = "".join(f"\\n{letter}. {choice}" for letter, choice in zip("ABCD", line["choices"]))
    query = f"{line['problem'].strip()}{listed}\\nAnswer:"
    gold = "ABCD".index(line["answer"])
    return Doc(task_name=task_name, query=query, choices=[" A", " B", " C", " D"], gold_index=gold)


def task(name, function, metric, size):
    return LightevalTaskConfig(
        name=f"{name}_here",
        prompt_function=function,
        hf_repo=str(HERE / name),
        hf_subset="default",
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
        generation_size=size,
        metrics=[metric],
        stop_sequence=["Question:"],
    )


TASKS_TABLE = [task("gsm8k", ask, Metrics.expr_gold_metric, 24), task("mmlu", choose, Metrics.loglikelihood_acc, 1)]
"""


@pytest.fixture(scope="module")
def suites() -> None:
    """Skips without the environment, with the reason."""
    named = os.environ.get("POSTTRAIN_SUITES", str(ROOT / ".venv-suites"))
    if not (Path(named) / "bin" / "lm-eval").is_file():
        pytest.skip(f"no lm-eval in {named}: run `make suites`")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    from posttrain.data.synthetic import LEVELS, problems
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    texts = [p.question for p in problems(1, "train", 200, tuple(LEVELS))]
    tokenizer = train_tokenizer([*texts, "Question: Answer: A. B. C. D. #### The following are multiple choice"], 500)
    save_model(tiny_model(tokenizer, TinyConfig(hidden=64, layers=2, heads=2, context=2048), seed=3), tokenizer, folder)
    return Checkpoint(folder, name="tiny")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Local task files for both suites over the first items of the mirror's GSM8K and MMLU."""
    data = Path(os.environ.get("POSTTRAIN_DATA", ""))
    if not (data / "mmlu_dev.jsonl").is_file():
        pytest.skip("no mirror of the real data: set POSTTRAIN_DATA to one")
    folder = tmp_path_factory.mktemp("tasks")
    first = {}
    for name, file in (("gsm8k", "gsm8k_test"), ("mmlu", "mmlu_test"), ("dev", "mmlu_dev")):
        rows = (data / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()[:ITEMS]
        first[name] = folder / name / "test.jsonl"
        first[name].parent.mkdir()
        first[name].write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "lm_eval").mkdir()
    for name, text in (("gsm8k", GSM8K_TASK), ("mmlu", MMLU_TASK), ("arc", ARC_TASK)):
        for key in first:
            text = text.replace(f" {key.upper()}", f" {first[key]}")
        (folder / "lm_eval" / f"{name}.yaml").write_text(text)
    (folder / "light_tasks.py").write_text(LIGHTEVAL_TASKS)
    return folder


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


def run(model: Checkpoint, folder: Path, *suites: dict[str, Any]) -> Scores:
    config = EvalConfig.model_validate({"suites": list(suites)})
    evaluate(config, [model], Workspace(folder, seed=7, quiet=True, device="cpu"))
    return Scores(folder)


def test_lm_eval_runs_generation_and_loglikelihood_and_ours_are_its_numbers(
    suites: None, model: Checkpoint, tasks: Path, tmp_path: Path
) -> None:
    suite = {"suite": "lm_eval", "args": {"include_path": str(tasks / "lm_eval"), "batch_size": 8}}
    scores = run(model, tmp_path / "theirs", {**suite, "tasks": ["gsm8k_here", "mmlu_here"]})
    found = {a.benchmark: a for a in read_answers([scores])}
    assert set(found) == {
        "lm_eval/gsm8k_here:exact_match,flexible-extract",
        "lm_eval/mmlu_here:acc",
        "lm_eval/mmlu_here:acc_norm",
    }
    assert all(a.entry["n"] == ITEMS for a in found.values())
    theirs = found["lm_eval/mmlu_here:acc"]
    ours = own(model, tasks, tmp_path, "letters", 5)
    for mine, other in zip(ours, theirs.samples, strict=True):
        assert mine.extra["loglikelihoods"] == pytest.approx(other.extra["loglikelihoods"], abs=1e-3)
        assert mine.verdict is not None
        assert other.verdict is not None
        assert mine.verdict.correct == other.verdict.correct
    measures = {m["metric"]: m["value"] for m in scores.read()["measures"] if m["benchmark"] == "lm_eval/mmlu_here"}
    assert measures["acc,none"] == pytest.approx(theirs.entry["accuracy"])


def own(model: Checkpoint, tasks: Path, folder: Path, shown: str, shots: int) -> list[Any]:
    """Our own samples of the same items by log-likelihood."""
    (folder / "own.yaml").write_text(
        f"name: own\nproblems: {tasks / 'mmlu' / 'test.jsonl'}\nexamples: {tasks / 'dev' / 'test.jsonl'}\n"
        f"shots: {shots}\nlikelihood: {shown}\nmetrics: [accuracy, acc_norm]\n"
        + (
            'intro: "The following are multiple choice questions (with answers) about {subject}.\\n\\n"\n'
            if shown == "letters"
            else ""
        )
    )
    config = EvalConfig(benchmarks=(str(folder / "own.yaml"),))
    evaluate(config, [model], Workspace(folder / f"ours-{shown}", seed=7, quiet=True, device="cpu"))
    return list(next(read_answers([Scores(folder / f"ours-{shown}")])).samples)


class Completions(BaseHTTPRequestHandler):
    """/v1/completions of OpenAI with prompts as token ids, as far as lm-eval asks: echo with log-probabilities, and the
    one generated token that it then leaves out."""

    engine: Any
    tokenizer: Any
    lock = Lock()

    def do_GET(self) -> None:
        self._reply({"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompts = asked["prompt"] if isinstance(asked["prompt"][0], list) else [asked["prompt"]]
        with self.lock:
            scores = list(self.engine.score(prompts))
        choices = [
            {
                "index": i,
                "text": "",
                "logprobs": {
                    "tokens": [*map(str, ids), "x"],
                    "token_logprobs": [None, *values, 0.0],
                    "top_logprobs": [None, *({str(t): v} for t, v in zip(ids[1:], values, strict=True)), {"x": 0.0}],
                },
            }
            for i, (ids, values) in enumerate(zip(prompts, scores, strict=True))
        ]
        self._reply({"choices": choices})

    def _reply(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(model: Checkpoint) -> Iterator[str]:
    from posttrain.evals.engines import open_engine

    engine, tokenizer = open_engine(model)
    handler = type("Handler", (Completions,), {"engine": engine, "tokenizer": tokenizer})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}/v1"
    made.shutdown()
    made.server_close()


def test_lm_eval_asks_a_running_server(
    suites: None, model: Checkpoint, tasks: Path, tmp_path: Path, server: str
) -> None:
    suite = {
        "suite": "lm_eval",
        "tasks": ["arc_here"],
        "server": server,
        "args": {"include_path": str(tasks / "lm_eval")},
    }
    scores = run(model, tmp_path / "served", suite)
    found = {a.benchmark: a for a in read_answers([scores])}
    ours = own(model, tasks, tmp_path, "texts", 0)
    for mine, plain, normalised in zip(
        ours, found["lm_eval/arc_here:acc"].samples, found["lm_eval/arc_here:acc_norm"].samples, strict=True
    ):
        assert plain.extra["loglikelihoods"] == pytest.approx(mine.extra["loglikelihoods"], abs=1e-3)
        assert (plain.reward == 1.0) == (mine.extra["choice"] == mine.gold)
        assert (normalised.reward == 1.0) == (mine.extra["choice_by_character"] == mine.gold)


def test_lighteval_runs_generation_and_loglikelihood(
    suites: None, model: Checkpoint, tasks: Path, tmp_path: Path, posttrain: Callable[..., Any]
) -> None:
    suite = {
        "suite": "lighteval",
        "tasks": ["gsm8k_here", "mmlu_here"],
        "args": {
            "custom_tasks": str(tasks / "light_tasks.py"),
            "model_args": {"batch_size": 4, "max_length": 1024},
        },
    }
    scores = run(model, tmp_path / "theirs", suite)
    found = {a.benchmark: a for a in read_answers([scores])}
    assert set(found) == {"lighteval/gsm8k_here:extractive_match", "lighteval/mmlu_here:acc"}
    assert all(a.entry["n"] == ITEMS and a.entry["settings"]["suite_version"] == "0.13.0" for a in found.values())
    measures = {m["benchmark"]: m["value"] for m in scores.read()["measures"] if m["metric"] == "acc"}
    assert measures["lighteval/mmlu_here"] == pytest.approx(found["lighteval/mmlu_here:acc"].entry["accuracy"])
    assert all(len(s.extra["loglikelihoods"]) == 4 for s in found["lighteval/mmlu_here:acc"].samples)
