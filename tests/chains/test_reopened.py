"""Yesterday's conversation: its KV state outlives the process, and goes with the conversation."""

from pathlib import Path

import pytest
from langchain_core.messages import AIMessage

from phireside.chains import Chat
from phireside.memory import ConversationStore
from phireside.models import ChatGGUF, forget_state
from phireside.models.runtime import close_all
from phireside.settings import Settings

pytestmark = pytest.mark.real
QUESTION = "Here is a list of words to remember: " + ", ".join(f"word number {n}" for n in range(40)) + ". Say OK."


def answer(store: ConversationStore, conversation: str, text: str, settings: Settings) -> AIMessage:
    """One turn, in a chat whose model is loaded for it and unloaded after it, as by a program that ends."""
    chat = Chat(store)
    turn = chat.send(conversation, text, model=ChatGGUF(settings=settings, temperature=0, max_tokens=8))
    while not turn.wait(1):
        pass
    chat.close()
    close_all()
    assert turn.answer, turn.error
    return turn.answer


def test_a_conversation_that_is_reopened_is_read_from_disk_and_not_evaluated_again(
    tmp_path: Path, settings: Settings, starter_path: Path
) -> None:
    close_all()  # an engine that another test left open would keep its states in that test's folder
    store = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    first, other = store.create().id, store.create().id
    before = answer(store, first, QUESTION, settings)
    answer(store, other, QUESTION.replace("word", "name"), settings)

    again = answer(store, first, "What was the first word?", settings)
    assert again.usage_metadata
    assert before.usage_metadata
    new = again.usage_metadata["input_tokens"] - before.usage_metadata["total_tokens"]
    assert again.response_metadata["restored_tokens"] >= before.usage_metadata["input_tokens"]
    assert again.response_metadata["evaluated_tokens"] <= new + 8

    forget_state(first, settings.state_dir)
    forgotten = answer(store, first, "And the last one?", settings)
    assert forgotten.response_metadata.get("restored_tokens", 0) < 64  # at most the beginning that both share
    store.close()
