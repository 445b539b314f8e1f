"""The script that Streamlit runs for every page: the look, the navigation, and errors shown as messages."""

import importlib
from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.navigation.page import Page

from phireside.errors import LoginError, PhiresideError
from phireside.ui import chat_page, history, login
from phireside.ui.composer import MODELS
from phireside.ui.look import ABOUT, FAVICON, LOGO, STYLE
from phireside.ui.messages import show_error
from phireside.ui.services import common_settings


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config("Phireside", FAVICON, layout="centered", menu_items={"About": ABOUT})
    st.logo(LOGO, size="large")
    st.html(STYLE)
    chat = st.Page(chat_page.show, title="Chat", icon=":material/forum:", default=True)
    models = st.Page(_show("models"), title="Models", icon=":material/memory:", url_path="models")
    memory = st.Page(_show("memory", chat), title="Memory", icon=":material/psychology:", url_path="memory")
    pages = [
        chat,
        st.Page(_show("knowledge"), title="Knowledge", icon=":material/library_books:", url_path="knowledge"),
        memory,
        st.Page(_show("chains"), title="Chains", icon=":material/account_tree:", url_path="chains"),
        st.Page(_show("scenarios"), title="Scenarios", icon=":material/checklist:", url_path="scenarios"),
        st.Page(_show("evaluate"), title="Evaluate", icon=":material/monitoring:", url_path="evaluate"),
        models,
        st.Page(_show("settings", memory), title="Settings", icon=":material/settings:", url_path="settings"),
    ]
    st.session_state[MODELS] = models
    try:
        _run(pages, chat)
    except PhiresideError as error:
        show_error(error)


def _run(pages: list[Page], chat: Page) -> None:
    """Draw the page of the address, or that of the login."""
    wanted = common_settings().login
    try:
        person = login.person(wanted)
    except LoginError as error:
        st.navigation(pages, position="hidden")  # it must know the address
        login.show(error, wanted.provider)
        return
    login.same_person(person)
    page = st.navigation(pages, position="top")
    history.stay_open(chat, page)
    login.show_person(person)
    page.run()


def _show(name: str, *given: Any) -> Callable[[], None]:
    """A page, imported when it is opened first: the chat need not wait for what the others load.

    Args:
        name: of the page: "memory" is ui/memory_page.py.
        *given: what its `show` takes.
    """
    return lambda: importlib.import_module(f"phireside.ui.{name}_page").show(*given)


if __name__ == "__main__":
    main()
