"""The chains page: a gallery of all chains, and for each its input, its prompts, its graph and all of its results."""

from dataclasses import dataclass
from typing import Any

import streamlit as st
from langchain_core.runnables import Runnable
from streamlit.runtime.scriptrunner import StopException

from phireside.chains import Entry, gallery, prompts_text
from phireside.models import load_chat_model
from phireside.ui import composer, history, sampling_view
from phireside.ui.cards import show_cards
from phireside.ui.chain_form import ask_input, ask_prompts
from phireside.ui.chain_results import cost_line, cost_of, show_result
from phireside.ui.graph import dot, field_names
from phireside.ui.messages import guarded, show_error
from phireside.ui.running import Running
from phireside.ui.safe_text import literal
from phireside.ui.services import Services, services

SAMPLING = "sampling"  # the name of the view that is no chain
PATIENCE = 0.3  # seconds from one drawing to the next: the processor belongs to llama.cpp, and a click is noticed then


@dataclass(frozen=True)
class Run:
    """A chain at work, what it was given, and the order of the parts of its result."""

    running: Running
    given: Any
    order: list[str]


def show() -> None:
    """Draw the gallery, or the chain that the address names."""
    parts = services()
    history.show(parts, None)
    name = st.query_params.get("chain")
    if name == SAMPLING:
        _head(sampling_view.TITLE, sampling_view.DESCRIPTION)
        sampling_view.show(parts)
        return
    entry = next((each for each in gallery() if each.name == name), None)
    if entry is None:
        _gallery()
    else:
        _chain(parts, entry)


def _gallery() -> None:
    """A card for each chain."""
    st.title("Chains", anchor=False)
    st.markdown("Prompts put together, to be tried here and used in programs: `from phireside.chains import …`")
    cards = {entry.name: (entry.title, entry.description) for entry in gallery()}
    cards[SAMPLING] = (sampling_view.TITLE, sampling_view.DESCRIPTION)
    titles = {name: title for name, (title, _) in cards.items()}
    show_cards(titles, "chain", _open, lambda name: st.caption(literal(cards[name][1])))


def _open(name: str | None) -> None:
    if name is None:
        st.query_params.pop("chain", None)
    else:
        st.query_params["chain"] = name


def _head(title: str, description: str) -> None:
    st.button(
        "All chains", icon=":material/arrow_back:", key="all-chains", type="tertiary", on_click=_open, args=(None,)
    )
    st.title(literal(title), anchor=False)
    st.markdown(literal(description))


def _chain(parts: Services, entry: Entry) -> None:
    """The page of one chain. What cannot be used is said in its place, and nothing that was typed is lost."""
    _head(entry.title, entry.description)
    runs: dict[str, Run] = st.session_state.setdefault("chain-runs", {})
    run = runs.get(entry.name)
    form, buttons, results, details = (st.container() for _ in range(4))
    with details, st.container(gap="small"):
        chain = guarded(_made, parts, entry)
    with form:
        given = ask_input(entry.example, f"input-{entry.name}")
    with buttons:
        begun = _buttons(parts, run, ready=chain is not None)
    if begun and chain is not None:
        runs[entry.name] = Run(Running(chain, given), given, field_names(chain.get_output_schema()))
        st.rerun()  # so that the buttons say that it runs
    if run is not None:
        with results:
            _follow(run)


def _made(parts: Services, entry: Entry) -> Runnable[Any, Any]:
    """The chain, with its prompts to be read and changed, and its graph."""
    changed = None
    if shipped := prompts_text(entry.file):
        with st.expander("Prompts", icon=":material/edit_note:"):
            changed = ask_prompts(shipped, f"prompts-{entry.name}")
    chain = entry.make(load_chat_model(parts.settings.model, parts.settings), changed)
    with st.expander("Graph", icon=":material/account_tree:"):
        st.graphviz_chart(dot(chain, dark=st.context.theme.type == "dark"), width="content")
    return chain


def _buttons(parts: Services, run: Run | None, *, ready: bool) -> bool:
    """Run, or while it runs Stop; whether Run was clicked."""
    busy = run is not None and not run.running.ended
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        icon = ":material/play_arrow:"
        clicked = st.button("Run", key="run", icon=icon, type="primary", disabled=busy or not ready)
        if busy and run is not None:
            st.button("Stop", key="stop", icon=":material/stop_circle:", on_click=run.running.stop, shortcut="Esc")
        else:
            composer.show_using(parts, parts.settings.model)
    return clicked


def _follow(run: Run) -> None:
    """Draw what a run has given, and until it ends draw what it gives."""
    place = st.empty()
    if not run.running.ended:
        _watch(place, run)
        st.rerun()  # so that the buttons say that it has ended
    _draw(place, run)
    if run.running.error:
        show_error(run.running.error)


def _watch(place: Any, run: Run) -> None:
    """Draw a run until it ends. It ends with the page that shows it."""
    try:
        _draw(place, run)
        while not run.running.wait(PATIENCE):
            _draw(place, run)
    except StopException:
        run.running.stop()
        raise


def _draw(place: Any, run: Run) -> None:
    running = run.running
    with place.container():
        if running.result is not None:
            show_result(running.result, run.given, run.order)
        elif not running.ended:
            st.markdown(":material/hourglass_empty: Starting …")
        if running.ended:
            ending = ":material/stop_circle: **Stopped** · " if running.stopped else ""
            st.caption(ending + cost_line(cost_of(running.result), running.seconds))
