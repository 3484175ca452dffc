"""What a sweep says of itself, on the map: its trend, its best step, how its answers change."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.unit.explorer.conftest import client_of

from posttrain.explorer.app import open_site
from posttrain.store import write_json

STEPS = (50, 100, 150, 200)
HARM = "<script>alert(1)</script>\u202e"
TREND = {"slope": 0.001, "low": 0.0005, "high": 0.0015, "p": 0.01, "n": 12, "verdict": "rises"}
BEST = {
    "label": "step-000150",
    "step": 150,
    "selection": {"share": 0.5, "n": 6, "accuracy": 0.75},
    "held_out": {"n": 6, "accuracy": 0.5, "interval": [0.2, 0.8]},
}
NOT_FINITE = (
    '{"made": {"steps": [1, 2], "series": {"tokens": {"value": [NaN, Infinity], "low": [1, 1], "high": [2, 2]}}}}'
)
REFUSED = [{"label": "step-000200", "reason": HARM}]


def page(made: Path, folder: Path, *, sweep: Any = None, analytics: Any = None) -> str:
    """The map of the run with what a sweep would have left beside its scores."""
    run = shutil.copytree(made, folder / "run")
    for name, value in (("sweep.json", sweep), ("analytics.json", analytics)):
        if isinstance(value, str):
            (run / "sweep" / name).write_text(value)
        elif value is not None:
            write_json(run / "sweep" / name, value)
    with client_of(open_site(run)) as client:
        answer = client.get("/map")
    assert answer.status_code == 200
    return answer.text


def says(**changed: Any) -> dict[str, Any]:
    steps = [{"label": f"step-{s:06d}", "step": s} for s in STEPS]
    return {"steps": steps, "says": {"made": {"trend": TREND, "best": BEST, "refused": REFUSED, **changed}}}


def measures(**values: list[Any]) -> dict[str, Any]:
    series = {
        name: {"means": HARM, "value": v, "low": [_moved(x, -1) for x in v], "high": [_moved(x, 1) for x in v]}
        for name, v in values.items()
    }
    return {"made": {"steps": list(STEPS), "series": series}}


def _moved(value: Any, by: int) -> Any:
    return value + by if isinstance(value, int | float) else value


def test_the_map_says_what_the_sweep_says(made: Path, tmp_path: Path) -> None:
    text = page(made, tmp_path, sweep=says(), analytics=measures(tokens=[90.0, 100.0, 110.0, None], check=[1, 2, 2, 3]))
    assert "Accuracy rises from step 50 to 150: +10.0 points [+5.0, +15.0]" in text, "what was refused is not in it"
    assert "Best step 150: 75.0 % on the 6 problems it was chosen on, 50.0 % [20.0, 80.0] on the other 6." in text
    assert "was left out: &lt;script&gt;" in text
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "Tokens of an answer" in text
    assert text.count('class="band b0"') == 2, "each with its interval over problems"


@pytest.mark.parametrize(
    ("sweep", "analytics"),
    [
        ("{", "{"),
        ([], 3),
        (says(trend={"slope": "much"}), None),
        ({"steps": [], "says": {"made": {"trend": TREND}}}, None),
        (None, measures(tokens=[HARM, 1, 2, 3])),
        (None, NOT_FINITE),
    ],
)
def test_what_a_sweep_left_broken_takes_nothing_else_with_it(
    made: Path, tmp_path: Path, sweep: Any, analytics: Any
) -> None:
    text = page(made, tmp_path, sweep=sweep, analytics=analytics)
    assert "Checkpoints × problems" in text
    assert "Best step" not in text
    assert "What answers look like" not in text
