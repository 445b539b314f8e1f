"""The script that Streamlit runs for every page: the look, the navigation, and errors shown as messages."""

from functools import partial

import streamlit as st

from phireside.errors import PhiresideError
from phireside.ui import chains_page, chat_page, history, memory_page
from phireside.ui.look import ABOUT, FAVICON, LOGO, STYLE
from phireside.ui.messages import show_error


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config("Phireside", FAVICON, layout="centered", menu_items={"About": ABOUT})
    st.logo(LOGO, size="large")
    st.html(STYLE)
    chat = st.Page(chat_page.show, title="Chat", icon=":material/forum:", default=True)
    memory = st.Page(partial(memory_page.show, chat), title="Memory", icon=":material/psychology:", url_path="memory")
    chains = st.Page(chains_page.show, title="Chains", icon=":material/account_tree:", url_path="chains")
    page = st.navigation([chat, memory, chains], position="top")
    history.stay_open(chat, page)
    try:
        page.run()
    except PhiresideError as error:
        show_error(error)


if __name__ == "__main__":
    main()
