"""The chat turn: it streams to everybody who looks, is saved whole or not at all, and ends when it is stopped."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGenerationChunk
from one_chat import LONG, ended
from scripted import scripted

from phireside.chains import Chat, Turn
from phireside.errors import (
    ContextOverflowError,
    ConversationNotFoundError,
    EngineClosedError,
    EngineError,
    PhiresideError,
    RequestError,
    StoreError,
    TurnRunningError,
)
from phireside.memory import ConversationStore
from phireside.models import ChatGGUF
from phireside.settings import Settings


@pytest.fixture
def chat(store: ConversationStore) -> Iterator[Chat]:
    conversations = Chat(store)
    yield conversations
    conversations.close()


def until_text(turn: Turn, text: str) -> None:
    limit = time.monotonic() + LONG
    while turn.text != text:
        turn.wait(0.1)
        assert time.monotonic() < limit, (turn.text, turn.state, turn.error)


def saved(store: ConversationStore, conversation: str) -> list[tuple[str, str]]:
    return [(message.type, message.text) for message in store.messages(conversation)]


# ---- a turn that goes well ----


def test_an_answer_streams_and_question_and_answer_are_saved_once_it_ends(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = scripted("Blue", " light", " scatters.", hold_at=2)
    turn = chat.send(conversation, "Why is the sky blue?", model=model)
    until_text(turn, "Blue light")
    assert (turn.state, turn.ended, turn.answer) == ("writing", False, None)
    assert saved(store, conversation) == []
    model.go.set()
    ended(turn)
    assert (turn.state, turn.text, turn.error) == ("done", "Blue light scatters.", None)
    assert saved(store, conversation) == [("human", "Why is the sky blue?"), ("ai", "Blue light scatters.")]
    assert turn.answer
    assert turn.answer.response_metadata["finish_reason"] == "stop"
    assert type(turn.answer) is AIMessage


def test_question_and_answer_are_saved_in_one_call(
    chat: Chat, store: ConversationStore, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    save = store.save_turn

    def count(conversation_id: str, messages: Any, **where: Any) -> None:
        calls.append([message.type for message in messages])
        save(conversation_id, messages, **where)

    monkeypatch.setattr(store, "save_turn", count)
    ended(chat.send(conversation, "Hi", model=scripted("Hello")))
    assert calls == [["human", "ai"]]


def test_the_model_gets_system_history_and_question(chat: Chat, store: ConversationStore, conversation: str) -> None:
    ended(chat.send(conversation, "One", model=scripted("1")))
    model = scripted("2")
    ended(chat.send(conversation, "Two", model=model, system="Count."))
    assert model.asked == [[("system", "Count."), ("human", "One"), ("ai", "1"), ("human", "Two")]]
    assert ("system", "Count.") not in saved(store, conversation)


def test_a_blank_system_text_is_not_sent(chat: Chat, conversation: str) -> None:
    model = scripted("1")
    ended(chat.send(conversation, "One", model=model, system=" \n"))
    assert model.asked == [[("human", "One")]]


def test_a_model_of_langchains_own_that_streams_in_threads_works_too(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("Hello there")]))
    assert ended(chat.send(conversation, "Hi", model=model)).text == "Hello there"
    assert saved(store, conversation)[1] == ("ai", "Hello there")


def test_after_a_turn_the_next_one_may_begin_at_once(chat: Chat, store: ConversationStore, conversation: str) -> None:
    for number in range(10):
        turn = ended(chat.send(conversation, f"Q{number}", model=scripted(f"A{number}")))
        assert chat.running(conversation) is None
        assert turn.state == "done"
    assert len(saved(store, conversation)) == 20


# ---- several who look ----


def test_the_running_turn_is_found_again_by_its_conversation(chat: Chat, conversation: str) -> None:
    model = scripted("a", "b", hold_at=1)
    turn = chat.send(conversation, "Hi", model=model)
    assert chat.running(conversation) is turn
    assert chat.running("another") is None
    model.go.set()
    ended(turn)
    assert chat.running(conversation) is None


def test_a_page_is_told_what_another_page_has_seen_already(chat: Chat, conversation: str) -> None:
    model = scripted("a", "b", hold_at=1)
    turn = chat.send(conversation, "Hi", model=model)
    until_text(turn, "a")
    turn.wait(0.01)  # this page has seen it
    other = threading.Thread(target=turn.wait, args=(LONG,))
    other.start()
    other.join(LONG / 2)
    assert not other.is_alive()
    model.go.set()
    ended(turn)


def test_a_wait_without_news_ends_after_its_seconds(chat: Chat, conversation: str) -> None:
    model = scripted("a", "b", hold_at=1)
    turn = chat.send(conversation, "Hi", model=model)
    until_text(turn, "a")
    turn.wait(0.01)  # takes note of "a"
    assert turn.wait(0.01) is False
    model.go.set()
    ended(turn)
    assert turn.wait(LONG) is True


def test_conversations_are_answered_side_by_side(chat: Chat, store: ConversationStore) -> None:
    ids = [store.create().id for _ in range(8)]
    models = [scripted(f"{number}", "!", hold_at=1) for number in range(8)]
    turns = [chat.send(each, "Hi", model=model) for each, model in zip(ids, models, strict=True)]
    for number, turn in enumerate(turns):
        until_text(turn, str(number))  # all have begun, none has ended
    for model in models:
        model.go.set()
    assert [ended(turn).text for turn in turns] == [f"{number}!" for number in range(8)]
    assert [saved(store, each)[1][1] for each in ids] == [f"{number}!" for number in range(8)]


# ---- stop ----


def test_a_stopped_answer_keeps_its_text_and_is_marked(chat: Chat, store: ConversationStore, conversation: str) -> None:
    turn = chat.send(conversation, "Hi", model=scripted("Half", " an answer", hold_at=1))
    until_text(turn, "Half")
    turn.stop()
    turn.stop()  # twice is once
    ended(turn)
    assert (turn.state, turn.text, turn.error) == ("stopped", "Half", None)
    assert saved(store, conversation) == [("human", "Hi"), ("ai", "Half")]
    assert store.messages(conversation)[1].response_metadata["finish_reason"] == "cancelled"


def test_stopped_before_a_word_nothing_is_saved(chat: Chat, store: ConversationStore, conversation: str) -> None:
    turn = chat.send(conversation, "Hi", model=scripted("never", hold_at=0))
    turn.stop()
    ended(turn)
    assert (turn.state, turn.text, turn.answer) == ("stopped", "", None)
    assert saved(store, conversation) == []
    assert turn.question.text == "Hi"


def test_a_stop_that_a_library_loses_once_still_stops(chat: Chat, conversation: str) -> None:
    """As langchain-openai's wait for a chunk does on CPython 3.11."""

    class Losing(GenericFakeChatModel):
        async def _astream(self, *args: Any, **options: Any) -> AsyncIterator[ChatGenerationChunk]:
            yield ChatGenerationChunk(message=AIMessageChunk("Half"))
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(LONG)
            await asyncio.sleep(LONG)

    turn = chat.send(conversation, "Hi", model=Losing(messages=iter([])))
    until_text(turn, "Half")
    turn.stop()
    assert ended(turn).state == "stopped"


