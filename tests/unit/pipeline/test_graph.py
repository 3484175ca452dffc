from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import RecipeError
from posttrain.pipeline import Graph, build_graph, parse_recipe, run_stage
from posttrain.pipeline.graph import Node
from posttrain.seeding import derive

T = "tests.toys:"


def graph(stages: dict[str, Any], *overrides: str, smoke: bool = False, **top: Any) -> Graph:
    return build_graph(
        parse_recipe({"name": "r", "seed": 1, "stages": stages, **top}, "r.yaml", overrides, smoke=smoke)
    )


def fed_by(node: Node) -> dict[str, Any]:
    """Inputs with artifacts from outside as their paths."""

    def plain(source: Any) -> Any:
        return source if isinstance(source, str) else str(source.path)

    return {k: [plain(s) for s in v] if isinstance(v, tuple) else plain(v) for k, v in node.inputs.items()}


LINE = {
    "problems": {"stage": T + "numbers"},
    "traces": {"stage": T + "told", "problems": "problems"},
    "student": {"stage": T + "student", "traces": "traces"},
    "scores": {"stage": T + "scores", "models": ["student"]},
}


def test_inputs_are_told_from_config_by_the_signature() -> None:
    nodes = graph(LINE).nodes
    assert list(nodes) == ["problems", "traces", "student", "scores"]
    assert fed_by(nodes["student"]) == {"traces": "traces"}
    assert nodes["student"].config.model_dump()["steps"] == 4


def test_a_list_input_takes_one_or_many_names() -> None:
    one = graph({**LINE, "scores": {"stage": T + "scores", "models": "student"}})
    assert fed_by(one.nodes["scores"]) == {"models": ["student"]}


def test_stages_may_stand_in_any_order() -> None:
    backwards = graph(dict(reversed(LINE.items())))
    assert list(backwards.nodes) == ["problems", "traces", "student", "scores"]


def test_the_example_of_the_design_branches_follows_and_joins() -> None:
    nodes = graph(
        {
            "problems": {"stage": T + "numbers"},
            "traces": {"stage": T + "told", "problems": "problems", "teacher": "{teacher}"},
            "student": {"stage": T + "student", "traces": "traces", "model": "{model}"},
            "scores": {"stage": T + "scores", "models": ["{model}", "student"]},
            "report": {"stage": T + "report", "of": ["scores"]},
        },
        model="Qwen/Qwen2.5-1.5B-Instruct",
        matrix={"teacher": ["gpt-4o-mini", "a/b c"]},
    ).nodes
    assert list(nodes) == [
        "problems",
        "traces--gpt-4o-mini",
        "traces--a-b-c",
        "student--gpt-4o-mini",
        "student--a-b-c",
        "scores",
        "report",
    ]
    assert fed_by(nodes["student--a-b-c"]) == {"traces": "traces--a-b-c", "model": "Qwen/Qwen2.5-1.5B-Instruct"}
    assert fed_by(nodes["scores"]) == {
        "models": ["Qwen/Qwen2.5-1.5B-Instruct", "student--gpt-4o-mini", "student--a-b-c"]
    }
    assert nodes["traces--a-b-c"].config.model_dump() == {"teacher": "a/b c"}


def test_a_stage_that_names_a_key_or_says_each_is_made_per_branch() -> None:
    stages = {
        "problems": {"stage": T + "numbers"},
        "traces": {"stage": T + "told", "problems": "problems", "teacher": "{teacher}"},
        "student": {"stage": T + "student", "traces": "traces"},
        "scores": {"stage": T + "scores", "models": ["student"], "each": "teacher"},
    }
    nodes = graph(stages, matrix={"teacher": ["a", "b"]}).nodes
    assert fed_by(nodes["scores--b"]) == {"models": ["student--b"]}


def test_two_matrix_keys_make_every_pair_and_values_keep_their_type() -> None:
    stages = {
        "problems": {"stage": T + "numbers", "n": "{n}"},
        "student": {"stage": T + "student", "problems": "problems", "optimizer": {"lr": "{lr}"}},
        "scores": {"stage": T + "scores", "models": ["student"]},
    }
    nodes = graph(stages, matrix={"n": [1, 2], "lr": [1e-3, 1e-4]}).nodes
    assert [n for n in nodes if n.startswith("student")] == [
        "student--1--0.001",
        "student--1--0.0001",
        "student--2--0.001",
        "student--2--0.0001",
    ]
    assert nodes["problems--2"].config.model_dump()["n"] == 2
    assert len(fed_by(nodes["scores"])["models"]) == 4


