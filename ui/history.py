"""The sidebar: all conversations by date, with search; and rename, export and delete for the open one."""

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial
from itertools import groupby

import streamlit as st
from langchain_core.messages import BaseMessage
from streamlit.navigation.page import Page

from phireside.agents.scenarios import as_scenario
from phireside.memory import Conversation, ConversationStore
from phireside.memory.store import BRANCH
from phireside.models import forget_state
from phireside.ui.attachments import forget_files
from phireside.ui.choices import read_choices
from phireside.ui.knowledge_parts import desk
from phireside.ui.messages import attempt
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

PAGE = 30  # conversations drawn at first, and more with each click on "Show older"
UNTITLED = "New conversation"


def open_chat(conversation_id: str | None) -> None:
    """Open a conversation by a click; None = a new one. On another page, `stay_open` then leads to the chat."""
    name_chat(conversation_id)
    st.session_state["opening"] = True


def name_chat(conversation_id: str | None) -> None:
    """Have the address name a conversation, on the chat page itself; None = a new one."""
    if conversation_id is None:
        st.query_params.pop("chat", None)
    else:
        st.query_params["chat"] = conversation_id
    st.session_state["opened"] = conversation_id
    for name in ("editing", "all_messages", "deleting"):
        st.session_state.pop(name, None)


def stay_open(chat: Page, page: Page) -> None:
    """Go from another page to a conversation that was chosen there, and from the menu back to the one that was open."""
    opening = st.session_state.pop("opening", False)
    if page is not chat:
        st.session_state["elsewhere"] = True
        if opening or "chat" in st.query_params:
            st.switch_page(chat, query_params=st.query_params.to_dict())
        return
    opened = st.session_state.get("opened")
    if st.session_state.pop("elsewhere", False) and opened and "chat" not in st.query_params:
        st.query_params["chat"] = opened
    st.session_state["opened"] = st.query_params.get("chat")


def show(services: Services, opened: Conversation | None, messages: Sequence[BaseMessage] = ()) -> None:
    """Draw the sidebar; `messages` are those of the open conversation."""
    with st.sidebar:
        icon = ":material/edit_square:"
        st.button(
            "New chat", key="new", icon=icon, on_click=open_chat, args=(None,), width="stretch", shortcut="Mod+Shift+O"
        )
        query = st.text_input(
            "Search", key="search", placeholder="Search", icon=":material/search:", label_visibility="collapsed"
        )
        count = st.session_state.get("older", 0) + PAGE
        found = services.store.list(query or "", limit=count + 1)
        if not found:
            st.caption("No conversation has these words." if query else "Your conversations will be here.")
        for title, group in by_date(found[:count], date.today()):
            st.caption(title)
            with st.container(gap=None, key=f"chats-{title.lower().replace(' ', '-')}"):
                for conversation in group:
                    is_open = opened is not None and conversation.id == opened.id
                    _row(services, conversation, messages if is_open else None)
        if len(found) > count:
            st.button("Show older", key="show-older", on_click=_show_older, type="tertiary")


def by_date(found: Iterable[Conversation], today: date) -> list[tuple[str, list[Conversation]]]:
    """Group conversations, newest first, by the day of their last turn in this machine's time zone."""

    def title(conversation: Conversation) -> str:
        day = conversation.updated_at.astimezone().date()
        if day >= today:
            return "Today"
        if day == today - timedelta(days=1):
            return "Yesterday"
        return "Last 7 days" if day > today - timedelta(days=7) else "Earlier"

    return [(name, list(group)) for name, group in groupby(found, title)]


def _row(services: Services, conversation: Conversation, messages: Sequence[BaseMessage] | None) -> None:
    """A conversation; the open one has its messages, and a menu."""
    title = literal(conversation.title) or UNTITLED
    icon = ":material/alt_route:" if conversation.title.endswith(BRANCH) else None  # the end of a title is cut off
    if messages is None:
        key, opening = f"open-{conversation.id}", (conversation.id,)
        st.button(title, key=key, icon=icon, on_click=open_chat, args=opening, type="tertiary", width="stretch")
        return
    with st.container(horizontal=True, wrap=False, gap="xsmall", vertical_alignment="center", key="chats-open"):
        st.button(title, key=f"opened-{conversation.id}", icon=icon or ":material/chat_bubble:", width="stretch")
        with st.popover(
            "More", icon=":material/more_horiz:", type="tertiary", help="Rename, export, delete", key="more"
        ):
            _menu(services, conversation, messages)


def _menu(services: Services, conversation: Conversation, messages: Sequence[BaseMessage]) -> None:
    store = services.store
    key = f"rename-{conversation.id}"
    if st.session_state.get(key) != conversation.title:  # an edited message, or another tab, has named it
        st.session_state[key] = conversation.title
    renaming = (_rename, store, conversation.id, key)
    st.text_input("Title", key=key, max_chars=200, on_change=attempt, args=renaming)
    exports = [
        ("Markdown", "md", "text/markdown", partial(store.export_markdown, conversation.id)),
        ("JSON", "json", "application/json", partial(store.export_json, conversation.id)),
    ]
    if any(message.type == "human" for message in messages):
        exports.append(("scenario", "yaml", "application/yaml", partial(_scenario, services, conversation, messages)))
    for label, suffix, mime, export in exports:
        st.download_button(
            f"Save as {label}",
            export,  # made when it is clicked
            f"{_file_name(conversation.title)}.{suffix}",
            mime,
            key=f"export-{suffix}",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
        )
    if st.session_state.get("deleting") != conversation.id:
        icon = ":material/delete:"
        st.button("Delete …", key="delete", icon=icon, width="stretch", on_click=_ask_delete, args=(conversation.id,))
        return
    st.caption("This cannot be undone.")
    with st.container(horizontal=True, gap="small"):
        deleting = (_delete, services, conversation)
        st.button("Delete", key="delete-yes", type="primary", on_click=attempt, args=deleting)
        st.button("Keep", key="delete-no", on_click=_ask_delete, args=(None,))


def _scenario(services: Services, conversation: Conversation, messages: Sequence[BaseMessage]) -> str:
    """The conversation as a scenario, with all that was chosen for it."""
    choices, settings = read_choices(conversation.options), services.settings
    return as_scenario(
        conversation.title,
        messages,
        model=choices.model or settings.model,
        system=choices.system or settings.system_prompt,
        memory=choices.memory or settings.memory,
    )


def _ask_delete(conversation_id: str | None) -> None:
    st.session_state["deleting"] = conversation_id


def _delete(services: Services, conversation: Conversation) -> None:
    if turn := services.chat.running(conversation.id):
        turn.stop()
    services.store.delete(conversation.id)
    open_chat(None)
    forget_state(conversation.id, services.settings.state_dir)
    forget_files(desk(), services.settings, services.store, conversation)


def _rename(store: ConversationStore, conversation_id: str, key: str) -> None:
    store.rename(conversation_id, st.session_state[key])


def _show_older() -> None:
    st.session_state["older"] = st.session_state.get("older", 0) + PAGE


def _file_name(title: str) -> str:
    return re.sub(r"[^\w-]+", "-", title).strip("-_")[:60] or "conversation"
