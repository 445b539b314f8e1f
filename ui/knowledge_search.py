"""A search to try out: what a base finds, which stage placed it where, and which words were found."""

import time
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from phireside.retrieval import Hit, Search, search
from phireside.retrieval.marking import marked
from phireside.retrieval.search import STAGES
from phireside.ui.knowledge_parts import Place, count, origin, passage
from phireside.ui.safe_text import literal

MEANINGS = {
    "dense": "compares meanings: cosine of the vectors",
    "keyword": "compares words: BM25",
    "hybrid": "both, fused by their ranks",
    "feedback": "asks again, moved towards the first two of hybrid",
}
NOTHING = "**Nothing was found.** That is an answer, too: a chat that is given nothing says that it does not know."


def show(place: Place) -> None:
    """Draw the box, and what is found."""
    query = st.text_input("Search for", key="try-query", placeholder="A question, or words", icon=":material/search:")
    how = _how()
    if not query or not query.strip():
        st.caption("  \n".join(f"**{name}** {meaning}" for name, meaning in MEANINGS.items()))
        return
    waiting = st.empty()
    base = place.ready(lambda step: _say(waiting, step))
    waiting.empty()
    began = time.perf_counter()
    hits = search(base, query, how)
    seconds = time.perf_counter() - began
    if not hits:
        st.markdown(NOTHING)
        return
    st.caption(f"{count(len(hits), 'chunk')} in {seconds:.2f} s")
    ran = [name for name in MEANINGS if any(name in hit.ranks for hit in hits)]
    texts = marked([hit.document.page_content for hit in hits], query)
    for number, (hit, pieces) in enumerate(zip(hits, texts, strict=True), 1):
        with st.container(border=True, gap="xsmall", key=f"hit-{number}"):
            st.markdown(f"{number}. {origin(hit.document)}")
            passage(pieces)
            st.caption(ranks(hit, ran))


def _say(waiting: DeltaGenerator, step: str) -> None:
    waiting.markdown(f":material/hourglass_empty: {literal(step)}")


def _how() -> Search:
    """How to search. What does not go together is refused by `Search`, with a reason."""
    with st.expander("How", icon=":material/tune:", key="try-how"):
        stages = st.pills("Stages", STAGES, selection_mode="multi", default=STAGES, key="try-stages")
        k = st.slider("Most chunks", 1, 30, 5, key="try-k")
        limited = st.toggle(
            "Only above a cosine", key="try-limited", help="Of query and chunk; docs/search.md says how to choose it."
        )
        threshold = st.slider("Lowest cosine", 0.0, 1.0, 0.3, 0.05, key="try-threshold", disabled=not limited)
        diversity = st.slider(
            "Diversity", 0.0, 1.0, 0.0, 0.05, key="try-diversity", help="Towards 1, hits are unlike each other."
        )
        neighbours = st.slider(
            "Neighbours", 0, 3, 0, key="try-neighbours", help="Chunks before and after a hit that are shown with it."
        )
    return Search(
        k=k,
        stages=tuple(each for each in STAGES if each in stages),
        threshold=threshold if limited else None,
        diversity=diversity,
        neighbours=neighbours,
    )


def ranks(hit: Hit, stages: Sequence[str]) -> str:
    """What each stage made of a hit, in Markdown: its place there, and its score."""
    parts = (
        f"{name} **#{hit.ranks[name]}** ({hit.scores[name]:.3g})" if name in hit.ranks else f"{name}: not found"
        for name in stages
    )
    return " · ".join(parts)