def test_a_matrix_over_stages_feeds_each_branch_from_its_own() -> None:
    stages = {
        "small": {"stage": T + "student"},
        "large": {"stage": T + "student", "steps": 9},
        "scores": {"stage": T + "scores", "models": "{which}"},
    }
    nodes = graph(stages, matrix={"which": ["small", "large"]}).nodes
    assert fed_by(nodes["scores--large"]) == {"models": ["large"]}


RUNS = [{"name": "all", "from": "small", "n": 1}, {"name": "half", "from": "large", "n": 2}]


def test_a_matrix_value_with_fields_names_its_branch_and_sets_several_keys() -> None:
    stages = {
        "small": {"stage": T + "numbers"},
        "large": {"stage": T + "numbers", "n": 9},
        "traces": {"stage": T + "told", "problems": "{run.from}"},
        "student": {"stage": T + "student", "traces": "traces", "steps": "{run.n}"},
        "scores": {"stage": T + "scores", "models": ["student"], "benchmarks": ["{run}"]},
        "joined": {"stage": T + "scores", "models": ["student"]},
    }
    made = graph(stages, matrix={"run": RUNS})
    assert [n for n in made.nodes if "--" in n] == [
        f"{stage}--{name}" for stage in ("traces", "student", "scores") for name in ("all", "half")
    ]
    assert fed_by(made.nodes["traces--half"]) == {"problems": "large"}
    assert made.nodes["student--half"].config.model_dump()["steps"] == 2
    assert made.nodes["scores--half"].config.model_dump()["benchmarks"] == ("half",)
    assert fed_by(made.nodes["scores--half"]) == {"models": ["student--half"]}
    assert fed_by(made.nodes["joined"]) == {"models": ["student--all", "student--half"]}
    assert made.nodes["student--all"].seed == made.nodes["student--half"].seed, "branches differ in the matrix alone"
    assert made.select("student") == ["student--all", "student--half"]


def test_a_smoke_section_can_cut_every_branch_or_the_matrix() -> None:
    stages = {"student": {"stage": T + "student", "steps": "{run.n}"}}
    short = {"student.steps": 1}
    whole = build_graph(
        parse_recipe(
            {"name": "r", "stages": {"student": {**stages["student"], "each": "run"}}, "matrix": {"run": RUNS}}
            | {"smoke": short},
            "r.yaml",
            smoke=True,
        )
    )
    assert {n: node.config.model_dump()["steps"] for n, node in whole.nodes.items()} == {
        "student--all": 1,
        "student--half": 1,
    }
    one = build_graph(
        parse_recipe(
            {"name": "r", "stages": stages, "matrix": {"run": RUNS}, "smoke": {"matrix": {"run": RUNS[1:]}}},
            "r.yaml",
            smoke=True,
        )
    )
    assert list(one.nodes) == ["student--half"]


def test_matrix_values_that_look_alike_get_different_folders() -> None:
    stages = {"traces": {"stage": T + "numbers", "word": "{w}"}}
    names = list(graph(stages, matrix={"w": ["a b", "a/b"]}).nodes)
    assert len(set(names)) == 2
    assert all(name.startswith("traces--a-b-") for name in names)
    with pytest.raises(RecipeError, match="has 'a' twice"):
        graph(stages, matrix={"w": ["a", "a"]})


def test_repeat_unrolls_rounds_that_feed_each_other() -> None:
    stages = {
        "problems": {"stage": T + "numbers"},
        "base": {"stage": T + "student"},
        "expert": {
            "repeat": 3,
            "start": {"student": "base"},
            "stages": {
                "traces": {"stage": T + "told", "problems": "problems", "teacher": "round {round}"},
                "student": {"stage": T + "student", "model": "student", "traces": "traces"},
            },
        },
        "scores": {"stage": T + "scores", "models": ["base", "student-1", "student"]},
    }
    nodes = graph(stages).nodes
    assert list(nodes)[2:] == ["traces-1", "student-1", "traces-2", "student-2", "traces-3", "student-3", "scores"]
    assert fed_by(nodes["student-1"]) == {"model": "base", "traces": "traces-1"}
    assert fed_by(nodes["student-3"]) == {"model": "student-2", "traces": "traces-3"}
    assert fed_by(nodes["scores"]) == {"models": ["base", "student-1", "student-3"]}
    assert nodes["traces-2"].config.model_dump() == {"teacher": "round 2"}
    assert graph(stages, "expert.repeat=1", "student.steps=7").nodes["student-1"].config.model_dump()["steps"] == 7


