"""What answers beside the model in a conversation: documents that are searched, and tools. Draws, and saves choices."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from phireside.agents.assistant import knowledge_base
from phireside.errors import PhiresideError
from phireside.memory import Conversation
from phireside.retrieval import base_names
from phireside.retrieval.listing import base_info
from phireside.retrieval.names import chat_base, chat_of
from phireside.settings import Settings
from phireside.tools.named import TOOLS, unusable
from phireside.ui.choices import Choices
from phireside.ui.knowledge_parts import count
from phireside.ui.safe_text import literal

Keep = Callable[[dict[str, Any]], None]

NONE = "None"
OWN = "Files of this chat"
TITLES = 5  # of these files that are named


def show(settings: Settings, conversation: Conversation | None, choices: Choices, keep: Keep) -> None:
    """Draw the buttons "documents" and "tools", each with what can be chosen.

    Args:
        settings: where bases are, and what tools may reach.
        conversation: the open one; None = it is about to begin.
        choices: what is chosen for it.
        keep: saves choices that were changed.
    """
    title = base_title(choices.base) if choices.base else "Documents"
    icon = ":material/menu_book:" if choices.base else ":material/book:"
    with st.popover(literal(title), icon=icon, type="tertiary", key="pick-base", on_change="rerun") as place:
        if place.open:  # looking into all bases takes a moment
            _documents(settings, conversation, choices, keep)
    tools = len(choices.tools)
    with st.popover(
        f"Tools · {tools}" if tools else "Tools",
        icon=":material/build_circle:" if tools else ":material/build:",
        type="tertiary",
        key="pick-tools",
    ):
        _tools(settings, conversation, choices, keep)


def base_title(name: str) -> str:
    """What a base is called on the page."""
    return OWN if chat_of(name) else name


def bases_for(names: Sequence[str], conversation: Conversation | None, chosen: str) -> list[str]:
    """The bases that can be chosen in a conversation: all but the files of other chats; the chosen one in any case."""
    own = chat_base(conversation.id) if conversation else ""
    there = [name for name in names if name == own or not chat_of(name)]
    return there if not chosen or chosen in there else [*there, chosen]


def _documents(settings: Settings, conversation: Conversation | None, choices: Choices, keep: Keep) -> None:
    found = base_names(settings.bases_dir)
    names = ["", *bases_for(found, conversation, choices.base)]
    key = f"base-{conversation.id if conversation else 'new'}"
    st.session_state[key] = choices.base  # files that were dropped into the chat choose theirs, too
    st.radio(
        "Answer from documents",
        names,
        format_func=lambda name: literal(base_title(name)) if name else NONE,
        captions=["The model answers from what it knows.", *(_about(settings, name, found) for name in names[1:])],
        key=key,
        on_change=lambda: keep({"base": st.session_state[key]}),
    )
    st.caption("Drop files into the box below to ask about them. Bases are made on the Knowledge page.")


def _about(settings: Settings, name: str, found: Sequence[str]) -> str:
    """A base in a line."""
    if name not in found:
        return ":material/warning: It is not there any more."
    try:
        documents = count(base_info(name, settings.bases_dir).documents, "document")
        return f"{documents}: {_titles(settings, name)}" if chat_of(name) else documents
    except PhiresideError as error:
        return f":material/warning: {literal(error.message)}"


def _titles(settings: Settings, name: str) -> str:
    """What the files of a chat are called."""
    titles = sorted((each.title for each in knowledge_base(name, settings).documents()), key=str.casefold)
    return ", ".join(map(literal, titles[:TITLES])) + (" …" if len(titles) > TITLES else "")


def _tools(settings: Settings, conversation: Conversation | None, choices: Choices, keep: Keep) -> None:
    st.markdown("**Let the model use tools**")
    keys = {name: f"tool-{name}-{conversation.id if conversation else 'new'}" for name in TOOLS if name != "knowledge"}

    def save() -> None:
        keep({"tools": tuple(name for name, key in keys.items() if st.session_state[key])})

    for name, key in keys.items():
        tool, why = TOOLS[name], unusable(name, settings)
        st.session_state[key] = name in choices.tools
        with st.container(gap=None, key=f"about-{name}"):
            asks = "You are asked before each call." if tool.effects != "none" else None
            label = literal(tool.title) + (" :material/front_hand:" if asks else "")
            off = bool(why) and name not in choices.tools
            st.checkbox(label, key=key, on_change=save, disabled=off, help=asks)
            st.caption(f":material/block: {literal(why)}" if why else literal(tool.description))
