"""What the views of a base share: which base it is, the work on it, and text shown as it is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import streamlit as st
from langchain_core.documents import Document

from phireside.agents.assistant import knowledge_base
from phireside.retrieval import KnowledgeBase
from phireside.settings import Settings
from phireside.ui.background import Do, Work
from phireside.ui.knowledge_work import Desk
from phireside.ui.messages import attempt, show_error
from phireside.ui.safe_text import literal

EVERY = 1.0  # seconds from one drawing of the progress to the next
SHOWN_FAILURES = 20
_PASSAGE = "white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9375rem; line-height: 1.55"
_MARK = "background: color-mix(in srgb, #f6b04d 45%, transparent); color: inherit; border-radius: .2em; padding: 0 .1em"


@dataclass(frozen=True)
class Place:
    """A base of this process, and where the work on it is done."""

    settings: Settings
    name: str
    desk: Desk

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.settings.bases_dir / self.name

    @property
    def base(self) -> KnowledgeBase:
        """The base; its embedding model may have to be loaded at its first use."""
        return knowledge_base(self.name, self.settings)

    def ready(self, say: Callable[[str], None]) -> KnowledgeBase:
        """The base with its embedding model; `say` is told if that has to be loaded."""
        return self.desk.loaded(self.base, self.settings.embeddings, say)

    @property
    def busy(self) -> bool:
        """Whether something is at work here."""
        return self.desk.busy(self.folder)


@st.cache_resource(show_spinner=False, on_release=Desk.close)
def desk() -> Desk:
    """The work on all bases of this process, whoever looks at it."""
    return Desk()


def start(place: Place, title: str, do: Do) -> bool:
    """Begin some work on a base; whether that could be. If not, the page says why."""
    return attempt(place.desk.begin, place.folder, title, do) is not None


def show_work(place: Place) -> None:
    """Draw how far the work on a base is, or what came of it."""
    work = place.desk.work(place.folder)
    if work is None:
        return
    with st.container(border=True, gap="small", key="knowledge-work"):
        if work.ended:
            _ended(place, work)
        else:
            _running(work)


@st.fragment(run_every=EVERY)
def _running(work: Work) -> None:
    """Drawn again and again by itself; at the end the whole page is."""
    if work.ended:
        st.rerun()
    st.markdown(f"**{literal(work.title)}**")
    far = f"{work.done} of {work.total} · " if work.total else ""
    st.progress(min(1.0, work.done / work.total) if work.total else 0.0, far + literal(work.step or "Beginning …"))
    st.button("Stop", icon=":material/stop_circle:", key="stop-work", on_click=work.stop, shortcut="Esc")


def _ended(place: Place, work: Work) -> None:
    if work.error:
        st.markdown(f"**{literal(work.title)}** did not succeed.")
        show_error(work.error)
    elif work.stopped:
        st.markdown(f":material/stop_circle: **{literal(work.title)}** was stopped. What was done by then is kept.")
    else:
        st.markdown(f":material/check_circle: **{literal(work.title)}** · {literal(work.result)}")
    for name, error in work.failed[:SHOWN_FAILURES]:
        st.markdown(f":material/error: **{literal(name)}** · {literal(str(error))}")
    if (more := len(work.failed) - SHOWN_FAILURES) > 0:
        st.caption(f"… and {more} more that could not be read.")
    st.button("Close", key="dismiss-work", icon=":material/close:", on_click=place.desk.dismiss, args=(place.folder,))


def count(number: int, what: str) -> str:
    """3 documents; 1 document."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def passage(pieces: Iterable[tuple[str, bool]]) -> None:
    """A text as it is, line breaks and all, with some of its pieces marked."""
    marked = (f'<mark style="{_MARK}">{escape(text)}</mark>' if mark else escape(text) for text, mark in pieces)
    st.html(f'<div style="{_PASSAGE}">{"".join(marked)}</div>')


def origin(chunk: Document) -> str:
    """Where a chunk stands in its document, as Markdown: title, heading, page."""
    data = chunk.metadata
    title, heading = str(data.get("title") or "Untitled"), str(data.get("heading") or "")
    parts = [f"**{literal(title)}**", literal(heading.removeprefix(f"{title} > ")) if heading != title else ""]
    if data.get("page") is not None:
        parts.append(f"page {data['page']}")
    return " · ".join(part for part in parts if part)
