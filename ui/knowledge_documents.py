"""The documents of a base: found by title or source, read chunk by chunk, removed."""

import streamlit as st

from phireside.retrieval import DocumentInfo, KnowledgeBase
from phireside.ui.knowledge_parts import Place, count, passage
from phireside.ui.messages import attempt, icon_button
from phireside.ui.safe_text import literal

PAGE, CHUNKS = 30, 20  # documents, and chunks of one, drawn at first; more with each click on "Show more"
EMPTY = "Nothing is in this base yet. **Add** brings documents in."
_ORIGINS = {"upload:": "uploaded", "text:": "typed"}


def show(place: Place) -> None:
    """Draw the list."""
    base = place.base
    documents = base.documents()
    if not documents:
        st.markdown(EMPTY)
        return
    query = st.text_input(
        "Find", key="documents-find", placeholder="Find", icon=":material/search:", label_visibility="collapsed"
    )
    found = [each for each in documents if (query or "").casefold() in f"{each.title}\n{each.source}".casefold()]
    if not found:
        st.caption("No document has this in its title, or where it is from.")
    shown = st.session_state.get("documents-shown", PAGE)
    with st.container(gap=None, key="documents"):
        for each in found[:shown]:
            _document(base, each)
    if len(found) > shown:
        st.button("Show more", key="more-documents", on_click=_more, args=("documents-shown", PAGE), type="tertiary")


def _document(base: KnowledgeBase, document: DocumentInfo) -> None:
    opened, what = st.session_state.get("document-open", (None, ""))
    doing = what if opened == document.id else ""
    with st.container(gap="xsmall", key=f"fact-{document.id}"):
        with st.container(horizontal=True, wrap=False, gap="small", vertical_alignment="top"):
            with st.container(gap=None):
                st.markdown(f"**{literal(document.title) or 'Untitled'}**")
                st.caption(_facts(document))
            with st.container(horizontal=True, gap="small", width="content", key=f"actions-{document.id}"):
                read = ("expand_less", "Close") if doing == "read" else ("menu_book", "Read its chunks")
                icon_button(*read, f"read-{document.id}", _begin, document.id, "" if doing == "read" else "read")
                icon_button("delete", "Remove", f"remove-{document.id}", _begin, document.id, "remove")
        if doing == "remove":
            _confirm(base, document)
        elif doing == "read":
            _chunks(base, document)


def _facts(document: DocumentInfo) -> str:
    here = document.added_at.astimezone()
    source = next((name for mark, name in _ORIGINS.items() if document.source.startswith(mark)), "")
    source = source or literal(document.source)
    day = f"{here.day} {here:%b %Y}"
    return f"{literal(document.kind)} · {count(document.chunks, 'chunk')} · {day} · {source}"


def _confirm(base: KnowledgeBase, document: DocumentInfo) -> None:
    st.markdown("Its chunks are deleted from the base for good. The file that they were read from stays.")
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Remove", key=f"sure-{document.id}-yes", type="primary",
            on_click=attempt, args=(_remove, base, document.source),
        )  # fmt: skip
        st.button("Keep", key=f"sure-{document.id}-no", on_click=_begin, args=(None, ""))


def _chunks(base: KnowledgeBase, document: DocumentInfo) -> None:
    """What a search can find of a document, as it was cut."""
    chunks = base.chunks(document.id)
    shown = st.session_state.get("chunks-shown", CHUNKS)
    for number, chunk in enumerate(chunks[:shown], 1):
        data = chunk.metadata
        place = [f"{number} of {len(chunks)}", literal(str(data["heading"] or ""))]
        if data["page"] is not None:
            place.append(f"page {data['page']}")
        with st.container(border=True, gap="xsmall"):
            st.caption(" · ".join(part for part in place if part))
            passage([(chunk.page_content, False)])
    if len(chunks) > shown:
        st.button("Show more", key="more-chunks", on_click=_more, args=("chunks-shown", CHUNKS), type="tertiary")


def _remove(base: KnowledgeBase, source: str) -> None:
    base.remove(source)
    _begin(None, "")


def _begin(document: str | None, what: str) -> None:
    """Open the chunks or the question of one document; None = of none."""
    st.session_state["document-open"] = (document, what)
    st.session_state.pop("chunks-shown", None)


def _more(key: str, step: int) -> None:
    st.session_state[key] = st.session_state.get(key, step) + step
