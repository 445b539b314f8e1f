"""A model on the models page: what it is, whether it fits, and its buttons. Draws, and starts what was clicked.

What takes a while runs in the background: a download belongs to the process, loading and the speed test to the browser
session that asked for them. Both go on while the person looks at another page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st
from langchain_core.runnables import RunnableLambda

from phireside.errors import PhiresideError
from phireside.models import Catalog, ModelEntry
from phireside.models.downloads import Download, Downloads, unload
from phireside.models.fit import Fit, Machine, judge, needs
from phireside.models.info import MemoryNeed
from phireside.models.loaded import Loaded, engine_of, load
from phireside.models.speed import Speed, measure
from phireside.settings import EngineSettings
from phireside.ui import composer, history
from phireside.ui.composer import file_size
from phireside.ui.messages import show_error
from phireside.ui.running import Running
from phireside.ui.safe_text import literal
from phireside.ui.services import Services, common_catalog, common_settings

PATIENCE = 5.0  # seconds that downloads may take to stop when the server ends; what has arrived is kept in any case
TICK = 1.0  # seconds from one drawing of a progress to the next
WORKING = {"load": "Loading …", "speed": "Measuring, for up to a minute …"}


@dataclass(frozen=True)
class Work:
    """Something that this browser session does with a model: "load" or "speed"."""

    kind: str
    running: Running


@dataclass(frozen=True)
class Now:
    """What is the same for all cards of one drawing."""

    parts: Services
    downloads: Downloads
    loaded: dict[str, Loaded]  # by the real path
    machine: Machine
    chosen: str  # name of the model that new chats begin with


@st.cache_resource(show_spinner=False, on_release=lambda all_of_them: all_of_them.stop_all(PATIENCE))
def downloads() -> Downloads:
    """The downloads of this process."""
    return Downloads(common_catalog(), common_settings())


def works() -> dict[str, Work]:
    """What this browser session does, and has last done, by the model's name."""
    kept: dict[str, Work] = st.session_state.setdefault("model-work", {})
    return kept


def card(now: Now, entry: ModelEntry) -> None:
    """Draw a model."""
    loaded = now.loaded.get(str(entry.path.resolve())) if entry.path else None
    with st.container(border=True, gap="xsmall", key=f"model-{entry.name}"):
        default = " · :material/star: new chats begin with it" if entry.name == now.chosen else ""
        st.markdown(f"**{literal(entry.name)}** · {_state(now, entry, loaded)}{default}")
        size = f" · {file_size(entry.size)}" if entry.size else ""
        st.caption(literal(entry.description) + size)
        if entry.problem:
            st.caption(f":material/warning: The file is damaged: {literal(entry.problem)}.")
        elif not loaded:
            _fit(now, entry)
        _at_work(now, entry)
        _buttons(now, entry, loaded)
        _results(entry)


def _state(now: Now, entry: ModelEntry, loaded: Loaded | None) -> str:
    download = now.downloads.of(entry)
    if download and download.under_way:
        return "downloading"
    if entry.path is None:
        return "not on this machine"
    if entry.problem:
        return "damaged"
    if loaded:
        return "loading" if loaded.stats.state == "loading" else "**in memory**"
    return "on disk"


def _fit(now: Now, entry: ModelEntry) -> None:
    try:
        wanted = _needs(entry, now.parts.settings.engine)
    except PhiresideError as error:
        st.caption(f":material/warning: {literal(error.message)}")
        return
    if wanted:
        st.caption(fit_line(judge(wanted, now.machine), now.machine))


@st.cache_data(ttl=300, max_entries=300, show_spinner=False)
def _needs(entry: ModelEntry, _engine: EngineSettings) -> list[MemoryNeed]:
    """Kept for a while: it reads the front of a file, and the engine's settings stay as they are."""
    return needs(entry, _engine)


def fit_line(fit: Fit, machine: Machine) -> str:
    """Whether it fits, in Markdown: what it needs, what there is, and what to do."""
    need, free = file_size(fit.main), file_size(machine.free)
    on_gpu = f"{file_size(fit.need.gpu)} on the GPU and " if machine.gpu_total and fit.need.gpu else ""
    context = f"with a context of {fit.need.n_ctx:,} tokens"
    shorter = f" With `engine.n_ctx = {fit.longest}` it fits." if fit.longest else ""
    if fit.fits:
        return f":material/check_circle: Fits: takes {on_gpu}{need} of {free} free memory {context}."
    if fit.verdict == "GPU too small":
        there = f"{file_size(machine.gpu_free)} of the GPU's memory are free"
        return (
            f":material/warning: Takes {file_size(fit.need.gpu)} on the GPU {context}; {there}. "
            f"Fewer `engine.n_gpu_layers` leave layers in main memory.{shorter}"
        )
    if fit.verdict == "too little free":
        return f":material/warning: Takes {need} {context}; {free} are free. Close other programs.{shorter}"
    total = file_size(machine.total)
    return f":material/block: Too large for this machine: takes {need} {context}, and there are {total}.{shorter}"


# ---- buttons --------------------------------------------------------------------------------------------------------


def _at_work(now: Now, entry: ModelEntry) -> None:
    download, work = now.downloads.of(entry), works().get(entry.name)
    if download and download.under_way:
        _progress(download)
    elif work and not work.running.ended:
        st.caption(f":material/hourglass_empty: {WORKING[work.kind]}")


