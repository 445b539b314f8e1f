"""The steps of an answer, while they happen and afterwards: searches, what they found, tools and what they gave.

Every step is data of a model, a document or a tool: it is shown as it is.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st
from streamlit.elements.lib.mutable_status_container import StatusContainer

from phireside.chains import Turn
from phireside.tools.named import TOOLS
from phireside.ui import citations
from phireside.ui.answer_record import FILES, Passage, passages_of
from phireside.ui.safe_text import literal

Step = Mapping[str, Any]
Shown = tuple[str, Literal["running", "complete"], bool]  # label, state, whether it is open
_LONGEST = 20_000  # characters of an observation that are shown
_FOLDED = 600  # characters from which on one gets a height
_HEIGHT = 240  # pixels


def show(steps: Sequence[Step], key: str) -> None:
    """Draw the steps of an answer that is complete, folded; the passages that were found can be opened.

    Args:
        steps: what is kept with the answer.
        key: of its own for each answer.
    """
    steps = _shown(steps)
    if steps:
        with st.status(summary(steps), state="complete"), st.container():
            for number, step in enumerate(steps):
                show_step(step, f"{key}-{number}")


def _shown(steps: Sequence[Step]) -> list[Step]:
    """The steps that are drawn: not the files of a question, which stand there."""
    return [step for step in steps if step.get("kind") != FILES]


class LiveSteps:
    """The steps of an answer that is being made: open until its first word is written. Takes its place at once."""

    def __init__(self) -> None:
        self._place = st.container()
        self._status: StatusContainer | None = None
        self._drawn = 0
        self._shown: Shown = ("", "running", True)

    def draw(self, turn: Turn) -> None:
        """Add the steps that are new. They are folded when they are no longer what is looked at."""
        steps, working, asking = _shown(turn.steps), not turn.text, bool(turn.approval)
        if not steps:
            return
        label = "Waits for your word" if asking else doing(steps[-1]) if working else summary(steps)
        shown: Shown = (label, "running" if working else "complete", working and not asking)
        if self._status is None:
            self._status = self._place.status(shown[0], expanded=shown[2], state=shown[1])
            self._inside = self._status.container()  # leaving the status itself would end it
        elif shown != self._shown:  # once: a person may open and close it
            turned = shown[2] if shown[2] != self._shown[2] else None
            self._status.update(label=shown[0], state=shown[1], expanded=turned)
        with self._inside:
            for step in steps[self._drawn :]:
                show_step(step)
        self._drawn, self._shown = len(steps), shown


def summary(steps: Sequence[Step]) -> str:
    """All steps in a line of Markdown: 4 passages · Calculator, Clock · 1.2 s."""
    parts = []
    if any(step.get("kind") == "found" for step in steps):
        count = len(passages_of(steps))
        parts.append(f"{count} passage{'' if count == 1 else 's'} found" if count else "Nothing found")
    if tools := dict.fromkeys(tool_title(step) for step in steps if step.get("kind") == "action"):
        parts.append(", ".join(tools))
    seconds = sum(_seconds(step) for step in steps)
    return " · ".join([*(parts or ["Steps"]), *([f"{seconds:.1f} s"] if seconds >= 0.05 else [])])


def doing(step: Step) -> str:
    """What is being done after a step, as a line of Markdown."""
    kind = step.get("kind")
    if kind == "action":
        return f"{tool_title(step)} …"
    working = {"searching": "Searching …", "found": "Reading what was found …", "checking": "Checking its sentences …"}
    return working.get(str(kind), "Thinking …")


def tool_title(step: Step) -> str:
    """The name of a step's tool for people, as Markdown."""
    name = str(step.get("tool") or "tool")
    return literal(TOOLS[name].title if name in TOOLS else name)


def show_step(step: Step, key: str = "") -> None:
    """Draw one step; one of a kind that is not known here is left out.

    Args:
        step: any.
        key: of its own; without one, passages that it found cannot be opened.
    """
    kind = str(step.get("kind"))
    if kind == "found":
        _found(step, key)
    elif kind in _KINDS:
        _KINDS[kind](step)


def show_arguments(arguments: Any) -> None:
    """Draw what a tool is called with."""
    if isinstance(arguments, Mapping) and arguments:
        _show_data(json.dumps(arguments, ensure_ascii=False, indent=2))


def _show_data(text: str) -> None:
    shown = text[:_LONGEST]
    long = len(shown) > _FOLDED or shown.count("\n") > 12
    st.code(shown, None, wrap_lines=True, height=_HEIGHT if long else "content")
    if len(text) > _LONGEST:
        st.caption(f"The first {_LONGEST:,} of {len(text):,} characters.")


def _searching(step: Step) -> None:
    st.markdown(f":material/search: Searches for *{literal(str(step.get('query', '')))}*")


def _found(step: Step, key: str) -> None:
    found = passages_of([step])
    queries = step.get("queries")
    if isinstance(queries, list) and len(queries) > 1:
        st.caption("Searched for: " + "; ".join(literal(str(query)) for query in queries))
    if not found:
        st.markdown(":material/search_off: Finds nothing that fits.")
        return
    st.markdown(f":material/description: Finds{_in(step)}:")
    with st.container(gap=None):
        for rank, passage in enumerate(found, 1):
            _passage(rank, passage, f"found-{key}-{rank}" if key else "")


def _passage(rank: int, passage: Passage, key: str) -> None:
    """A passage that was found, and how each stage of the search ranked it."""
    title = f"{rank}\\. {literal(passage.name)}" + (f" · {literal(passage.inside)}" if passage.inside else "")
    ranks = ", ".join(f"{literal(stage)} {place}" for stage, place in passage.ranks.items())
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        if key:
            citations.button(title, passage, key)
        else:
            st.markdown(title, width="content")
        if ranks:
            st.caption(ranks, width="content")


def _thought(step: Step) -> None:
    st.markdown(f":material/psychology: {literal(str(step.get('text', '')))}")


def _action(step: Step) -> None:
    st.markdown(f":material/build: **{tool_title(step)}**")
    show_arguments(step.get("arguments"))


def _observation(step: Step) -> None:
    st.markdown(f":material/subdirectory_arrow_right: {tool_title(step)} gives{_in(step)}:")
    _show_data(str(step.get("text", "")))


def _checking(_step: Step) -> None:
    st.markdown(":material/fact_check: Checks each sentence against the passages that it names.")


def _in(step: Step) -> str:
    seconds = _seconds(step)
    return f" in {seconds:.1f} s" if seconds >= 0.05 else ""


def _seconds(step: Step) -> float:
    seconds = step.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else 0.0


_KINDS = {
    "searching": _searching,
    "thought": _thought,
    "action": _action,
    "observation": _observation,
    "checking": _checking,
}
