"""A store, an empty conversation in it, and a chat that keeps facts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phireside.chains import Chat
from phireside.memory import ConversationStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    yield opened
    opened.close()


@pytest.fixture
def conversation(store: ConversationStore) -> str:
    return store.create().id


@pytest.fixture
def chat(store: ConversationStore) -> Iterator[Chat]:
    """With facts switched on."""
    store.facts.switch(True)
    opened = Chat(store)
    yield opened
    opened.close()
