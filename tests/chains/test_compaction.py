"""Compaction: after the answer, in nobody's way, and whatever becomes of it, no turn is lost."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from one_chat import LONG, ended
from rehearsed import held, rehearsed

from phireside.chains import Chat
from phireside.errors import StoreError
from phireside.memory import (
    BufferMemory,
    ConversationStore,
    Memory,
    MemoryState,
    SummaryBufferMemory,
    SummaryMemory,
    WindowMemory,
)
from phireside.models import ChatGGUF
from phireside.settings import Settings


@pytest.fixture
def opened(store: ConversationStore) -> Iterator[Callable[[Memory], Chat]]:
    """Chats with a memory, closed at the end."""
    chats: list[Chat] = []

    def open_one(memory: Memory) -> Chat:
        chats.append(Chat(store, memory))
        return chats[-1]

    yield open_one
    for chat in chats:
        chat.close()


def ask(chat: Chat, conversation: str, text: str, model: Any, **how: Any) -> str:
    """The answer, after which all that is due has been done."""
    turn = ended(chat.send(conversation, text, model=model, **how))
    assert turn.error is None
    assert chat.settle(conversation, LONG)
    return turn.text


def texts(store: ConversationStore, conversation: str) -> list[str]:
    return [message.text for message in store.messages(conversation)]


# ---- the book's three conversations (chapter 7) ----


def test_the_book_buffer_knows_the_name_and_no_memory_does_not(
    opened: Callable[[Memory], Chat], store: ConversationStore
) -> None:
    outcome = {}
    for name, memory in {"buffer": BufferMemory(), "none": WindowMemory(0)}.items():
        chat, conversation = opened(memory), store.create().id
        first = ask(chat, conversation, "Hi! My name is Maarten. What is 1 + 1?", rehearsed())
        outcome[name] = (first, ask(chat, conversation, "What is my name?", rehearsed()))
    assert outcome == {
        "buffer": ("It is 2.", "Your name is Maarten."),
        "none": ("It is 2.", "I do not know your name."),
    }


def test_the_book_a_window_of_two_keeps_the_name_for_two_turns_and_loses_the_age(
    opened: Callable[[Memory], Chat], conversation: str
) -> None:
    chat = opened(WindowMemory(2))
    questions = [
        "Hi! My name is Maarten and I am 33 years old. What is 1 + 1?",
        "What is 3 + 3?",
        "What is my name?",
        "What is my age?",
    ]
    answers = [ask(chat, conversation, question, rehearsed()) for question in questions]
    assert answers == ["It is 2.", "It is 6.", "Your name is Maarten.", "I do not know your age."]


@pytest.mark.parametrize(
    "memory", [SummaryMemory(), SummaryBufferMemory(recent_tokens=0)], ids=lambda memory: memory.name
)
def test_the_book_a_summary_keeps_the_name_and_the_first_question(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str, memory: Memory
) -> None:
    chat, model = opened(memory), rehearsed(profile={"max_input_tokens": 2000})
    questions = ["Hi! My name is Maarten. What is 1 + 1?", "What is my name?", "What was the first question I asked?"]
    answers = [ask(chat, conversation, question, model) for question in questions]
    assert answers == ["It is 2.", "Your name is Maarten.", "Your first question was: What is 1 + 1?"]
    assert "Maarten" in store.memory_state(conversation).summary
    assert [kind for kind, _ in model.chats[-1]][:1] == ["system"]  # the summary, not the turns, told it
    assert ("human", questions[0]) not in model.chats[-1]


# ---- after the answer, and out of the way ----


def test_the_answer_is_saved_and_shown_before_anything_is_summarised(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str
) -> None:
    chat, model = opened(SummaryMemory()), held()
    turn = ended(chat.send(conversation, "What is 1 + 1?", model=model))
    assert (turn.state, turn.text, chat.running(conversation)) == ("done", "It is 2.", None)
    assert model.waiting.wait(LONG)
    assert texts(store, conversation) == ["What is 1 + 1?", "It is 2."]
    assert store.memory_state(conversation) == MemoryState()
    assert not chat.settle(conversation, 0.01)
    model.go.set()
    assert chat.settle(conversation, LONG)
    assert store.memory_state(conversation).covered == 2


def test_the_next_question_ends_it_and_is_answered_from_the_turns_themselves(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str
) -> None:
    chat, model = opened(SummaryMemory()), held()
    ended(chat.send(conversation, "My name is Maarten. What is 1 + 1?", model=model))
    assert model.waiting.wait(LONG)
    quick = rehearsed()
    assert ask(chat, conversation, "What is my name?", quick) == "Your name is Maarten."
    assert quick.chats[0][0] == ("human", "My name is Maarten. What is 1 + 1?")
    assert model.summaries == []  # it was given up before it had written anything
    assert store.memory_state(conversation).covered == 4  # and made up for after this answer
    assert len(store.messages(conversation)) == 4


def test_another_conversations_question_does_not_end_it(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str
) -> None:
    chat, model, other = opened(SummaryMemory()), held(), store.create().id
    ended(chat.send(conversation, "What is 1 + 1?", model=model))
    assert model.waiting.wait(LONG)
    assert ask(chat, other, "What is 2 + 2?", rehearsed()) == "It is 4."
    model.go.set()
    assert chat.settle(conversation, LONG)
    assert store.memory_state(conversation).covered == 2


def test_a_memory_that_makes_nothing_of_old_messages_asks_nobody(
    opened: Callable[[Memory], Chat], conversation: str
) -> None:
    chat, model = opened(WindowMemory(2)), rehearsed()
    ask(chat, conversation, "What is 1 + 1?", model)
    assert len(model.asked) == 1


def test_close_gives_it_up(store: ConversationStore, conversation: str) -> None:
    chat, model = Chat(store, SummaryMemory()), held()
    ended(chat.send(conversation, "What is 1 + 1?", model=model))
    assert model.waiting.wait(LONG)
    closing = threading.Thread(target=chat.close)
    closing.start()
    closing.join(LONG)
    assert not closing.is_alive()
    assert texts(store, conversation) == ["What is 1 + 1?", "It is 2."]
    assert store.memory_state(conversation) == MemoryState()


# ---- failures ----


@pytest.mark.parametrize("fault", [ValueError("no such key"), StoreError("The disk is full.")])
def test_a_failure_is_logged_keeps_everything_and_is_made_up_for(
    opened: Callable[[Memory], Chat],
    store: ConversationStore,
    conversation: str,
    fault: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = opened(SummaryMemory())
    with caplog.at_level(logging.WARNING):
        ask(chat, conversation, "My name is Maarten. What is 1 + 1?", rehearsed(failing=fault))
    assert "was not summarised" in caplog.text
    assert str(fault) in caplog.text
    assert store.memory_state(conversation) == MemoryState()
    model = rehearsed()
    assert ask(chat, conversation, "What is my name?", model) == "Your name is Maarten."
    assert store.memory_state(conversation).covered == 4
    assert "Maarten" in model.summaries[0]
    assert len(store.messages(conversation)) == 4


def test_a_state_that_cannot_be_saved_is_no_failure_of_the_turn(
    opened: Callable[[Memory], Chat],
    store: ConversationStore,
    conversation: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(store, "save_memory_state", refuse)
    assert ask(opened(SummaryMemory()), conversation, "What is 1 + 1?", rehearsed()) == "It is 2."
    assert "The disk is full" in caplog.text


def test_a_conversation_that_is_deleted_meanwhile_takes_the_summary_along(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str, caplog: pytest.LogCaptureFixture
) -> None:
    chat, model = opened(SummaryMemory()), held()
    ended(chat.send(conversation, "What is 1 + 1?", model=model))
    assert model.waiting.wait(LONG)
    store.delete(conversation)
    model.go.set()
    assert chat.settle(conversation, LONG)
    assert "no conversation" in caplog.text


def test_what_another_process_changes_meanwhile_is_not_summarised_wrongly(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str
) -> None:
    chat, model = opened(SummaryMemory()), held()
    ended(chat.send(conversation, "My name is Maarten. What is 1 + 1?", model=model))
    assert model.waiting.wait(LONG)
    store.save_turn(conversation, [HumanMessage("My name is Zoë."), AIMessage("I see.")], at=0)
    model.go.set()
    assert chat.settle(conversation, LONG)
    assert store.memory_state(conversation) == MemoryState()
    assert ask(chat, conversation, "What is my name?", rehearsed()) == "Your name is Zoë."


def test_an_edited_question_is_answered_without_what_came_after_it(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str
) -> None:
    chat = opened(SummaryMemory())
    ask(chat, conversation, "What is 1 + 1?", rehearsed())
    ask(chat, conversation, "My name is Maarten.", rehearsed())
    assert "Maarten" in store.memory_state(conversation).summary
    model = rehearsed()
    assert ask(chat, conversation, "What is my name?", model, at=2) == "I do not know your name."
    assert [kind for kind, _ in model.chats[0]] == ["system", "human"]  # the summary of the first turn came back
    assert "Maarten" not in store.memory_state(conversation).summary
    assert store.memory_state(conversation).covered == 4


CHILD = """
import sys

