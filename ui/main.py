"""The script that Streamlit runs for every page: the look, the navigation, and errors shown as messages."""

import streamlit as st

from phireside.errors import PhiresideError
from phireside.ui import chat_page
from phireside.ui.look import ABOUT, FAVICON, LOGO, STYLE
from phireside.ui.messages import show_error


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config("Phireside", FAVICON, layout="centered", menu_items={"About": ABOUT})
    st.logo(LOGO, size="large")
    st.html(STYLE)
    page = st.navigation([st.Page(chat_page.show, title="Chat", icon=":material/forum:", default=True)])
    try:
        page.run()
    except PhiresideError as error:
        show_error(error)


if __name__ == "__main__":
    main()
