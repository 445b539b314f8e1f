"""Plots of what was measured: means with their intervals, and amounts. Labels are data, drawn by Vega as text.

The marks' colours are seen on light and on dark; what is written has the ink of `charts`. Knows no measure.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt

from phireside.ui.bars import KEPT

OTHER = "#4f8a94"
_STEP = 34  # pixels, for each row of one series


@dataclass(frozen=True)
class Dot:
    """A mean.

    Attributes:
        label: of its row.
        value: the mean.
        low, high: its interval.
        series: which of several it belongs to.
        text: what is written beside it.
    """

    label: str
    value: float
    low: float
    high: float
    text: str
    series: str = ""


def intervals(dots: Sequence[Dot], series: Sequence[str] = ("",)) -> alt.LayerChart:
    """A point for each mean, on a line as long as its interval, from 0 to 1.

    Args:
        dots: in the order of their rows.
        series: in their order; more than one has a legend.
    """
    base, colour = _base([asdict(dot) for dot in dots], series), _colour(series)
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(tickCount=5)
    value, low = (alt.X(f"{name}:Q", scale=scale, title=None, axis=axis) for name in ("value", "low"))
    layers: Any = alt.layer(
        base.mark_rule(strokeWidth=3, opacity=0.45, clip=True).encode(x=low, x2="high:Q", color=colour),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=value, color=colour),
        base.mark_text(align="center", dy=-11, fontSize=11).encode(x=value, text="text:N"),
    )
    return _sized(layers, len(series))


def amounts(labels: Sequence[str], values: Sequence[float], unit: str) -> alt.LayerChart:
    """A bar for each amount, with its number behind it.

    Args:
        labels: of the rows.
        values: 0 or more.
        unit: written behind the numbers.
    """
    rows = [
        {"label": label, "value": value, "text": f"{value:.3g} {unit}", "series": ""}
        for label, value in zip(labels, values, strict=True)
    ]
    base, colour = _base(rows, ("",)), _colour(("",))
    scale = alt.Scale(domain=[0, 1.3 * max([1e-9, *values])])  # room for the numbers
    value = alt.X("value:Q", scale=scale, axis=None)
    layers: Any = alt.layer(
        base.mark_bar(cornerRadiusEnd=3, height=14).encode(x=value, color=colour),
        base.mark_text(align="left", dx=6, fontSize=12).encode(x=value, text="text:N"),
    )
    return _sized(layers, 1)


def _base(rows: list[dict[str, Any]], series: Sequence[str]) -> alt.Chart:
    axis = alt.Axis(labelLimit=170, labelFontSize=13, labelOverlap=False, labelFlush=False, ticks=False, domain=False)
    chart = alt.Chart(alt.InlineData(rows)).encode(y=alt.Y("label:N", sort=None, title=None, axis=axis))
    return chart.encode(yOffset=alt.YOffset("series:N", sort=list(series))) if len(series) > 1 else chart


def _colour(series: Sequence[str]) -> Any:
    """The colour of a row's marks. Its number has none: they are too pale for words."""
    if len(series) < 2:
        return alt.value(KEPT)
    colours = alt.Scale(domain=list(series), range=[OTHER, KEPT][: len(series)])
    legend = alt.Legend(orient="top", title=None, direction="vertical", labelLimit=300)
    return alt.Color("series:N", scale=colours, legend=legend)


def _sized(layers: Any, series: int) -> alt.LayerChart:
    step = alt.Step(_STEP if series < 2 else 0.9 * _STEP)
    chart: alt.LayerChart = layers.properties(height=step).configure_view(stroke=None)
    return chart
