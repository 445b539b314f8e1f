"""A run of a scenario as people read it: what was expected and found, and what the agent did step by step.

Texts are data: they are shown as they are.
"""

import json
from collections.abc import Sequence

import streamlit as st

from phireside.agents.scenarios import Check, Run, TurnRecord
from phireside.agents.scenarios.outcome import Line
from phireside.ui.safe_text import literal

LONG = 900  # characters of a step that are shown
MARKS = {True: ":green[:material/check_circle:]", False: ":red[:material/cancel:]", None: ":material/help:"}
ICONS = {
    "thought": ":material/psychology:",
    "action": ":material/build:",
    "observation": ":material/visibility:",
    "answer": ":material/chat_bubble:",
    "approval": ":material/front_hand:",
}


def show_run(run: Run) -> None:
    """Draw a run that has ended."""
    if run.error:
        st.error(literal(run.error), icon=":material/error:")
    for check in sorted(run.checks, key=lambda check: check.met is not False):
        with st.container(gap=None):
            _check(check)
    for number, turn in enumerate(run.turns, 1):
        st.markdown(f"**Turn {number}**")
        st.markdown(f":material/person: {_shortened(turn.user)}")
        show_lines(turn.lines)
        st.caption(_figures(turn))


def show_lines(lines: Sequence[Line]) -> None:
    """Draw what an agent did."""
    for line in lines:
        st.markdown(f"{ICONS.get(line.kind, '')} {said(line)}")


def said(line: Line) -> str:
    """A step in words, as Markdown."""
    if line.kind not in ("action", "approval"):
        return _shortened(line.text)
    arguments = json.dumps(line.arguments or {}, ensure_ascii=False, default=str)
    asks = "wants to be allowed: " if line.kind == "approval" else ""
    return f"{asks}**{literal(line.tool)}** {_shortened(arguments)}"


def _check(check: Check) -> None:
    weight = "" if check.weight == 1 else f", weight {check.weight:g}"
    st.markdown(f"{MARKS[check.met]} {literal(check.label)}{weight}")
    st.caption(f"{literal(check.where)} · {_shortened(check.reason)}")


def _figures(turn: TurnRecord) -> str:
    parts = [f"{turn.steps} step{'' if turn.steps == 1 else 's'}", f"{turn.seconds:.1f} s"]
    if turn.cost.prompt_tokens:
        parts.append(f"{turn.cost.evaluated_tokens:,} tokens read, {turn.cost.cached_tokens:,} found in the cache")
        parts.append(f"{turn.cost.generated_tokens:,} written")
    return " · ".join(parts)


def _shortened(text: str) -> str:
    return literal(text if len(text) <= LONG else f"{text[:LONG]} …")
