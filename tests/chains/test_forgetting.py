"""Facts in a chat when something goes wrong or happens meanwhile: forgotten, deleted, refused, too long."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda
from one_chat import LONG, ended
from rehearsed import Rehearsed, held, rehearsed

from phireside.chains import Chat, Turn
from phireside.errors import EngineBusyError
from phireside.memory import ConversationStore, MemoryState, SummaryMemory
from phireside.models import ChatGGUF
from phireside.settings import Settings

PIN = "My pin is 4711."


class Picky(Rehearsed):
    """Its search for facts fails for sentences with one of these words."""

    failing_words: Any = ()
    fault: Any = RuntimeError("400: response_format is not supported")
    searched: Any = None

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        def kind(messages: Any) -> dict[str, str]:
            said = str(messages[-1].text)
            self.searched.append(said)
            if any(word in said for word in self.failing_words):
                raise self.fault
            return {"kind": "fact"}

        return RunnableLambda(kind)


def picky(*words: str, **options: Any) -> Picky:
    return Picky(asked=[], searched=[], failing_words=words, **options)


def ask(chat: Chat, conversation: str, text: str, model: Any, **how: Any) -> Turn:
    """A turn, after which all that is due has been done."""
    turn = ended(chat.send(conversation, text, model=model, **how))
    assert turn.error is None
    assert chat.settle(conversation, LONG)
    return turn


def texts(store: ConversationStore) -> list[str]:
    return [fact.text for fact in store.facts.list()]


@pytest.fixture
def forgotten_states(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The conversations whose KV states were dropped; `Chat(state_dir=…)` is needed."""
    names: list[str] = []
    monkeypatch.setattr("phireside.chains.remembering.forget_state", lambda name, _: names.append(name))
    return names


# ---- meanwhile ----


def test_what_is_forgotten_during_a_compaction_stays_forgotten_and_the_summary_is_made_up_for(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    memory, model = SummaryMemory(), rehearsed()
    ask(chat, conversation, PIN, model, memory=memory)
    assert store.memory_state(conversation).facts == (PIN,)
    slow = held()
    ended(chat.send(conversation, "What now?", model=slow, memory=memory))
    assert slow.waiting.wait(LONG)
    store.facts.forget(store.facts.list()[0].id)
    slow.go.set()
    assert chat.settle(conversation, LONG)
    assert (store.memory_state(conversation).facts, store.memory_state(conversation).covered) == ((), 2)
    ask(chat, conversation, "And now?", model, memory=memory)
    assert (store.memory_state(conversation).facts, store.memory_state(conversation).covered) == ((), 6)


def test_what_was_forgotten_does_not_come_back_with_the_first_summary(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = rehearsed()
    ask(chat, conversation, PIN, model)
    store.facts.forget_all()
    ask(chat, conversation, "I have two cats.", model, memory=SummaryMemory())
    assert store.memory_state(conversation).facts == ("I have two cats.",)
    assert texts(store) == ["I have two cats."]


def test_a_new_choice_without_an_old_fact_drops_what_was_read_with_it(
    store: ConversationStore, conversation: str, tmp_path: Path, forgotten_states: list[str]
) -> None:
    store.facts.switch(True)
    chat, model = Chat(store, state_dir=tmp_path), rehearsed(profile={"max_input_tokens": 800})
    store.facts.add(conversation, 0, ["I have a goldfish, " + "and so on, " * 10 + "Rex."])
    turn = ask(chat, conversation, "What does a goldfish eat?", model)
    assert len(turn.facts) == 1
    store.facts.add(conversation, 0, [f"I have number {i}, {'and so on, ' * 20}really." for i in range(9)])
    ask(chat, conversation, "Which number is it?", model)
    assert forgotten_states == []
    ask(chat, conversation, "Which number is it?", model, memory=SummaryMemory(max_tokens=20, max_facts=0))
    assert turn.facts[0] not in (store.facts.chosen(conversation) or [])
    assert forgotten_states == [conversation]
    chat.close()


def test_what_was_read_of_a_conversation_that_is_deleted_meanwhile_is_dropped(
    store: ConversationStore, conversation: str, tmp_path: Path, forgotten_states: list[str]
) -> None:
    chat = Chat(store, state_dir=tmp_path)

    class Deleting(Rehearsed):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            store.delete(conversation)
            return super()._generate(*args, **kwargs)

    assert ended(chat.send(conversation, "Hello?", model=Deleting(asked=[]))).state == "failed"
    assert forgotten_states == [conversation]
    chat.close()


def test_a_turn_ends_whatever_fails_behind_it(
    chat: Chat, store: ConversationStore, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError("The folder is gone.")

    monkeypatch.setattr(chat._remembering, "check", broken)
    turn = ended(chat.send(conversation, "What is 1 + 1?", model=rehearsed()))
    assert (turn.state, turn.text, chat.running(conversation)) == ("done", "It is 2.", None)
    assert len(store.messages(conversation)) == 2


# ---- a search that fails ----


def test_a_model_that_cannot_be_searched_with_still_summarises(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    store.save_turn(conversation, [HumanMessage("My name is Zoë."), AIMessage("Hello.")])
    store.save_memory_state(conversation, MemoryState("S", ("My name is Zoë.",), 2))
    model = picky("I")
    ask(chat, conversation, "I am 33. I have a cat.", model, memory=SummaryMemory())
    state = store.memory_state(conversation)
    assert (state.covered, state.facts) == (4, ("My name is Zoë.",))


def test_a_message_that_cannot_be_searched_is_tried_twice_and_keeps_no_later_one_waiting(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = picky("broken")
    ask(chat, conversation, "I am broken.", model)
    assert model.searched == ["I am broken."]
    ask(chat, conversation, "I am 33.", model)
    assert model.searched[1:] == ["I am broken.", "I am 33."]
    assert texts(store) == ["I am 33."]
    ask(chat, conversation, "I am glad.", model)
    assert model.searched[3:] == ["I am glad."]


def test_a_busy_engine_passes_no_message_over(chat: Chat, store: ConversationStore, conversation: str) -> None:
    busy = picky("I", fault=EngineBusyError("32 wait already."))
    for text in ("I am 33.", "I have a cat."):
        ask(chat, conversation, text, busy, memory=SummaryMemory())
    assert store.memory_state(conversation) == MemoryState()  # due again with its facts
    ask(chat, conversation, "What is 1 + 1?", picky(), memory=SummaryMemory())
    assert texts(store) == ["I have a cat.", "I am 33."]
    assert store.memory_state(conversation).facts == ("I am 33.", "I have a cat.")


# ---- the context report ----


@pytest.mark.real
def test_facts_are_counted_where_the_template_has_a_system_text_of_its_own(
    chat: Chat, store: ConversationStore, conversation: str, settings: Settings, starter_path: Path
) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=4, n_ctx=1000)
    own = model.get_num_tokens_from_messages([HumanMessage("Hi")])
    assert own > model.get_num_tokens_from_messages([SystemMessage(""), HumanMessage("Hi")])
    store.facts.add(conversation, 0, ["I am 9."])
    turn = ask(chat, conversation, "Hi", model, system="")
    assert len(turn.facts) == 1
    assert turn.context["memory"] > 0
    assert turn.context["system"] == 0
    assert turn.answer
    assert turn.answer.usage_metadata
    parts = turn.context
    assert parts["memory"] + parts["history"] == turn.answer.usage_metadata["input_tokens"]
