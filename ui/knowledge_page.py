"""The knowledge page: bases of documents, made and deleted; and one of them, with what is in it and what is done to it.

Draws, and says what was clicked; the four views of a base are in modules of their own.
"""

from collections.abc import Callable
from functools import partial

import streamlit as st

from phireside.agents.assistant import close_bases
from phireside.errors import ConversationNotFoundError, KnowledgeError, PhiresideError
from phireside.retrieval import base_names
from phireside.retrieval.bases import create_base, delete_base
from phireside.retrieval.embedder import Embedder
from phireside.retrieval.listing import BaseInfo, base_info
from phireside.retrieval.names import chat_of
from phireside.ui import composer, history, knowledge_adding, knowledge_documents, knowledge_map, knowledge_search
from phireside.ui.cards import show_cards
from phireside.ui.knowledge_parts import Place, count, desk, show_work, start
from phireside.ui.knowledge_work import reindex
from phireside.ui.messages import attempt, guarded, show_trouble
from phireside.ui.safe_text import literal
from phireside.ui.services import Services, services

MEANING = (
    "A base holds documents that a chat can answer from. They are cut into chunks, which are found by their meaning "
    "and by their words. All of it stays on this machine."
)
NOTHING_YET = "**No base yet.** Give one a name; documents come next."
VIEWS: dict[str, Callable[[Place], None]] = {
    "Documents": knowledge_documents.show,
    "Add": knowledge_adding.show,
    "Search": knowledge_search.show,
    "Map": knowledge_map.show,
}


def show() -> None:
    """Draw the list of bases, or the base that the address names."""
    parts = services()
    history.show(parts, None)
    show_trouble()
    name = st.query_params.get("base")
    if name in base_names(parts.settings.bases_dir):
        _base(parts, name)
        return
    if name is not None:
        st.caption(f":material/info: There is no base called {literal(name)}.")
    _bases(parts)


def _bases(parts: Services) -> None:
    """Cards; those with files of a chat come last."""
    st.title("Knowledge", anchor=False)
    st.markdown(MEANING)
    names = base_names(parts.settings.bases_dir)
    if not names:
        st.markdown(NOTHING_YET)
    of_chats = {name: title for name in names if (title := _chat_title(parts, name))}
    about = partial(_counts, parts)
    show_cards({name: name for name in names if name not in of_chats}, "base", _open, about)
    _new()
    if of_chats:
        st.header("Files of chats", anchor=False)
        show_cards(of_chats, "base", _open, about)


def _counts(parts: Services, name: str) -> None:
    """What is in a base; one that cannot be read must not hide the others."""
    try:
        info = base_info(name, parts.settings.bases_dir)
    except PhiresideError as error:
        st.caption(f":material/error: {literal(error.message)}")
        return
    busy = " · :material/sync: being worked on" if desk().busy(parts.settings.bases_dir / name) else ""
    st.caption(f"{count(info.documents, 'document')} · {count(info.chunks, 'chunk')}{busy}")


def _new() -> None:
    with (
        st.form("new-base", border=False),
        st.container(horizontal=True, gap="small", vertical_alignment="bottom"),
    ):
        st.text_input("New base", key="new-base-name", placeholder="Name", max_chars=64)
        st.form_submit_button("Create", key="create-base", icon=":material/add:", on_click=attempt, args=(_create,))


def _create() -> None:
    name = st.session_state["new-base-name"].strip()
    if not name:
        raise KnowledgeError("Give the base a name.", hint="Write it beside the button, then click Create again.")
    create_base(name, services().settings.bases_dir)
    st.session_state["new-base-name"] = ""
    _open(name)


def _open(name: str | None) -> None:
    for key in ("knowledge-view", "document-open", "documents-shown", "documents-find", "try-query"):
        st.session_state.pop(key, None)
    if name is None:
        st.query_params.pop("base", None)
    else:
        st.query_params["base"] = name


