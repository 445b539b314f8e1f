"""Charts on a page, with words and numbers in an ink that is read on its ground. Knows nothing of what they show.

Streamlit's own has a contrast of 3.6 : 1 on the light ground; WCAG 2.2 wants 4.5 : 1 (1.4.3). Charts are drawn on a
canvas, where no CSS reaches, and no colour is dark enough for the one ground and light enough for the other.
"""

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    import altair as alt

INK = {"light": "#5f5249", "dark": "#c4b7a9"}


def show_chart(chart: "alt.LayerChart", alternative: str) -> None:
    """Draw a chart as wide as its place.

    Args:
        chart: text in it that has a colour of its own keeps that.
        alternative: what it shows, for who cannot see it.
    """
    ink = INK["dark" if st.context.theme.type == "dark" else "light"]
    inked = chart.configure_axis(labelColor=ink).configure_legend(labelColor=ink).configure_text(color=ink)
    st.altair_chart(inked, width="stretch", alt=alternative)
