"""Runs, data sets, adapters and scores to the Hub, and what a push does when it breaks off, against the stand-in."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from tests.unit.hub.push_stand_in import TakingHub, taking
from tests.unit.report.fake_run import make_run

from posttrain.cli import main
from posttrain.hub import push as pushing
from posttrain.hub.push import Parcel, PushError, push_parcel
from posttrain.models.base import for_others
from posttrain.records import Problem, problems_to_table
from posttrain.store import write_json, write_table

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
KEY = "hf_writer_0123456789"  # planted: it must appear nowhere but in a header
REPO = "someone/thing"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    with taking(TakingHub(token=KEY)) as running:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        where = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", where)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", KEY)
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run: problems, a base and a trained model, their scores."""
    folder = tmp_path / "gsm"
    make_run(folder, {"base": 0.2, "sft": 0.5}, n=20)
    problems = [Problem(str(i), f"{i} + 1?", str(i + 1), split="test" if i < 2 else "train") for i in range(6)]
    write_table(folder / "data" / "problems.parquet", problems_to_table(problems))
    for model in ("base", "sft"):
        inner = folder / model / "model"
        inner.mkdir()
        (inner / "config.json").write_text("{}")
        (inner / "model.safetensors").write_bytes(model.encode() * 100)
    return folder


def push(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["push", *map(str, arguments)])
    return int(ended.value.code or 0)


def front(card: bytes) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load(card.decode().split("---\n")[1])
    return told


def many(tmp_path: Path, count: int) -> Parcel:
    """A parcel that goes in several commits."""
    files = {"README.md": b"---\ntags: [x]\n---\n"} | {f"part-{i}.txt": f"{i}".encode() * 10 for i in range(count)}
    return Parcel("dataset", files, "parts", whole=False)


def test_a_run_goes_without_weights_work_and_hidden_files(hub: TakingHub, run: Path) -> None:
    for hidden in (
        "sft/.work/state.json",
        "sft/.push.json",
        ".lock",
        "journals/t/replies.jsonl",
        "sft@1/manifest.json",
    ):
        (run / hidden).parent.mkdir(parents=True, exist_ok=True)
        (run / hidden).write_text((run / "sft/manifest.json").read_text())
    assert push(run, "--repo", REPO) == 0
    sent = hub.branches[REPO]["main"]
    assert {"data/problems.parquet", "sft/manifest.json", "sft/metrics.jsonl", "scores/scores.json"} <= set(sent)
    assert not [name for name in sent if "model/" in name or "journals" in name or "@" in name or "/." in name]
    assert hub.kinds == {"dataset"}
    card = sent["README.md"].decode()
    assert "Not here: journals/ (replies as they came), base/model (weights), sft/model (weights)" in card.replace(
        "\\", ""
    )
    configs = {c["config_name"]: c["data_files"] for c in front(sent["README.md"])["configs"]}
    assert configs["data-problems"] == "data/problems.parquet"
    assert configs["scores-samples"] == "scores/**/samples.parquet"
    assert push(run, "--repo", "someone/with-weights", "--weights") == 0
    assert "sft/model/model.safetensors" in hub.branches["someone/with-weights"]["main"]


def test_problems_become_a_file_per_split_that_the_card_names(hub: TakingHub, run: Path) -> None:
    assert push(run / "data", "--repo", REPO) == 0
    sent = hub.branches[REPO]["main"]
    (config,) = front(sent["README.md"])["configs"]
    assert {f["split"]: f["path"] for f in config["data_files"]} == {
        "test": "data/test.parquet",
        "train": "data/train.parquet",
    }
    assert pq.read_table(io.BytesIO(sent["data/train.parquet"])).column("id").to_pylist() == ["2", "3", "4", "5"]
    assert pq.read_table(io.BytesIO(sent["data/test.parquet"])).column("answer").to_pylist() == ["1", "2"]


def test_a_model_goes_with_a_card_that_has_its_scores(hub: TakingHub, run: Path) -> None:
    assert push(run / "sft", "--repo", REPO, "--scores", run / "scores", "--license", "mit") == 0
    sent = hub.branches[REPO]["main"]
    assert set(sent) == {"README.md", "config.json", "model.safetensors"}
    told = front(sent["README.md"])
    assert told["license"] == "mit"
    assert told["model-index"][0]["results"][0]["metrics"][0]["type"] == "accuracy"
    assert hub.commits == [(REPO, "main")], "a model is whole or not there"


