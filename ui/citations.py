"""Under an answer from documents: the passages that it cites, each with the sentence that bears it out; what was taken
back. Passages and sentences are data: they are shown as they are.
"""

from collections.abc import Sequence

import streamlit as st

from phireside.ui.answer_record import AnswerRecord, Passage, Said, pieces
from phireside.ui.knowledge_parts import passage as show_passage
from phireside.ui.safe_text import literal

VERDICTS = {
    "supported": (":material/check_circle:", "The passage says so."),
    "weak": (":material/help:", "The passage says some of it."),
    "unchecked": (":material/format_quote:", "Nobody compared it with the passage."),
}
WORST = ("weak", "unchecked", "supported")  # first: what the button of a passage shows, of all sentences that cite it


def show(record: AnswerRecord, text: str, key: str) -> None:
    """Draw a button for each passage that an answer cites, and the sentences that are not in it any more.

    Args:
        record: what is kept with the answer.
        text: the answer.
        key: of its own for each answer.
    """
    if cited := record.cited(text):
        with st.container(horizontal=True, gap="xsmall", key=f"sources-{key}"):
            for number, passage in cited.items():
                _source(number, passage, record.citing(number), f"source-of-{key}-{number}")
    if record.withdrawn:
        _withdrawn(record.withdrawn, key)


def _source(number: int, passage: Passage, claims: list[Said], key: str) -> None:
    verdicts = {claim.verdict for claim in claims}
    icon, _ = VERDICTS[next((each for each in WORST if each in verdicts), "unchecked")]
    button(f"\\[{number}\\] {literal(passage.name)}", passage, key, icon, claims)


def button(label: str, passage: Passage, key: str, icon: str | None = None, claims: Sequence[Said] = ()) -> None:
    """Draw a button that opens a passage.

    Args:
        label: of the button, and the title of what it opens; Markdown.
        passage: to be read.
        key: of the button.
        icon: on it.
        claims: sentences of the answer that cite the passage.
    """
    with st.popover(label, icon=icon, type="tertiary", key=key, on_change="rerun") as place:
        if place.open:
            _passage(label, passage, claims)


def _passage(title: str, passage: Passage, claims: Sequence[Said]) -> None:
    st.markdown(f"**{title}**")
    if where := [each for each in map(literal, passage.where) if each not in title]:
        st.caption(" · ".join(where))
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
