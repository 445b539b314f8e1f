"""What the pages Scenarios and Evaluate share: the choice of a model, progress, and the runs that are kept."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import streamlit as st

from phireside.models import Catalog
from phireside.runs import Kept, Runs, Unreadable
from phireside.ui.background import Work
from phireside.ui.messages import attempt, show_error, show_trouble
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

T = TypeVar("T")

PAGE = 20  # runs that are listed at first


def pick_model(parts: Services, label: str, key: str, first: Mapping[str, str]) -> str:
    """Draw a list of the models that are here; the name of the one that is chosen.

    Args:
        parts: whose catalogue and settings.
        label: of the list.
        key: of the widget.
        first: names that stand before the models, with what is shown for them.
    """
    shown = {**first, **{name: name for name in _models(parts.catalog)}}
    shown.setdefault(parts.settings.model, parts.settings.model)
    return st.selectbox(
        label, list(shown), format_func=lambda name: shown.get(name, name), key=key, persist_state="session"
    )


@st.cache_data(ttl=15, show_spinner=False)
def _models(_catalog: Catalog) -> list[str]:
    """The models that are on this machine. Kept for a moment: it looks at many files."""
    return [entry.name for entry in _catalog.entries() if entry.path is not None and not entry.problem]


def follow(work: Work) -> None:
    """How far work is, in a line and a bar."""
    share = min(1.0, work.done / work.total) if work.total else 0.0
    st.progress(share, text=f"{literal(work.title)}: {literal(work.step) or 'starting …'}")


def stop_button(work: Work) -> None:
    """Stop, while work runs."""
    st.button("Stop", key="stop", icon=":material/stop_circle:", on_click=work.stop, shortcut="Esc")


def ending(work: Work | None) -> None:
    """What ended work that gave nothing, if anything did."""
    if work is None or not work.ended:
        return
    if work.error is not None:
        show_error(work.error)
    elif work.stopped:
        st.caption(":material/stop_circle: **Stopped** before there was anything to keep.")


# ---- kept runs ---------------------------------------------------------------------------------------------------


def open_run(run_id: str | None) -> None:
    """Show a run, by the page's address; None = the list."""
    if run_id is None:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = run_id
    st.session_state.pop("deleting-run", None)


def opened(runs: Runs[T], run_id: str, back: str) -> Kept[T]:
    """A run to be drawn, below a button that leads back to the list, and below what could not be done with it.

    Raises:
        StoreError: it cannot be shown.
    """
    st.button(back, icon=":material/arrow_back:", key="all-runs", type="tertiary", on_click=open_run, args=(None,))
    show_trouble()
    return runs.get(run_id)


def show_list(runs: Runs[T], line: Callable[[Kept[T]], str]) -> None:
    """The runs that are kept, newest first, each with a line about it; and files that cannot be used."""
    found, bad = runs.all()
    if not found:
        st.caption("None yet. Each run is kept here, to be looked at and compared.")
    count = st.session_state.get("more-runs", 0) + PAGE
    for kept in found[:count]:
        with st.container(gap=None, key=f"fact-{kept.id}"):
            st.button(
                f"**{literal(kept.title)}**", key=f"run-{kept.id}", type="tertiary", on_click=open_run, args=(kept.id,)
            )
            st.caption(f"{moment(kept.when)} · {line(kept)}")
    if len(found) > count:
        st.button("Show more", key="more-runs-button", type="tertiary", on_click=_more)
    show_unreadable(bad)


def show_unreadable(bad: Sequence[Unreadable]) -> None:
    """Files among the runs that were passed over."""
    for each in bad:
        st.caption(f":material/warning: {literal(each.file)} was passed over: {literal(each.reason)}")


def _more() -> None:
    st.session_state["more-runs"] = st.session_state.get("more-runs", 0) + PAGE


def pick_other(runs: Runs[T], run_id: str, fits: Callable[[T], bool] = lambda _: True) -> Kept[T] | None:
    """Draw a list of the other runs to compare with; the one that is chosen."""
    others = {kept.id: kept for kept in runs.all()[0] if kept.id != run_id and fits(kept.run)}
    if not others:
        return None
    chosen = st.selectbox(
        "Compare with",
        list(others),
        index=None,
        format_func=lambda each: f"{moment(others[each].when)} · {others[each].title}",
        key=f"compare-{run_id}",
        placeholder="another run",
    )
    return others.get(chosen) if chosen else None


def delete_button(runs: Runs[Any], run_id: str) -> None:
    """Delete, after asking once more."""
    if st.session_state.get("deleting-run") != run_id:
        st.button("Delete …", key="delete-run", icon=":material/delete:", on_click=_ask_delete, args=(run_id,))
        return
    st.button("Delete for good", key="delete-run-yes", type="primary", on_click=attempt, args=(_delete, runs, run_id))
    st.button("Keep", key="delete-run-no", on_click=_ask_delete, args=(None,))


def _ask_delete(run_id: str | None) -> None:
    st.session_state["deleting-run"] = run_id


def _delete(runs: Runs[Any], run_id: str) -> None:
    runs.delete(run_id)
    open_run(None)


def moment(when: datetime) -> str:
    """A time in this machine's zone: 22 Nov 2026, 10:31."""
    here = when.astimezone()
    return f"{here.day} {here:%b %Y, %H:%M}"


def file_stamp(when: datetime) -> str:
    """The same for the name of a file: 2026-11-22-1031."""
    return f"{when.astimezone():%Y-%m-%d-%H%M}"
