"""lm-eval and lighteval: the exact commands, resuming, failing, and reading back; the programs are stand-ins here.

tests/integration/test_suites.py runs the real ones.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.unit.evals.fakes import right

from posttrain.config import parse
from posttrain.errors import EngineError, MissingExtraError, RecipeError
from posttrain.evals import EvalConfig, compare, read_answers
from posttrain.evals.external import SuiteConfig, lighteval, lm_eval
from posttrain.evals.external.devices import devices
from posttrain.evals.external.job import Job
from posttrain.evals.regrade import RegradeConfig, regrade
from posttrain.evals.stages import evaluate
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Scores

Evaluate = Callable[..., Scores]

# A stand-in for lm-eval: notes that it was called, and answers three items, the first right, as 0.4.13 writes it.
LM_EVAL = """#!/usr/bin/env python3
import json, os, sys, time
from pathlib import Path
words = sys.argv[1:]
said = {w: words[i + 1] for i, w in enumerate(words) if w.startswith("--") and i + 1 < len(words)}
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([said["--tasks"], os.environ.get("CUDA_VISIBLE_DEVICES"), time.time()]) + "\\n")
task, out = said["--tasks"], Path(said["--output_path"]) / "m"
if task == "broken":
    sys.exit("KeyError: no such task")
time.sleep(float(os.environ.get("SLOW", 0)))
out.mkdir(parents=True)
rows = []
for i in range(3):
    if task == "choose":
        asked = {f"gen_args_{j}": {"arg_0": "Q?", "arg_1": f" {c}"} for j, c in enumerate("AB")}
        ll = [["-1.0", "True"], ["-2.0", "False"]]
        rows.append({"arguments": asked, "resps": [[x] for x in ll], "filtered_resps": ll, "target": "AB"[i > 0],
                     "metrics": ["acc", "acc_norm"], "acc": float(i == 0), "acc_norm": float(i == 0), "filter": "none"})
    elif task == "share":
        rows.append({"arguments": {"gen_args_0": {"arg_0": "Q?", "arg_1": " A"}}, "resps": [[["-1.0", "True"]]],
                     "filtered_resps": [["-1.0", "True"]], "target": "A", "metrics": ["acc"], "acc": 0.25 * (i + 1),
                     "filter": "none"})
    elif task == "words":
        rows.append({"arguments": {"gen_args_0": {"arg_0": "text"}}, "resps": [["-9.5"]], "filtered_resps": ["-9.5"],
                     "target": "text", "metrics": ["word_perplexity"], "word_perplexity": [-9.5, 3], "filter": "none"})
    else:
        found = ["5", "[invalid]", "7"][i]
        rows.append({"arguments": {"gen_args_0": {"arg_0": f"Q{i}?", "arg_1": {}}}, "resps": [[f"it is {found}"]],
                     "filtered_resps": [found], "target": str(i + 5), "metrics": ["exact_match"],
                     "exact_match": float(found == str(i + 5) and i == 0), "filter": "flexible-extract"})
    rows[-1] |= {"doc_id": i, "doc": {}, "doc_hash": f"d{i}", "target_hash": f"t{i}", "prompt_hash": f"p{i}"}
(out / f"samples_{task}_2026-01-01T00-00-00.000001.jsonl").write_text("\\n".join(map(json.dumps, rows)))
value = {"word_perplexity,none": 12.5} if task == "words" else {"exact_match,flexible-extract": 1 / 3}
(out / "results_2026-01-01T00-00-00.000001.json").write_text(json.dumps({
    "results": {task: value}, "versions": {task: 1.0}, "n-shot": {task: 0}, "lm_eval_version": "0.4.13"}))
