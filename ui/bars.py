"""Probabilities as bars: labels are data, drawn by Vega as text. Knows nothing of what they are probabilities of.

The bars' colours are seen on light and on dark; what is written has the ink of `charts`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

KEPT, REMOVED = "#d9622b", "#9c8a79"
_BAR = 26  # pixels, for each


def visible(text: str) -> str:
    """A token with its blanks to be seen: ␣car."""
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅"


def share(probability: float) -> str:
    """A probability as people read it: 36.5 %; one that is not nought is not shown as nought."""
    return "< 0.1 %" if 0 < probability < 0.001 else f"{probability:.1%}".replace("%", " %")


def bars(probabilities: Mapping[str, float]) -> "alt.LayerChart":
    """One bar for each label, in their order."""
    return _chart([{"label": label, "now": p, "own": 0, "kept": True} for label, p in probabilities.items()])


def stage_bars(labels: Sequence[str], own: Sequence[float], now: Sequence[float]) -> "alt.LayerChart":
    """Bars for what a stage leaves of each token, before a pale one for what the model itself gave it."""
    rows: list[dict[str, Any]] = []
    for number, (label, before, after) in enumerate(zip(labels, own, now, strict=True)):
        unique = label if label not in labels[:number] else f"{label} ({number + 1})"
        rows.append({"label": unique, "now": after, "own": before, "kept": after > 0})
    return _chart(rows)


def _chart(rows: list[dict[str, Any]]) -> "alt.LayerChart":
    import altair as alt  # a second that the gallery of chains would wait for

    for row in rows:
        row["end"] = max(row["now"], row["own"])
        row["text"] = share(row["now"]) if row["kept"] else "removed"
    base = alt.Chart(alt.InlineData(rows)).encode(
        y=alt.Y(
            "label:N",
            sort=None,
            title=None,
            axis=alt.Axis(labelLimit=170, labelFontSize=13, labelOverlap=False, ticks=False),
        )
    )
    # Room for the numbers behind the bars.
    scale = alt.Scale(domain=[0, 1.25 * max(0.01, *(row["end"] for row in rows))])
    own, now, end = (alt.X(f"{name}:Q", scale=scale, title=None, axis=None) for name in ("own", "now", "end"))
    layers: Any = alt.layer(
        base.mark_bar(cornerRadiusEnd=3, height=20, color=REMOVED, opacity=0.35).encode(x=own),
        base.mark_bar(cornerRadiusEnd=3, height=12, color=KEPT).encode(x=now),
        base.mark_text(align="left", dx=6, fontSize=12).encode(x=end, text="text:N"),
    )
    chart: alt.LayerChart = layers.properties(height=alt.Step(_BAR)).configure_view(stroke=None)
    return chart
