"""Turns that somebody else than the model answers: notes, approvals, what is saved, and the room that they need."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from one_chat import LONG, ended
from scripted import scripted

from phireside.chains import Answerer, Chat, Turn
from phireside.errors import ContextOverflowError, RequestError, ToolError
from phireside.memory import BufferMemory, ConversationStore

Write = Callable[[Turn], AsyncIterator[AIMessageChunk]]
DELETE = {"tool": "delete", "arguments": {"name": "a.txt"}, "text": "delete changes something."}
APPROVE, REJECT = {"type": "approve"}, {"type": "reject", "message": "Not that one."}
MODEL = scripted("never asked")


class Writes:
    """An answerer that does what a test wrote; `given` has the messages of each turn."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.given: list[list[str]] = []

    def answer(self, messages: Sequence[BaseMessage], turn: Turn) -> AsyncIterator[AIMessageChunk]:
        self.given.append([message.text for message in messages])
        return self._write(turn)


class Wants(Writes):
    """One whose prompts have more than messages."""

    def __init__(self, write: Write, **needs: int) -> None:
        super().__init__(write)
        self._needs = needs

    def needs(self, room: int) -> dict[str, int]:
        return self._needs


def says(*words: str) -> Write:
    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        for word in words:
            yield AIMessageChunk(word)

    return write


async def asks_once(turn: Turn) -> AsyncIterator[AIMessageChunk]:
    """Says what was decided."""
    (decision,) = await turn.ask([DELETE])
    yield AIMessageChunk(f"{decision['type']}: {decision.get('message', '')}")


@pytest.fixture
def chat(store: ConversationStore) -> Iterator[Chat]:
    conversations = Chat(store)
    yield conversations
    conversations.close()


def until(turn: Turn, holds: Callable[[], Any]) -> None:
    limit = time.monotonic() + LONG
    while not holds():
        turn.wait(0.05)
        assert time.monotonic() < limit, (turn.state, turn.error)


def asking(chat: Chat, conversation: str, answerer: Answerer) -> Turn:
    turn = chat.send(conversation, "Tidy up", model=MODEL, answerer=answerer)
    until(turn, lambda: turn.state == "asking")
    return turn


def saved(store: ConversationStore, conversation: str) -> list[tuple[str, str]]:
    return [(message.type, message.text) for message in store.messages(conversation)]


# ---- what is written and noted ----


