"""`posttrain algorithms` tells every row, its keys, and what other libraries call by the same name."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from posttrain.cli.algorithms import algorithms
from posttrain.errors import RecipeError
from posttrain.rl.algorithms.peers import PEERS
from posttrain.rl.algorithms.presets import PRESETS


def said(*arguments: str) -> str:
    done = CliRunner().invoke(algorithms, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_table_has_every_row_with_its_paper() -> None:
    text = said()
    for preset in PRESETS.values():
        (line,) = [line for line in text.splitlines() if line.split() and line.split()[0] == preset.name]
        assert preset.settings["advantage"] in line
        assert preset.settings["aggregation"] in line
        assert preset.paper in line


@pytest.mark.parametrize("name", PRESETS)
def test_one_row_tells_every_key_that_it_sets(name: str) -> None:
    text = said(name)
    assert PRESETS[name].paper in text
    for key in PRESETS[name].settings:
        assert key in text


@pytest.mark.parametrize("library", PEERS)
def test_the_difference_says_how_to_ask_the_library_or_that_it_has_none(library: str) -> None:
    text = " ".join(said("--diff", library).split())
    for name, peer in PEERS[library].items():
        assert name in text
        if peer is not None:
            assert " ".join(peer.ask.split()) in text
            assert all(" ".join(words.split()) in text for words in peer.differences.values())


def test_an_unknown_name_says_the_nearest() -> None:
    done = CliRunner().invoke(algorithms, ["grppo"])
    assert isinstance(done.exception, RecipeError)
    assert "Did you mean 'grpo'?" in str(done.exception)
