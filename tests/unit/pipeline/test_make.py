from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import DamagedError, DriftError, LockedError, RecipeError, StoreError, TrainingError
from posttrain.pipeline import run_stage
from posttrain.store import Artifact, Manifest
from posttrain.store.lock import locked

T = "tests.toys:"


def manifest(artifact: Artifact | Path) -> Manifest:
    found = Manifest.read(artifact if isinstance(artifact, Path) else artifact.path)
    assert found is not None
    return found


def test_an_artifact_says_what_made_it_of_what_when_and_where(tmp_path: Path) -> None:
    problems = run_stage(T + "numbers", {"n": 2}, {}, tmp_path / "problems", seed=5)
    made = manifest(run_stage(T + "told", {}, {"problems": problems}, tmp_path / "traces"))
    assert (made.stage, made.kind, made.status, made.attempts) == (T + "told", "samples", "finished", 1)
    assert made.config == {"teacher": "reference"}
    digest = manifest(problems).digest
    assert made.inputs == {
        "problems": {"name": "problems", "kind": "problems", "path": "../problems", "digest": digest}
    }
    assert list(made.outputs) == ["said.json"]
    assert made.seconds is not None
    assert made.finished is not None
    assert {"python", "pyarrow"} <= set(made.versions)
    assert {"cpu", "cores", "memory_gib", "gpus"} == set(made.hardware)
    assert made.code["posttrain"]
    assert manifest(problems).summary == {"n": 2}


def test_the_same_order_is_reused_and_a_field_without_effect_changes_nothing(tmp_path: Path) -> None:
    run_stage(T + "numbers", {}, {}, tmp_path / "a")
    before = (tmp_path / "a" / "manifest.json").stat().st_mtime_ns
    run_stage(T + "numbers", {"log_every": 7}, {}, tmp_path / "a")
    assert (tmp_path / "a" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("config", "seed", "line"),
    [({"n": 4}, 0, "n: 3 → 4"), ({}, 1, "seed: 0 → 1")],
)
def test_another_order_stops_and_shows_the_difference(
    tmp_path: Path, config: dict[str, Any], seed: int, line: str
) -> None:
    run_stage(T + "numbers", {}, {}, tmp_path / "a")
    with pytest.raises(DriftError) as caught:
        run_stage(T + "numbers", config, {}, tmp_path / "a", seed=seed)
    assert f"\n    {line}\n" in str(caught.value)
    assert "--fresh a" in str(caught.value)
    assert "a@1" in str(caught.value)


def test_an_input_that_changed_is_drift(tmp_path: Path) -> None:
    run_stage(T + "numbers", {}, {}, tmp_path / "one")
    run_stage(T + "numbers", {"n": 9}, {}, tmp_path / "two")
    run_stage(T + "told", {}, {"problems": tmp_path / "one"}, tmp_path / "traces")
    with pytest.raises(DriftError, match=r"input problems: [0-9a-f]{12}… → [0-9a-f]{12}…"):
        run_stage(T + "told", {}, {"problems": tmp_path / "two"}, tmp_path / "traces")


