"""The memory of one chat: which strategy it has, how its last answer used the context, its summary and its facts."""

from collections.abc import Callable, Sequence

import streamlit as st
from langchain_core.messages import AIMessage, BaseMessage

from phireside.memory import MEMORIES, Conversation, MemoryState
from phireside.ui.context import bar, legend, notes, used
from phireside.ui.messages import show_text
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

SUMMARIZING = ("summary", "summary_buffer")


def title(name: str) -> str:
    """The name of a strategy as people read it: Summary + buffer."""
    return name.replace("_", " + ").capitalize()


def show(
    services: Services,
    conversation: Conversation | None,
    messages: Sequence[BaseMessage],
    name: str,
    key: str,
    save: Callable[[], None],
) -> None:
    """Draw what the popover "Memory of this chat" holds.

    Args:
        services: the store is read from.
        conversation: the open one; None = it is about to begin.
        messages: its messages.
        name: the strategy in force.
        key, save: of the field in which it is chosen.
    """
    st.radio(
        "Memory of this chat",
        list(MEMORIES),
        format_func=title,
        captions=list(MEMORIES.values()),
        key=key,
        on_change=save,
    )
    last = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
    if last is not None and (parts := used(last)):
        st.markdown("**Context of the last answer**, in tokens")
        st.html(bar(parts) + legend(parts), width=384)
    for text, meaning in notes(last) if last is not None else ():
        st.caption(f"**{text}.** {meaning}")
    if conversation is not None:
        _made(services.store.memory_state(conversation.id), name)
        told = services.store.facts.chosen(conversation.id) or []
        _facts("Remembered about you", [fact.text for fact in told])


def _made(state: MemoryState, name: str) -> None:
    """What was made of the older messages."""
    if not state.covered:
        if name in SUMMARIZING:
            st.caption("There is no summary yet. It is written after an answer, once there is enough to sum up.")
        return
    count = f"{state.covered:,} messages" if state.covered > 1 else "message"
    st.markdown(f"**Summary of the first {count}**")
    if name not in SUMMARIZING:
        st.caption(f"Not sent while the memory is {title(name)}.")
    show_text(AIMessage(state.summary))
    _facts("What you said about yourself in them", state.facts)


def _facts(heading: str, facts: Sequence[str]) -> None:
    if facts:
        st.markdown(f"**{heading}**\n\n" + "\n".join(f"- {literal(fact)}" for fact in facts))
