"""The chat page: wires the open conversation, the sidebar, the composer and the running answer together."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st
from langchain_core.messages import BaseMessage, HumanMessage
from streamlit.elements.widgets.chat import ChatInputValue

from phireside.agents.assistant import Uses, answerer
from phireside.chains import Turn
from phireside.errors import ConversationNotFoundError, DocumentError, PhiresideError, TurnRunningError
from phireside.memory import Conversation, default_title, memory_named
from phireside.models import load_chat_model
from phireside.models.load import is_remote
from phireside.retrieval import KINDS
from phireside.retrieval.loading import label
from phireside.retrieval.names import chat_base
from phireside.tools.named import TOOLS
from phireside.ui import attachments, composer, history
from phireside.ui.answer_record import files_with
from phireside.ui.attachments import Attached, Naming
from phireside.ui.chat_messages import (
    Ask,
    Failure,
    ask_soon,
    kept_here,
    key_of,
    open_bubbles,
    show_failure,
    show_message,
)
from phireside.ui.choices import Choices
from phireside.ui.context import border
from phireside.ui.knowledge_parts import desk
from phireside.ui.messages import is_told, show_trouble
from phireside.ui.safe_text import literal
from phireside.ui.services import Services, services
from phireside.ui.streaming import watch, watch_files

EXAMPLES = {
    "Explain why the sky is blue": ":material/school:",
    "Write a short, friendly email that moves a meeting to Friday": ":material/mail:",
    "Give me five ideas for a rainy Sunday": ":material/lightbulb:",
    "Write a Python function that counts the words of a text": ":material/code:",
}
SHOWN_MESSAGES = 40  # of a long conversation, until more are asked for


def show() -> None:
    """Draw the page, send what was typed, and follow the answer."""
    parts = services()
    conversation = _opened(parts)
    show_trouble()
    turn, files = _running(parts, conversation)
    busy = turn is not None or files is not None
    typed = st.chat_input(
        "Write a message",
        key="typed",
        submit_mode="disable",
        disabled=busy,
        accept_file="multiple",
        file_type=sorted(KINDS),
    )
    ask = _typed(typed) if typed is not None else st.session_state.pop("ask", None)
    if ask and not busy:
        conversation, turn, files = _send(parts, conversation, ask)
    elif ask:  # another page asked meanwhile: this one's text waits until that is answered
        error = TurnRunningError("Another page was asking something just then.", hint="Send it again.")
        kept_here("failures")[key_of(conversation)] = Failure(ask, error)
    messages = parts.store.messages(conversation.id) if conversation else []
    history.show(parts, conversation, messages)
    stop = turn.stop if turn is not None else files.work.stop if files is not None else None
    with st.bottom:
        composer.show(parts, conversation, messages, stop)
    _show_conversation(parts, conversation, messages, turn, files)


def _typed(value: ChatInputValue) -> Ask:
    """What was typed, with the files that were dropped."""
    return Ask(value.text or "", files=tuple((file.name, file.getvalue()) for file in value.files))


def _opened(parts: Services) -> Conversation | None:
    """The conversation that the address names; so a reload, or a link, opens it again."""
    conversation_id = st.query_params.get("chat")
    if conversation_id is None:
        return None
    try:
        return parts.store.get(conversation_id)
    except ConversationNotFoundError as error:
        history.name_chat(None)
        st.session_state["trouble"] = error  # which a click on what was deleted has left there, too
        return None


def _running(parts: Services, conversation: Conversation | None) -> tuple[Turn | None, Attached | None]:
    """The turn that is on its way in the open conversation, or the files before it, whoever began them."""
    if conversation is None:
        return None, None
    if done := attachments.take(conversation.id):
        _settle_files(conversation.id, done)
    files = attachments.attached(conversation.id)
    turn: Turn | None = parts.chat.running(conversation.id) or kept_here("turns").get(conversation.id)
    if turn is not None and turn.ended:
        _settle(turn)
        turn = None
    return turn, files


def _settle(turn: Turn) -> None:
    """Keep what the store does not know of a turn: that it failed."""
    kept_here("turns").pop(turn.conversation_id, None)
    if turn.answer is None:
        kept_here("failures")[turn.conversation_id] = Failure(Ask(turn.question.text, turn.at), turn.error, turn.text)


def _settle_files(conversation_id: str, files: Attached) -> None:
    """Keep what is known of files only here: that they could not be read, or the turn that they began."""
    work = files.work
    if work.error or work.stopped:
        unreadable = isinstance(work.error, DocumentError)  # all of them: they will not be readable the next time
        again = Ask(files.text, files=() if unreadable else tuple(files.files))
        kept_here("failures")[conversation_id] = Failure(again, work.error)
    elif files.turn is not None:
        kept_here("turns")[conversation_id] = files.turn
    kept_here("notices")[conversation_id] = [
        *([f":material/attach_file: {literal(work.result)}. Ask about it."] if work.result and not files.text else []),
        *(f":material/warning: {literal(str(error))}" for _, error in work.failed),
    ]


def _send(
    parts: Services, conversation: Conversation | None, ask: Ask
) -> tuple[Conversation | None, Turn | None, Attached | None]:
    """Begin a turn, or the reading of its files, in a new conversation if none is open.

    What went wrong is shown; the text is not lost.
    """
    choices = composer.current_choices(conversation)
    for name in ("failures", "notices", "names"):
        kept_here(name).pop(key_of(conversation), None)
    try:
        names = _named(parts, conversation, ask)
        how = _how(parts, choices, names)
        if conversation is None:
            title = default_title([HumanMessage(ask.text)]) or label(ask.files[0][0])
            conversation = parts.store.create(title, **choices.model_dump(exclude_unset=True))
            st.session_state.pop("draft", None)
            history.name_chat(conversation.id)
        seen = kept_here("seen").get(conversation.id)
        if ask.files:
            names = [label(name) for name, _ in ask.files]
            then = partial(_ask_about_files, parts, conversation.id, ask.text, names)
            kept_here("names")[conversation.id] = names
            files = attachments.attach(desk(), parts.settings, conversation.id, ask.files, ask.text, then)
            return conversation, None, files
        turn = parts.chat.send(conversation.id, ask.text, at=ask.at, seen=seen, **how)
        kept_here("turns")[conversation.id], kept_here("names")[conversation.id] = turn, names
        return conversation, turn, None
    except PhiresideError as error:
        kept_here("failures")[key_of(conversation)] = Failure(ask, error)
        return conversation, None, None


def _named(parts: Services, conversation: Conversation | None, ask: Ask) -> list[str]:
    """The files that came with a question that is asked again."""
    if conversation is None or ask.at is None:
        return []
    return files_with(parts.store.messages(conversation.id), ask.at)


def _how(parts: Services, choices: Choices, names: Sequence[str]) -> dict[str, Any]:
    """The arguments of `Chat.send` that the choices say: who answers, and what it is told.

    Args:
        parts: the services.
        choices: of the conversation.
        names: of the files that came with the question.
    """
    settings = parts.settings
    model = load_chat_model(choices.model or settings.model, settings, **choices.sampling)
    found = answerer(model, settings, Uses(choices.base, choices.tools))
    return {
        "model": model,
        "system": choices.system or settings.system_prompt,
        "memory": memory_named(choices.memory or settings.memory),
        "answerer": Naming(found, names) if found and names else found,
    }


def _ask_about_files(parts: Services, conversation_id: str, text: str, names: Sequence[str]) -> Turn | None:
    """Switch the files of a chat on, and ask. Touches no session: its page may be gone."""
    parts.store.set_options(conversation_id, base=chat_base(conversation_id))
    if not text.strip():
        return None
    choices = composer.current_choices(parts.store.get(conversation_id))
    return parts.chat.send(conversation_id, text, **_how(parts, choices, names))


def _show_conversation(
    parts: Services,
    conversation: Conversation | None,
    messages: list[BaseMessage],
    turn: Turn | None,
    files: Attached | None,
) -> None:
    kept_here("seen")[key_of(conversation)] = len(messages)
    failure: Failure | None = kept_here("failures").get(key_of(conversation))
    notices: list[str] = kept_here("notices").get(key_of(conversation), [])
    if not (messages or turn or files or failure or notices):
        _welcome(parts, conversation)
    end = len(messages) if turn is None or turn.at is None else turn.at
    start = 0 if st.session_state.get("all_messages") else max(0, end - SHOWN_MESSAGES)
    if start:
        st.button(f"Show the {start} messages before", key="show-all", on_click=_show_all, type="tertiary")
    begins, line = border(messages[:end])
    for position in range(start, end):
        if line and position == begins:
            st.caption(f":material/vertical_align_top: {line}")
        if is_told(messages[position]):
            show_message(parts, conversation, messages, position, busy=bool(turn or files))
    for notice in notices:
        st.caption(notice)
    if turn is not None:
        _show_turn(turn, len(messages) - end)
    elif files is not None:
        _show_files(files)
    elif failure is not None:
        show_failure(conversation, failure)


def _show_turn(turn: Turn, replaced: int) -> None:
    """Draw a question and its answer while it is written, then the page anew from the store."""
    with open_bubbles(turn.question, replaced, kept_here("names").get(turn.conversation_id, ())):
        watch(turn)
    _settle(turn)
    st.rerun()


def _show_files(files: Attached) -> None:
    """Draw a question and how far the files are that come with it, until they are read."""
    with open_bubbles(HumanMessage(files.text), 0, files.names):
        watch_files(files)
    st.rerun()


def _welcome(parts: Services, conversation: Conversation | None) -> None:
    """What a person sees before the first message; needs no network."""
    choices = composer.current_choices(conversation)
    st.title("What shall we talk about?", anchor=False)
    name = choices.model or parts.settings.model
    if not is_remote(name):
        leaves = any(TOOLS[tool].effects != "none" for tool in choices.tools)
        stays = "" if leaves else " Nothing that you write leaves it."
        st.markdown(f"A small language model, on this machine alone.{stays}")
    composer.show_using(parts, name)
    with st.container(key="examples"):
        for number, (text, icon) in enumerate(EXAMPLES.items()):
            st.button(text, icon=icon, key=f"example-{number}", on_click=ask_soon, args=(Ask(text),), width="stretch")


def _show_all() -> None:
    st.session_state["all_messages"] = True
