"""MCP servers on the settings page: what was approved, what waits for an approval, and taking one back.

What a server says of itself is a stranger's text: it is shown as code, with hidden characters written out.
"""

from typing import Any

import streamlit as st
from langchain_core.runnables import RunnableLambda

from phireside.errors import PhiresideError
from phireside.settings import Settings
from phireside.tools.mcp_approvals import Approvals, Approved, Offer
from phireside.tools.mcp_review import Key, Review, key_of, review
from phireside.ui.messages import show_error
from phireside.ui.running import Running
from phireside.ui.safe_text import literal

EVERY = 1.0  # seconds from one look at a running review to the next
EXAMPLE = '{"mcpServers": {"notes": {"command": "uvx", "args": ["mcp-server-notes"]}}}'
MEANING = (
    "Servers are other programs that give tools to an agent. None is started, and none of its tools is used, before "
    "you approved it. A tool that has changed is asked about anew."
)


def show(settings: Settings) -> None:
    """Draw the section."""
    st.header("MCP servers", anchor=False)
    st.caption(MEANING)
    try:
        for server in Approvals(settings.mcp_approvals, None).servers():
            _approved(settings, server)
    except PhiresideError as error:
        show_error(error)
    if not settings.mcp_file.exists():
        st.markdown(f"There are none: {literal(str(settings.mcp_file))} is not there. It looks like this:")
        st.code(EXAMPLE, "json", wrap_lines=True)
        return
    running: Running | None = st.session_state.get("mcp-review")
    busy = running is not None and not running.ended
    st.button("Look at the servers", key="mcp-look", disabled=busy, on_click=_begin, args=(settings,))
    st.caption(f"Starts those of {literal(str(settings.mcp_file))} that you approved, and lists their tools.")
    if running is not None:
        _follow(settings, running)


def _approved(settings: Settings, server: Approved) -> None:
    tools = literal(", ".join(server.tools)) or "none yet"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"mcp-{server.fingerprint[:12]}"):
        st.markdown(f":material/verified_user: **{literal(server.name)}** · tools: {tools}")
        key = f"mcp-revoke-{server.fingerprint[:12]}"
        args = (settings, server.fingerprint)
        st.button("Take back", key=key, type="tertiary", on_click=_revoke, args=args)


def _follow(settings: Settings, running: Running) -> None:
    if not running.ended:
        _wait()
        return
    if running.error:
        show_error(running.error)
    found = running.result
    if not isinstance(found, Review):
        return
    for number, offer in enumerate(found.offers):
        _offer(settings, offer, f"{number}-{offer.fingerprint[:16]}")
    for server, problem in found.problems:
        st.caption(f":material/warning: {literal(server)}: {literal(str(problem))}")
    if found.tools:
        st.markdown(f":material/check_circle: Tools that agents may use: {literal(', '.join(found.tools))}.")
    elif not found.offers and not found.problems:
        st.caption("No server has a tool.")


@st.fragment(run_every=EVERY)
def _wait() -> None:
    running: Running | None = st.session_state.get("mcp-review")
    if running is None or running.ended:
        st.rerun()
    st.caption(":material/hourglass_empty: Asking the servers …")


def _offer(settings: Settings, offer: Offer, key: str) -> None:
    with st.container(border=True, gap="xsmall", key=f"mcp-offer-{key}"):
        st.markdown(f"**{literal(offer.why)}**")
        st.code(offer.text, None, wrap_lines=True, height=240 if len(offer.text) > 600 else "content")
        with st.container(horizontal=True, gap="small"):
            args = (settings, key_of(offer))
            st.button("Approve", key=f"mcp-yes-{key}", type="primary", on_click=_approve, args=args)
            st.button("Not now", key=f"mcp-no-{key}", on_click=_dismiss, args=(offer,))


def _begin(settings: Settings, accepted: tuple[Key, ...] = ()) -> None:
    chain: RunnableLambda[Any, Any] = RunnableLambda(
        lambda keys: review(settings.mcp_file, settings.mcp_approvals, keys)
    )
    st.session_state["mcp-review"] = Running(chain, accepted)


def _approve(settings: Settings, accepted: Key) -> None:
    """Approve one offer; the look at the servers that keeps it shows what comes next."""
    _begin(settings, (accepted,))


def _dismiss(offer: Offer) -> None:
    running: Running = st.session_state["mcp-review"]
    found: Review = running.result
    running.result = Review(found.tools, tuple(each for each in found.offers if each != offer), found.problems)


def _revoke(settings: Settings, fingerprint: str) -> None:
    try:
        Approvals(settings.mcp_approvals, None).revoke(fingerprint)
    except PhiresideError as error:
        st.session_state["settings-error"] = error
    st.session_state.pop("mcp-review", None)
