"""A store, and an empty conversation in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phireside.memory import ConversationStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    yield opened
    opened.close()


@pytest.fixture
def conversation(store: ConversationStore) -> str:
    return store.create().id
