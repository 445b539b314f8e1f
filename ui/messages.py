"""How one message looks: its text as data, what it cost, and its buttons."""

from collections.abc import Callable

import streamlit as st
from langchain_core.messages import AIMessage, BaseMessage
from streamlit.delta_generator import DeltaGenerator

from phireside.errors import PhiresideError
from phireside.ui.context import bar, notes, used
from phireside.ui.safe_text import Segment, keep_lines, literal, segments

AVATARS = {"human": ":material/person:", "ai": ":material/local_fire_department:"}
NAMES = {"human": "user", "ai": "assistant"}
ENDINGS = {
    "cancelled": ":material/stop_circle: **Stopped**",
    "length": ":material/content_cut: **Cut off at the limit of tokens**",
}


def bubble(kind: str) -> DeltaGenerator:
    """The place for a message; kind: LangChain's type of it, "human" or "ai"."""
    return st.chat_message(NAMES.get(kind, kind), avatar=AVATARS.get(kind))


def show_text(message: BaseMessage) -> None:
    """Draw the text of a message; a person's line breaks stay."""
    place = st.container()
    for segment in segments(message.text):
        if message.type == "human" and segment.language is None:
            segment = Segment(keep_lines(segment.text))
        show_segment(place, segment)


def show_segment(place: DeltaGenerator, segment: Segment) -> None:
    """Draw a stretch of a message into a place, instead of what is there if that is an `st.empty`."""
    if segment.language is None:
        place.markdown(segment.text)
    else:
        place.code(segment.text, segment.language or None, wrap_lines=True)


def show_facts(answer: AIMessage, key: str) -> None:
    """The line under an answer: how it came about, what was left out, and how the context was used."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=key):
        st.caption(" · ".join(facts(answer)), width="content")
        for text, meaning in notes(answer):
            st.caption(text, help=meaning, width="content")
        if parts := used(answer):
            st.html(bar(parts), width="content")


def facts(answer: AIMessage) -> list[str]:
    """How it ended, model, speed, and tokens evaluated and cached, as Markdown; only what the model reported."""
    data = answer.response_metadata
    parts = [ENDINGS.get(str(data.get("finish_reason")), "")]
    if name := data.get("model_name"):
        parts.append(literal(str(name)))
    if isinstance(speed := data.get("tokens_per_second"), int | float):
        parts.append(f"{speed:.1f} tokens/s")
    evaluated, cached = data.get("evaluated_tokens"), data.get("cached_tokens")
    if isinstance(evaluated, int) and isinstance(cached, int):
        parts.append(f"{evaluated} evaluated / {cached} cached")
    return [part for part in parts if part]


def show_copy(text: str, key: str) -> None:
    """A button that offers a message's source text, with the browser's copy button on it."""
    copy = st.popover("", icon=":material/content_copy:", type="tertiary", help="Copy", key=key, on_change="rerun")
    if copy.open:
        copy.code(text, None, wrap_lines=True, height=240 if len(text) > 600 else "content")


def icon_button(icon: str, help_text: str, key: str, on_click: Callable[..., None], *args: object) -> None:
    """A small button under a message."""
    st.button("", icon=f":material/{icon}:", help=help_text, key=key, type="tertiary", on_click=on_click, args=args)


def show_error(error: PhiresideError) -> None:
    """What happened and what to do next."""
    st.error(f"{literal(error.message)}\n\n{literal(error.hint)}".strip(), icon=":material/error:")
