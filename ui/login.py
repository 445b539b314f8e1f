"""Who uses the pages: a person who logged in at an OpenID Connect provider, by Streamlit's `st.login`, or nobody in
particular where there is no login.

Streamlit talks to the provider, checks its token and keeps the claims in a signed cookie. Here they become a `Person`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from phireside.errors import LoginError, PhiresideError
from phireside.settings import LoginSettings
from phireside.ui.messages import show_error
from phireside.ui.safe_text import literal

APART = "Your conversations, facts and documents are kept apart from those of others."
WELCOME = f"Log in to chat. {APART}"
NO_LOGIN = "There is no login: these pages are for this machine only (127.0.0.1). docs/login.md says how to add one."


@dataclass(frozen=True)
class Person:
    """Somebody who logged in and may.

    Attributes:
        issuer, subject: who they are, for good: the claims `iss` and `sub`.
        name: to be shown; what the provider says.
        admin: whether they may read folders of this machine and manage models.
    """

    issuer: str
    subject: str
    name: str
    admin: bool = False


def person(login: LoginSettings) -> Person | None:
    """Who uses this browser session; None if there is no login.

    Raises:
        LoginError: nobody is logged in, or somebody who may not.
    """
    return person_of(_claims(), login) if login.secrets is not None else None


def person_of(claims: Mapping[str, Any], login: LoginSettings) -> Person:
    """The person whom claims are about. An e-mail address counts only if the provider has verified it.

    Args:
        claims: of the ID token, with Streamlit's `is_logged_in` and `provider`.
        login: who may log in.

    Raises:
        LoginError: see `person`.
    """
    if claims.get("is_logged_in") is not True or claims.get("provider") != login.provider:
        raise LoginError("You are not logged in.", hint="Log in.")
    issuer, subject = _text(claims, "iss"), _text(claims, "sub")
    if not issuer or not subject:
        raise LoginError("The provider does not say who you are.", hint="It has to send the claims iss and sub.")
    email = _text(claims, "email").casefold() if claims.get("email_verified") in (True, "true") else ""
    name = _text(claims, "name") or email or subject
    admin = _among(login.admins, subject, email)
    if not admin and login.people and not _among(login.people, subject, email):
        raise LoginError(
            f"{name[:80]} may not use this Phireside.",
            hint=f"Whoever runs it can add {email or subject} to login.people.",
        )
    return Person(issuer, subject, name[:80], admin)


def _claims() -> Mapping[str, Any]:
    return st.user.to_dict()


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value.strip() if isinstance(value, str) else ""


def _among(entries: Sequence[str], subject: str, email: str) -> bool:
    """Whether entries name somebody. One with an @ is an address or a domain: nobody may be it by their subject."""
    domain = "@" + email.rpartition("@")[2] if email else ""
    addresses = {entry.strip().casefold() for entry in entries if "@" in entry}
    return bool({email, domain} & addresses) or subject in {entry for entry in entries if "@" not in entry}


def same_person(found: Person | None) -> None:
    """Forget what a browser session has of another person: cookies may change while a page stays open."""
    key = (found.issuer, found.subject) if found else None
    if st.session_state.get("person", key) != key:
        st.session_state.clear()
    st.session_state["person"] = key


def show(error: LoginError, provider: str) -> None:
    """Draw the page of somebody who is not logged in, or may not be here.

    Args:
        error: why not.
        provider: at which one may log in.
    """
    same_person(None)
    known = _claims().get("is_logged_in") is True
    with st.container(border=True, gap="medium", key="login"):
        if known:
            show_error(error)
        else:
            st.markdown(WELCOME)
        if st.button("Log in", key="log-in", type="primary", icon=":material/login:"):
            _log_in(provider)
        if known and st.button("Log out", key="log-out", icon=":material/logout:"):
            st.logout()


def _log_in(provider: str) -> None:
    try:
        st.login(provider)
    except StreamlitAPIException as error:  # the file was changed since the program began
        show_error(PhiresideError(f"Nobody can log in: {error}"))


def show_person(found: Person | None) -> None:
    """Draw who is logged in, and the way out."""
    if found is None:
        return
    with (
        st.sidebar,
        st.container(horizontal=True, wrap=False, gap="small", vertical_alignment="center", key="person"),
    ):
        admin = " · admin" if found.admin else ""
        st.markdown(f":material/account_circle: {literal(found.name)}{admin}", width="stretch")
        if st.button("", key="log-out", icon=":material/logout:", type="tertiary", help="Log out"):
            st.logout()