@st.fragment(run_every=TICK)
def _progress(download: Download) -> None:
    share = download.done / download.total if download.total else 0.0
    text = f"{file_size(download.done)} of {file_size(download.total)}" if download.total else "Asking the hub …"
    if rate := download.rate:
        left = (download.total - download.done) / rate
        text += f" · {rate / 1e6:.1f} MB/s · {_time(left)} left"
    if download.state == "stopping":
        text = f"Stopping at {text}"
    st.progress(min(1.0, share), literal(text))


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _buttons(now: Now, entry: ModelEntry, loaded: Loaded | None) -> None:
    download, work = now.downloads.of(entry), works().get(entry.name)
    busy = work is not None and not work.running.ended
    key, deleting, admin = entry.name, st.session_state.get("deleting-model") == entry.name, now.parts.admin
    with st.container(horizontal=True, gap="small", key=f"buttons-{key}"):
        if download and download.under_way and admin:
            st.button("Stop", key=f"stop-{key}", icon=":material/stop_circle:", on_click=_stop, args=(now, entry))
            return
        kept = now.downloads.kept(entry)
        if admin and entry.hub and (entry.path is None or entry.problem):
            label = f"Resume at {file_size(kept)}" if kept else "Download"
            icon = ":material/download:"
            st.button(label, key=f"download-{key}", icon=icon, on_click=_do, args=(key, _start, now, key))
        if entry.path and not entry.problem:
            _use(now, entry, loaded, busy=busy)
        if admin and not deleting and (kept or now.downloads.deletable(entry)):
            label, icon = ("Delete …" if entry.path else "Discard …"), ":material/delete:"
            st.button(label, key=f"delete-{key}", icon=icon, type="tertiary", on_click=_ask, args=(key,))
    if admin and deleting:
        _confirm(now, entry)


def _use(now: Now, entry: ModelEntry, loaded: Loaded | None, *, busy: bool) -> None:
    """The buttons of a model that is here."""
    key = entry.name
    st.button("Chat", key=f"chat-{key}", icon=":material/forum:", on_click=_chat, args=(key,))
    if loaded and entry.path and now.parts.admin:
        st.button("Unload", key=f"unload-{key}", disabled=busy, on_click=_do, args=(key, unload, entry.path))
    elif not loaded:
        st.button("Load", key=f"load-{key}", disabled=busy, on_click=_begin, args=(now.parts, key, "load"))
    st.button("Test its speed", key=f"speed-{key}", disabled=busy, on_click=_begin, args=(now.parts, key, "speed"))


def _confirm(now: Now, entry: ModelEntry) -> None:
    key = entry.name
    if entry.path:
        st.markdown(f"{literal(str(entry.path))} is deleted for good. It can be downloaded again, if the hub has it.")
    else:
        st.markdown("What has arrived so far is deleted.")
    with st.container(horizontal=True, gap="small"):
        args = (key, now.downloads.delete, entry)
        st.button("Delete", key=f"delete-yes-{key}", type="primary", on_click=_do, args=args)
        st.button("Keep", key=f"delete-no-{key}", on_click=_ask, args=(None,))


def _results(entry: ModelEntry) -> None:
    """What the last download or work has come to."""
    errors: dict[str, PhiresideError] = st.session_state.get("model-errors", {})
    if error := errors.get(entry.name) or _failed(entry):
        show_error(error)
    work = works().get(entry.name)
    if work and work.running.ended:
        if work.running.error:
            show_error(work.running.error)
        elif isinstance(work.running.result, Speed):
            st.markdown(speed_line(work.running.result))


def _failed(entry: ModelEntry) -> PhiresideError | None:
    download = downloads().of(entry)
    return download.error if download else None


def speed_line(speed: Speed) -> str:
    """A speed test in Markdown."""
    line = f":material/speed: Reads **{speed.reading:.0f}** and writes **{speed.writing:.1f}** tokens/s"
    detail = f"{speed.read_tokens} tokens read in {speed.read_s:.1f} s, {speed.written_tokens} written"
    if speed.load_s:
        detail += f", loaded in {speed.load_s:.1f} s"
    if not speed.complete:
        detail += ", cut short"
    if speed.others:
        detail += "; others asked the model meanwhile, so it is faster than this"
    return f"{line} ({detail})."


# ---- what a click does ----------------------------------------------------------------------------------------------


def _do(name: str, action: Callable[..., object], *args: object) -> None:
    """Do what was clicked; if it fails, the model's card says why."""
    errors: dict[str, PhiresideError] = st.session_state.setdefault("model-errors", {})
    errors.pop(name, None)
    works().pop(name, None)
    _ask(None)
    try:
        action(*args)
    except PhiresideError as error:
        errors[name] = error


def _start(now: Now, name: str) -> None:
    now.downloads.start(name)


def _stop(now: Now, entry: ModelEntry) -> None:
    now.downloads.stop(entry)


def _ask(name: str | None) -> None:
    st.session_state["deleting-model"] = name


def _chat(name: str) -> None:
    """Begin a chat with a model."""
    st.session_state["draft"] = composer.current_choices(None).model_copy(update={"model": name})
    history.open_chat(None)


def _begin(parts: Services, name: str, kind: str) -> None:
    st.session_state.setdefault("model-errors", {}).pop(name, None)
    work = _load if kind == "load" else _measure
    chain: RunnableLambda[Any, Any] = RunnableLambda(lambda _: work(name, parts.catalog, parts))
    works()[name] = Work(kind, Running(chain, name))


def _load(name: str, catalog: Catalog, parts: Services) -> bool:
    load(name, catalog, parts.settings)
    return True


def _measure(name: str, catalog: Catalog, parts: Services) -> Speed:
    return measure(engine_of(name, catalog, parts.settings))
