"""Fetching into a mirror and reading it back, against a stand-in that speaks the Hub's HTTP.

The Hub's client reads its settings when it is imported, so every fetch runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from posttrain.hub import NAMES, resolve_model
from posttrain.stage import Workspace
from posttrain.store import sha256_file


def _stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hub_stand_in", Path(__file__).with_name("stand_in.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hub_stand_in"] = module
    spec.loader.exec_module(module)
    return module


stand_in = _stand_in()
README = b"""---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train.jsonl}
  - {split: test, path: main/test.jsonl}
- config_name: other
  data_files:
  - {split: train, path: other/train.jsonl}
---
"""


@pytest.fixture
def hub() -> Iterator[Any]:
    files = {
        "models/org/tiny": {
            "config.json": b'{"model_type": "qwen2"}',
            "model.safetensors": bytes(range(256)) * 4096,
            "pytorch_model.bin": b"a pickle",
        },
        "datasets/org/sums": {
            "README.md": README,
            "main/train.jsonl": b'{"question": "1 + 1?", "answer": "2"}\n{"question": "1 + 2?", "answer": "3"}\n',
            "main/test.jsonl": b'{"question": "2 + 2?", "answer": "4"}\n',
            "other/train.jsonl": b'{"question": "9 + 2?", "answer": "11"}\n',
        },
    }
    with stand_in.serving(stand_in.Hub(files=files)) as served:
        yield served


def environment(hub: Any, folder: Path, **changes: str) -> dict[str, str]:
    online = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return {**os.environ, **online, **changes}


def run(hub: Any, folder: Path, code: str, **changes: str) -> subprocess.CompletedProcess[str]:
    preamble = "from posttrain.errors import *\nfrom posttrain.hub import *\nfrom pathlib import Path\n"
    return subprocess.run(
        [sys.executable, "-c", preamble + code],
        env=environment(hub, folder, **changes),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_model_is_mirrored_without_pickles_and_with_sha256_of_every_file(hub: Any, tmp_path: Path) -> None:
    result = run(hub, tmp_path, "print(fetch(['org/tiny'], 'mirror')[0])")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "mirror/models/org/tiny"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "mirror.json", "model.safetensors"]
    listing = json.loads((folder / "mirror.json").read_text())
    assert listing["commit"] == stand_in.COMMIT
    assert listing["files"] == {n: sha256_file(folder / n) for n in ("config.json", "model.safetensors")}


def test_a_whole_mirror_is_not_fetched_again_and_a_damaged_file_is(hub: Any, tmp_path: Path) -> None:
    run(hub, tmp_path, "fetch(['org/tiny'], 'mirror')")
    hub.requests.clear()
    assert run(hub, tmp_path, "fetch(['org/tiny'], 'mirror')").returncode == 0
    assert hub.requests == []
    weights = tmp_path / "mirror/models/org/tiny/model.safetensors"
    good = sha256_file(weights)
    weights.write_bytes(b"damaged")
    assert run(hub, tmp_path, "fetch(['org/tiny'], 'mirror')").returncode == 0
    assert sha256_file(weights) == good


def test_a_killed_fetch_leaves_nothing_that_looks_finished_and_the_next_one_goes_on(hub: Any, tmp_path: Path) -> None:
    hub.stalled = "model.safetensors"
    child = subprocess.Popen(
        [sys.executable, "-c", "from posttrain.hub import fetch; fetch(['org/tiny'], 'mirror')"],
        env=environment(hub, tmp_path),
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "mirror/models/org/tiny"
    # What a file is known by when it is looked at again; written after the file.
    arrived = folder.with_name(".tiny.partial") / "repository/.cache/huggingface/download/config.json.metadata"
    while not arrived.exists() or arrived.read_text().count("\n") < 3:  # commit, etag, time
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    hub.stalled = None
    assert not folder.exists()
    hub.requests.clear()
    assert run(hub, tmp_path, "fetch(['org/tiny'], 'mirror')").returncode == 0
    assert sorted(p.name for p in folder.parent.iterdir()) == ["tiny"]
    assert (folder / "model.safetensors").read_bytes() == hub.files["models/org/tiny"]["model.safetensors"]
    assert not any(method == "GET" and path.endswith("config.json") for method, path in hub.requests)


def test_a_folder_that_fetch_did_not_make_is_never_replaced(hub: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mirror/models/org/tiny/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    result = run(hub, tmp_path, "fetch(['org/tiny'], 'mirror')")
    assert "is in the way" in result.stderr
    assert mine.read_text() == "mine"


def test_a_mirrored_dataset_feeds_the_data_stage_on_a_node_without_network(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(hub, tmp_path, "fetch(['org/sums'], 'mirror', kind='dataset', revision='v1')")
    assert result.returncode == 0, result.stderr
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path / "mirror"))
    from posttrain.data.config import DataConfig
    from posttrain.data.stages import data

    config = DataConfig(dataset="org/sums", subset="main", revision="v1")
    work = Workspace(tmp_path / "problems", quiet=True)
    problems = data(config, work).read()
    assert [(p.question, p.answer, p.split) for p in problems] == [
        ("1 + 1?", "2", "train"),
        ("1 + 2?", "3", "train"),
        ("2 + 2?", "4", "test"),
    ]
    assert work.summary["commit"] == stand_in.COMMIT


def test_the_hub_itself_feeds_the_data_stage_with_the_commit_noted(hub: Any, tmp_path: Path) -> None:
    code = """
