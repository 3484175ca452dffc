"""The data set: both files, the card, and the way to the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from tests.scripted_provider import Script, ScriptedProvider
from tests.unit.hub.push_stand_in import TakingHub, taking
from tests.unit.traces.scripted import ask, some_problems, teacher

from posttrain.cli import main
from posttrain.data.examples import ExamplesConfig, examples
from posttrain.data.synthetic import problems
from posttrain.errors import PosttrainError
from posttrain.stage import Workspace
from posttrain.traces.dataset import COLUMNS

# The client's own way of sending a large file; of its HTTP library's making.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
SOLVED = problems(1, "train", 60, (1, 2))


def test_both_files_and_a_card_that_says_what_they_are(tmp_path: Path) -> None:
    samples = ask(tmp_path, some_problems(tmp_path, SOLVED), teacher=["solver", "flawed-solver"], flaw_rate=0.5)
    folder = tmp_path / "traces/dataset"
    every = pq.read_table(folder / "all.parquet")
    correct = pq.read_table(folder / "correct.parquet").to_pylist()
    assert every.column_names == list(COLUMNS)
    assert len(every) == len(samples) == 120
    assert [r for r in every.to_pylist() if r["correct"]] == correct
    assert 60 < len(correct) < 120
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert [c["data_files"] for c in front["configs"]] == ["all.parquet", "correct.parquet"]
    assert f"120 answers to 60 problems, {len(correct)} of them correct" in card
    assert "| solver | solver | 60 | 60 | 0 | 0 | 0 | unknown | $0.00 |" in card
    assert str(tmp_path) not in card


def test_the_data_set_is_read_as_examples_to_learn_from(tmp_path: Path) -> None:
    with ScriptedProvider(Script(latency=0.0, reasoning="reasoning")) as provider:
        made = ask(tmp_path, some_problems(tmp_path, 3), teacher="t", define={"t": teacher(provider)}, format="boxed")
    config = ExamplesConfig(source=str(tmp_path / "traces/dataset/correct.parquet"), format="prompt")
    read = list(examples(config, Workspace(tmp_path / "examples", quiet=True)).read())
    assert [s.question for s in read] == [s.question for s in made]
    assert all(m.extra["reasoning"] in r.response and m.response in r.response for m, r in zip(made, read, strict=True))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    with taking(TakingHub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", running.token)
        yield running


def test_it_goes_to_the_hub_as_a_data_set(hub: TakingHub, tmp_path: Path) -> None:
    ask(tmp_path, some_problems(tmp_path, SOLVED[:4]), teacher="solver", push={"repo": "me/worked"})
    sent = hub.branches["me/worked"]["main"]
    assert sorted(sent) == ["README.md", "all.parquet", "correct.parquet"]
    assert sent["README.md"] == (tmp_path / "traces/dataset/README.md").read_bytes()
    assert hub.kinds == {"dataset"}


def test_a_refused_push_leaves_the_traces_and_goes_later(
    hub: TakingHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.token = "another"
    given = some_problems(tmp_path, SOLVED[:4])
    assert len(ask(tmp_path, given, quiet=False, teacher="solver", push={"repo": "me/worked"})) == 4
    assert f"Later: posttrain push {tmp_path / 'traces'} --repo me/worked" in capsys.readouterr().out
    hub.token = "hf_writer"
    with pytest.raises(SystemExit) as ended:
        main(["push", str(tmp_path / "traces"), "--repo", "me/worked"])
    assert ended.value.code == 0
    assert sorted(hub.branches["me/worked"]["main"]) == ["README.md", "all.parquet", "correct.parquet"]


def test_a_missing_token_is_told_before_anything_is_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with (
        ScriptedProvider(Script(latency=0.0)) as provider,
        pytest.raises(PosttrainError, match="HF_TOKEN is not set"),
    ):
        ask(tmp_path, some_problems(tmp_path, 1), teacher="t", define={"t": teacher(provider)}, push={"repo": "me/x"})
    assert provider.ledger.asked.total() == 0