def test_a_file_the_config_names_counts_with_its_bytes(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("1\n")
    run_stage(T + "numbers", {"source": str(rows)}, {}, tmp_path / "a")
    rows.write_text("2\n")
    with pytest.raises(DriftError, match="file source: "):
        run_stage(T + "numbers", {"source": str(rows)}, {}, tmp_path / "a")


def test_the_order_of_a_list_input_and_its_names_count(tmp_path: Path) -> None:
    one = run_stage(T + "student", {}, {}, tmp_path / "one")
    two = run_stage(T + "student", {"steps": 5}, {}, tmp_path / "two")
    run_stage(T + "scores", {}, {"models": [one, two]}, tmp_path / "scores")
    with pytest.raises(DriftError, match=r"input models.0.name: 'one' → 'two'"):
        run_stage(T + "scores", {}, {"models": [two, one]}, tmp_path / "scores")


def test_fresh_keeps_the_old_ones_as_versions(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        run_stage(T + "numbers", {"n": n}, {}, tmp_path / "a", fresh=True)
    kept = {p.name: manifest(p).config["n"] for p in tmp_path.iterdir()}
    assert kept == {"a@1": 1, "a@2": 2, "a": 3}


def test_an_interrupted_stage_continues_and_a_changed_one_does_not(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run_stage(T + "student", {"steps": 8, "fail_at": 5}, {}, tmp_path / "a", seed=3)
    assert manifest(tmp_path / "a").status == "running"
    with pytest.raises(DriftError, match="steps: 8 → 9"):
        run_stage(T + "student", {"steps": 9}, {}, tmp_path / "a", seed=3)
    (tmp_path / "a" / ".half.json.x.tmp").write_text("{")
    resumed = run_stage(T + "student", {"steps": 8}, {}, tmp_path / "a", seed=3)
    straight = run_stage(T + "student", {"steps": 8}, {}, tmp_path / "b", seed=3)
    assert (resumed.path / "config.json").read_bytes() == (straight.path / "config.json").read_bytes()
    assert (resumed.path / "metrics.jsonl").read_bytes() == (straight.path / "metrics.jsonl").read_bytes()
    assert manifest(resumed).attempts == 2
    assert manifest(resumed).digest == manifest(straight).digest
    assert {p.name for p in resumed.path.iterdir()} == {".lock", "manifest.json", "config.json", "metrics.jsonl"}


def test_another_seed_gives_another_result_and_the_same_seed_the_same(tmp_path: Path) -> None:
    digests = [
        manifest(run_stage(T + "student", {}, {}, tmp_path / name, seed=seed)).digest
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_damaged_artifact_is_neither_reused_nor_read(tmp_path: Path) -> None:
    problems = run_stage(T + "numbers", {}, {}, tmp_path / "problems")
    with (problems.path / "problems.parquet").open("r+b") as file:
        file.seek(10)
        file.write(b"\x00\x01")
    with pytest.raises(DamagedError, match=r"problems.parquet is damaged.*--fresh problems"):
        run_stage(T + "numbers", {}, {}, tmp_path / "problems")
    with pytest.raises(DamagedError):
        run_stage(T + "told", {}, {"problems": problems}, tmp_path / "traces")
    run_stage(T + "numbers", {}, {}, tmp_path / "problems", fresh=True)
    assert (tmp_path / "problems@1").is_dir()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), pytest.raises(LockedError, match="is in use by process"):
        run_stage(T + "numbers", {}, {}, tmp_path / "a")


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match=r"has files in it and no manifest.json"):
        run_stage(T + "numbers", {}, {}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"input 'problems' \(problems\) is missing"),
        ({"problms": "x"}, r"has no input 'problms'. Did you mean 'problems'\?"),
        ({"problems": "nowhere"}, "nowhere is no folder here"),
        ({"problems": ["a", "b"]}, "nowhere|takes one artifact|no folder"),
        ({"problems": "student"}, "needs problems, but student holds checkpoint"),
        ({"problems": "unfinished"}, "unfinished is not finished"),
    ],
)
def test_wrong_inputs_are_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run_stage(T + "student", {}, {}, "student")
    with pytest.raises(TrainingError):
        run_stage(T + "student", {"fail_at": 1}, {}, "unfinished")
    with pytest.raises(RecipeError, match=message):
        run_stage(T + "told", {}, inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for run in ("first", "second"):
        run_stage(T + "student", {}, {}, tmp_path / run / "sft")
    scores = run_stage(
        T + "scores", {}, {"models": [tmp_path / "first" / "sft", tmp_path / "second" / "sft"]}, tmp_path / "scores"
    )
    assert json.loads((scores.path / "scores.json").read_text())["models"] == ["first-sft", "second-sft"]


def test_certificate_lines_stand_beside_each_other(tmp_path: Path) -> None:
    from posttrain.stage import Workspace

    work = Workspace(tmp_path / "a")
    work.certify("parity", True, largest=1e-6)
    work.certify("contamination", False, rows=2)
    work.certify("parity", True, largest=2e-6)
    assert json.loads((tmp_path / "a" / "certificate.json").read_text()) == {
        "parity": {"ok": True, "largest": 2e-6},
        "contamination": {"ok": False, "rows": 2},
    }


def test_a_stage_that_died_after_its_work_and_before_its_seal_is_not_taken_for_finished(tmp_path: Path) -> None:
    made = run_stage(T + "student", {}, {}, tmp_path / "a")
    before = manifest(made)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    unsealed = manifest(tmp_path / "b")
    unsealed.status, unsealed.outputs, unsealed.digest = "running", {}, None
    unsealed.write(tmp_path / "b")
    assert manifest(run_stage(T + "student", {}, {}, tmp_path / "b")).digest == before.digest


def test_a_disk_that_fills_up_inside_a_stage_is_said_and_nothing_counts_as_a_result(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no space left to write .*free some space and run again"):
        run_stage(T + "fills_the_disk", {}, {}, tmp_path / "a")
    assert manifest(tmp_path / "a").status == "running"
    with pytest.raises(RecipeError, match="a is not finished"):
        run_stage(T + "told", {}, {"problems": tmp_path / "a"}, tmp_path / "b")
