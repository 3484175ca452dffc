from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.cli import main

RECIPE = {
    "name": "wide",
    "stages": {
        "text": {"stage": "data", "dataset": "synthetic-text", "train": 20},
        "base": {"stage": "pretrain", "corpus": "text", "launch": {"processes": 2, "nodes": 2, "strategy": "fsdp2"}},
        "other": {"stage": "pretrain", "corpus": "text"},
    },
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wide.yaml").write_text(json.dumps(RECIPE))


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["launch", *words])
    assert (ended.value.code or 0) == code
    told = capsys.readouterr()
    return told.err if code else told.out


def test_print_shows_what_every_machine_starts_for_each_stage_of_several_processes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rank = "python -m posttrain.training.rank runs/wide/base/.work/launch.json"
    assert said(capsys, "wide.yaml", "seed=2", "--print").splitlines() == [
        "# base: 2 machines × 2 processes, fsdp2, in runs/wide/base",
        "# machine 0",
        "MASTER_ADDR=$(hostname) MASTER_PORT=29500 posttrain run wide.yaml seed=2 --only base",
        f"#   starts {rank} 0 1",
        "# machine 1",
        f"{rank} 1",
        f"#   starts {rank} 1 0",
        f"#   starts {rank} 1 1",
    ]


def test_print_of_a_stage_alone_on_one_machine_is_its_own_verb(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "sft", "model=m", "traces=t", "steps=1", "launch.processes=2", "out=o", "--print").splitlines()
    assert told == [
        "# sft: 2 processes, ddp, in o",
        "posttrain sft model=m traces=t steps=1 launch.processes=2 out=o",
        "#   starts python -m posttrain.training.rank o/.work/launch.json 0 1",
    ]


def test_an_address_of_the_block_stands_in_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "wide.yaml", "base.launch.address=node1", "base.launch.port=5", "--print")
    assert "\nposttrain run wide.yaml base.launch.address=node1 base.launch.port=5 --only base\n" in told


def test_what_trains_in_no_several_processes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    alone = ("base.launch.processes=1", "base.launch.nodes=1")
    assert "Add launch: {processes: 2}" in said(capsys, "wide.yaml", *alone, code=2)
    assert "trains nothing" in said(capsys, "data", "dataset=synthetic", code=2)


@pytest.mark.parametrize("told", [{"NODE_RANK": "1"}, {"SLURM_NODEID": "1"}, {}])
def test_a_further_machine_joins_the_stage_in_its_folder(
    told: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    joined: list[tuple[Path, int]] = []
    monkeypatch.setattr("posttrain.training.rank.follow", lambda stage, node: joined.append((stage, node)) or 0)
    said(capsys, "wide.yaml", "--only", "base", *([] if told else ["--node", "1"]))
    assert joined == [(Path("runs/wide/base"), 1)]
