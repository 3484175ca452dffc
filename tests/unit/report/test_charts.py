from __future__ import annotations

import re
from pathlib import Path

import pytest

from posttrain.report.curves import POINTS, Panel, Series, thinned
from posttrain.report.svg import line_chart, nice_ticks, tick_label
from posttrain.report.words import brief, duration


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.25, 0.5, 0.75, 1]), (3, 17, [0, 5, 10, 15, 20]), (0.2, 0.2, None), (-3, 4, None)],
)
def test_ticks_are_round_and_enclose_the_data(low: float, high: float, expected: list[float] | None) -> None:
    ticks = nice_ticks(low, high, 5)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert len(ticks) >= 2
    if expected is not None:
        assert ticks == pytest.approx(expected)


def test_tick_labels_have_the_decimals_they_need() -> None:
    assert [tick_label(t, [0, 0.25, 0.5]) for t in (0, 0.25, 0.5)] == ["0.00", "0.25", "0.50"]
    assert [tick_label(t, [0, 0.25], share=True) for t in (0, 0.25)] == ["0 %", "25 %"]
    assert tick_label(-2000, [-2000, 0]) == "−2,000"


def test_long_curves_are_averaged_and_keep_their_mean() -> None:
    xs, ys = thinned(range(3000), [float(i % 7) for i in range(3000)])
    assert len(xs) <= POINTS
    assert sum(ys) / len(ys) == pytest.approx(3.0, abs=0.01)


def test_a_chart_escapes_names_and_draws_every_series() -> None:
    panel = Panel("<b>", "step", (Series("<i>", (0, 1), (0.1, 0.2)), Series("b", (0, 1), (0.3, 0.1))), True)
    chart = str(line_chart(panel))
    assert "<b>" not in chart
    assert "<i>" not in chart
    assert chart.count("<path") == 2


def test_an_accuracy_of_0_is_drawn_on_an_axis_that_starts_at_0() -> None:
    chart = line_chart(Panel("Accuracy", "step", (Series("a", (0, 10), (0.0, 0.0)),), True))
    assert "0 %" in chart
    assert "−" not in chart


def test_a_constant_curve_at_one_step_can_be_drawn() -> None:
    assert "<path" in line_chart(Panel("flat", "step", (Series("a", (5, 5), (0.0, 0.0)),), False))


def test_words_for_people() -> None:
    assert (duration(4.23), duration(59.7), duration(75), duration(7300)) == (
        "4.2 s",
        "1 min 0 s",
        "1 min 15 s",
        "2 h 1 min",
    )
    assert (
        brief({"max": 3.14159e-6, "ok": True, "steps": 12000, "tags": ["a", None]})
        == "max 3.142e-06, ok yes, steps 12,000, tags a, –"
    )
    assert brief(Path("x")) == "x"


def test_steps_have_no_ticks_between_them() -> None:
    drawn = line_chart(Panel("Accuracy", "step", (Series("a", (0.0, 1.0, 2.0), (0.1, 0.2, 0.3)),), True))
    assert re.findall(r'text-anchor="middle">([^<]*)</text>', drawn) == ["0", "1", "2", "step"]


def test_an_interval_is_a_band_inside_the_axes_and_a_place_can_be_marked() -> None:
    line = Series("a", (0.0, 10.0), (0.2, 0.4), (0.1, 0.3), (0.3, 0.9))
    drawn = line_chart(Panel("Accuracy", "step", (line,), True, (10.0, "best <step>")))
    band = re.search(r'<path class="band b0" d="M(.*?)Z"/>', drawn)
    assert band is not None
    places = [tuple(map(float, p.split(","))) for p in band[1].split("L")]
    assert len(places) == 4
    assert all(10 <= y <= 182 for _, y in places)
    assert 'class="mark"' in drawn
    assert "best &lt;step&gt;" in drawn


def test_counts_that_are_0_all_along_have_an_axis_from_0() -> None:
    drawn = line_chart(Panel("Words", "step", (Series("a", (0.0, 5.0), (0.0, 0.0)),), False))
    assert "−" not in drawn