def test_a_group_that_starts_from_nothing_says_what_is_missing() -> None:
    group = {"repeat": 2, "stages": {"student": {"stage": T + "student", "model": "student"}}}
    with pytest.raises(RecipeError, match=r"round 1 of 'student' takes 'student'.*start: \{student: …\}"):
        graph({"loop": group})


def test_a_seed_depends_on_the_root_and_the_stages_name_alone() -> None:
    few = graph({"problems": LINE["problems"]}).nodes["problems"].seed
    assert few == graph(LINE).nodes["problems"].seed == derive(1, "stage", "problems")
    assert graph(LINE, "seed=2").nodes["problems"].seed != few
    assert graph(LINE, "problems.seed=77").nodes["problems"].seed == 77


def test_variables_fill_values_and_keep_types_and_foreign_braces() -> None:
    stages = {"problems": {"stage": T + "numbers", "n": "{count}", "word": r"{count} of \boxed{answer} {{count}}"}}
    config = graph(stages, vars={"count": 5}).nodes["problems"].config.model_dump()
    assert (config["n"], config["word"]) == (5, r"5 of \boxed{answer} {count}")
    assert graph(stages, "count=6", vars={"count": 5}).nodes["problems"].config.model_dump()["n"] == 6


def test_smoke_changes_what_it_says_and_has_a_name_of_its_own() -> None:
    changes = {"student.steps": 2, "student": {"optimizer": {"lr": 1.0}}, "seed": 9}
    smoked = build_graph(parse_recipe({"name": "r", "stages": LINE, "smoke": changes}, "r.yaml", smoke=True))
    assert smoked.recipe.name == "r-smoke"
    assert smoked.recipe.seed == 9
    assert smoked.nodes["student"].config.model_dump()["steps"] == 2
    assert smoked.nodes["student"].config.model_dump()["optimizer"] == {"lr": 1.0}
    with pytest.raises(RecipeError, match="has no 'smoke:' section"):
        graph(LINE, smoke=True)


