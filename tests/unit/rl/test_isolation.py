"""RL refuses to start where the programs it would reward can't be shut in."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import GradingError
from posttrain.grading.sandbox import Isolation, isolation
from posttrain.rl import loop, parts
from posttrain.rl.config import RLConfig
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems


def test_less_isolation_than_configured_stops_before_the_weights_are_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(isolation, "available", lambda: Isolation.KERNEL)
    monkeypatch.setenv("POSTTRAIN_ISOLATION", "namespaces")
    monkeypatch.setattr(parts, "load_policy", lambda *_, **__: pytest.fail("the weights were loaded"))
    with pytest.raises(GradingError, match=r"offers 'kernel'.* lacks bubblewrap"):
        loop.reinforce(
            RLConfig(grading="code", template="plain"),
            Checkpoint(tmp_path / "model"),
            Problems(tmp_path / "problems"),
            Workspace(tmp_path / "rl", quiet=True),
        )
