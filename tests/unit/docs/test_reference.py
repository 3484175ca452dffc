"""What docs/ has from the code: up to date, complete, and the same on every machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field
from tools.reference import curves, sections
from tools.reference.everything import ROOT, leftovers, stale
from tools.reference.keys import keys_table, words
from tools.reference.source import find, public_names
from tools.reference.text import docstring, escaped

from posttrain.cli import VERBS
from posttrain.config import Config, dotted_keys
from posttrain.preference.losses import LOSSES
from posttrain.registry import STAGES
from posttrain.rl.algorithms.presets import PRESETS
from posttrain.stage import stage_spec

PAGES = {
    **{name: name.replace("++", "-plus-plus") for name in PRESETS},
    **{name: name for name in LOSSES},
    "sft": "sft",
}


def test_what_docs_has_from_the_code_is_up_to_date() -> None:
    assert sorted(stale(ROOT)) == [], "make reference writes it anew"
    assert leftovers(ROOT) == [], "make reference removes them"


@pytest.mark.parametrize("name", PAGES)
def test_an_algorithm_has_a_page_with_its_formula_code_differences_and_curve(name: str) -> None:
    text = (ROOT / "docs" / "algorithms" / f"{PAGES[name]}.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    paper = "literature" if name == "sft" else "paper"
    wanted = ["Formula", "Settings", "Code", f"Difference from the {paper}", "Difference from TRL and verl", "Measured"]
    assert heads == wanted
    assert "```math\n" in text
    assert f"{sections.MARK}code " in text
    assert f"{sections.MARK}curve {name} -->" in text


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_page_has_all_of_its_keys_and_inputs(name: str) -> None:
    spec = stage_spec(name)
    text = (ROOT / "docs" / "reference" / "stages" / f"{name}.md").read_text(encoding="utf-8")
    listed = {key.replace("[]", "") for key in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)}
    groups = {key.rpartition(".")[0] for key in listed}
    assert {*dotted_keys(spec.config), *(takes.name for takes in spec.inputs)} <= listed | groups


def test_every_verb_has_a_section_with_its_options() -> None:
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert set(VERBS) <= set(re.findall(r"^## (.*)$", text, re.MULTILINE))
    assert "| `--dry-run` |" in text


class Inner(Config):
    rate: float = Field(0.5, gt=0, le=1)
    """How fast | or slow."""


class Outer(Config):
    name: str
    """Who."""
    inner: Inner = Inner(rate=0.25)
    several: tuple[Inner, ...] = ()
    way: Literal["a", "b"] | None = Field(None, json_schema_extra={"fingerprint": False})


def test_keys_are_listed_with_type_bounds_default_and_meaning() -> None:
    assert keys_table(Outer).splitlines()[2:] == [
        "| `name` | text | required | Who. |",
        "| `inner.rate` | number, > 0, ≤ 1 | `0.25` | How fast \\| or slow. |",
        "| `several` | list of the keys below | `[]` |  |",
        "| `several[].rate` | number, > 0, ≤ 1 | `0.5` | How fast \\| or slow. |",
        "| `way` | `a`, `b` or null | `null` | *No effect on the result.* |",
    ]


def test_a_type_without_words_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(TypeError, match="complex"):
        words(complex)


def test_a_docstrings_prose_is_escaped_and_its_columns_stand_as_they_are() -> None:
    assert escaped("a_b `c_d` *e* <*args>") == r"a\_b `c_d` *e* \<\*args\>"
    assert docstring("a: x\ny\nb, c: z_z") == "- `a`: x y\n- `b`, `c`: z\\_z"
    assert docstring("One\nline.\n\nnone   x\nmean   x − m") == "One line.\n\n```text\nnone   x\nmean   x − m\n```"


def test_a_definition_is_found_through_the_imports_that_pass_it_on() -> None:
    assert find(ROOT, "posttrain.engines", "NativeEngine").module.startswith("posttrain.engines.native.")
    assert find(ROOT, "posttrain.evals", "compare").outline().startswith("def compare(")
    assert "wilson" in public_names(ROOT, "posttrain.stats")
    with pytest.raises(LookupError, match="neither defines nor imports nothing_of_that_name"):
        find(ROOT, "posttrain.evals", "nothing_of_that_name")


def test_an_outline_has_fields_with_their_comments_and_no_bodies() -> None:
    outline = find(ROOT, "posttrain.records", "Verdict").outline()
    assert outline.startswith("@dataclass(frozen=True, slots=True)\nclass Verdict:\n    correct: bool | None\n")
    assert "isolation: str | None = None  # how a program" in outline
    assert outline.endswith("    @property\n    def parsed(self) -> bool:\n        ...")


def _result(root: Path, rows: list[dict[str, Any]]) -> None:
    folder = root / "perf" / "results"
    folder.mkdir(parents=True)
    machine = {"cpu": "some CPU", "threads": 1, "versions": {"torch": "2.13.0"}, "commit": "abc"}
    amounts = {"hidden": 96, "layers": 4, "steps": 200, "prompts": 24, "rate": 3e-4, "test": 1000}
    text = json.dumps({"machine": machine, "amounts": amounts, "rows": rows})
    (folder / "rl-learning.json").write_text(text, encoding="utf-8")


def _row(name: str, seed: int, curve: list[list[float]]) -> dict[str, Any]:
    return {
        "algorithm": name,
        "seed": seed,
        "before": 0.4,
        "after": 0.6,
        "difference": 0.2,
        "p": 1e-12,
        "curve": curve,
    }


def test_a_measured_curve_is_drawn_with_its_numbers_as_soon_as_it_is_there(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "algorithms" / "grpo.md"
    assert curves.told(tmp_path, page, "grpo").startswith("No learning curve of this algorithm has been measured yet")
    assert curves.figures(tmp_path) == {}
    _result(
        tmp_path,
        [
            _row("grpo", 0, [[0, 0.40], [100, 0.62]]),
            _row("grpo", 1, [[0, 0.40], [100, 0.58]]),
            _row("learning rate 0", 0, [[0, 0.40], [20, 0.40]]),
        ],
    )
    told = curves.told(tmp_path, page, "grpo")
    assert "(../images/curves/grpo.svg)" in told
    assert "| `grpo` | 1 | 40.0 % | 60.0 % | +20.0 points, p < 1e-9 |" in told
    assert list(curves.figures(tmp_path)) == ["grpo"]
    assert curves.figures(tmp_path)["grpo"].startswith("<svg ")
    assert curves.told(tmp_path, page, "rloo").startswith("No learning curve")


def test_the_mean_of_seeds_is_taken_at_the_steps_that_all_have() -> None:
    rows = [_row("x", 0, [[0, 0.2], [10, 0.4], [20, 0.9]]), _row("x", 1, [[0, 0.4], [10, 0.8]])]
    assert curves.mean(rows) == [(0, pytest.approx(0.3)), (10, pytest.approx(0.6))]


def test_a_section_of_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError, match="weather"):
        sections.filled(f"{sections.MARK}weather today -->\n{sections.END}", ROOT, ROOT / "docs" / "x.md")