from phireside.chains import Chat
from phireside.memory import ConversationStore, SummaryMemory
from rehearsed import held
store = ConversationStore(sys.argv[1])
chat, model, conversation = Chat(store, SummaryMemory()), held(), store.create().id
turn = chat.send(conversation, "My name is Maarten. What is 1 + 1?", model=model)
while not turn.wait(1):
    pass
model.waiting.wait(30)
print(conversation, turn.state, flush=True)
sys.stdin.read()
"""


def test_a_process_that_is_killed_between_answer_and_summary_loses_nothing(tmp_path: Path, root: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root / "tests" / "plugins")},
    )  # fmt: skip
    with child:
        assert child.stdout
        told = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    conversation, state = told.split()
    assert state == "done"
    store = ConversationStore(url)
    assert texts(store, conversation) == ["My name is Maarten. What is 1 + 1?", "It is 2."]
    assert store.memory_state(conversation) == MemoryState()
    chat = Chat(store, SummaryMemory())
    assert ask(chat, conversation, "What is my name?", rehearsed()) == "Your name is Maarten."
    assert store.memory_state(conversation).covered == 4
    chat.close()
    store.close()


# ---- what is told ----


def test_the_answer_tells_what_was_summarised_and_what_the_context_was_used_for(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str
) -> None:
    model = rehearsed(profile={"max_input_tokens": 2000})
    chat = opened(SummaryMemory())
    ask(chat, conversation, "My name is Maarten. What is 1 + 1?", model, system="Be kind.")
    ask(chat, conversation, "What is 3 + 3?", model, system="Be kind.")
    first, second = (store.messages(conversation)[at].response_metadata for at in (1, 3))
    assert "summarized" not in first
    assert first["context"]["memory"] == 0
    assert second["summarized"] == 2
    assert second["context"]["memory"] > 0
    assert second["context"]["system"] == first["context"]["system"] > 0
    for metadata in (first, second):
        parts = metadata["context"]
        assert parts["size"] == sum(tokens for part, tokens in parts.items() if part != "size")


@pytest.mark.real
def test_a_real_model_summarises_at_the_priority_of_background_work_and_the_context_adds_up(
    opened: Callable[[Memory], Chat],
    store: ConversationStore,
    conversation: str,
    settings: Settings,
    tiny_chatml: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    priorities: list[str] = []
    ask_engine = ChatGGUF._ask

    def recording(self: ChatGGUF, *args: Any) -> Any:
        priorities.append(self.priority)
        return ask_engine(self, *args)

    monkeypatch.setattr(ChatGGUF, "_ask", recording)
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=8, n_ctx=1000)
    chat = opened(SummaryMemory(max_tokens=20, max_facts=3))
    for number in range(2):
        ask(chat, conversation, f"I have question {number}.", model, system="Be kind.")
    assert priorities == ["person", "background", "background", "background"] * 2  # summary, facts, reading ahead
    assert store.memory_state(conversation).covered == 4
    answer = store.messages(conversation)[3]
    assert isinstance(answer, AIMessage)
    assert answer.usage_metadata
    parts = answer.response_metadata["context"]
    assert parts["system"] + parts["memory"] + parts["history"] == answer.usage_metadata["input_tokens"]
    assert (parts["size"], parts["answer"], parts["tools"]) == (1000, 8, 0)
    assert parts["left"] == 1000 - 8 - answer.usage_metadata["input_tokens"]


@pytest.mark.real
def test_after_a_compaction_too_a_turn_evaluates_only_what_is_new(
    opened: Callable[[Memory], Chat], store: ConversationStore, conversation: str, settings: Settings, tiny_chatml: Path
) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=8, n_ctx=1000)
    chat = opened(SummaryBufferMemory(recent_tokens=200, max_tokens=20, max_facts=0))
    compactions, covered = 0, 0
    for number in range(16):
        question = f"This is question {number}. More of it."
        ask(chat, conversation, question, model, system="Be kind.")
        if number:
            answer = store.messages(conversation)[-1]
            new = model.get_num_tokens_from_messages([SystemMessage(""), HumanMessage(question)])
            assert answer.response_metadata["evaluated_tokens"] <= new + 8, (number, compactions)
        compactions += store.memory_state(conversation).covered != covered
        covered = store.memory_state(conversation).covered
    assert compactions >= 2
