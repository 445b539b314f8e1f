"""Calls of tools that wait for a person's word: what would be called, with what, and two buttons for each."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from phireside.chains import Turn
from phireside.ui.safe_text import literal
from phireside.ui.steps import show_arguments, tool_title

APPROVE, REJECT = {"type": "approve"}, {"type": "reject"}
WORDS = {"approve": ":material/check: Allowed", "reject": ":material/close: Refused"}


class Approvals:
    """What a turn asks its person. Takes its place at once."""

    def __init__(self) -> None:
        self._place = st.empty()
        self._shown: list[dict[str, Any]] = []

    def draw(self, turn: Turn) -> None:
        """Show the calls that wait, or nothing if none does."""
        asked = turn.approval
        if asked is self._shown or not (asked or self._shown):
            return
        self._shown = asked
        if not asked:
            self._place.empty()
            return
        with self._place.container(gap="small"):
            for number, request in enumerate(asked):
                _request(turn, asked, number, request)


def _request(turn: Turn, asked: list[dict[str, Any]], number: int, request: Mapping[str, Any]) -> None:
    key = f"{turn.conversation_id}-{len(turn.steps)}-{number}"
    with st.container(border=True, gap="small", key=f"approval-{key}"):
        st.markdown(f":material/front_hand: **May it use {tool_title(request)}?**")
        st.caption(literal(str(request.get("text") or "").partition(" Arguments:")[0]))
        show_arguments(request.get("arguments"))
        decided = _decisions(asked).get(number)
        if decided:
            st.caption(WORDS[decided["type"]])
            return
        with st.container(horizontal=True, gap="small"):
            given = (turn, asked, number)
            st.button("Allow", key=f"allow-{key}", type="primary", on_click=_decide, args=(*given, APPROVE))
            st.button("Refuse", key=f"refuse-{key}", on_click=_decide, args=(*given, REJECT))


def _decisions(asked: list[dict[str, Any]]) -> dict[int, dict[str, str]]:
    """What was decided of these calls on this page; those of calls before are forgotten."""
    known: tuple[Any, dict[int, dict[str, str]]] = st.session_state.get("decisions", (None, {}))
    if known[0] is not asked:
        known = (asked, {})
        st.session_state["decisions"] = known
    return known[1]


def _decide(turn: Turn, asked: list[dict[str, Any]], number: int, decision: dict[str, str]) -> None:
    """Note a decision; when there is one for each call, tell the turn. It takes no other calls for these."""
    decisions = _decisions(asked)
    decisions[number] = decision
    if len(decisions) == len(asked):
        turn.decide([decisions[each] for each in range(len(asked))], of=asked)
