"""The memory page: what is remembered about the person across conversations, to be searched, corrected and forgotten.

Draws, and tells the store what was clicked; what a fact is, and what forgetting it takes, the store knows.
"""

from collections.abc import Callable
from datetime import datetime

import streamlit as st
from streamlit.navigation.page import Page

from phireside.errors import PhiresideError
from phireside.memory import Fact, FactStore
from phireside.memory.remembered import LONGEST, MOST
from phireside.ui import history
from phireside.ui.messages import icon_button, show_error
from phireside.ui.safe_text import literal
from phireside.ui.services import services

PAGE = 50  # facts drawn at first, and more with each click on "Show more"
SOURCE_LENGTH = 60  # characters of the message that a fact is from; its tooltip has TOOLTIP_LENGTH
TOOLTIP_LENGTH = 600
EVERYTHING = "everything"  # stands for the id of a fact where all are about to be forgotten

MEANING = (
    "When it is on, Phireside keeps sentences in which you say something about yourself, and tells them to the model "
    "in later conversations. The list stays on this machine; a model on a server, if you choose one, is sent them with "
    "your messages."
)
OFF = "**Nothing is remembered.** While this is off, a chat knows only what was said in it."
NOTHING_YET = (
    "**Nothing yet.** Say something about yourself in a chat, for example *My name is Ana and I live in Porto.* "
    "It will be here shortly after the answer."
)


def show(chat: Page) -> None:
    """Draw the page.

    Args:
        chat: the chat page, which links lead to.
    """
    parts = services()
    facts = parts.store.facts
    history.show(parts, None)
    st.title("Memory", anchor=False)
    if error := st.session_state.pop("memory-error", None):
        show_error(error)
    _switch(facts)
    known = len(facts.list(limit=MOST))
    if not known:
        st.markdown(NOTHING_YET if facts.enabled else OFF)
        return
    if facts.enabled and known == MOST:
        st.caption(f":material/warning: {MOST} facts are the most that are kept: forget some, and new ones are noted.")
    elif not facts.enabled:
        st.caption("These facts are kept, but not used. Forget them if you want them gone.")
    _list(facts, chat)
    _forget_everything(facts)


def _switch(facts: FactStore) -> None:
    st.session_state["remember"] = facts.enabled  # another tab may have changed it
    st.toggle("Remember facts about me across conversations", key="remember", on_change=_switched, args=(facts,))
    st.caption(MEANING)


def _switched(facts: FactStore) -> None:
    _do(facts.switch, st.session_state["remember"])


def _list(facts: FactStore, chat: Page) -> None:
    query = st.text_input(
        "Search", key="facts-search", placeholder="Search", icon=":material/search:", label_visibility="collapsed"
    )
    count = st.session_state.get("more_facts", 0) + PAGE
    found = facts.list(query or "", limit=count + 1)
    if not found:
        st.caption("No fact has these words, and no message that one is from.")
    with st.container(gap=None, key="facts"):
        for fact in found[:count]:
            _fact(facts, fact, chat)
    if len(found) > count:
        st.button("Show more", key="more-facts", on_click=_show_more, type="tertiary")


def _fact(facts: FactStore, fact: Fact, chat: Page) -> None:
    """A fact with its source and its buttons; or a box to change it, or the question whether to forget it."""
    doing = _doing(fact.id)
    with st.container(gap="xsmall", key=f"fact-{fact.id}"):
        if doing == "edit":
            _form(facts, fact)
            return
        with st.container(horizontal=True, wrap=False, gap="small", vertical_alignment="top"):
            with st.container(gap=None):
                st.markdown(literal(fact.text))
                _source(fact, chat)
            with st.container(horizontal=True, gap="small", width="content", key=f"actions-{fact.id}"):
                icon_button("edit", "Edit", f"reword-{fact.id}", _begin, fact.id, "edit")
                icon_button("delete", "Forget", f"forget-{fact.id}", _begin, fact.id, "forget")
        if doing == "forget":
            question = (
                "It is deleted for good. The message that you wrote stays in its conversation, and a summary of that "
                "may still mention it."
            )
            _confirm(f"sure-{fact.id}", question, "Forget", facts.forget, fact.id)


def _source(fact: Fact, chat: Page) -> None:
    """When a fact was noted, and where from."""
    day = _day(fact.created_at) + (" · edited by you" if fact.edited else "")
    if fact.conversation_id is None:
        st.caption(f"{day} · its conversation was deleted")
        return
    said = " ".join(fact.source.split())
    label = f"“{_shortened(said, SOURCE_LENGTH)}”" if said else "a message that was changed since"
    if said == fact.text:
        label = "this message"
    with st.container(horizontal=True, wrap=False, gap="xsmall", vertical_alignment="center", key=f"source-{fact.id}"):
        st.caption(f"{day} · from", width="content")
        st.page_link(
            chat,
            label=literal(label),
            icon="",
            width="stretch",
            help=literal(_shortened(said, TOOLTIP_LENGTH)) or None,
            query_params={"chat": fact.conversation_id},
        )


def _form(facts: FactStore, fact: Fact) -> None:
    key = f"words-{fact.id}"
    with st.form(f"form-{fact.id}", border=False):
        st.text_input("Fact", fact.text, key=key, max_chars=LONGEST, label_visibility="collapsed")
        with st.container(horizontal=True, gap="small"):
            st.form_submit_button("Save", type="primary", key=f"save-{fact.id}", on_click=_edit, args=(facts, fact.id))
            st.form_submit_button("Cancel", key=f"cancel-{fact.id}", on_click=_begin, args=(None,))


def _edit(facts: FactStore, fact_id: str) -> None:
    _do(facts.edit, fact_id, st.session_state[f"words-{fact_id}"])


def _forget_everything(facts: FactStore) -> None:
    st.space("small")
    if _doing(EVERYTHING) is None:
        icon = ":material/delete_forever:"
        st.button("Forget everything …", key="forget-all", icon=icon, on_click=_begin, args=(EVERYTHING, "forget"))
        return
    question = "All facts are deleted for good, also those that a search does not show. Your conversations stay."
    _confirm("sure-all", question, "Forget everything", facts.forget_all)


def _confirm(key: str, question: str, yes: str, action: Callable[..., object], *args: object) -> None:
    st.markdown(question)
    with st.container(horizontal=True, gap="small"):
        st.button(yes, key=f"{key}-yes", type="primary", on_click=_do, args=(action, *args))
        st.button("Keep", key=f"{key}-no", on_click=_begin, args=(None,))


def _do(action: Callable[..., object], *args: object) -> None:
    """Do what was clicked. If it fails, the page says why and stays as it is."""
    try:
        action(*args)
    except PhiresideError as error:
        st.session_state["memory-error"] = error
    else:
        _begin(None)


def _begin(fact_id: str | None, what: str = "") -> None:
    """Open the form or the question of one fact; None = of none."""
    st.session_state["fact-open"] = (fact_id, what)


def _doing(fact_id: str) -> str | None:
    opened, what = st.session_state.get("fact-open", (None, ""))
    return what if opened == fact_id else None


def _show_more() -> None:
    st.session_state["more_facts"] = st.session_state.get("more_facts", 0) + PAGE


def _day(moment: datetime) -> str:
    """A date in this machine's time zone: 22 Nov 2026."""
    here = moment.astimezone()
    return f"{here.day} {here:%b %Y}"


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
