"""A store with an empty conversation, and waiting for the turn of a chat. A conftest imports the fixtures."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phireside.chains import Turn
from phireside.memory import ConversationStore

LONG = 60  # seconds; more than any test takes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    yield opened
    opened.close()


@pytest.fixture
def conversation(store: ConversationStore) -> str:
    return store.create().id


def ended(turn: Turn) -> Turn:
    limit = time.monotonic() + LONG
    while not turn.wait(1):
        assert time.monotonic() < limit, turn.state
    return turn
