"""The messages of a chat: how each is drawn, its buttons, and the box in which one is changed and sent again.

What is to be sent is left in the session for the page (`ask_soon`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import streamlit as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from streamlit.delta_generator import DeltaGenerator

from phireside.errors import PhiresideError
from phireside.memory import Conversation
from phireside.retrieval.loading import label
from phireside.ui import citations, composer, history, steps
from phireside.ui.answer_record import files_with, record_of
from phireside.ui.messages import (
    attempt,
    bubble,
    icon_button,
    show_copy,
    show_error,
    show_facts,
    show_feedback,
    show_text,
)
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

EMPTIED = 5  # places that stand under the messages: the welcome, or a failure


@dataclass(frozen=True)
class Ask:
    """A message to be sent.

    Attributes:
        text: of it.
        at: the position of the user message that it replaces; None = at the end.
        files: names and bytes of those that came with it.
    """

    text: str
    at: int | None = None
    files: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Failure:
    """A message that got no answer, and why; error None = stopped before the first word."""

    ask: Ask
    error: PhiresideError | None
    text: str = ""  # of an answer that could not be finished or saved
    number: int = field(default_factory=count().__next__)  # each has a box of its own, with its own text in it


def kept_here(name: str) -> dict[str, Any]:
    """What this browser session keeps for each conversation: its turns, failures and number of messages seen."""
    kept: dict[str, Any] = st.session_state.setdefault(name, {})
    return kept


def key_of(conversation: Conversation | None) -> str:
    """What that is kept by."""
    return conversation.id if conversation else composer.NEW


def open_bubbles(question: HumanMessage, replaced: int, names: Sequence[str] = ()) -> DeltaGenerator:
    """Draw a question, and the place for what is done about it. The parts of both are those of `show_message`.

    Streamlit leaves what stood in a place, faded, until the end of the run or until something else is put there. So all
    places that replaced messages, or the welcome, had are emptied.

    Args:
        question: what was asked.
        replaced: how many messages it replaces.
        names: of its files.
    """
    with bubble("human"):
        with st.container():
            show_text(question)
            _names(names)
        st.empty()
    with bubble("ai"):
        place = st.container()
        st.empty()
        st.empty()
    for _ in range(replaced + EMPTIED):
        st.empty()
    return place


def _names(files: Sequence[str]) -> None:
    for name in files:
        st.caption(f":material/attach_file: {literal(name)}")


def show_message(
    parts: Services, conversation: Conversation | None, messages: list[BaseMessage], position: int, *, busy: bool
) -> None:
    """Draw a message in three parts: what it says, facts, buttons."""
    message = messages[position]
    with bubble(message.type):
        with st.container():
            if st.session_state.get("editing") == (key_of(conversation), position) and not busy:
                _form(Ask(message.text, position), f"edit-{position}", "Cancel", _edit, None)
                return
            if isinstance(message, AIMessage):
                _show_answer(message, position)
            else:
                show_text(message)
                _names(files_with(messages, position))
        if isinstance(message, AIMessage):
            show_facts(message, f"facts-{position}")
        with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"actions-{position}"):
            show_copy(message.text, f"copy-{position}")
            if not busy and conversation is not None:
                _buttons(parts, conversation, messages, position)


def _show_answer(answer: AIMessage, position: int) -> None:
    """Draw the steps of an answer, its text, and its sources, in the places that `watch` has for them."""
    record = record_of(answer)
    with st.container():
        steps.show(record.steps, str(position))
    show_text(answer, record.cited(answer.text))
    with st.container(gap="xsmall"):
        citations.show(record, answer.text, str(position))


def _buttons(parts: Services, conversation: Conversation, messages: list[BaseMessage], position: int) -> None:
    """What can be done with a message."""
    message = messages[position]
    if message.type == "human":
        icon_button("edit", "Edit", f"edit-{position}", _edit, (conversation.id, position))
        return
    if position == len(messages) - 1 and (asked := _question(messages)) is not None:
        icon_button("refresh", "Answer again", f"again-{position}", ask_soon, Ask(messages[asked].text, asked))
    icon_button("alt_route", "Branch: go on from here in a new chat", f"branch-{position}", _branch, parts,
                conversation.id, position)  # fmt: skip
    save = partial(attempt, parts.store.set_feedback, conversation.id, position)
    show_feedback(record_of(message).feedback, f"feedback-{conversation.id}-{position}", save)


def _question(messages: list[BaseMessage]) -> int | None:
    """The position of the last message of the person."""
    return next((i for i in reversed(range(len(messages))) if messages[i].type == "human"), None)


def show_failure(conversation: Conversation | None, failure: Failure) -> None:
    """Draw what went wrong, and the message in a box to be sent again."""
    if failure.text:
        with bubble("ai"):
            show_text(AIMessage(failure.text))
            st.caption(":material/warning: Not saved.")
    with bubble("human"):
        if failure.error is None:
            st.caption(":material/stop_circle: Stopped before the first word.")
        else:
            show_error(failure.error)
        key = key_of(conversation)
        _names([label(name) for name, _ in failure.ask.files])
        if failure.ask.text.strip() or failure.ask.files:
            _form(failure.ask, f"failed-{key}-{failure.number}", "Discard", _discard, key)
        else:  # a file that was sent alone, and cannot be read: there is nothing to send again
            st.button("Discard", key=f"failed-{key}-discard", on_click=_discard, args=(key,))


def _discard(key: str) -> None:
    kept_here("failures").pop(key, None)


def _form(ask: Ask, key: str, cancel: str, on_cancel: Callable[..., None], argument: object) -> None:
    """An input box with a message to change and send (again)."""
    with st.form(key, border=False):
        st.text_area("Your message", ask.text, key=f"{key}-text", label_visibility="collapsed", height="content")
        with st.container(horizontal=True, gap="small"):
            st.form_submit_button(
                "Send", type="primary", key=f"{key}-send", on_click=_resend, args=(f"{key}-text", ask)
            )
            st.form_submit_button(cancel, key=f"{key}-cancel", on_click=on_cancel, args=(argument,))


def _resend(key: str, ask: Ask) -> None:
    if (text := st.session_state[key]).strip() or ask.files:
        ask_soon(replace(ask, text=text))


def ask_soon(ask: Ask) -> None:
    """Have the page send a message when it is drawn next; for callbacks."""
    st.session_state["ask"] = ask
    st.session_state.pop("editing", None)


def _edit(message: tuple[str, int] | None) -> None:
    """Open the box of one message: its conversation, and its position there; None = of none."""
    st.session_state["editing"] = message


def _branch(parts: Services, conversation_id: str, position: int) -> None:
    if made := attempt(parts.store.branch, conversation_id, position):
        history.open_chat(made.id)
