"""What the pages share: a store and a `Chat` for each person who logs in (one for all without a login), one catalogue.

Models are loaded once for all of them. What belongs to one browser session, such as the open conversation, is in the
page's address and in `st.session_state`.
"""

from dataclasses import dataclass, replace

import streamlit as st

from phireside.agents import close_bases
from phireside.chains import Chat
from phireside.memory import ConversationStore
from phireside.models import Catalog
from phireside.paths import ensure_dir
from phireside.settings import Settings
from phireside.ui import login
from phireside.ui.login import Person


@dataclass(frozen=True)
class Services:
    """The parts that the pages wire together.

    Attributes:
        settings, store, chat: of the person.
        catalog: of everybody.
        person: who is logged in; None = there is no login.
    """

    settings: Settings
    store: ConversationStore
    chat: Chat
    catalog: Catalog
    person: Person | None = None

    @property
    def admin(self) -> bool:
        """Whether the person may read folders of this machine and manage models; without a login it is theirs."""
        return self.person is None or self.person.admin


_opened: list[Services] = []


def services() -> Services:
    """The services of whoever uses this browser session, built by the first of their pages that asks.

    Raises:
        LoginError: there is a login, and nobody is logged in who may be.
        SettingsError: a setting cannot be used, or the data folder cannot be created.
        StoreError: the database cannot be opened.
    """
    person = login.person(common_settings().login)
    if person is None:
        return _services("", "", admin=True)
    return replace(_services(person.issuer, person.subject, admin=person.admin), person=person)


@st.cache_resource(show_spinner=False)
def common_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: one cannot be used.
    """
    return Settings()


@st.cache_resource(show_spinner=False)
def common_catalog() -> Catalog:
    """The models of everybody."""
    return Catalog(common_settings())


@st.cache_resource(show_spinner=False)
def _services(issuer: str, subject: str, *, admin: bool) -> Services:
    settings = common_settings()
    if subject:
        settings = settings.for_person(issuer, subject, admin=admin)
    ensure_dir(settings.data_dir)
    store = ConversationStore(settings.conversations_url)
    opened = Services(settings, store, Chat(store, state_dir=settings.state_dir), common_catalog())
    _opened.append(opened)
    return opened


def close_services() -> None:
    """End what `services` and the pages began, when the server ends: what is being written by then is saved."""
    from phireside.ui.measuring import stop_all  # heavy, and loaded by then if anything runs

    stop_all()
    st.cache_resource.clear()  # downloads and additions end by their on_release
    while _opened:
        shared = _opened.pop()
        shared.chat.close()
        close_bases()
        shared.store.close()