from posttrain.data.config import DataConfig
from posttrain.data.stages import data
from posttrain.stage import Workspace
work = Workspace(Path('problems'), quiet=True)
data(DataConfig(dataset='org/sums', subset='other'), work)
print(work.summary)
"""
    result = run(hub, tmp_path, code, POSTTRAIN_DATA="")
    assert result.returncode == 0, result.stderr
    assert f"'train': 1, 'from': 'hub', 'repository': 'org/sums', 'commit': '{stand_in.COMMIT}'" in result.stdout


def test_without_a_kind_a_name_is_the_model_or_else_the_dataset(hub: Any, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    code = "print(*fetch(['org/tiny', 'org/sums'], kind=None))"
    result = run(hub, tmp_path, code, POSTTRAIN_DATA="mirror")
    assert result.stdout == "mirror/models/org/tiny mirror/datasets/org/sums\n", result.stderr


def test_a_short_name_is_fetched_at_its_pinned_revision(hub: Any, tmp_path: Path) -> None:
    hub.files["datasets/openai/gsm8k"] = hub.files["datasets/org/sums"]
    named = NAMES["gsm8k"].revision
    hub.revisions.append(named)
    result = run(hub, tmp_path, "print(fetch('gsm8k', 'mirror')[0])")
    assert result.stdout == f"mirror/datasets/openai/gsm8k@{named}\n", result.stderr
    assert [p.name for p in (tmp_path / f"mirror/datasets/openai/gsm8k@{named}").iterdir() if p.is_dir()] == ["main"]


def test_a_name_is_a_folder_then_the_mirror_then_the_hub(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(hub, tmp_path, "fetch(['org/tiny'], 'mirror')")
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path / "mirror"))
    mirrored = tmp_path / "mirror/models/org/tiny"
    assert resolve_model("org/tiny") == mirrored
    assert resolve_model("org/tiny", stand_in.COMMIT) == mirrored
    here = tmp_path / "org/tiny"
    here.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("org/tiny") == Path("org/tiny")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    from_hub = run(hub, elsewhere, "print(resolve_model('org/tiny'))", POSTTRAIN_DATA="")
    assert from_hub.stdout.strip().endswith(stand_in.COMMIT), from_hub.stderr


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("fetch(['org/none'], 'mirror')", "the Hub has neither a model nor a dataset 'org/none'"),
        ("resolve_model('org/none')", "the Hub has no model 'org/none'"),
        ("fetch(['org/tiny'], 'mirror', revision='v9')", "the Hub has no revision 'v9' of org/tiny"),
        ("fetch(['what is this'], 'mirror')", "neither a folder here nor a hub name"),
        ("fetch(['org/sums:absent'], 'mirror', kind='dataset')", "`datasets` can't read org/sums"),
        ("resolve_model('./absent')", "there is no folder ./absent"),
    ],
)
def test_what_can_not_be_had_is_said_in_one_line(hub: Any, tmp_path: Path, call: str, said: str) -> None:
    code = f"try:\n    {call}\nexcept PosttrainError as error:\n    print(error)"
    result = run(hub, tmp_path, code, POSTTRAIN_DATA="")
    assert said in result.stdout, result.stderr
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_network_the_message_says_how_to_use_a_mirror(hub: Any, tmp_path: Path, offline: str) -> None:
    code = "try:\n    resolve_model('org/tiny', 'v1')\nexcept ModelError as error:\n    print(error)"
    result = run(hub, tmp_path, code, POSTTRAIN_DATA="", HF_HUB_OFFLINE=offline, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hub can't be reached" in result.stdout, result.stderr
    assert "posttrain fetch org/tiny --to mirror --revision v1" in result.stdout
    assert "POSTTRAIN_DATA" in result.stdout


def test_a_hub_out_of_order_is_told_from_a_missing_model(hub: Any, tmp_path: Path) -> None:
    hub.down = True
    code = "try:\n    fetch(['org/tiny'], 'mirror')\nexcept ModelError as error:\n    print(error)"
    result = run(hub, tmp_path, code)
    assert "org/tiny" in result.stdout, result.stderr
    assert "no model" not in result.stdout
