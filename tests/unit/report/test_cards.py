from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.hub.push_stand_in import TakingHub, taking
from tests.unit.report.fake_run import HOSTILE, make_run

from posttrain.errors import DataError, RecipeError
from posttrain.records import Problem, problems_to_table
from posttrain.report.card_facts import card_of
from posttrain.report.cards import DatasetFacts, ModelFacts, dataset_card, model_card, size_category
from posttrain.report.config import ReportConfig
from posttrain.report.stages import report
from posttrain.stage import Workspace
from posttrain.store import Manifest, write_table


def head(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def change(folder: Path, **facts: Any) -> None:
    manifest = Manifest.read(folder)
    assert manifest is not None
    dataclasses.replace(manifest, **facts).write(folder)


def with_problems(run: Path) -> None:
    problems = [Problem(str(i), "q", "1", split="train" if i else "test") for i in range(4)]
    write_table(run / "data" / "problems.parquet", problems_to_table(problems))


def test_a_model_card_carries_the_scores_with_n_interval_and_rates(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2, "sft": 0.5}, n=200)
    card = card_of(tmp_path / "sft", [tmp_path / "scores"], license="mit")
    told = head(card)
    assert told["license"] == "mit"
    assert told["tags"] == ["posttrain", "sft"]
    (result,) = told["model-index"][0]["results"]
    accuracy, truncated, unparsed = result["metrics"]
    assert accuracy["type"] == "accuracy"
    assert "n = 200, 95 % interval" in accuracy["name"]
    assert (truncated["type"], unparsed["type"]) == ("truncation", "unparsed")
    assert result["dataset"]["args"]["template"] == "chat"
    assert len(result["dataset"]["args"]["fingerprint"]) == 64
    assert "| sft   | data/test | " in card
    assert "## Training" in card
    assert "## Where it comes from" in card


def test_the_hubs_own_reader_finds_the_results_in_the_card(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    make_run(tmp_path, {"base": 0.2, "sft": 0.5}, n=200)
    data = hub.ModelCard(card_of(tmp_path / "sft", [tmp_path / "scores"])).data
    assert data.model_name == "sft"
    first = data.eval_results[0]
    assert first.dataset_type == "data/test"
    assert first.metric_type == "accuracy"
    assert 0 <= first.metric_value <= 100


def test_a_base_from_the_hub_and_its_data_are_in_the_metadata(tmp_path: Path) -> None:
    make_run(tmp_path, {"sft": 0.5}, n=5)
    change(tmp_path / "data", config={"dataset": "gsm8k"})
    given = {"name": "Qwen2.5-1.5B-Instruct", "path": "Qwen/Qwen2.5-1.5B-Instruct", "digest": "0" * 64}
    data = {"name": "data", "kind": "problems", "path": "../data", "digest": "0" * 64}
    change(tmp_path / "sft", inputs={"model": given, "problems": data})
    told = head(card_of(tmp_path / "sft"))
    assert told["base_model"] == "Qwen/Qwen2.5-1.5B-Instruct"
    assert told["base_model_relation"] == "finetune"
    assert told["datasets"] == ["openai/gsm8k"]
    assert "model-index" not in told
    assert "It was not evaluated." in card_of(tmp_path / "sft")


def test_a_dataset_card_counts_its_rows_and_says_where_they_come_from(tmp_path: Path) -> None:
    make_run(tmp_path, {"sft": 0.5}, n=5)
    with_problems(tmp_path)
    change(tmp_path / "data", config={"dataset": "gsm8k"})
    card = card_of(tmp_path / "data", name="My problems")
    told = head(card)
    assert told["size_categories"] == ["n<1K"]
    assert told["source_datasets"] == ["openai/gsm8k"]
    files = [{"split": split, "path": f"data/{split}.parquet"} for split in ("test", "train")]
    assert told["configs"] == [{"config_name": "default", "data_files": files}]
    assert "# My problems\n\nProblems with checkable answers: 4 rows, made with posttrain." in card
    assert "| train | 3    |" in card


@pytest.mark.parametrize(
    ("rows", "word"), [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (7_473, "1K<n<10K"), (2_000_000, "1M<n<10M")]
)
def test_size_categories_are_the_hubs(rows: int, word: str) -> None:
    assert size_category(rows) == word


def test_text_from_outside_stays_text_in_a_card() -> None:
    model = model_card(ModelFacts(HOSTILE, says=(HOSTILE,), license="mit\n---\nbase_model: stolen"))
    assert "base_model" not in yaml.safe_load(model[4 : model.index("\n---\n")])
    assert "\n# \\<script\\>alert(1)" in model
    data = dataset_card(DatasetFacts(HOSTILE, "Problems", "problems.parquet", teacher=HOSTILE))
    assert "<script>" not in data.split("---\n", 2)[2]


def test_the_report_writes_cards_of_its_models_and_of_their_data(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.2, "sft": 0.5}, n=20)
    with_problems(tmp_path)
    report(ReportConfig(license="mit"), [scores], Workspace(tmp_path / "report", quiet=True))
    cards = {p.name for p in (tmp_path / "report" / "cards").iterdir()}
    assert cards == {"base.md", "sft.md", "data.md"}
    sft = (tmp_path / "report" / "cards" / "sft.md").read_text()
    assert head(sft)["license"] == "mit"
    assert "sft is better than base" in sft


def test_what_has_no_card_is_said(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2, "sft": 0.5}, n=5)
    with pytest.raises(DataError, match="holds scores, and cards are of models, problems and samples"):
        card_of(tmp_path / "scores")
    with pytest.raises(DataError, match="neither an artifact nor a model"):
        card_of(tmp_path)
    with pytest.raises(DataError, match=r"problems.parquet is missing"):
        card_of(tmp_path / "data")
    (tmp_path / "rl").mkdir()
    (tmp_path / "rl" / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"scores has no model 'rl'. It has: base, sft."):
        card_of(tmp_path / "rl", [tmp_path / "scores"])
    change(tmp_path / "sft", status="running")
    with pytest.raises(DataError, match="is not finished, and a card says what is"):
        card_of(tmp_path / "sft")


def test_a_card_goes_along_with_a_pushed_model(
    tmp_path: Path, posttrain: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    make_run(tmp_path, {"sft": 0.5}, n=5)
    (tmp_path / "sft" / "model").mkdir()
    (tmp_path / "sft" / "model" / "config.json").write_text("{}")
    assert posttrain("card", "sft", "--scores", "scores", "--out", "README.md").returncode == 0
    with taking(TakingHub()) as hub:
        sent = ("push", "sft", "--card", "README.md")
        told = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        done = posttrain(*sent, "--repo", "me/student", **told)
        assert done.returncode == 0, done.stderr
        files = hub.branches["me/student"]["main"]
    assert set(files) == {"config.json", "README.md"}
    assert files["README.md"] == (tmp_path / "README.md").read_bytes()
    refused = posttrain(*sent)
    assert refused.returncode == 2
    assert "a card goes along with a model: give --repo owner/name" in refused.stderr
