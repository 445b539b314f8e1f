"""A store for each database of tests/plugins/databases.py."""

from collections.abc import Iterator

import pytest

from phireside.memory import ConversationStore


@pytest.fixture
def store(url: str) -> Iterator[ConversationStore]:
    """An empty store."""
    store = ConversationStore(url)
    yield store
    store.close()