def test_an_answerer_writes_in_the_place_of_the_model_and_gets_what_the_memory_chose(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    ended(chat.send(conversation, "One", model=scripted("1")))
    answerer = Writes(says("2", " and", " 3"))
    turn = ended(chat.send(conversation, "Two", model=MODEL, system="Count.", answerer=answerer))
    assert (turn.state, turn.text) == ("done", "2 and 3")
    assert answerer.given == [["Count.", "One", "1", "Two"]]
    assert saved(store, conversation)[2:] == [("human", "Two"), ("ai", "2 and 3")]
    assert MODEL.asked == []


def test_steps_wake_who_waits_and_are_saved_with_the_answer(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    go = threading.Event()

    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        turn.note({"kind": "searching", "query": "deposit"})
        await asyncio.to_thread(go.wait, LONG)
        turn.note({"kind": "found", "queries": ("deposit",), "seconds": 0.1, "passages": [{"id": "p1", "text": "…"}]})
        yield AIMessageChunk("Two rents.", additional_kwargs={"phireside": {"known": True}})

    turn = chat.send(conversation, "Deposit?", model=MODEL, answerer=Writes(write))
    until(turn, lambda: turn.steps)
    before = turn.steps
    assert before == [{"kind": "searching", "query": "deposit"}]
    go.set()
    ended(turn)
    assert len(before) == 1  # a page that goes through the steps is not disturbed
    found = {"kind": "found", "queries": ["deposit"], "seconds": 0.1, "passages": [{"id": "p1", "text": "…"}]}
    ours = store.messages(conversation)[-1].additional_kwargs["phireside"]
    assert ours == {"known": True, "steps": [*before, found]}


def test_what_is_rewritten_is_shown_and_saved_as_it_is_now(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    seen: list[tuple[str, str]] = []

    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        yield AIMessageChunk("I should look it up.")
        turn.rewrite(AIMessageChunk(""))
        seen.append((turn.text, turn.state))
        yield AIMessageChunk("It is 4.")
        yield AIMessageChunk(" It is green.")
        turn.rewrite(AIMessageChunk("It is 4.", response_metadata={"finish_reason": "stop"}))

    turn = ended(chat.send(conversation, "2 + 2?", model=MODEL, answerer=Writes(write)))
    assert seen == [("", "reading")]
    assert turn.text == "It is 4."
    assert turn.answer
    assert turn.answer.response_metadata["finish_reason"] == "stop"
    assert saved(store, conversation)[1] == ("ai", "It is 4.")


def test_a_note_that_json_cannot_hold_is_refused_and_the_turn_fails_with_it(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        turn.note({"kind": "thought", "text": deep})
        yield AIMessageChunk("never")

    turn = ended(chat.send(conversation, "Hi", model=MODEL, answerer=Writes(write)))
    assert (turn.state, turn.steps) == ("failed", [])
    assert isinstance(turn.error, RequestError)
    assert saved(store, conversation) == []


def test_what_an_answerer_raises_is_the_turns_error(chat: Chat, store: ConversationStore, conversation: str) -> None:
    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        yield AIMessageChunk("Half")
        raise ToolError("The tool broke.", hint="Do without it.")

    turn = ended(chat.send(conversation, "Hi", model=MODEL, answerer=Writes(write)))
    assert (turn.state, str(turn.error)) == ("failed", "The tool broke. Do without it.")
    assert saved(store, conversation) == []
    assert ended(chat.send(conversation, "Hi", model=scripted("Hello"))).state == "done"


def test_the_turns_messages_are_saved_between_question_and_answer_and_replaced_with_them(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        call = {"name": "clock", "args": {}, "id": "c1", "type": "tool_call"}
        turn.messages = [AIMessage("", tool_calls=[call]), ToolMessage("Noon.", tool_call_id="c1", name="clock")]
        yield AIMessageChunk("It is noon.")

    ended(chat.send(conversation, "What time is it?", model=MODEL, answerer=Writes(write)))
    kinds = [kind for kind, _ in saved(store, conversation)]
    assert kinds == ["human", "ai", "tool", "ai"]
    assert "Calls the tool clock" in store.export_markdown(conversation)
    ended(chat.send(conversation, "And now?", model=scripted("One."), at=0, seen=4))
    assert saved(store, conversation) == [("human", "And now?"), ("ai", "One.")]


# ---- approvals ----


@pytest.mark.parametrize(("decision", "said"), [(APPROVE, "approve: "), (REJECT, "reject: Not that one.")])
def test_a_turn_waits_for_a_decision_and_goes_on_with_it(
    chat: Chat, conversation: str, decision: dict[str, str], said: str
) -> None:
    turn = asking(chat, conversation, Writes(asks_once))
    assert (turn.approval, turn.ended, turn.text) == ([DELETE], False, "")
    assert turn.decide([decision], of=turn.approval)
    ended(turn)
    assert (turn.text, turn.approval, turn.state) == (said, [], "done")


def test_of_many_pages_that_decide_at_once_one_does(chat: Chat, conversation: str) -> None:
    turn = asking(chat, conversation, Writes(asks_once))
    pages, together = 8, threading.Barrier(8)
    decided: list[bool] = []

    def click(page: int) -> None:
        together.wait(LONG)
        decided.append(turn.decide([{"type": "reject", "message": str(page)}]))

    threads = [threading.Thread(target=click, args=(page,)) for page in range(pages)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(LONG)
    assert sorted(decided) == [False] * (pages - 1) + [True]
    assert ended(turn).text.removeprefix("reject: ") in map(str, range(pages))


def test_a_click_that_comes_late_does_not_decide_on_the_next_call(chat: Chat, conversation: str) -> None:
    async def asks_twice(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        for _ in range(2):  # the same call again, so that only the list itself tells them apart
            (decision,) = await turn.ask([DELETE])
            yield AIMessageChunk(decision["type"] + " ")

    turn = asking(chat, conversation, Writes(asks_twice))
    first = turn.approval
    assert turn.decide([REJECT], of=first)
    until(turn, lambda: turn.state == "asking" and turn.approval)
    assert turn.approval == first
    assert not turn.decide([APPROVE], of=first)
    assert turn.state == "asking"
    assert turn.decide([REJECT], of=turn.approval)
    assert ended(turn).text == "reject reject "


@pytest.mark.parametrize(
    "decisions", [[], [APPROVE, APPROVE], [{"type": "yes"}], [{}], [{"type": "reject", "message": 3}]]
)
def test_decisions_that_do_not_fit_are_refused_and_the_turn_waits_on(
    chat: Chat, conversation: str, decisions: list[Any]
) -> None:
    turn = asking(chat, conversation, Writes(asks_once))
    with pytest.raises(RequestError):
        turn.decide(decisions)
    assert (turn.state, turn.approval) == ("asking", [DELETE])
    assert turn.decide([APPROVE])
    assert ended(turn).state == "done"


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_turn_that_waits_for_approval_ends_when_it_is_stopped_and_when_the_chat_closes(
    chat: Chat, store: ConversationStore, conversation: str, how: str
) -> None:
    turn = asking(chat, conversation, Writes(asks_once))
    turn.stop() if how == "stop" else chat.close()
    ended(turn)
    assert (turn.state, turn.approval, turn.error) == ("stopped", [], None)
    assert not turn.decide([APPROVE])
    assert saved(store, conversation) == []  # nothing was done or written


def test_a_stop_and_a_decision_at_once_leave_a_turn_that_has_ended(chat: Chat, conversation: str) -> None:
    for _ in range(20):
        turn = asking(chat, conversation, Writes(asks_once))
        clicks = [threading.Thread(target=turn.stop), threading.Thread(target=turn.decide, args=([APPROVE],))]
        for each in clicks:
            each.start()
        for each in clicks:
            each.join(LONG)
        assert ended(turn).state in ("done", "stopped")
        assert turn.approval == []


def test_what_was_done_before_a_stop_is_saved_and_marked(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        call = {"name": "send", "args": {}, "id": "c1", "type": "tool_call"}
        turn.messages = [AIMessage("", tool_calls=[call]), ToolMessage("Sent.", tool_call_id="c1", name="send")]
        await turn.ask([DELETE])
        yield AIMessageChunk("never")

    turn = asking(chat, conversation, Writes(write))
    turn.stop()
    assert ended(turn).state == "stopped"
    assert saved(store, conversation) == [("human", "Tidy up"), ("ai", ""), ("tool", "Sent."), ("ai", "")]
    assert store.messages(conversation)[-1].response_metadata["finish_reason"] == "cancelled"


def test_an_answerer_that_works_is_cancelled_and_what_it_wrote_is_kept(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    left = threading.Event()

    async def write(turn: Turn) -> AsyncIterator[AIMessageChunk]:
        yield AIMessageChunk("Half")
        try:
            await asyncio.sleep(LONG)
        finally:
            left.set()

    turn = chat.send(conversation, "Hi", model=MODEL, answerer=Writes(write))
    until(turn, lambda: turn.text)
    turn.stop()
    ended(turn)
    assert left.is_set()
    assert (turn.state, saved(store, conversation)[1]) == ("stopped", ("ai", "Half"))


# ---- room ----


def test_the_memory_leaves_room_for_what_an_answerer_needs(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    for number in range(6):
        ended(chat.send(conversation, f"Question {number}", model=scripted("word " * 40)))
    few, many = Wants(says("."), tools=100), Wants(says("."), tools=300, answer=200)
    memory = BufferMemory(budget=700)
    turns = [
        ended(chat.send(conversation, "Hi", model=MODEL, memory=memory, answerer=each, at=12)) for each in (few, many)
    ]
    assert [turn.room for turn in turns] == [600, 200]
    assert turns[0].left_out < turns[1].left_out
    assert len(few.given[0]) > len(many.given[0])


def test_needs_that_leave_no_room_are_an_error_with_the_numbers(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    answerer = Wants(says("."), tools=5000)
    turn = ended(chat.send(conversation, "Hi", model=MODEL, memory=BufferMemory(budget=700), answerer=answerer))
    assert turn.state == "failed"
    assert isinstance(turn.error, ContextOverflowError)
    assert "5000" in str(turn.error)
    assert answerer.given == []


def test_what_a_memory_makes_of_a_turn_afterwards_has_the_same_room(chat: Chat, conversation: str) -> None:
    class Looks(BufferMemory):
        def due(self, messages: Any, budget: int, *further: Any) -> None:
            rooms.append(budget)

    rooms: list[int] = []
    answerer = Wants(says("."), tools=100)
    ended(chat.send(conversation, "Hi", model=MODEL, memory=Looks(budget=700), answerer=answerer))
    assert chat.settle(conversation, LONG)
    assert rooms == [600]
