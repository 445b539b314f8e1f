"""What is kept on this machine, how much of it, and erasing it: on the settings page.

A kind is erased once its name was typed; what that takes, `phireside.erase` knows.
"""

import streamlit as st

from phireside.agents.assistant import close_bases
from phireside.erase import EVERYTHING, KINDS, Eraser, Stored
from phireside.ui import measuring
from phireside.ui.attachments import forget_attached
from phireside.ui.composer import file_size
from phireside.ui.knowledge_parts import desk
from phireside.ui.messages import show_error
from phireside.ui.model_card import downloads
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

SERVER = (
    "Conversations and facts are in a PostgreSQL database. It keeps the bytes of what was deleted until its own VACUUM "
    "(`VACUUM FULL;` at once), and longer in its write-ahead log and in backups: ask whoever runs it."
)
BYTES = (
    "Files are deleted as your system does it: unless the disk is encrypted, their bytes may be on it until the space "
    "is needed. Backups, and what you sent to a model's server, are not reached from here."
)
ALL = "Everything of the list above. Your phireside.toml and the programs of others stay."


def eraser(parts: Services) -> Eraser:
    """Of this process."""
    bases = parts.settings.bases_dir
    close = [
        lambda: measuring.stop_all(parts.settings),
        lambda: desk().close(bases),
        lambda: close_bases(folder=bases),
    ]
    of_person = parts.person is not None
    return Eraser(parts.settings, parts.store, parts.chat, downloads(), close, shared=of_person, common=parts.admin)


def show(parts: Services) -> None:
    """Draw what there is, each with a button, and at last the one for everything."""
    st.header("Data", anchor=False)
    tool = eraser(parts)
    if parts.admin:
        st.markdown(f"Everything is in {literal(str(parts.settings.data_dir))}.")
    if tool.on_server:
        st.caption(f":material/database: {SERVER}")
    with st.container(gap=None, key="kept"):
        for stored in tool.stored():
            _kind(tool, stored)
    if others := tool.others():
        names = literal(", ".join(others[:20]))
        st.caption(f"Also in that folder, and not erased from here: {names}.")
    st.space("small")
    _button(EVERYTHING, "Erase everything …")
    _question(tool, EVERYTHING, ALL)
    st.caption(BYTES)


def _kind(tool: Eraser, stored: Stored) -> None:
    kind = stored.kind
    with st.container(gap="xsmall", key=f"fact-kept-{kind.name}"):  # looks like a fact: a line above, some air
        with st.container(horizontal=True, wrap=False, gap="small", vertical_alignment="top"):
            with st.container(gap=None):
                st.markdown(f"**{kind.title}** · {_amount(stored)}")
                st.caption(kind.holds)
            _button(kind.name, "Erase …")
        _question(tool, kind.name, f"{kind.holds} {kind.after}")


def _amount(stored: Stored) -> str:
    if not stored.bytes:
        return f"{stored.count:,}"
    size = file_size(stored.bytes) if stored.bytes >= 1e6 else f"{stored.bytes / 1e3:.0f} KB"
    return f"{stored.count:,}, {size}"


def _button(name: str, label: str) -> None:
    if st.session_state.get("erasing") != name:
        icon = ":material/delete_forever:"
        st.button(label, key=f"erase-{name}", icon=icon, type="tertiary", on_click=_ask, args=(name,))


def _question(tool: Eraser, name: str, question: str) -> None:
    """Once the button was clicked: the question, with a box for the word that confirms. After it: what became of it."""
    _result(name)
    if st.session_state.get("erasing") != name:
        return
    with st.form(f"sure-{name}", border=True):
        st.markdown(f"{question} **This cannot be undone.**")
        typed = st.text_input(f"Type {name} to confirm", key=f"word-{name}", autocomplete="off")
        with st.container(horizontal=True, gap="small"):
            sure = st.form_submit_button("Erase", type="primary", key=f"erase-yes-{name}")
            st.form_submit_button("Keep", key=f"erase-no-{name}", on_click=_ask, args=(None,))
    if sure and typed.strip().lower() != name:
        st.warning(f"Nothing was erased: type the word {name}.", icon=":material/keyboard:")
    elif sure:
        with st.spinner("Erasing …"):
            problems = tool.erase(name)
        _ask(None)
        desk().forget_deleted()
        forget_attached()
        for known in ("opened", "turns", "failures", "notices", "seen", "draft"):  # of what may be gone
            st.session_state.pop(known, None)
        st.session_state["erased"] = (name, problems)
        st.rerun()


def _ask(name: str | None) -> None:
    st.session_state["erasing"] = name


def _result(name: str) -> None:
    """Say once, where it was asked for, what was erased."""
    erased, problems = st.session_state.get("erased", ("", []))
    if erased != name:
        return
    del st.session_state["erased"]
    titles = {kind.name: kind.title for kind in KINDS} | {EVERYTHING: "Everything"}
    if not problems:
        st.success(f"{titles[name]}: erased.", icon=":material/check_circle:")
    for problem in problems:
        show_error(problem)
