"""The chat page: wires the open conversation, the sidebar, the composer and the running answer together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from phireside.chains import Turn
from phireside.errors import ConversationNotFoundError, PhiresideError, TurnRunningError
from phireside.memory import Conversation, default_title, memory_named
from phireside.models import load_chat_model
from phireside.ui import composer, history
from phireside.ui.messages import bubble, icon_button, show_copy, show_error, show_facts, show_text
from phireside.ui.services import Services, services
from phireside.ui.streaming import watch

EXAMPLES = {
    "Explain why the sky is blue": ":material/school:",
    "Write a short, friendly email that moves a meeting to Friday": ":material/mail:",
    "Give me five ideas for a rainy Sunday": ":material/lightbulb:",
    "Write a Python function that counts the words of a text": ":material/code:",
}
WELCOME_PARTS = 5  # places that _welcome takes, or a failure
SHOWN_MESSAGES = 40  # of a long conversation, until more are asked for


@dataclass(frozen=True)
class Ask:
    """A message to be sent. `at`: the position of the user message that it replaces; None = at the end."""

    text: str
    at: int | None = None


@dataclass(frozen=True)
class Failure:
    """A message that got no answer, and why; error None = stopped before the first word."""

    ask: Ask
    error: PhiresideError | None
    text: str = ""  # of an answer that could not be finished or saved


def show() -> None:
    """Draw the page, send what was typed, and follow the answer."""
    parts = services()
    conversation = _opened(parts)
    turn = _running(parts, conversation)
    typed = st.chat_input("Write a message", key="typed", submit_mode="disable", disabled=turn is not None)
    ask: Ask | None = Ask(typed) if typed else st.session_state.pop("ask", None)
    if ask and turn is None:
        conversation, turn = _send(parts, conversation, ask)
    elif ask:  # another page asked meanwhile: this one's text waits until that is answered
        busy = TurnRunningError("Another page was asking something just then.", hint="Send it again.")
        _kept("failures")[_key(conversation)] = Failure(ask, busy)
    messages = parts.store.messages(conversation.id) if conversation else []
    history.show(parts, conversation, messages)
    with st.bottom:
        composer.show(parts, conversation, messages, turn)
    _show_conversation(parts, conversation, messages, turn)


def _opened(parts: Services) -> Conversation | None:
    """The conversation that the address names; so a reload, or a link, opens it again."""
    conversation_id = st.query_params.get("chat")
    if conversation_id is None:
        return None
    try:
        return parts.store.get(conversation_id)
    except ConversationNotFoundError as error:
        history.open_chat(None)
        show_error(error)
        return None


def _running(parts: Services, conversation: Conversation | None) -> Turn | None:
    """The turn that is on its way in the open conversation, whoever began it."""
    if conversation is None:
        return None
    turn: Turn | None = parts.chat.running(conversation.id) or _kept("turns").get(conversation.id)
    if turn is not None and turn.ended:
        _settle(turn)
        return None
    return turn


def _settle(turn: Turn) -> None:
    """Keep what the store does not know of a turn: that it failed."""
    _kept("turns").pop(turn.conversation_id, None)
    if turn.answer is None:
        _kept("failures")[turn.conversation_id] = Failure(Ask(turn.question.text, turn.at), turn.error, turn.text)


def _send(parts: Services, conversation: Conversation | None, ask: Ask) -> tuple[Conversation | None, Turn | None]:
    """Begin a turn, in a new conversation if none is open. What went wrong is shown; the text is not lost."""
    choices = composer.current_choices(conversation)
    _kept("failures").pop(_key(conversation), None)
    try:
        memory = memory_named(choices.memory or parts.settings.memory)
        model = load_chat_model(choices.model or parts.settings.model, parts.settings, **choices.sampling)
        if conversation is None:
            conversation = parts.store.create(default_title([HumanMessage(ask.text)]), **choices.model_dump())
            st.session_state.pop("draft", None)
            history.open_chat(conversation.id)
        system = choices.system or parts.settings.system_prompt
        seen = _kept("seen").get(conversation.id)
        turn = parts.chat.send(
            conversation.id, ask.text, model=model, system=system, at=ask.at, seen=seen, memory=memory
        )
        _kept("turns")[conversation.id] = turn
        return conversation, turn
    except PhiresideError as error:
        _kept("failures")[_key(conversation)] = Failure(ask, error)
        return conversation, None


def _show_conversation(
    parts: Services, conversation: Conversation | None, messages: list[BaseMessage], turn: Turn | None
) -> None:
    _kept("seen")[_key(conversation)] = len(messages)
    failure: Failure | None = _kept("failures").get(_key(conversation))
    if not (messages or turn or failure):
        _welcome(parts, conversation)
    end = len(messages) if turn is None or turn.at is None else turn.at
    start = 0 if st.session_state.get("all_messages") else max(0, end - SHOWN_MESSAGES)
    if start:
        st.button(f"Show the {start} messages before", key="show-all", on_click=_show_all, type="tertiary")
    for position in range(start, end):
        _show_message(messages, position, busy=turn is not None)
    if turn is not None:
        _show_turn(turn, len(messages) - end)
    elif failure is not None:
        _show_failure(conversation, failure)


def _show_turn(turn: Turn, replaced: int) -> None:
    """Draw a question and its answer while it is written, then the page anew from the store.

    Streamlit leaves what stood in a place, faded, until the end of the run or until something else is put there. So all
    places that the replaced messages, or the welcome, had are emptied first.
    """
    with bubble("human"):
        with st.container():
            show_text(turn.question)
        st.empty()
    with bubble("ai"):
        place = st.container()
        st.empty()
        st.empty()
    for _ in range(replaced + WELCOME_PARTS):
        st.empty()
    with place:
        watch(turn)
    _settle(turn)
    st.rerun()


def _welcome(parts: Services, conversation: Conversation | None) -> None:
    """What a person sees before the first message; needs no network."""
    choices = composer.current_choices(conversation)
    st.header("What shall we talk about?", anchor=False)
    name = choices.model or parts.settings.model
    if not composer.is_remote(name):
        st.markdown("A small language model, on this machine alone. Nothing that you write leaves it.")
    st.caption(composer.using(parts, name))
    with st.container(key="examples"):
        for number, (text, icon) in enumerate(EXAMPLES.items()):
            st.button(text, icon=icon, key=f"example-{number}", on_click=_ask, args=(Ask(text),), width="stretch")


def _show_message(messages: list[BaseMessage], position: int, *, busy: bool) -> None:
    """Draw a message in three parts, which `_show_turn` has too: its text, facts, buttons."""
    message = messages[position]
    with bubble(message.type):
        with st.container():
            if st.session_state.get("editing") == position and not busy:
                _form(message.text, position, f"edit-{position}", "Cancel", _edit, None)
                return
            show_text(message)
        if isinstance(message, AIMessage):
            show_facts(message, f"facts-{position}")
        with st.container(horizontal=True, gap="small", key=f"actions-{position}"):
            show_copy(message.text, f"copy-{position}")
            if busy:
                return
            if message.type == "human":
                icon_button("edit", "Edit", f"edit-{position}", _edit, position)
            elif position == len(messages) - 1 and (asked := _question(messages)) is not None:
                again = Ask(messages[asked].text, asked)
                icon_button("refresh", "Answer again", f"again-{position}", _ask, again)


def _question(messages: list[BaseMessage]) -> int | None:
    """The position of the last message of the person."""
    return next((i for i in reversed(range(len(messages))) if messages[i].type == "human"), None)


def _show_failure(conversation: Conversation | None, failure: Failure) -> None:
    if failure.text:
        with bubble("ai"):
            show_text(AIMessage(failure.text))
            st.caption(":material/warning: Not saved.")
    with bubble("human"):
        if failure.error is None:
            st.caption(":material/stop_circle: Stopped before the first word.")
        else:
            show_error(failure.error)
        key = _key(conversation)
        _form(failure.ask.text, failure.ask.at, f"failed-{key}", "Discard", _discard, key)


def _discard(key: str) -> None:
    _kept("failures").pop(key, None)


def _form(text: str, at: int | None, key: str, cancel: str, on_cancel: Callable[..., None], argument: object) -> None:
    """An input box with a message to change and send (again)."""
    with st.form(key, border=False):
        st.text_area("Your message", text, key=f"{key}-text", label_visibility="collapsed", height="content")
        with st.container(horizontal=True, gap="small"):
            st.form_submit_button("Send", type="primary", key=f"{key}-send", on_click=_resend, args=(f"{key}-text", at))
            st.form_submit_button(cancel, key=f"{key}-cancel", on_click=on_cancel, args=(argument,))


def _resend(key: str, at: int | None) -> None:
    if st.session_state[key].strip():
        _ask(Ask(st.session_state[key], at))


def _ask(ask: Ask) -> None:
    st.session_state["ask"] = ask
    st.session_state.pop("editing", None)


def _edit(position: int | None) -> None:
    st.session_state["editing"] = position


def _show_all() -> None:
    st.session_state["all_messages"] = True


def _kept(name: str) -> dict[str, Any]:
    """What this browser session keeps for each conversation: its turns, failures and number of messages seen."""
    kept: dict[str, Any] = st.session_state.setdefault(name, {})
    return kept


def _key(conversation: Conversation | None) -> str:
    return conversation.id if conversation else composer.NEW
