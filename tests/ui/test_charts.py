"""The ink of charts: it is there, and it can be read on both grounds."""

from typing import Any

import pytest
import streamlit as st

from phireside.ui.bars import bars, stage_bars
from phireside.ui.charts import INK, show_chart
from phireside.ui.options import STREAMLIT_OPTIONS
from phireside.ui.plots import Dot, amounts, intervals

DOTS = [Dot(name, 0.5, 0.4, 0.6, "0.50", series) for name in "ab" for series in ("then", "now")]
CHARTS = {
    "bars": bars({"yes": 0.7, "no": 0.3}),
    "stages": stage_bars(["a", "b"], [0.5, 0.5], [1.0, 0.0]),
    "amounts": amounts(["a"], [3.0], "ms"),
    "intervals": intervals(DOTS, ("then", "now")),
}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", INK)
def test_the_ink_is_read_on_the_ground_of_its_theme(theme):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast(INK[theme], str(STREAMLIT_OPTIONS[f"theme.{theme}.backgroundColor"])) >= 4.5


@pytest.mark.parametrize("name", CHARTS)
def test_all_that_is_written_in_a_chart_has_the_ink(name, monkeypatch):
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(st, "altair_chart", lambda chart, **given: drawn.update(given, spec=chart.to_dict()))
    show_chart(CHARTS[name], "What it shows")
    config = drawn["spec"]["config"]
    assert drawn["alt"] == "What it shows"
    assert {config["axis"]["labelColor"], config["legend"]["labelColor"], config["text"]["color"]} == {INK["light"]}
    for layer in drawn["spec"]["layer"]:
        written = layer["mark"]["type"] == "text"
        assert written == ("color" not in layer["encoding"] and "color" not in layer["mark"]), layer
