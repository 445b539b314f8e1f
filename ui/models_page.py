"""The models page: which models there are, what is in memory and what it does, downloads, and the speed of each.

Draws and wires; what fits, how fast a model is and what a download is, the room of the models knows.
"""

import streamlit as st

from phireside.errors import PhiresideError
from phireside.models.engine import Stats
from phireside.models.fit import Machine
from phireside.models.load import is_remote
from phireside.models.loaded import Loaded, loaded_models
from phireside.ui import history
from phireside.ui.composer import file_size
from phireside.ui.messages import show_error
from phireside.ui.model_card import Now, card, downloads, works
from phireside.ui.safe_text import literal
from phireside.ui.services import Services, services

PAGE = 20  # models drawn at first, and more with each click on "Show more"
EVERY = 2.0  # seconds from one look at the engines to the next: the processor belongs to llama.cpp
SEEN = "models-seen"
NOTHING = "-"  # a figure that nothing was measured for yet


def show() -> None:
    """Draw the page."""
    parts = services()
    history.show(parts, None)
    st.title("Models", anchor=False)
    st.session_state[SEEN] = _moving()
    machine = Machine.now()
    st.caption(_machine_line(machine))
    _live()
    entries = downloads().entries()
    now = Now(parts, downloads(), _by_path(), machine, _chosen(parts))
    count = st.session_state.get("more-models", 0) + PAGE
    for entry in entries[:count]:
        card(now, entry)
    if len(entries) > count:
        st.button("Show more", key="more-models-button", on_click=_show_more, type="tertiary")
    if parts.admin:
        _from_hub()


def _machine_line(machine: Machine) -> str:
    line = f"This machine has {file_size(machine.total)} of memory, {file_size(machine.free)} of it free"
    if machine.gpu_total:
        line += f"; its GPU has {file_size(machine.gpu_total)}, {file_size(machine.gpu_free)} of it free"
    return f"{line}."


def _chosen(parts: Services) -> str:
    """The model that new chats begin with; what is wrong with the setting is said."""
    name = parts.settings.model
    if is_remote(name):
        where = literal(parts.settings.openai_base_url or "OpenAI")
        st.caption(f"New chats begin with **{literal(name)}**, at {where}: it is not on this machine.")
        return ""
    try:
        return parts.catalog.find(name).name
    except PhiresideError as error:
        show_error(error)
        return ""


def _by_path() -> dict[str, Loaded]:
    return {str(each.path.resolve()): each for each in loaded_models()}


def _moving() -> list[tuple[str, str]]:
    """What the cards show and what changes without a click; when it does, the page is drawn anew."""
    engines = [(str(each.path), each.stats.state) for each in loaded_models()]
    transfers = [(each.hub, "under way" if each.under_way else each.state) for each in downloads().all()]
    own = [(name, str(work.running.ended)) for name, work in works().items()]
    return [*engines, *transfers, *own]


@st.fragment(run_every=EVERY)
def _live() -> None:
    """What the engines do now."""
    if st.session_state.get(SEEN) != _moving():
        st.rerun()
    found = loaded_models()
    if not found:
        st.markdown("**No model is in memory.** The first question loads one.")
    for each in found:
        with st.container(border=True, gap="small"):
            _engine(each)


def _engine(loaded: Loaded) -> None:
    stats = loaded.stats
    st.markdown(f":material/memory: **{literal(loaded.path.name)}** · {_doing(stats)}")
    if stats.state != "ready":
        return
    share = stats.cells_used / stats.cells if stats.cells else 0.0
    st.progress(min(1.0, share), f"Cache: {stats.cells_used:,} of {stats.cells:,} tokens")
    with st.container(horizontal=True, gap="medium"):
        for name, value, meaning in _figures(stats):
            with st.container(width="content", gap=None):
                st.caption(name, help=meaning, width="content")
                st.markdown(f"**{value}**", width="content")


def _doing(stats: Stats) -> str:
    if stats.state == "loading":
        return "loading …"
    waiting = f", {stats.waiting} waiting" if stats.waiting else ""
    return f"{stats.running} at work{waiting}" if stats.running or stats.waiting else "idle"


def _figures(stats: Stats) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each figure."""
    served = stats.served
    writing = served.generated_tokens / served.decode_s if served.decode_s else 0.0
    reading = served.evaluated_tokens / served.prefill_s if served.prefill_s else 0.0
    prompts = served.cached_tokens + served.evaluated_tokens
    known = f"{served.cached_tokens / prompts:.0%}" if prompts else NOTHING
    return [
        ("Now", f"{served.pieces_per_second:.0f} tokens/s", "Written in the last seconds, for all requests together."),
        ("Writes", f"{writing:.1f} tokens/s" if writing else NOTHING, "Mean speed of one answer since it was loaded."),
        ("Reads", f"{reading:.0f} tokens/s" if reading else NOTHING, "Mean speed at which prompts were read."),
        ("Known before", known, "Share of all prompt tokens that were in the cache and not read again."),
        ("Parked", str(stats.parked), "Prompts that are kept in the cache for their next turn."),
        ("Served", f"{served.requests:,}", f"Requests: {served.generated_tokens:,} tokens written."),
        ("Threads", f"{stats.n_threads} / {stats.n_threads_batch}", "For writing / for reading prompts."),
        ("Context", f"{stats.n_ctx:,}", "Tokens that one conversation may hold."),
    ]


def _from_hub() -> None:
    st.header("Another model", anchor=False)
    st.caption(
        "Any GGUF file in one part from huggingface.co. Its name there, with the owner and the repository: "
        "`hf:owner/repo/file.gguf`. You can also put a file into the models folder, which the Settings page names."
    )
    with st.form("hub", border=False):
        name = st.text_input("Name on the hub", key="hub-name", placeholder="hf:owner/repo/file.gguf")
        if not st.form_submit_button("Download", icon=":material/download:", key="hub-start") or not name.strip():
            return
    try:
        downloads().start(name.strip())
    except PhiresideError as error:
        show_error(error)
    else:
        st.rerun()


def _show_more() -> None:
    st.session_state["more-models"] = st.session_state.get("more-models", 0) + PAGE
