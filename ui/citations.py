"""Under an answer from documents: the passages that it cites, each with the sentence that bears it out; what was taken
back. Passages and sentences are data: they are shown as they are.
"""

import streamlit as st

from phireside.ui.kept import Kept, Passage, Said, pieces
from phireside.ui.knowledge_parts import passage as show_passage
from phireside.ui.safe_text import literal

VERDICTS = {
    "supported": (":material/check_circle:", "The passage says so."),
    "weak": (":material/help:", "The passage says some of it."),
    "unchecked": (":material/format_quote:", "Nobody compared it with the passage."),
}
WORST = ("weak", "unchecked", "supported")  # first: what the button of a passage shows, of all sentences that cite it


def show(kept: Kept, text: str, key: str) -> None:
    """Draw a button for each passage that an answer cites, and the sentences that are not in it any more.

    Args:
        kept: what is kept with the answer.
        text: the answer.
        key: of its own for each answer.
    """
    if cited := kept.cited(text):
        with st.container(horizontal=True, gap="xsmall", key=f"sources-{key}"):
            for number, passage in cited.items():
                _source(number, passage, kept.citing(number), f"source-of-{key}-{number}")
    if kept.withdrawn:
        _withdrawn(kept.withdrawn, key)


def _source(number: int, passage: Passage, claims: list[Said], key: str) -> None:
    verdicts = {claim.verdict for claim in claims}
    icon, _ = VERDICTS[next((each for each in WORST if each in verdicts), "unchecked")]
    label = f"\\[{number}\\] {literal(passage.name)}"
    with st.popover(label, icon=icon, type="tertiary", key=key, on_change="rerun") as place:
        if place.open:
            _passage(number, passage, claims)


def _passage(number: int, passage: Passage, claims: list[Said]) -> None:
    st.markdown(f"**\\[{number}\\] {literal(passage.name)}**")
    if passage.where:
        st.caption(" · ".join(map(literal, passage.where)))
    show_passage(pieces(passage.text, claims))
    for claim in claims:
        icon, meaning = VERDICTS[claim.verdict]
        st.caption(f"{icon} **{meaning}** “{literal(claim.text)}”")


def _withdrawn(claims: list[Said], key: str) -> None:
    with st.container(gap="xsmall", key=f"withdrawn-{key}"):
        count = "A sentence was" if len(claims) == 1 else f"{len(claims)} sentences were"
        st.caption(f":material/report: {count} taken back: no passage says so.")
        for claim in claims:
            st.caption(f"~~{literal(claim.text)}~~")
