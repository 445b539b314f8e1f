"""How documents come into a base: files that are sent, a folder of this machine, a page of the web, a text."""

from pathlib import Path

import streamlit as st

from phireside.errors import KnowledgeError
from phireside.retrieval import KINDS
from phireside.retrieval.loading.loaded import LIMITS
from phireside.ui.background import Do
from phireside.ui.knowledge_parts import Place, count, start
from phireside.ui.knowledge_work import add_page, add_path, add_text, add_uploads
from phireside.ui.messages import attempt
from phireside.ui.services import services

_LARGEST = LIMITS.file_bytes // 1_000_000  # of a file; Streamlit's megabytes are a little larger
_KINDS = ", ".join(sorted({kind.removeprefix(".") for kind in KINDS}))
FOLLOWED = (
    "The files stay where they are. Adding the folder again takes up what is new or changed, and removes what was "
    "deleted from it. Names that begin with a dot are left out."
)


def show(place: Place) -> None:
    """Draw the ways; none can be taken while something is at work here."""
    busy = place.busy
    _files(place, busy)
    if services().admin:
        with st.expander("A folder or file of this machine", icon=":material/folder:"):
            _form(place, "path", "Path", "/home/ana/notes", busy, FOLLOWED)
    with st.expander("A page of the web", icon=":material/language:"):
        _form(place, "page", "Address", "https://example.org/guide", busy, "Phireside fetches this page, and no other.")
    with st.expander("A text", icon=":material/edit_note:"), st.form("form-text", border=False):
        st.text_input("Title", key="text-title", max_chars=200)
        st.text_area("Text", key="text-text", height=160)
        st.form_submit_button("Add", key="add-text", disabled=busy, on_click=_add_text, args=(place,))


def _files(place: Place, busy: bool) -> None:
    key = f"files-{place.name}-{st.session_state.get('uploads', 0)}"  # another number is an empty box
    files = st.file_uploader("Files", key=key, accept_multiple_files=True, max_upload_size=_LARGEST)
    st.caption(f"What is read: {_KINDS}.")
    title = f"Add {count(len(files), 'file')}" if files else "Add"
    st.button(
        title, key="add-files", type="primary", disabled=busy or not files, on_click=_add_files, args=(place, key)
    )


def _form(place: Place, what: str, label: str, example: str, busy: bool, meaning: str) -> None:
    with st.form(f"form-{what}", border=False):
        st.text_input(label, key=f"{what}-text", placeholder=example)
        st.caption(meaning)
        st.form_submit_button("Add", key=f"add-{what}", disabled=busy, on_click=attempt, args=(_add_typed, place, what))


def _add_files(place: Place, key: str) -> None:
    files = [(file.name, file.getvalue()) for file in st.session_state[key]]
    if start(place, f"Adding {count(len(files), 'file')}", add_uploads(files, place.ready)):
        st.session_state["uploads"] = st.session_state.get("uploads", 0) + 1


def _add_typed(place: Place, what: str) -> None:
    typed = st.session_state[f"{what}-text"].strip()
    if not typed:
        raise KnowledgeError("Nothing was typed.", hint=f"Give {'a path' if what == 'path' else 'an address'}.")
    work: Do = add_page(typed, place.ready) if what == "page" else add_path(_path(typed), place.ready)
    start(place, f"Adding {typed[:80]}", work)


def _path(typed: str) -> Path:
    path = Path(typed)
    try:
        return path.expanduser()
    except RuntimeError:  # "~name" of a person who is not known here
        return path


def _add_text(place: Place) -> None:
    title, text = (st.session_state[f"text-{name}"].strip() for name in ("title", "text"))
    start(place, f"Adding “{title[:80] or 'a text'}”", add_text(text, title, place.ready))
