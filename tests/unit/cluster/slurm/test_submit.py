from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cluster.slurm.pretend import Pretend

from posttrain.cli import main
from posttrain.cluster.slurm.journal import Journal
from posttrain.pipeline import build_graph, load_recipe, run_graph

Posttrain = Callable[..., subprocess.CompletedProcess[str]]


def submit(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["submit", "walk.yaml", "--slurm", *words])
    assert not ended.value.code


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["submit", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_each_stage_is_a_job_a_matrix_is_an_array_and_each_waits_for_what_it_reads(walk: Path, slurm: Pretend) -> None:
    """102 and 103 are arrays over one matrix, so each element of the second follows that of its own branch."""
    submit()
    assert slurm.asked() == [
        "--parsable problems.sbatch",
        "--parsable --dependency=afterok:101 student.sbatch",
        "--parsable --dependency=aftercorr:102 second.sbatch",
        "--parsable --dependency=afterok:102,afterok:103 scores.sbatch",
    ]
    text = Path("runs/walk/slurm/student.sbatch").read_text()
    for option in ("array=0,1,2%2", "partition=gpu", "time=4:00:00", "gpus-per-node=2", "mem=32G", "signal=B:USR1@120"):
        assert f"#SBATCH --{option}\n" in text
    assert "[0]=student--0.1 [1]=student--0.2 [2]=student--0.3" in text
    assert "gpus" not in Path("runs/walk/slurm/scores.sbatch").read_text()


def test_every_file_is_shell(walk: Path, slurm: Pretend) -> None:
    submit("--offline", "slurm.modules=[cuda/12, 'it''s']", "slurm.setup=[ulimit -n 4096]", "student.steps=2")
    files = sorted(Path("runs/walk/slurm").glob("*.sbatch"))
    assert len(files) == 4
    for file in files:
        done = subprocess.run(["bash", "-n", file], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    text = files[0].read_text()
    for line in ("module load cuda/12 ||", "export HF_HUB_OFFLINE=1\n", "\nulimit -n 4096\n"):
        assert line in text


def test_submitting_again_queues_nothing_that_is_queued_or_made(walk: Path, slurm: Pretend) -> None:
    submit()
    submit()
    assert len(slurm.asked()) == 4
    graph = build_graph(load_recipe("walk.yaml"))
    run_graph(graph, Path("runs/walk"), quiet=True, say=lambda line: None)
    for number in ("101", *(f"{array}_{i}" for array in (102, 103) for i in range(3)), "104"):
        slurm.becomes(number, "COMPLETED")
    submit()
    assert len(slurm.asked()) == 4


def test_what_failed_is_queued_again_and_waits_for_what_still_runs(walk: Path, slurm: Pretend) -> None:
    submit()
    slurm.becomes("101", "RUNNING")
    slurm.becomes("102_1", "FAILED", code=2)
    slurm.becomes("104", "CANCELLED")
    submit()
    assert slurm.asked()[4:] == [
        "--parsable --dependency=afterok:101 student.sbatch",
        "--parsable --dependency=afterok:102_0,afterok:102_2,afterok:105,afterok:103 scores.sbatch",
    ]
    assert "#SBATCH --array=1%2\n" in Path("runs/walk/slurm/student.sbatch").read_text()
    last = Journal.read(Path("runs/walk")).last()
    assert {name: entry.number(index) for name, (entry, index) in last.items() if "student" in name} == {
        "student--0.1": "102_0",
        "student--0.2": "105_1",
        "student--0.3": "102_2",
    }


def test_a_submit_that_dies_behind_sbatch_queues_nothing_twice(
    walk: Path, slurm: Pretend, posttrain: Posttrain
) -> None:
    (slurm.room / "die").touch()  # sbatch kills who called it, once the job is queued
    assert posttrain("submit", "walk.yaml", "--slurm").returncode < 0
    (entry,) = Journal.read(Path("runs/walk")).entries
    assert entry.job is None
    submit()
    assert [line.split()[-1] for line in slurm.asked()] == [
        f"{base}.sbatch" for base in ("problems", "student", "second", "scores")
    ]
    assert Journal.read(Path("runs/walk")).entries[0].job == "101"


def test_what_is_queued_reads_the_recipe_as_it_was_and_another_one_is_refused(
    walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    submit()
    walk.write_text(walk.read_text().replace("model: student}", "model: student, steps: 9}"))
    told = refused(capsys, "walk.yaml", "--slurm")
    assert "'second--0.1' is queued as job 103_0 from a recipe with other settings" in told
    assert "scancel 103_0" in told
    assert len(slurm.asked()) == 4


def test_a_stage_that_was_made_from_something_else_stops_it(
    walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    run_graph(build_graph(load_recipe("walk.yaml")), Path("runs/walk"), quiet=True, say=lambda line: None)
    assert "made from something else" in refused(capsys, "walk.yaml", "--slurm", "problems.n=5")
    assert slurm.asked() == []


def test_only_a_stage_whose_inputs_nobody_makes_is_refused(
    walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "'student--0.1' is neither made nor queued" in refused(capsys, "walk.yaml", "--slurm", "--only", "scores")
    submit("--only", "problems")
    assert slurm.asked() == ["--parsable problems.sbatch"]


def test_a_dry_run_prints_every_file_and_needs_no_slurm(
    walk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(walk.parent))
    submit("--dry-run")
    told = capsys.readouterr().out
    for base in ("problems", "student", "second", "scores"):
        assert f"### runs/walk/slurm/{base}.sbatch\n#!/bin/bash\n" in told
    assert told.endswith(
        "### commands\n"
        "job_problems=$(sbatch --parsable runs/walk/slurm/problems.sbatch)\n"
        "job_student=$(sbatch --parsable --dependency=afterok:$job_problems runs/walk/slurm/student.sbatch)\n"
        "job_second=$(sbatch --parsable --dependency=aftercorr:$job_student runs/walk/slurm/second.sbatch)\n"
        "job_scores=$(sbatch --parsable --dependency=afterok:$job_student,afterok:$job_second"
        " runs/walk/slurm/scores.sbatch)\n"
    )
    assert not Path("runs").exists()


def test_without_slurm_one_message_says_so(
    walk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(walk.parent))
    told = refused(capsys, "walk.yaml", "--slurm")
    assert "no login node" in told
    assert "--dry-run" in told
    assert "submit to what? Give --slurm" in refused(capsys, "walk.yaml")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Unable to contact slurm controller (connect failure)", "controller can't be reached"),
        ("Batch job submission failed: Invalid account or account/partition combination specified", "lab, teaching"),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", "--time"),
        ("Batch job submission failed: Requested node configuration is not available", "--gpus"),
    ],
)
def test_a_refusal_is_shown_with_a_way_on(
    message: str, said: str, walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    if "account" in message or "Requested" in message:  # sinfo answers, sbatch does not
        script = slurm.room / "sinfo"
        script.write_text(script.read_text().replace("[ -e refuse ]", "false"))
    slurm.refuses(message)
    told = refused(capsys, "walk.yaml", "--slurm")
    assert said in told
    assert message.partition("failed: ")[2] in told
    assert Journal.read(Path("runs/walk")).entries == ()
    slurm.refuses(None)
    submit()
    assert len(slurm.asked()) == 4


def test_a_partition_that_is_not_there_is_refused_before_anything_is_queued(
    walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no partition 'gpus'. Did you mean 'gpu'" in refused(capsys, "walk.yaml", "--slurm", "--partition", "gpus")
    (slurm.room / "partitions").write_text("debug\n")
    walk.write_text(walk.read_text().replace("  partition: gpu\n", ""))
    assert "no partition was named" in refused(capsys, "walk.yaml", "--slurm")
    assert slurm.asked() == []


def test_offline_nodes_need_a_mirror_that_holds_what_is_read_from_the_hub(
    walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POSTTRAIN_DATA", raising=False)
    walk.write_text(
        walk.read_text().replace("second: {", "second: {steps: 3, ").replace("model: student", "model: org/tiny")
    )
    assert "posttrain fetch org/tiny --to FOLDER" in refused(capsys, "walk.yaml", "--slurm", "--offline")
    mirror = walk.parent / "mirror"
    mirror.mkdir()
    words = ("walk.yaml", "--slurm", "--offline", f"slurm.mirror={mirror}")
    assert f"posttrain fetch org/tiny --to {mirror}" in refused(capsys, *words)
    (mirror / "models" / "org" / "tiny").mkdir(parents=True)
    submit(*words[2:])
    assert f"export POSTTRAIN_DATA={mirror}\n" in Path("runs/walk/slurm/second.sbatch").read_text()


def test_more_processes_than_gpus_are_refused(walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str]) -> None:
    walk.write_text(
        "name: walk\nstages: {base: {stage: pretrain, corpus: text, launch: {processes: 4}}, "
        "text: {stage: data, dataset: synthetic-text, train: 9}}\nslurm: {gpus: 2}\n"
    )
    assert "slurm.stages.base.gpus to 4" in refused(capsys, "walk.yaml", "--slurm")


def test_a_strategy_that_saves_no_state_is_not_sent_back_into_the_queue(
    walk: Path, slurm: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    walk.write_text(
        "name: walk\nstages: {base: {stage: pretrain, corpus: text, launch: {processes: 2, strategy: zero2}}, "
        'text: {stage: data, dataset: synthetic-text, train: 9}}\nslurm: {time: "60"}\n'
    )
    assert "zero2 saves no state" in refused(capsys, "walk.yaml", "--slurm")
    submit("slurm.requeues=0")


def test_the_journal_is_json_that_a_person_can_read(walk: Path, slurm: Pretend) -> None:
    submit()
    jobs = json.loads(Path("runs/walk/slurm/jobs.json").read_text())["jobs"]
    assert [(job["base"], job["job"], job["nodes"]) for job in jobs[:2]] == [
        ("problems", "101", {"0": "problems"}),
        ("student", "102", {"0": "student--0.1", "1": "student--0.2", "2": "student--0.3"}),
    ]
