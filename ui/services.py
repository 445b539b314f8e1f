"""What all pages and all browser sessions share: one store, one `Chat` (so one engine per model), one catalogue.

What belongs to one person, such as the open conversation, is in the page's address and in `st.session_state`.
"""

from dataclasses import dataclass

import streamlit as st

from phireside.chains import Chat
from phireside.memory import ConversationStore
from phireside.models import Catalog
from phireside.paths import ensure_dir
from phireside.settings import Settings


@dataclass(frozen=True)
class Services:
    """The parts that the pages wire together."""

    settings: Settings
    store: ConversationStore
    chat: Chat
    catalog: Catalog


_opened: list[Services] = []


@st.cache_resource(show_spinner=False)
def services() -> Services:
    """The services of this process, built by the first page that asks.

    Raises:
        SettingsError: a setting cannot be used, or the data folder cannot be created.
        StoreError: the database cannot be opened.
    """
    settings = Settings()
    ensure_dir(settings.data_dir)
    store = ConversationStore(settings.conversations_url)
    shared = Services(settings, store, Chat(store, state_dir=settings.state_dir), Catalog(settings))
    _opened.append(shared)
    return shared


def close_services() -> None:
    """End what `services` began, when the server ends: what is being written by then is saved."""
    while _opened:
        shared = _opened.pop()
        shared.chat.close()
        shared.store.close()
