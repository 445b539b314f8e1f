"""A store, an empty conversation in it, and a chat that keeps facts."""

from collections.abc import Iterator

import pytest
from one_chat import conversation, store  # noqa: F401 (fixtures)

from phireside.chains import Chat
from phireside.memory import ConversationStore


@pytest.fixture
def chat(store: ConversationStore) -> Iterator[Chat]:  # noqa: F811
    """With facts switched on."""
    store.facts.switch(True)
    opened = Chat(store)
    yield opened
    opened.close()