def change(stage: str, **body: Any) -> dict[str, Any]:
    return {**LINE, stage: {**LINE[stage], **body}}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"a": {"stage": "stf"}}, r"unknown stage 'stf'. Did you mean 'sft'\?"),
        ({"a": {}}, "stage 'a' does not say which stage it is"),
        ({"a": {"stage": "nowhere_at_all:f"}}, "there is no module 'nowhere_at_all'"),
        ({"a": {"stage": T + "studnt"}}, r"has no function 'studnt'. Did you mean 'student'\?"),
        ({"a": {"stage": T + "no_stage"}}, "no_stage is no stage: its first parameter is its config"),
        (change("student", stpes=3), r"stage 'student': unknown key 'stpes'. Did you mean 'steps'\?"),
        (change("student", lr=3), r"stage 'student': unknown key 'lr'. Did you mean 'optimizer.lr'\?"),
        (change("student", steps="x"), "stage 'student': 'steps' is 'x'"),
        (change("student", seed="x"), "stage 'student': seed is 'x'; it must be a whole number"),
        (change("student", each="nothing"), "each: 'nothing' is no matrix key"),
        (
            change("student", traces="problems"),
            r"stage 'student' needs 'traces', but 'problems' makes problems. Did you mean traces: traces\?",
        ),
        (change("student", traces="trces"), r"'trces' is neither a stage .* nor a folder. Did you mean 'traces'\?"),
        (change("student", traces="no/such/folder"), "no/such/folder is no folder here. Give the folder of samples"),
        (change("student", traces=["traces"]), "'traces' takes one artifact, not a list"),
        (change("student", traces=3), "'traces' is 3; it must name a stage or a folder"),
        (
            change("traces", problems=None),
            r"input 'problems' \(problems\) is missing. Did you mean problems: problems\?",
        ),
        (change("scores", models=[]), r"input 'models' \(checkpoint\) is missing. Did you mean models: student\?"),
        (change("student", model="student"), "feed each other in a circle: student → student"),
        (
            {
                "a": {"stage": T + "student", "model": "b"},
                "b": {"stage": T + "student", "model": "c"},
                "c": {"stage": T + "student", "model": "a"},
            },
            "feed each other in a circle: . → . → . → .",
        ),
        (change("student", steps="{stps}"), "there is no variable {stps}"),
        ({"a": {"repeat": 0, "stages": {"b": {"stage": T + "student"}}}}, "repeat is 0"),
        ({"a": {"repeat": 2, "stages": {}}}, "'stages' must be a mapping"),
        ({"a": {"repeat": 2, "stage": "x"}}, "group 'a': unknown key 'stage'"),
        ({"a": {"repeat": 2, "start": {"c": "x"}, "stages": {"b": {"stage": T + "student"}}}}, "'c' is no stage of"),
        ({}, "needs at least one stage"),
        ({"a/b": {"stage": T + "student"}}, "stage name 'a/b'"),
        ({"a": 3}, "'stages.a' is 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(stages: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        graph(stages)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"matrx": {}}, r"unknown key 'matrx'. Did you mean 'matrix'\?"),
        ({"name": "a/b"}, "it names the run's folder"),
        ({"seed": "x"}, "'seed' is 'x'"),
        ({"matrix": {"t": []}}, "'t' has no values"),
        ({"matrix": {"t": [{"a": 1}]}}, "has no name. Write {name: …, field: …}"),
        ({"matrix": {"t": [{"name": "x"}, "y"]}}, "and 'y' has no name"),
        (
            {"matrix": {"t": [{"name": "x"}, {"name": "y", "lr": 1}]}},
            "'x' and 'y' don't have the same fields: one lacks 'lr'",
        ),
        ({"matrix": {"t": [{"name": "x"}, {"name": "x"}]}}, "two values of one name"),
        ({"matrix": 3}, "'matrix' is 3; it must be a mapping"),
        ({"vars": {"t": 1}, "matrix": {"t": [1]}}, "'t' is both a variable and a matrix key"),
        ({"vars": {"student": 1}}, "variable 'student' is also a stage"),
        ({"vars": {"seed": 1}}, "variable 'seed' is also a key of every recipe"),
    ],
)
def test_a_wrong_top_level_is_said_in_one_sentence(top: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        graph(LINE, **top)


def test_an_override_of_nothing_is_an_error_and_not_a_new_key() -> None:
    with pytest.raises(RecipeError, match=r"there is no stage or key 'studnt'. Did you mean 'student'\?"):
        graph(LINE, "studnt.steps=3")


def test_a_stage_that_could_also_be_a_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "traces").mkdir()
    graph(LINE)  # a folder that is no artifact can't be meant
    run_stage(T + "numbers", {}, {}, tmp_path / "problems")
    with pytest.raises(
        RecipeError, match=r"'problems' is a stage of this recipe and also a folder here. Write ./problems"
    ):
        graph(LINE)


def test_artifacts_and_models_from_outside_can_be_inputs(tmp_path: Path) -> None:
    run_stage(T + "numbers", {}, {}, tmp_path / "problems")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    nodes = graph({"s": {"stage": T + "student", "model": str(model), "problems": str(tmp_path / "problems")}}).nodes
    assert fed_by(nodes["s"]) == {"model": str(model), "problems": str(tmp_path / "problems")}
    with pytest.raises(RecipeError, match=r"needs checkpoint, but .*problems holds problems"):
        graph({"s": {"stage": T + "student", "model": str(tmp_path / "problems")}})
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"neither an artifact \(it has no manifest.json\) nor a model folder"):
        graph({"s": {"stage": T + "student", "model": str(tmp_path / "empty")}})


def test_a_hub_name_carries_its_revision() -> None:
    nodes = graph({"s": {"stage": T + "student", "model": "Qwen/Qwen2.5-0.5B@main"}}).nodes
    source: Any = nodes["s"].inputs["model"]
    assert (str(source.path), source.revision, source.label) == ("Qwen/Qwen2.5-0.5B", "main", "Qwen2.5-0.5B")