def _base(parts: Services, name: str) -> None:
    """One base. If it cannot be opened, the page says why, and it can still be deleted."""
    st.button("All bases", icon=":material/arrow_back:", key="all-bases", type="tertiary", on_click=_open, args=(None,))
    place, title = Place(parts.settings, name, desk()), _chat_title(parts, name)
    with st.container(horizontal=True, wrap=False, gap="small", vertical_alignment="center"):
        st.title(literal(f"Files of “{title}”" if title else name), anchor=False, width="stretch")
        with st.popover(
            "More", icon=":material/more_horiz:", type="tertiary", help="Embed anew, delete", key="base-more"
        ):
            _menu(place)
    counts = st.container()
    show_work(place)  # first: what it has added is then among what is counted and listed
    info, base = guarded(base_info, name, parts.settings.bases_dir), guarded(lambda: place.base)
    if info is None or base is None:
        return
    model = f" · embedding model {literal(_short(info.model))}" if info.model else ""
    counts.caption(f"{count(info.documents, 'document')} · {count(info.chunks, 'chunk')}{model}")
    _other_model(place, info)
    # Chosen once: a base that was empty shows where documents come from, and goes on doing so while they come.
    st.session_state.setdefault("knowledge-view", "Documents" if info.chunks else "Add")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        view = st.segmented_control(
            "View",
            VIEWS,
            key="knowledge-view",
            required=True,
            label_visibility="collapsed",
        )
        if info.chunks:
            icon = ":material/forum:"
            st.button("Ask it in a chat", key="ask-base", icon=icon, type="tertiary", on_click=_chat, args=(name,))
    guarded(VIEWS[str(view)], place)


def _chat(name: str) -> None:
    """Begin a chat with the base switched on."""
    st.session_state["draft"] = composer.current_choices(None).model_copy(update={"base": name})
    st.query_params.pop("base", None)
    history.open_chat(None)


def _chat_title(parts: Services, name: str) -> str:
    """The title of the chat whose own files a base has; empty if it is another base, or the chat was deleted."""
    if not (conversation_id := chat_of(name)):
        return ""
    try:
        return parts.store.get(conversation_id).title or history.UNTITLED
    except ConversationNotFoundError:
        return ""


def _menu(place: Place) -> None:
    st.button(
        "Embed anew",
        key="reindex",
        icon=":material/refresh:",
        width="stretch",
        disabled=place.busy,
        help="Makes the vectors of all chunks again, with the embedding model of the settings.",
        on_click=_reindex,
        args=(place,),
    )
    if st.session_state.get("deleting-base") != place.name:
        icon = ":material/delete:"
        st.button("Delete …", key="delete-base", icon=icon, width="stretch", on_click=_ask, args=(place.name,))
        return
    st.caption("The base and its chunks are deleted for good. The files that they were read from stay.")
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Delete",
            key="delete-base-yes",
            type="primary",
            disabled=place.busy,
            on_click=attempt,
            args=(_delete, place),
        )
        st.button("Keep", key="delete-base-no", on_click=_ask, args=(None,))


def _ask(name: str | None) -> None:
    st.session_state["deleting-base"] = name


def _delete(place: Place) -> None:
    _ask(None)
    close_bases(place.name, folder=place.settings.bases_dir)
    delete_base(place.name, place.settings.bases_dir)
    place.desk.forget(place.folder)
    _open(None)


def _reindex(place: Place) -> None:
    start(place, f"Embedding {place.name} anew", reindex(place.ready))


def _other_model(place: Place, info: BaseInfo) -> None:
    """Say it if the base was made with another embedding model: it cannot be searched with this one."""
    model = Embedder(place.base.embeddings).name
    if not info.model or place.busy or _files(model) == _files(info.model):
        return
    st.warning(
        f"This base was made with the embedding model {literal(_short(info.model))}. The settings name "
        f"{literal(_short(model))}: before it can search this base, all chunks have to be embedded anew.",
        icon=":material/warning:",
    )
    st.button("Embed anew", key="reindex-now", type="primary", on_click=_reindex, args=(place,))


def _short(model: str) -> str:
    """A model's name without the hash of its files."""
    return model.partition("@")[0]


def _files(model: str) -> str:
    """What tells two models apart: the hash of their files, where there is one."""
    name, _, files = model.partition("@")
    return files or name
