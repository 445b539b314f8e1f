"""How one message looks: its text as data, what it cost, and its buttons; and how pages say what went wrong."""

from collections.abc import Callable, Container
from typing import Any, TypeVar

import streamlit as st
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from streamlit.delta_generator import DeltaGenerator

from phireside.errors import PhiresideError
from phireside.ui.context import bar, notes, used
from phireside.ui.safe_text import Segment, keep_lines, literal, segments, with_citations

T = TypeVar("T")

AVATARS = {"human": ":material/person:", "ai": ":material/local_fire_department:"}
NAMES = {"human": "user", "ai": "assistant"}
ENDINGS = {
    "cancelled": ":material/stop_circle: **Stopped**",
    "length": ":material/content_cut: **Cut off at the limit of tokens**",
}


def bubble(kind: str) -> DeltaGenerator:
    """The place for a message; kind: LangChain's type of it, "human" or "ai"."""
    return st.chat_message(NAMES.get(kind, kind), avatar=AVATARS.get(kind))


def show_text(message: BaseMessage, cited: Container[int] = ()) -> None:
    """Draw the text of a message; a person's line breaks stay.

    Args:
        message: its text is data.
        cited: the numbers n whose `[n]` is a citation.
    """
    place = st.container()
    for segment in segments(message.text):
        if message.type == "human" and segment.language is None:
            segment = Segment(keep_lines(segment.text))
        show_segment(place, segment, cited)


def show_segment(place: DeltaGenerator, segment: Segment, cited: Container[int] = ()) -> None:
    """Draw a stretch of a message into a place, instead of what is there if that is an `st.empty`."""
    if segment.language is None:
        place.markdown(with_citations(segment.text, cited) if cited else segment.text)
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


def is_told(message: BaseMessage) -> bool:
    """Whether it is a message of the conversation; calls of tools and their results are among an answer's steps."""
    return not (isinstance(message, ToolMessage) or (isinstance(message, AIMessage) and message.tool_calls))


def show_feedback(value: int | None, key: str, save: Callable[[int | None], None]) -> None:
    """Thumbs up and down.

    Args:
        value: what is kept: 1 = up, 0 = down.
        key: of the widget.
        save: is called with another one.
    """
    st.session_state[key] = value  # an answer that is given again has its own, in the same place
    st.feedback("thumbs", key=key, on_change=lambda: save(st.session_state[key]))


def show_copy(text: str, key: str) -> None:
    """A button that offers a message's source text, with the browser's copy button on it."""
    copy = st.popover("Copy", icon=":material/content_copy:", type="tertiary", help="Copy", key=key, on_change="rerun")
    if copy.open:
        copy.code(text, None, wrap_lines=True, height=240 if len(text) > 600 else "content")


def icon_button(icon: str, help_text: str, key: str, on_click: Callable[..., None], *args: object) -> None:
    """A small button, of which only the icon is seen where `look.STYLE` hides its label; screen readers say that."""
    label = help_text.partition(":")[0]
    st.button(label, icon=f":material/{icon}:", help=help_text, key=key, type="tertiary", on_click=on_click, args=args)


def show_error(error: PhiresideError) -> None:
    """What happened and what to do next."""
    st.error(f"{literal(error.message)}\n\n{literal(error.hint)}".strip(), icon=":material/error:")


def guarded(function: Callable[..., T], *args: Any) -> T | None:
    """What a function gives; or None, its error being shown where it belongs."""
    try:
        return function(*args)
    except PhiresideError as error:
        show_error(error)
        return None


def attempt(action: Callable[..., T], *args: Any) -> T | None:
    """Do what was clicked; what it gives. Or None, and the page that is drawn next says why: see `show_trouble`."""
    try:
        return action(*args)
    except PhiresideError as error:
        st.session_state["trouble"] = error
        return None


def show_trouble() -> None:
    """Say, once, what a click could not do."""
    if error := st.session_state.pop("trouble", None):
        show_error(error)