def test_scores_go_into_the_card_of_a_model_that_is_there_and_leave_the_rest_of_it(hub: TakingHub, run: Path) -> None:
    hub.holds(REPO, {"README.md": b"---\nlicense: mit\n---\n# Mine\n\nWords of mine.\n", "config.json": b"{}"})
    assert push(run / "scores", "--repo", REPO, "--model", "sft") == 0
    card = hub.branches[REPO]["main"]["README.md"]
    assert card.decode().endswith("# Mine\n\nWords of mine.\n")
    told = front(card)
    assert told["license"] == "mit"
    (result,) = told["model-index"][0]["results"]
    assert result["dataset"]["type"] == "data/test"
    assert push(run / "scores", "--repo", REPO, "--model", "sft") == 0
    assert len(hub.commits) == 1, "the same scores change nothing"


def test_other_scores_on_the_same_questions_are_refused_until_told_otherwise(
    hub: TakingHub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.holds(REPO, {"README.md": b"# Mine\n"})
    assert push(run / "scores", "--repo", REPO, "--model", "sft") == 0
    assert push(run / "scores", "--repo", REPO, "--model", "base") == 2
    assert "has another result on data/test asked in the same way" in capsys.readouterr().err
    assert push(run / "scores", "--repo", REPO, "--model", "base", "--existing", "add") == 0
    assert len(front(hub.branches[REPO]["main"]["README.md"])["model-index"][0]["results"]) == 1


def test_scores_without_a_model_on_the_hub_say_how_to_send_one(
    hub: TakingHub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(run / "scores", "--repo", REPO, "--model", "sft") == 2
    assert f"there is no model {REPO} on the Hub" in capsys.readouterr().err


def test_an_adapter_names_its_base_on_the_hub_and_no_path_of_this_machine(hub: TakingHub, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    base = {"ref": str(tmp_path / "base"), "revision": None, "quantize": None, "digest": "d", "near": "../base"}
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 4, "base_model_name_or_path": base["ref"]})
    write_json(folder / "adapter_base.json", base)
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    assert push(folder, "--repo", REPO, "--base", "Qwen/Qwen2.5-1.5B") == 0
    sent = hub.branches[REPO]["main"]
    assert json.loads(sent["adapter_config.json"])["base_model_name_or_path"] == "Qwen/Qwen2.5-1.5B"
    assert json.loads(sent["adapter_base.json"])["ref"] == "Qwen/Qwen2.5-1.5B"
    assert front(sent["README.md"])["base_model"] == "Qwen/Qwen2.5-1.5B"
    assert front(sent["README.md"])["library_name"] == "peft"
    assert not any(str(tmp_path).encode() in content for content in sent.values())
    unnamed = for_others(folder)
    assert unnamed["adapter_base.json"] is None
    assert json.loads(unnamed["adapter_config.json"] or b"")["base_model_name_or_path"] is None


@pytest.mark.parametrize("how", ["cut", "full"])
def test_a_push_that_breaks_off_says_what_landed_and_goes_on_from_there(
    hub: TakingHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(pushing, "GROUP_FILES", 3)
    hub.cut_after, hub.full_after = (2, None) if how == "cut" else (None, 2)
    parcel = many(tmp_path, 10)
    with pytest.raises(PushError, match=r"The Hub has 6 of 11 files \(60 B of 118 B\); the same push again") as refused:
        push_parcel(parcel, REPO)
    assert ("storage behind someone/thing is full" in str(refused.value)) is (how == "full")
    assert len(hub.branches[REPO]["main"]) == 6
    hub.cut_after = hub.full_after = None
    done = push_parcel(parcel, REPO)
    assert (done.sent, done.kept) == (5, 6)
    assert hub.branches[REPO]["main"] == parcel.files
    assert len(hub.commits) == 5, "two before, then parts 6 to 8, part 9, and the card"


def test_a_push_of_what_is_there_sends_nothing(hub: TakingHub, run: Path) -> None:
    assert push(run, "--repo", REPO, "--weights") == 0
    commits, puts = len(hub.commits), hub.puts
    assert push(run, "--repo", REPO, "--weights") == 0
    assert (len(hub.commits), hub.puts) == (commits, puts)


def test_what_differs_or_is_not_ours_is_not_overwritten_unasked(hub: TakingHub, tmp_path: Path) -> None:
    parcel = Parcel("model", {"config.json": b"{}", "README.md": b"new"}, "model")
    hub.holds(REPO, {"config.json": b"{1}", "notes.txt": b"mine", "README.md": b"old", ".gitattributes": b""})
    with pytest.raises(PushError, match=r"1 differ \(config.json\) and 1 are others \(notes.txt\). Nothing was sent"):
        push_parcel(parcel, REPO)
    assert not hub.commits
    push_parcel(parcel, REPO, existing="add")
    assert hub.branches[REPO]["main"] == {**parcel.files, "notes.txt": b"mine", ".gitattributes": b""}
    push_parcel(parcel, REPO, existing="replace")
    assert hub.branches[REPO]["main"] == {**parcel.files, ".gitattributes": b""}


def test_a_new_branch_has_only_what_is_sent_to_it(hub: TakingHub) -> None:
    hub.holds(REPO, {"old.bin": b"1"})
    push_parcel(Parcel("model", {"config.json": b"{}"}, "model"), REPO, ["step-000050"])
    assert hub.branches[REPO]["step-000050"] == {"config.json": b"{}"}
    assert hub.branches[REPO]["main"] == {"old.bin": b"1"}


def test_a_token_that_may_only_read_is_told_which_permission_it_lacks(
    hub: TakingHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.roles["hf_reader_0123456789"] = "read"
    monkeypatch.setenv("HF_TOKEN", "hf_reader_0123456789")
    with pytest.raises(
        PushError, match=r"role 'write'.*'repo.write' for someone; this one has the role 'read'"
    ) as told:
        push_parcel(Parcel("model", {"config.json": b"{}"}, "model"), REPO)
    assert "hf_reader" not in str(told.value)


def test_a_token_of_somebody_else_is_told_where_it_may_write(hub: TakingHub) -> None:
    hub.owners = ("someone",)
    with pytest.raises(PushError, match="someone may write to someone and not to another"):
        push_parcel(Parcel("model", {"config.json": b"{}"}, "model"), "another/thing")


@pytest.mark.parametrize("name", ["thing", "a/b/c", "some one/thing", "someone/-thing", "someone/" + "x" * 97])
def test_a_wrong_name_is_refused_before_anything_is_asked(hub: TakingHub, name: str) -> None:
    with pytest.raises(PushError, match=r"no name of a repository. Write owner/name"):
        push_parcel(Parcel("model", {"config.json": b"{}"}, "model"), name)
    assert not hub.authorisations


@pytest.mark.parametrize(("token", "said"), [(None, "HF_TOKEN is not set"), ("hf_x\n\ny", "no HTTP header can carry")])
def test_no_token_and_a_torn_one_are_told_apart(
    hub: TakingHub, monkeypatch: pytest.MonkeyPatch, token: str | None, said: str
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PushError, match=said) as told:
        push_parcel(Parcel("model", {"config.json": b"{}"}, "model"), REPO)
    assert "hf_x" not in str(told.value)


def test_a_file_with_a_key_stays_here_and_the_message_has_no_key(
    hub: TakingHub, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "planted-key-of-a-teacher")
    (run / "sft" / "metrics.jsonl").write_text('{"note": "planted-key-of-a-teacher"}\n')
    assert push(run, "--repo", REPO) == 2
    said = capsys.readouterr().err
    assert "sft/metrics.jsonl holds the value of TEACHER_API_KEY. Nothing was sent" in said
    assert "planted-key" not in said
    assert not hub.commits
    monkeypatch.delenv("TEACHER_API_KEY")
    monkeypatch.chdir(run)
    Path(".env").write_text("OTHER=planted-key-of-a-teacher\n")
    assert push(run, "--repo", REPO) == 2
    assert "the value of OTHER" in capsys.readouterr().err


def test_a_key_in_a_tables_text_is_found_though_its_pages_are_compressed(hub: TakingHub, tmp_path: Path) -> None:
    problems = [Problem(str(i), "a question", f"{KEY}" if i == 77 else "1") for i in range(100)]
    write_table(tmp_path / "problems.parquet", problems_to_table(problems))
    with pytest.raises(PushError, match=r"problems.parquet holds the value of HF_TOKEN"):
        push_parcel(Parcel("dataset", {"problems.parquet": tmp_path / "problems.parquet"}, "data"), REPO)


def test_what_looks_like_a_key_in_our_own_records_is_not_sent(hub: TakingHub) -> None:
    shape = b"hf_" + b"A1b2C3d4" * 5
    with pytest.raises(PushError, match=r"manifest.json holds what has the form of an access key"):
        push_parcel(Parcel("dataset", {"x/manifest.json": b'"' + shape + b'"'}, "run"), REPO)
    push_parcel(Parcel("dataset", {"answers.jsonl": shape}, "run"), REPO)  # a model may have written it


def test_a_dry_run_lists_files_with_sizes_and_asks_nobody(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert push(run / "sft", "--repo", REPO, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "to the model repository someone/thing, branch main:" in said
    assert "model.safetensors  300 B" in said
    assert "3 files" in said
    assert push(run, "--repo", REPO, "--dry-run") == 0
    assert "left out: sft/model (weights)" in capsys.readouterr().out


def test_what_is_nothing_to_push_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert push(tmp_path / "empty", "--repo", REPO, "--dry-run") == 2
    assert "is no run, stage or model. What can be pushed" in capsys.readouterr().err
    assert push(run / "sft") == 2
    assert "give --repo owner/name" in capsys.readouterr().err