"""


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with a stand-in for lm-eval; the file it notes its calls in."""
    program = tmp_path / "environment" / "bin" / "lm-eval"
    program.parent.mkdir(parents=True)
    program.write_text(LM_EVAL)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("POSTTRAIN_SUITES", str(tmp_path / "environment"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


@pytest.fixture
def evaluate_suites(tmp_path: Path, suites: Path) -> Evaluate:
    def run(
        *tasks: str, folder: str = "scores", models: tuple[str, ...] = ("base",), device: str = "cpu", **more: object
    ) -> Scores:
        for name in models:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "config.json").write_text(name)
        config = EvalConfig.model_validate({"suites": [{"suite": "lm_eval", "tasks": list(tasks), **more}]})
        work = Workspace(tmp_path / folder, seed=7, quiet=True, device=device)
        evaluate(config, [Checkpoint(tmp_path / name, name=name) for name in models], work)
        return Scores(tmp_path / folder, name=folder)

    return run


def called(calls: Path) -> list[str]:
    return sorted(json.loads(line)[0] for line in calls.read_text().splitlines()) if calls.exists() else []


def test_results_are_read_back_into_our_tables(evaluate_suites: Evaluate) -> None:
    scores = evaluate_suites("ask", "choose", "words")
    found = {e["benchmark"]: e for e in scores.read()["entries"]}
    assert set(found) == {"lm_eval/ask:exact_match,flexible-extract", "lm_eval/choose:acc", "lm_eval/choose:acc_norm"}
    asked = found["lm_eval/ask:exact_match,flexible-extract"]
    assert (asked["accuracy"], asked["n"]) == (pytest.approx(1 / 3), 3)
    assert asked["unparsed_rate"] == pytest.approx(1 / 3)  # [invalid]
    assert asked["truncation_rate"] is None  # lm-eval doesn't tell
    measures = scores.read()["measures"]
    assert {"model": "base", "benchmark": "lm_eval/words", "metric": "word_perplexity,none", "value": 12.5} in measures
    answers = {a.benchmark: a for a in read_answers([scores])}
    sample = answers["lm_eval/choose:acc"].samples[1]
    assert (sample.response, sample.gold, sample.extra["loglikelihoods"]) == ("A", "B", [-1.0, -2.0])


def test_two_models_are_compared_on_them_as_on_our_own(evaluate_suites: Evaluate) -> None:
    scores = evaluate_suites("ask", models=("base", "sft"))
    a, b = read_answers([scores])
    assert compare(a, b).paired.difference == 0.0
    other = next(iter(read_answers([evaluate_suites("ask", folder="other", shots=3)])))
    with pytest.raises(ValueError, match=r"differ in .*shots \(None and 3\)"):
        compare(a, other)


def test_a_share_of_a_point_counts_as_that_share(evaluate_suites: Evaluate) -> None:
    (entry,) = evaluate_suites("share").read()["entries"]
    assert entry["accuracy"] == pytest.approx((0.25 + 0.5 + 0.75) / 3)
    assert entry["reasons"] == {"scored": 3}


def test_regrading_keeps_their_verdicts_unless_a_grading_of_ours_is_named(
    evaluate_suites: Evaluate, tmp_path: Path
) -> None:
    scores = evaluate_suites("ask")
    kept = regrade(RegradeConfig(), scores, Workspace(tmp_path / "kept", quiet=True)).read()["entries"]
    assert kept[0]["accuracy"] == scores.read()["entries"][0]["accuracy"]
    ours = regrade(RegradeConfig(grading="gsm8k"), scores, Workspace(tmp_path / "ours", quiet=True)).read()["entries"]
    assert ours[0]["accuracy"] == pytest.approx(2 / 3)  # "it is 7" was right all along


def test_a_failing_task_says_its_last_words_and_costs_no_other(
    evaluate_suites: Evaluate, suites: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"lm_eval/broken on base failed with exit code 1(?s:.*)no such task"):
        evaluate_suites("ask", "broken", "choose")
    assert called(suites) == ["ask", "broken", "choose"]
    with pytest.raises(EngineError):
        evaluate_suites("ask", "broken", "choose")
    assert called(suites) == ["ask", "broken", "broken", "choose"]  # finished tasks are kept


def test_tasks_run_side_by_side_one_on_each_gpu(
    evaluate_suites: Evaluate, suites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("SLOW", "1.5")
    assert devices("auto") == [("cuda", "3"), ("cuda", "5")]
    assert devices("cpu") == [("cpu", "")]
    evaluate_suites("a", "b", device="auto")
    rows = [json.loads(line) for line in suites.read_text().splitlines()]
    assert {gpu for _, gpu, _ in rows} == {"3", "5"}
    assert abs(rows[0][2] - rows[1][2]) < 1.5  # the second began before the first had ended


def job(**settings: object) -> Job:
    suite = SuiteConfig.model_validate({"suite": "lm_eval", "tasks": ["t"], **settings})
    return Job(suite, suite.tasks[0], Checkpoint(Path("org/model"), name="model", revision="abc"), "bfloat16")


@pytest.mark.parametrize("task", ["hendrycks_math500", "mmlu", "arc_challenge", "hellaswag", "winogrande", "wikitext"])
def test_the_command_of_lm_eval(suites: Path, task: str) -> None:
    words = lm_eval.command(job(tasks=[task], shots=5, limit=20, args={"batch_size": 8}), Path("out"), "cuda")
    assert words[1:] == (
        f"run --model hf --model_args pretrained=org/model,dtype=bfloat16,revision=abc --tasks {task} --device cuda "
        "--num_fewshot 5 --limit 20 --output_path out --log_samples --batch_size 8"
    ).split(" ")


def test_the_command_of_lm_eval_against_a_server(suites: Path) -> None:
    asked = job(
        server="http://127.0.0.1:8000/v1",
        tasks=["truthfulqa_mc2"],
        args={"model_args": {"num_concurrent": 8}, "apply_chat_template": True},
    )
    words = lm_eval.command(asked, Path("out"), "cpu")
    assert words[1:] == (
        "run --model local-completions --model_args model=model,base_url=http://127.0.0.1:8000/v1/completions,"
        "tokenizer=org/model,tokenizer_backend=huggingface,num_concurrent=8 --tasks truthfulqa_mc2 --output_path out "
        "--log_samples --apply_chat_template"
    ).split(" ")


@pytest.mark.parametrize("task", ["aime24", "aime25", "math_500", "gpqa:diamond", "lcb:codegeneration", "mmlu_redux_2"])
def test_the_command_of_lighteval(suites: Path, task: str) -> None:
    suites.with_name("environment").joinpath("bin", "lighteval").write_text("")
    asked = job(
        suite="lighteval", tasks=[task], limit=4, args={"model_args": {"batch_size": 2}, "custom_tasks": "t.py"}
    )
    assert lighteval.command(asked, Path("out"), "cuda")[1:] == (
        "accelerate model_name=org/model,device=cuda,dtype=bfloat16,revision=abc,cache_dir=out/cache,batch_size=2 "
        f"{task}|0 --output-dir out --save-details --max-samples 4 --custom-tasks t.py"
    ).split(" ")
    asked = job(suite="lighteval", tasks=[task], shots=3, server="http://127.0.0.1:8000/v1")
    assert lighteval.command(asked, Path("out"), "cpu")[1:] == (
        f"endpoint litellm model_name=openai/model,base_url=http://127.0.0.1:8000/v1 {task}|3 --output-dir out "
        "--save-details"
    ).split(" ")


def test_a_missing_environment_says_make_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTTRAIN_SUITES", str(tmp_path / "nowhere"))
    with pytest.raises(MissingExtraError, match=r"lm_eval is not installed.*Run `make suites`"):
        evaluate(
            EvalConfig.model_validate({"suites": [{"suite": "lm_eval", "tasks": ["mmlu"]}]}),
            [Checkpoint(tmp_path, name="m")],
            Workspace(tmp_path / "scores", quiet=True),
        )


class ModelList(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"data": [{"id": "served-name"}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), ModelList)
    Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}/v1"
    made.shutdown()
    made.server_close()


def test_a_server_is_asked_under_the_name_it_gives_its_model(
    evaluate_suites: Evaluate, server: str, tmp_path: Path
) -> None:
    (entry,) = evaluate_suites("ask", server=server).read()["entries"]
    assert entry["engine"]["name"] == server
    with pytest.raises(RecipeError, match="a server answers as one model, and this evaluation has 2: base, sft"):
        evaluate_suites("ask", models=("base", "sft"), folder="two", server=server)
    with pytest.raises(EngineError, match=r"no OpenAI-compatible server answers at http://127.0.0.1:9/v1/models"):
        evaluate_suites("ask", folder="none", server="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("suite", "complaint"),
    [
        ({"suite": "helm", "tasks": ["a"]}, "lm_eval"),
        ({"suite": "lm_eval", "tasks": []}, "at least 1 item"),
        ({"suite": "lm_eval", "tasks": ["a", "a"]}, "a task is named twice"),
        ({"suite": "lm_eval", "tasks": ["a,b"]}, "is no task name"),
        ({"suite": "lm_eval", "tasks": ["--help"]}, "is no task name"),
        ({"suite": "lm_eval", "tasks": ["a"], "args": {"trust_remote_code": True}}, "not allowed"),
        ({"suite": "lighteval", "tasks": ["a"], "args": {"push-to-hub": True}}, "not allowed"),
        ({"suite": "lm_eval", "tasks": ["a"], "args": {"model_args": "x=1"}}, "model_args is a mapping"),
        ({"suite": "lm_eval", "tasks": ["a"], "server": "localhost"}, "a server is an address"),
        ({"suite": "lm_eval", "tasks": ["a"], "shot": 3}, "Did you mean"),
    ],
)
def test_wrong_suites_are_refused(suite: dict[str, object], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        parse(EvalConfig, {"suites": [suite]}, "stage 'scores'")


def test_the_bytes_of_ones_own_tasks_count_in_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text("task: mine")
    suite = {"suite": "lm_eval", "tasks": ["mine"], "args": {"include_path": str(tmp_path / "tasks")}}
    config = EvalConfig.model_validate({"suites": [suite]})
    assert list(config.files().values()) == [tmp_path / "tasks" / "mine.yaml"]


def test_a_suite_sees_none_of_our_packages(suites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from posttrain.evals.external.environment import variables

    monkeypatch.setenv("PYTHONPATH", "src")
    assert "PYTHONPATH" not in variables("")
    assert variables("2")["CUDA_VISIBLE_DEVICES"] == "2"
    assert os.environ["PYTHONPATH"] == "src"


def test_suites_and_benchmarks_of_ours_stand_side_by_side(run_eval: Evaluate, suites: Path) -> None:
    scores = run_eval({"base": right}, suites=[{"suite": "lm_eval", "tasks": ["ask"]}])
    assert [e["benchmark"] for e in scores.read()["entries"]] == [
        "sums/test",
        "lm_eval/ask:exact_match,flexible-extract",
    ]


def test_a_report_of_suites_says_what_they_did_not_tell(evaluate_suites: Evaluate, tmp_path: Path) -> None:
    from posttrain.report.config import ReportConfig
    from posttrain.report.stages import report

    scores = evaluate_suites("ask", "choose", models=("base", "sft"))
    made = report(ReportConfig(), [scores], Workspace(tmp_path / "report", quiet=True))
    text = (made.path / "report.md").read_text()
    assert "lm_eval/ask:exact_match,flexible-extract" in text
    assert "n/a" in text
    assert "lm_eval/choose:acc_norm" in (made.path / "report.html").read_text()


def test_an_adapter_is_not_a_whole_model(evaluate_suites: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "adapter_config.json").write_text("{}")
    with pytest.raises(RecipeError, match="base is an adapter, and other suites load whole models"):
        evaluate_suites("ask")
