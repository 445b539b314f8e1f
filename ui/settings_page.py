"""The settings page: what is kept and erasing it, facts, tools, MCP servers, and every setting with its source.

Settings are read when the program starts, so the page changes none: it says the line to write.
"""

from collections.abc import Sequence

import streamlit as st
from streamlit.navigation.page import Page

from phireside.errors import PhiresideError
from phireside.memory.remembered import MOST
from phireside.settings import Settings
from phireside.settings_lines import lines_for
from phireside.settings_view import SettingRow, settings_rows
from phireside.tools.named import TOOLS, unusable
from phireside.ui import erasing, history, mcp_servers
from phireside.ui.login import APART, NO_LOGIN
from phireside.ui.messages import show_error
from phireside.ui.safe_text import literal
from phireside.ui.services import Services, services

CHATS = (
    "Model, system prompt, style and memory of a conversation are chosen in the chat, below the input box; tools and "
    "documents, too. What is here is read once, when Phireside starts."
)


def show(memory: Page) -> None:
    """Draw the page.

    Args:
        memory: the memory page, which the facts link to.
    """
    parts = services()
    history.show(parts, None)
    st.title("Settings", anchor=False)
    st.caption(_who(parts))
    if error := st.session_state.pop("settings-error", None):
        show_error(error)
    _facts(parts, memory)
    _tools(parts.settings)
    if parts.admin or parts.settings.mcp_file.exists():
        mcp_servers.show(parts.settings)
    if parts.admin:
        _settings(parts.settings)
    erasing.show(parts)


def _who(parts: Services) -> str:
    """Whom the pages are for."""
    if parts.person is None:
        return f":material/lock: {NO_LOGIN}"
    also = " You are an admin: you also manage models and may add folders of this machine." if parts.admin else ""
    return f":material/account_circle: You are logged in as **{literal(parts.person.name)}**. {APART}{also}"


def _facts(parts: Services, memory: Page) -> None:
    st.header("Facts about you", anchor=False)
    facts = parts.store.facts
    known = len(facts.list(limit=MOST))
    count = f"{known} {'fact is' if known == 1 else 'facts are'} kept"
    st.markdown(f"{count}. {'They are told to models.' if facts.enabled else 'Remembering is off.'}")
    st.page_link(memory, label="Read, correct and forget them", icon=":material/psychology:")


def _tools(settings: Settings) -> None:
    st.header("Tools", anchor=False)
    st.caption("Switched on for each conversation, below its input box.")
    lines = []
    for name, tool in TOOLS.items():
        why = unusable(name, settings, base=name)  # a base is chosen with the conversation
        state = f":material/block: {literal(why)}" if why else ":material/check_circle:"
        lines.append(f"- **{literal(tool.title)}** · {literal(tool.description)} {state}")
    st.markdown("\n".join(lines))


def _settings(settings: Settings) -> None:
    st.header("All settings", anchor=False)
    st.caption(CHATS)
    try:
        rows = settings_rows(settings)
    except PhiresideError as error:
        show_error(error)
        return
    groups: dict[str, list[SettingRow]] = {}
    for row in rows:
        groups.setdefault(row.name.rpartition(".")[0], []).append(row)
    for table, some in groups.items():
        changed = sum(row.source != "default" for row in some)
        note = f" · {changed} set" if changed else ""
        with st.expander(f"{literal(table.capitalize() or 'General')}{note}", icon=":material/tune:"):
            st.markdown("\n".join(map(_line, some)))
    _change(rows)


def _line(row: SettingRow) -> str:
    value = "empty" if row.value in ("", None, []) else f"**{literal(str(row.value))}**"
    source = "the default" if row.source == "default" else f"from {literal(row.source)}"
    return f"- {literal(row.name)}: {value}, {source}  \n  {literal(row.description)}"


def _change(rows: Sequence[SettingRow]) -> None:
    """The line that gives a setting another value."""
    with st.expander("How to change a setting", icon=":material/edit_note:"):
        named = {row.name: row for row in rows}
        row = named[st.selectbox("Setting", list(named), key="setting-name")]
        st.caption(literal(row.description))
        shown = "" if row.secret or row.value is None else str(row.value)
        text = "" if row.secret else st.text_input("New value", shown, key=f"setting-{row.name}")
        try:
            lines = lines_for(row, text)
        except PhiresideError as error:
            show_error(error)
            return
        st.markdown(f"In {literal(str(lines.file))}:")
        st.code(lines.toml, "toml", wrap_lines=True)
        st.markdown("Or in the shell that starts it:")
        st.code(lines.variable, "shell", wrap_lines=True)
        st.caption("Then start Phireside again.")
