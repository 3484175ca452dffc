"""Every recipe in recipes/, by glob: it can be planned, its true shape stands on meta tensors with the values that its
authors published, and its smoke form runs the same code on a CPU.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from posttrain.curate.selectors import SELECTORS
from posttrain.models.config import TinyConfig
from posttrain.models.size import shape_of, tiny_shape
from posttrain.pipeline import Graph, Node, build_graph, load_recipe, plan_graph, run_graph, shipped_recipes
from posttrain.pipeline.plan import describe
from posttrain.store import Checkpoint, Manifest, Problems

RECIPES = shipped_recipes()
TRAINING = ("sft", "rl", "dpo")
NEEDS_MIRROR = ("gsm8k", "math")  # data sets with a name, which a smoke section may keep

# Experiment 002: how it trains, and what it is evaluated on.
ACEREASON_SFT = {
    "template": "qwen",
    "max_tokens": 16384,
    "batch_size": 1 * 8,
    "epochs": 10,
    "dtype": "bfloat16",
    "optimizer.lr": 5e-6,
    "optimizer.schedule": "cosine",
    "optimizer.warmup": 0.0,
    "launch.strategy": "zero3",
    "launch.offload": True,
    "checkpoints.every": 100,
    "lora": None,
}
ACEREASON_SCORES = {
    "benchmarks": ["aime24", "aime25", "math500", "gpqa_diamond", "livecodebench", "mmlu_redux"],
    "temperature": 0.6,
    "top_p": 0.95,
    "max_tokens": 32768,
}

QWEN = {"vocab_size": 151936, "tie_word_embeddings": True}
MODELS: dict[str, tuple[PretrainedConfig, int]] = {
    name: (
        Qwen2Config(
            hidden_size=1536,
            num_hidden_layers=28,
            num_attention_heads=12,
            num_key_value_heads=2,
            intermediate_size=8960,
            max_position_embeddings=4096 if "Math" in name else 32768,
            **QWEN,
        ),
        1_543_714_304,
    )
    for name in ("Qwen/Qwen2.5-Math-1.5B", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-1.5B")
} | {
    "Qwen/Qwen2.5-3B-Instruct": (
        Qwen2Config(
            hidden_size=2048,
            num_hidden_layers=36,
            num_attention_heads=16,
            num_key_value_heads=2,
            intermediate_size=11008,
            max_position_embeddings=32768,
            **QWEN,
        ),
        3_085_938_688,
    ),
    "meta-llama/Llama-3.1-8B": (
        LlamaConfig(
            hidden_size=4096,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            intermediate_size=14336,
            vocab_size=128256,
            max_position_embeddings=131072,
            tie_word_embeddings=False,
        ),
        8_030_261_248,
    ),
}

# What the authors published (the head of each recipe says where), by node and dotted key.
REASONING = {
    "template": "r1_zero",
    "batch_size": 128,
    "max_tokens": 2048,
    "dtype": "bfloat16",
    "optimizer.lr": 1e-4,
    "optimizer.schedule": "constant",
    "optimizer.clip": 1.0,
    "validation.every": 10,
    "validation.problems": 1000,
    "validation.max_tokens": 1024,
    "checkpoints.every": 10,
}
INSTRUCT = {
    "template": "alpaca",
    "packing": "concatenate",
    "block": 512,
    "batch_size": 32,
    "epochs": 1,
    "optimizer.lr": 2e-5,
    "optimizer.schedule": "cosine",
    "optimizer.warmup": 0.03,
    "optimizer.final": 0.1,
    "checkpoints.every": 200,
}
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "cs336-reasoning-sft": {
        "sft--all": {**REASONING, "loss": "per_token", "epochs": 1},
        "sft--filtered": {**REASONING, "loss": "per_token", "epochs": 1},
        "sft--filtered-res-len": {**REASONING, "loss": "per_sequence", "epochs": 1},
        "sft--filtered-2epoch": {**REASONING, "loss": "per_token", "epochs": 2},
        "scores": {"temperature": 1.0, "max_tokens": 1024, "template": "r1_zero"},
    },
    "cs336-instruct-sft": {
        "sft--nomask": {**INSTRUCT, "loss_on": "sequence"},
        "sft--mask": {**INSTRUCT, "loss_on": "response"},
    },
    "openr1-math-sft": {
        "sft": {
            "dtype": "bfloat16",
            "optimizer.warmup": 0.05,
            "batch_size": 8 * 4,
            "gradient_checkpointing": True,
            "checkpoints.every": 50,
            "validation.every": 50,
            "validation.problems": 500,
        },
        "held-out": {"dataset": "open-r1/OpenR1-Math-220k", "columns.question": "problem", "limit": 500},
    },
    "openr1-math-traces": {
        "problems": {"dataset": "open-r1/OpenR1-Math-220k", "columns.question": "problem", "limit": 500},
        "sweep-sft": {"steps": "all", "split": "validation", "grading": "math"},
        "sweep-grpo": {"steps": "all", "split": "validation", "grading": "math"},
        "judged": {"judge": "gpt-4o"},
    },
    "cs336-instruct-eval": {
        "scores": {"benchmarks": ["gsm8k", "mmlu", "alpaca_eval", "simple_safety_tests"], "template": "alpaca"},
    },
    "acereason-sft": {
        "traces": {"sample": 15000},
        "sft": ACEREASON_SFT,
        "scores": ACEREASON_SCORES,
    },
    "acereason-selection": {
        **{
            f"chosen--{name}": {"steps": [{"select": select, "budget": 15000}]}
            for name, select in (("baseline", "random"), ("random", "random"))
        },
        "sft--diversity": {**ACEREASON_SFT, "overlong": "truncate"},
        "scores": ACEREASON_SCORES,
    },
    "gsm8k-r1-sft": {
        "problems": {"dataset": "gsm8k", "validation": 512},
        "sft": {
            "epochs": 1,
            "max_tokens": 2048,
            "optimizer.lr": 1e-5,
            "optimizer.betas": [0.9, 0.95],
            "optimizer.weight_decay": 0.0,
            "validation.every": 4,
            "validation.problems": 512,
            "validation.max_tokens": 2048,
            "validation.beside": True,
        },
        "scores": {"benchmarks": ["gsm8k_cot"], "temperature": 0.0},
    },
}
DISTILLED = {
    "epochs": 2,
    "batch_size": 4 * 4,
    "lora.rank": 64,
    "lora.alpha": 128,
    "lora.dropout": 0.08,
    "lora.targets": "all-linear",
    "quantize": "nf4",
    "dtype": "bfloat16",
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-5,
    "optimizer.schedule": "cosine",
    "optimizer.warmup": 0.1,
}
TEACHERS = ("gpt-4o-mini", "deepseek-chat", "gemini-2.0-flash", "reference")
PUBLISHED |= {
    "gsm8k-distill": {
        "problems": {"dataset": "gsm8k", "calculator_marks": "keep", "limit": None, "validation": None},
        **{f"traces--{name}": {"teacher": name} for name in TEACHERS},
        **{f"student--{name}": DISTILLED for name in TEACHERS},
        **{f"scores--{name}": {"temperature": 0.0, "results": True, "split": "test"} for name in TEACHERS},
    },
    "gsm8k-r1-traces": {
        "problems": {"dataset": "gsm8k", "validation": 512},
        "traces": {
            "teacher": "deepseek-reasoner",
            "split": "train",
            "samples": 1,
            "max_tokens": 2048,
            "define.deepseek-reasoner.limits": {"concurrency": 52, "retries": 5},
            "clean": True,
        },
    },
    "math-reasoning-dataset": {
        "problems": {"dataset": "math"},
        "traces": {"batch.kind": "fireworks", "format": "r1_zero", "keep": "all", "grading": "math"},
    },
}
SEEDS = {"cs336-reasoning-sft": 1337, "cs336-instruct-sft": 1337, "openr1-math-sft": 42, "acereason-sft": 42} | {
    "gsm8k-distill": 42,
    "math-reasoning-dataset": 1337,
    "acereason-selection": 42,
}


def whole(name: str) -> Graph:
    return build_graph(load_recipe(name))


def at(config: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config


def flat(node: Node) -> list[str]:
    return [s.path.as_posix() if not isinstance(s, str) else s for s in node.sources()]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("smoke", [False, True], ids=["whole", "smoke"])
def test_it_can_be_planned_before_anything_is_fetched(
    name: str, smoke: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTTRAIN_DATA", "")
    graph = build_graph(load_recipe(name, smoke=smoke))
    plan = plan_graph(graph, tmp_path / name)
    assert {one.status for one in plan} == {"make"}
    shown = describe(plan, tmp_path / name)
    assert all(node in shown for node in graph.nodes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_values_are_the_published_ones(name: str) -> None:
    graph = whole(name)
    if name in SEEDS:
        assert graph.recipe.seed == SEEDS[name]
    for node, expected in PUBLISHED[name].items():
        config = graph.nodes[node].config.model_dump(mode="json")
        assert {path: at(config, path) for path in expected} == expected, node


def test_the_four_reasoning_runs_read_two_sets_of_traces_and_are_scored_beside_their_base() -> None:
    graph = whole("cs336-reasoning-sft")
    read = {n: flat(node) for n, node in graph.nodes.items() if node.base == "sft"}
    assert [sources[1] for sources in read.values()] == ["all", "filtered", "filtered", "filtered"]
    assert len({graph.nodes[n].seed for n in read}) == 1, "they differ in nothing but the matrix"
    assert flat(graph.nodes["scores"])[:5] == ["Qwen/Qwen2.5-Math-1.5B", *read]


@pytest.mark.parametrize("name", RECIPES)
def test_its_model_stands_on_meta_tensors_at_its_true_shape(name: str) -> None:
    """The whole training sequence goes through the model's body and head, weightless: shapes fit, nothing is loaded."""
    graph = whole(name)
    trained = [node for node in graph.nodes.values() if node.spec.name in TRAINING]
    for ref in {str(s.path) for node in trained for s in node.sources() if isinstance(s, Checkpoint)}:
        assert ref in MODELS, f"say what {ref} looks like"
        config, parameters = MODELS[ref]
        shape = shape_of(config.to_dict())
        assert shape is not None
        assert shape.parameters == parameters
        longest = max(int(node.config.model_dump()["max_tokens"]) for node in trained)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
            ids = torch.zeros(1, longest, dtype=torch.int64)
            seen = torch.ones(1, 1, longest, longest, dtype=torch.bool)  # given, since none can be looked at
            row, col = torch.zeros(longest - 1, dtype=torch.int64), torch.arange(1, longest)
        assert sum(p.numel() for p in model.parameters()) == parameters
        hidden = model.base_model(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state
        assert hidden.shape == (1, longest, config.hidden_size)
        assert model.get_output_embeddings()(hidden[row, col - 1]).shape == (longest - 1, config.vocab_size)
    for node in graph.nodes.values():
        if node.spec.name == "pretrain":
            tiny = TinyConfig.model_validate(node.config.model_dump()["model"])
            assert tiny_shape(tiny).parameters < 20_000_000, "made from scratch on a laptop"


SmokeRuns = Callable[[str], tuple[Path, list[str]]]


@pytest.fixture(scope="module")
def smoke_runs(tmp_path_factory: pytest.TempPathFactory) -> SmokeRuns:
    """A recipe's smoke form, run once: its folder and the stages that were made."""

    @functools.cache
    def run(name: str) -> tuple[Path, list[str]]:
        graph = build_graph(load_recipe(name, smoke=True))
        folder = tmp_path_factory.mktemp(name)
        with contextlib.chdir(folder):
            result = run_graph(graph, folder / "runs" / graph.recipe.name, quiet=True, say=lambda line: None)
        return result.run, list(result.made)

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_its_smoke_form_runs_on_a_cpu(name: str, smoke_runs: SmokeRuns) -> None:
    graph = build_graph(load_recipe(name, smoke=True))
    wanted = {n.config.model_dump().get("dataset") for n in graph.nodes.values()} & set(NEEDS_MIRROR)
    if wanted and not os.environ.get("POSTTRAIN_DATA"):
        pytest.skip(f"the smoke form of {name} reads {', '.join(map(str, wanted))}: set POSTTRAIN_DATA to a mirror")
    run, made = smoke_runs(name)
    assert made == list(graph.nodes)
    for node in graph.nodes.values():
        if node.spec.name not in TRAINING:
            continue
        folder = run / node.name
        assert (folder / "model").is_dir()
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        watch = node.config.model_dump().get("validation") or {}
        if watch.get("every"):
            assert rows[-1]["val_n"] >= 1, "the last weights were validated"
            assert (folder / "validation.jsonl").stat().st_size > 0
    for page in run.rglob("report.html"):
        assert page.stat().st_size > 10_000


def test_the_held_out_problems_of_openr1_are_not_trained_on_unless_asked_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    own = build_graph(load_recipe("openr1-math-sft", ["sft.validation.beside=false"], smoke=True))
    run_graph(own, run, quiet=True, say=lambda line: None)
    manifest = Manifest.read(run / "traces")
    assert manifest is not None
    assert manifest.summary["held_out"] == 6
    line = json.loads((run / "sft" / "certificate.json").read_text())["validation and test are not trained on"]
    assert line == {"ok": True, "checked": 6, "shared": 0, "ids": []}
    published = build_graph(
        load_recipe("openr1-math-sft", ["sft.validation.beside=false", "traces.without=null"], smoke=True)
    )
    run_graph(published, tmp_path / "published", quiet=True, say=lambda line: None)
    line = json.loads((tmp_path / "published/sft/certificate.json").read_text())[
        "validation and test are not trained on"
    ]
    assert (line["ok"], line["shared"]) == (False, 6)


def test_a_recipes_own_data_travels_with_it() -> None:
    """`{here}` in a smoke section: the files beside the recipe, whatever folder one runs it from."""
    for name, path in RECIPES.items():
        for node in build_graph(load_recipe(name, smoke=True)).nodes.values():
            for key in ("source", "dataset"):
                value = str(node.config.model_dump().get(key) or "")
                if "/smoke/" in value:
                    assert Path(value).is_relative_to(path.parent / "smoke")
                    assert Path(value).exists()


def test_four_students_differ_in_nothing_but_their_teacher_and_are_scored_one_by_one() -> None:
    graph = whole("gsm8k-distill")
    students = [node for node in graph.nodes.values() if node.base == "student"]
    assert [flat(node) for node in students] == [["Qwen/Qwen2.5-1.5B-Instruct", f"traces--{name}"] for name in TEACHERS]
    assert len({node.seed for node in students}) == 1
    assert [flat(graph.nodes[f"scores--{name}"])[0] for name in TEACHERS] == [f"student--{name}" for name in TEACHERS]
    assert flat(graph.nodes["results"]) == ["base-scores", *(f"scores--{name}" for name in TEACHERS)]
    for name in TEACHERS[:3]:
        limits = graph.nodes[f"traces--{name}"].config.resolved(name).limits  # type: ignore[attr-defined]
        assert limits.concurrency > 1


def test_the_smoke_form_of_the_distillation_writes_what_its_author_kept(smoke_runs: SmokeRuns) -> None:
    run, _ = smoke_runs("gsm8k-distill")
    for name in ("solver", "flawed-solver", "reference", "flawed"):
        after = json.loads((run / f"scores--{name}/evaluation_results.json").read_text())
        assert [entry["model"] for entry in after] == [f"student--{name}"]
    rows = json.loads((run / "results/evaluation_results.json").read_text())
    assert len(rows) == 5
    assert all(row["training_loss"] > 0 for row in rows)
    assert [row["baseline"] for row in rows[1:]] == ["base"] * 4
    log = json.loads((run / "results/training_log.json").read_text())
    assert [one["model"] for one in log if one["stage"] == "sft"] == [row["model"] for row in rows[1:]]
    assert all(one["loss"] for one in log)


def test_the_data_sets_hold_both_files(smoke_runs: SmokeRuns) -> None:
    for name in ("gsm8k-r1-traces", "math-reasoning-dataset"):
        sizes = {p.name: len(pq.read_table(p)) for p in (smoke_runs(name)[0] / "traces/dataset").glob("*.parquet")}
        assert sizes["all.parquet"] > sizes["correct.parquet"] > 0
    run, _ = smoke_runs("math-reasoning-dataset")
    rows = pq.read_table(run / "traces/dataset/correct.parquet").to_pylist()
    assert all(row["response"].endswith(f"</think> <answer> {row['gold']} </answer>") for row in rows)
    train = {p.question for p in Problems(run / "problems").read("train")}
    held = {p.question for s in ("validation", "test") for p in Problems(run / "problems").read(s)}
    assert {row["question"] for row in rows} <= train - held


def test_every_selection_of_acereason_has_15000_rows_and_the_same_training() -> None:
    """experiments.md, 002: 15k of 100k by every strategy, everything else as in the random baseline."""
    graph, baseline = whole("acereason-selection"), whole("acereason-sft")
    chosen = {n.branch[0][1]["name"]: n for n in graph.nodes.values() if n.base == "chosen"}
    assert {"baseline", "random", "difficulty", "diversity", "pir", "s1", "mix", "student-aware"} <= set(chosen)
    steps = {name: node.config.model_dump()["steps"] for name, node in chosen.items()}
    assert {s[-1]["budget"] for s in steps.values()} == {15000}
    assert {s[-1]["select"] for s in steps.values()} == set(SELECTORS)
    assert chosen["mix"].inputs["also"] == ("other",), "other data beside AceReason"
    trained = [n for n in graph.nodes.values() if n.base == "sft"]
    assert len(trained) == len(chosen)
    assert {n.seed for n in trained} == {baseline.nodes["sft"].seed}
    assert all(n.config == baseline.nodes["sft"].config for n in trained)
    assert graph.nodes["scores"].config == baseline.nodes["scores"].config
    exported = {n.config.model_dump()["name"] for n in graph.nodes.values() if n.base == "data"}
    assert len(exported) == len(chosen)


def test_ways_of_the_offline_selection_differ_in_nothing_but_the_selection() -> None:
    graph = whole("selection-offline")
    trained = [n for n in graph.nodes.values() if n.base == "sft"]
    assert all(n.config == trained[0].config for n in trained)
    for node in trained:
        assert node.seed == dict(node.branch)["repeat"]
    ways = {dict(n.branch)["way"]["name"]: n for n in graph.nodes.values() if n.base == "chosen"}
    budgets = {name: n.config.model_dump()["steps"][-1].get("tokens") for name, n in ways.items()}
    assert {t for name, t in budgets.items() if name not in ("everything", "correct")} == {budgets["random"]}
    assert budgets["everything"] is budgets["correct"] is None