def test_stopping_what_has_ended_changes_nothing(chat: Chat, store: ConversationStore, conversation: str) -> None:
    turn = ended(chat.send(conversation, "Hi", model=scripted("Hello")))
    turn.stop()
    assert turn.state == "done"
    assert store.messages(conversation)[1].response_metadata["finish_reason"] == "stop"


# ---- edit and regenerate ----


def test_regenerate_and_edit_replace_from_their_position_on(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    for question, answer in (("Q1", "A1"), ("Q2", "A2"), ("Q3", "A3")):
        ended(chat.send(conversation, question, model=scripted(answer)))
    again = scripted("A3b")
    ended(chat.send(conversation, "Q3", model=again, at=4))
    assert again.asked == [[("human", "Q1"), ("ai", "A1"), ("human", "Q2"), ("ai", "A2"), ("human", "Q3")]]
    assert saved(store, conversation)[4:] == [("human", "Q3"), ("ai", "A3b")]
    edited = scripted("A1c")
    turn = ended(chat.send(conversation, "Q1 edited", model=edited, at=0))
    assert edited.asked == [[("human", "Q1 edited")]]
    assert turn.at == 0
    assert saved(store, conversation) == [("human", "Q1 edited"), ("ai", "A1c")]


def test_what_another_window_added_is_not_replaced_unseen(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    ended(chat.send(conversation, "Q1", model=scripted("A1")))
    ended(chat.send(conversation, "Q2", model=scripted("A2")))  # by another window
    model = scripted("A1b")
    turn = ended(chat.send(conversation, "Q1", model=model, at=0, seen=2))
    assert turn.state == "failed"
    assert "another window" in str(turn.error)
    assert model.asked == []
    assert saved(store, conversation) == [("human", "Q1"), ("ai", "A1"), ("human", "Q2"), ("ai", "A2")]


def test_what_another_process_adds_meanwhile_is_not_replaced(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    ended(chat.send(conversation, "Q1", model=scripted("A1")))
    held = scripted("A1b ", "end", hold_at=1)
    turn = chat.send(conversation, "Q1", model=held, at=0)
    until_text(turn, "A1b ")
    store.save_turn(conversation, [HumanMessage("Q2"), AIMessage("A2")])
    held.go.set()
    ended(turn)
    assert turn.state == "failed"
    assert turn.text == "A1b end"
    assert len(saved(store, conversation)) == 4


@pytest.mark.parametrize("at", [-1, 1, 99])
def test_a_position_outside_is_refused_before_the_model_is_asked(chat: Chat, conversation: str, at: int) -> None:
    model = scripted("never")
    assert ended(chat.send(conversation, "Q", model=model, at=at)).state == "failed"
    assert model.asked == []


@pytest.mark.parametrize("words", [[ValueError("broken")], ["half", ValueError("broken")]])
def test_a_regeneration_that_fails_leaves_the_old_answer(
    chat: Chat, store: ConversationStore, conversation: str, words: list[Any]
) -> None:
    ended(chat.send(conversation, "Q", model=scripted("A")))
    assert ended(chat.send(conversation, "Q", model=scripted(*words), at=0)).state == "failed"
    assert saved(store, conversation) == [("human", "Q"), ("ai", "A")]


# ---- failures ----


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_question_is_refused(chat: Chat, conversation: str, text: str) -> None:
    with pytest.raises(RequestError, match="empty"):
        chat.send(conversation, text, model=scripted("x"))
    assert chat.running(conversation) is None


def test_a_second_question_while_the_first_is_answered_is_refused(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = scripted("a", "b", hold_at=1)
    turn = chat.send(conversation, "One", model=model)
    with pytest.raises(TurnRunningError):
        chat.send(conversation, "Two", model=scripted("x"))
    model.go.set()
    ended(turn)
    assert saved(store, conversation) == [("human", "One"), ("ai", "ab")]


@pytest.mark.parametrize("error", [ContextOverflowError("Too long: 9 of 8.", hint="Shorten."), StoreError("Full.")])
def test_an_error_of_ours_is_handed_on_as_it_is(
    chat: Chat, store: ConversationStore, conversation: str, error: PhiresideError
) -> None:
    turn = ended(chat.send(conversation, "Hi", model=scripted("half", error)))
    assert (turn.state, turn.error, turn.question.text) == ("failed", error, "Hi")
    assert turn.text == "half"
    assert saved(store, conversation) == []
    assert chat.running(conversation) is None


@pytest.mark.parametrize("error", [ValueError("no such key"), ConnectionError("refused"), KeyError("x"), OSError(5)])
def test_a_foreign_error_becomes_one_of_ours_with_its_words(
    chat: Chat, store: ConversationStore, conversation: str, error: Exception
) -> None:
    turn = ended(chat.send(conversation, "Hi", model=scripted(error)))
    assert turn.state == "failed"
    assert isinstance(turn.error, EngineError)
    assert str(error) in turn.error.message
    assert saved(store, conversation) == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_model_that_wants_to_end_the_program_fails_and_the_chat_goes_on(
    chat: Chat, store: ConversationStore, conversation: str, error: BaseException
) -> None:
    turn = ended(chat.send(conversation, "Hi", model=scripted("half", error)))
    assert (turn.state, saved(store, conversation)) == ("failed", [])
    assert type(error).__name__ in str(turn.error)
    assert ended(chat.send(conversation, "Hi", model=scripted("Hello"))).state == "done"


def test_after_a_failure_the_conversation_goes_on(chat: Chat, store: ConversationStore, conversation: str) -> None:
    ended(chat.send(conversation, "Hi", model=scripted(ValueError("x"))))
    ended(chat.send(conversation, "Hi", model=scripted("Hello")))
    assert saved(store, conversation) == [("human", "Hi"), ("ai", "Hello")]


@pytest.mark.parametrize("error", [StoreError("The disk is full."), OSError(28, "No space left on device")])
def test_an_answer_that_cannot_be_saved_is_a_failure_and_its_text_is_still_there(
    chat: Chat, store: ConversationStore, conversation: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(store, "save_turn", refuse)
    turn = ended(chat.send(conversation, "Hi", model=scripted("Hello")))
    assert (turn.state, turn.text, turn.answer) == ("failed", "Hello", None)
    assert isinstance(turn.error, PhiresideError)
    monkeypatch.undo()
    assert ended(chat.send(conversation, "Hi", model=scripted("Hello"))).state == "done"


def test_a_conversation_that_was_deleted_meanwhile_is_a_failure(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = scripted("a", "b", hold_at=1)
    turn = chat.send(conversation, "Hi", model=model)
    until_text(turn, "a")
    store.delete(conversation)
    model.go.set()
    assert isinstance(ended(turn).error, ConversationNotFoundError)
    assert isinstance(ended(chat.send("unknown", "Hi", model=scripted("x"))).error, ConversationNotFoundError)


# ---- close ----


def test_close_saves_what_was_written_and_ends_the_thread(store: ConversationStore) -> None:
    chat, ids = Chat(store), [store.create().id for _ in range(3)]
    turns = [chat.send(each, "Hi", model=scripted("Half", " done", hold_at=1)) for each in ids]
    for turn in turns:
        until_text(turn, "Half")
    chat.close()
    chat.close()
    assert [turn.state for turn in turns] == ["stopped"] * 3
    assert [saved(store, each) for each in ids] == [[("human", "Hi"), ("ai", "Half")]] * 3
    assert not chat._thread.is_alive()


def test_after_close_a_question_is_refused_and_not_forgotten_silently(
    store: ConversationStore, conversation: str
) -> None:
    chat = Chat(store)
    chat.close()
    with pytest.raises(EngineClosedError):
        chat.send(conversation, "Hi", model=scripted("x"))
    assert chat.running(conversation) is None


# ---- real weights ----


@pytest.mark.real
def test_the_starter_answers_remembers_and_evaluates_only_what_is_new(
    chat: Chat, store: ConversationStore, conversation: str, settings: Settings, starter_path: Path
) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=30)
    first = ended(chat.send(conversation, "My name is Zoë. Say hello to me.", model=model))
    assert first.answer
    assert first.answer.text == first.text == store.messages(conversation)[1].text
    second = ended(chat.send(conversation, "What is my name?", model=model))
    assert "Zo" in second.text
    assert second.answer
    usage = first.answer.usage_metadata
    new = second.answer.usage_metadata["input_tokens"] - usage["total_tokens"]
    assert second.answer.response_metadata["evaluated_tokens"] <= new + 8


@pytest.mark.real
def test_a_stopped_answer_of_a_real_model_is_continued_without_reading_it_again(
    chat: Chat, store: ConversationStore, conversation: str, settings: Settings, starter_path: Path
) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=1000)
    turn = chat.send(conversation, "Tell me a long story about a fisherman.", model=model)
    while len(turn.text) < 20:
        turn.wait(1)
    turn.stop()
    ended(turn)
    assert turn.state == "stopped"
    assert turn.answer
    assert turn.answer.response_metadata["finish_reason"] == "cancelled"
    second = ended(chat.send(conversation, "Go on.", model=model.model_copy(update={"max_tokens": 4})))
    assert second.answer
    new = second.answer.usage_metadata["input_tokens"] - turn.answer.usage_metadata["total_tokens"]
    assert second.answer.response_metadata["evaluated_tokens"] <= new + 8


@pytest.mark.real
def test_what_does_not_fit_is_left_out_and_told_and_a_question_that_never_fits_is_refused(
    chat: Chat, store: ConversationStore, conversation: str, settings: Settings, tiny_chatml: Path
) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=8, n_ctx=160)
    turns = [
        ended(chat.send(conversation, f"Question {n} word word word", model=model, system="Be kind.")) for n in range(8)
    ]
    assert [turn.state for turn in turns] == ["done"] * 8
    assert turns[0].left_out == 0
    assert turns[-1].left_out > 0
    assert turns[-1].left_out % 2 == 0
    assert len(saved(store, conversation)) == 16
    refused = ended(chat.send(conversation, "word " * 200, model=model))
    assert isinstance(refused.error, ContextOverflowError)
    assert "160" in refused.error.message or "152" in refused.error.message
    assert refused.question.text.startswith("word")


def test_messages_of_ours_survive_the_store(chat: Chat, store: ConversationStore, conversation: str) -> None:
    ended(chat.send(conversation, "Grüße\x00\u202e 👩‍👩‍👧 \ud800", model=scripted("日本", "\n\n```py\nx\n```")))
    question, answer = store.messages(conversation)
    assert isinstance(question, HumanMessage)
    assert not isinstance(question, SystemMessage)
    assert "👩‍👩‍👧" in question.text
    assert answer.text == "日本\n\n```py\nx\n```"
