"""The map of a base: its chunks as points, near each other where they mean the same, in topics that have names.

Draws what `phireside.retrieval.topics` finds. Titles, texts and names are data, drawn by Vega as text.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import streamlit as st
from langchain_core.language_models import BaseChatModel

from phireside.models import ChatGGUF, load_chat_model
from phireside.retrieval.topics import TopicMap, generation
from phireside.settings import Settings
from phireside.ui.bars import share
from phireside.ui.knowledge_parts import Place, count, origin, passage, start
from phireside.ui.knowledge_work import Mapped, name_topics
from phireside.ui.safe_text import literal

HEIGHT = 420  # pixels
_EXCERPT = 160  # characters of a chunk, in the box beside a point
_NEAREST = 5  # chunks of a topic in the list
# Seen on light and on dark ground, and behind a white number.
_COLOURS = [
    *("#c8561f", "#2b7f88", "#8a63b8", "#93730a", "#4d8046", "#c24a70"),
    *("#4a74ba", "#8f6f5c", "#b0603c", "#3f8a6d", "#7a6fb0", "#6f7d2f"),
]


def show(place: Place) -> None:
    """Draw the map, and below it what each topic is about."""
    newest = max((each.added_at for each in place.base.documents()), default=None)
    with st.spinner("Drawing the map …"):
        mapped = place.desk.mapped(place.folder, (generation(place.folder), newest))
    found = mapped.topics
    if not found.points:
        st.markdown("Nothing is in this base yet.")
        return
    names = titles(found, mapped.names)
    alternative = f"A map of {count(len(found.topics), 'topic')}, which are listed below."
    st.altair_chart(scatter(found, names), width="stretch", alt=alternative)
    st.caption(_meaning(found))
    st.button(
        "Let the model name the topics",
        key="name-topics",
        icon=":material/label:",
        disabled=place.busy,
        on_click=_name,
        args=(place, mapped),
    )
    for number, (topic, name) in enumerate(zip(found.topics, names, strict=True), 1):
        with st.expander(f"{number} · {literal(name)} · {share(topic.chunks / len(found.points))}"):
            st.caption(literal(", ".join(topic.words)) or "It has no words.")
            for chunk in topic.passages[:_NEAREST]:
                st.markdown(origin(chunk))
                passage([(chunk.page_content, False)])


def titles(found: TopicMap, named: Sequence[str]) -> list[str]:
    """What topics are called: by the model, as far as it has come, or else by their key words."""
    given = [*named, *[""] * len(found.topics)]
    words = (", ".join(topic.words[:3]) or "No words" for topic in found.topics)
    return [name or fallback for name, fallback in zip(given, words, strict=False)]


def scatter(found: TopicMap, names: Sequence[str]) -> alt.LayerChart:
    """A point for each chunk, and the number of each topic in its middle."""
    points = [
        {
            "x": point.x,
            "y": point.y,
            "number": point.topic + 1,
            "Topic": f"{point.topic + 1} · {names[point.topic]}",
            "Title": str(point.passage.metadata.get("title") or "Untitled"),
            "Text": " ".join(point.passage.page_content.split())[:_EXCERPT],
        }
        for point in found.points
    ]
    middles = []
    for number in range(len(found.topics)):
        inside = [point for point in found.points if point.topic == number]
        x, y = (sum(getattr(each, axis) for each in inside) / len(inside) for axis in "xy")
        middles.append({"x": x, "y": y, "number": number + 1})
    place: dict[str, Any] = {"x": alt.X("x:Q", axis=None), "y": alt.Y("y:Q", axis=None)}
    domain = list(range(1, len(found.topics) + 1))
    colour = alt.Color("number:N", scale=alt.Scale(domain=domain, range=_COLOURS[: len(domain)]), legend=None)
    base = alt.Chart(alt.InlineData(middles)).encode(**place)
    layers = alt.layer(
        alt.Chart(alt.InlineData(points))
        .mark_circle(size=45, opacity=0.7)
        .encode(**place, color=colour, tooltip=["Topic:N", "Title:N", "Text:N"]),
        base.mark_circle(size=420, opacity=1, tooltip=None).encode(color=colour),
        base.mark_text(fontSize=13, fontWeight="bold", color="white", tooltip=None).encode(text="number:N"),
    )
    chart: alt.LayerChart = layers.properties(height=HEIGHT).configure_view(stroke=None)
    return chart


def _meaning(found: TopicMap) -> str:
    """What the map has of the base, and how much of it can be seen."""
    drawn, whole = len(found.points), count(found.chunks, "chunk")
    what = f"All {whole}" if drawn == found.chunks else f"{drawn:,} of {whole}, chosen at random"
    return (
        f"{what}; each point is one. Near means alike, but two dimensions show only {share(found.shown)} of what tells "
        "the chunks apart."
    )


def _name(place: Place, mapped: Mapped) -> None:
    start(place, f"Naming the topics of {place.name}", name_topics(mapped, lambda: _model(place.settings)))


def _model(settings: Settings) -> BaseChatModel:
    """The settings' model, which lets a person's chats go first."""
    model = load_chat_model(settings.model, settings)
    return model.model_copy(update={"priority": "background"}) if isinstance(model, ChatGGUF) else model
