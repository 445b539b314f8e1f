"""Long-term facts in the chat: learned after the answer, told at the end of the system text, really forgotten."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda
from one_chat import LONG, ended
from rehearsed import Rehearsed

from phireside.chains import Chat, Turn
from phireside.errors import EngineError
from phireside.memory import ConversationStore, SummaryMemory, WindowMemory
from phireside.memory.told import MOST_TOKENS
from phireside.models import ChatGGUF
from phireside.models.runtime import close_all
from phireside.settings import Settings

KIND = "Be kind.\n\nWhat you know about the person:\n- "


class Attentive(Rehearsed):
    """Finds that sentences with "my name", "I am" or "I have" are facts.

    Args:
        held: a search for facts waits until this is set.
        deaf: raised by each search.
    """

    held: Any = None
    deaf: Any = None
    sorted_: Any = None

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        if schema["title"] != "kind":
            return super().with_structured_output(schema)

        def kind(messages: Any) -> dict[str, str]:
            if self.held:
                self.waiting.set()
                self.held.wait(LONG)
            if self.deaf:
                raise self.deaf
            said = str(messages[-1].text)
            self.sorted_.append(said)
            return {"kind": "fact" if any(each in said for each in ("y name is", "I am", "I have")) else "other"}

        return RunnableLambda(kind)


def attentive(**options: Any) -> Attentive:
    return Attentive(asked=[], sorted_=[], profile={"max_input_tokens": 4000}, **options)


def ask(chat: Chat, conversation: str, text: str, model: Any, **how: Any) -> Turn:
    """A turn, after which all that is due has been done."""
    turn = ended(chat.send(conversation, text, model=model, **{"system": "Be kind.", **how}))
    assert turn.error is None
    assert chat.settle(conversation, LONG)
    return turn


def texts(store: ConversationStore) -> list[str]:
    return [fact.text for fact in store.facts.list()]


def system_of(model: Attentive) -> str:
    """The system text of the last prompt."""
    kind, text = model.chats[-1][0]
    assert kind == "system"
    return str(text)


# ---- learned ----


def test_what_a_person_says_about_themselves_is_known_in_the_next_conversation(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model, other = attentive(), store.create().id
    ask(chat, conversation, "Hi! My name is Zoë. I am 33 years old. What is 1 + 1?", model)
    (age, name) = store.facts.list()
    assert (name.text, age.text) == ("My name is Zoë.", "I am 33 years old.")
    assert (name.conversation_id, name.position) == (conversation, 0)
    assert name.source == store.messages(conversation)[0].text
    turn = ask(chat, other, "What is my name?", model)
    assert turn.text == "Your name is Zoë."
    assert system_of(model) == f"{KIND}My name is Zoë.\n- I am 33 years old."
    assert turn.facts == [name, age]
    assert store.messages(other)[1].response_metadata["facts"] == 2


def test_nothing_is_learned_or_told_before_it_is_switched_on(store: ConversationStore, conversation: str) -> None:
    chat, model = Chat(store), attentive()
    ask(chat, conversation, "My name is Zoë.", model)
    assert model.sorted_ == texts(store) == []
    store.facts.add(conversation, 0, ["My name is Zoë."])
    turn = ask(chat, store.create().id, "What is my name?", model)
    assert (system_of(model), turn.facts, turn.text) == ("Be kind.", [], "I do not know your name.")
    chat.close()


def test_only_the_persons_own_new_messages_are_looked_at(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = attentive()
    ask(chat, conversation, "My name is Zoë.", model)
    ask(chat, conversation, "What is my name? The sea is blue. I think so.", model)
    assert model.sorted_ == [
        "My name is Zoë.",
        "I think so.",
    ]  # no question, and nothing without a word for the speaker
    ask(chat, conversation, "My name is Zoë.", model, at=0)  # asked again
    assert len(model.sorted_) == 2


def test_the_answer_is_there_before_and_the_next_question_ends_the_search_which_is_made_up_for(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    slow = attentive(held=threading.Event(), waiting=threading.Event())
    turn = chat.send(conversation, "My name is Zoë.", model=slow)
    assert slow.waiting.wait(LONG)
    assert turn.wait(LONG)
    assert turn.state == "done"
    quick = attentive()
    running = chat.send(conversation, "I am 33.", model=quick)
    slow.held.set()
    while not running.wait(1):
        pass
    assert chat.settle(conversation, LONG)
    assert texts(store) == ["I am 33.", "My name is Zoë."]
    assert [fact.position for fact in store.facts.list()] == [2, 0]


@pytest.mark.parametrize("fault", [OSError("no such key"), EngineError("The engine is full.")])
def test_a_search_that_fails_is_logged_keeps_no_summary_waiting_and_is_made_up_for(
    chat: Chat, store: ConversationStore, conversation: str, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ask(chat, conversation, "My name is Zoë.", attentive(deaf=fault), memory=SummaryMemory())
    assert "was not searched for facts" in caplog.text
    assert texts(store) == []
    assert store.memory_state(conversation).covered == 2
    ask(chat, conversation, "What is 1 + 1?", attentive())
    assert texts(store) == ["My name is Zoë."]


@pytest.mark.parametrize("stop", ["switch off", "delete"])
def test_switched_off_or_deleted_during_the_search_nothing_is_kept(
    chat: Chat, store: ConversationStore, conversation: str, stop: str
) -> None:
    slow = attentive(held=threading.Event(), waiting=threading.Event())
    chat.send(conversation, "My name is Zoë.", model=slow)
    assert slow.waiting.wait(LONG)
    store.facts.switch(False) if stop == "switch off" else store.delete(conversation)
    slow.held.set()
    assert chat.settle(conversation, LONG)
    assert texts(store) == []


# ---- told ----


def test_a_conversation_keeps_what_it_began_with_until_a_summary_or_the_person_changes_it(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model, one = attentive(), store.create().id
    ask(chat, conversation, "My name is Zoë.", model)
    assert system_of(model) == "Be kind."
    ask(chat, conversation, "I have two cats.", model)
    assert system_of(model) == "Be kind."  # it knows that from the turns themselves
    ask(chat, one, "Hello.", model)
    ask(chat, conversation, "I am 33 years old.", model)
    ask(chat, one, "Hello again.", model)
    assert system_of(model) == f"{KIND}My name is Zoë.\n- I have two cats."
    cats = store.facts.list("cats")[0]
    store.facts.edit(cats.id, "I have three cats.")
    ask(chat, one, "And again.", model)
    assert system_of(model) == f"{KIND}My name is Zoë.\n- I have three cats."
    store.facts.forget(cats.id)
    ask(chat, one, "And again.", model, at=0)
    assert system_of(model) == f"{KIND}My name is Zoë."
    ask(chat, one, "And again.", model, memory=SummaryMemory())
    ask(chat, one, "And now?", model)
    assert system_of(model) == f"{KIND}My name is Zoë.\n- I am 33 years old."
    store.facts.switch(False)
    ask(chat, one, "And now?", model)
    assert system_of(model) == "Be kind."


def test_without_a_system_prompt_the_facts_are_one(chat: Chat, store: ConversationStore, conversation: str) -> None:
    model = attentive()
    store.facts.add(conversation, 0, ["My name is Zoë."])
    ask(chat, conversation, "What is my name?", model, system="")
    assert model.chats[-1][0] == ("system", KIND.removeprefix("Be kind.\n\n") + "My name is Zoë.")


def test_too_many_facts_are_chosen_by_the_first_question_and_counted_as_memory(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = attentive()
    store.facts.add(
        conversation, 0, ["I have a goldfish called Émile.", *(f"I have thing number {i}." for i in range(150))]
    )
    turn = ask(chat, conversation, "What does a GOLDFISH eat?", model)
    assert turn.facts[0].text.startswith("I have a goldfish")
    assert [fact.text for fact in turn.facts[1:]] == [f"I have thing number {i}." for i in range(150)][
        -len(turn.facts) + 1 :
    ]
    assert 0.5 * MOST_TOKENS < turn.context["memory"] <= MOST_TOKENS + 8
    assert turn.context["size"] == sum(tokens for part, tokens in turn.context.items() if part != "size")
    plain = ask(chat, conversation, "What does a GOLDFISH eat?", model, at=0)
    store.facts.switch(False)
    without = ask(chat, conversation, "What does a GOLDFISH eat?", model, at=0)
    assert without.context["memory"] == 0
    assert without.context["system"] == plain.context["system"] == turn.context["system"]


def test_a_question_that_only_fits_without_facts_is_sent_without_them(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    store.facts.add(conversation, 0, [f"I have thing number {i}." for i in range(20)])
    model = attentive()
    memory = WindowMemory(2, budget=1000)
    turn = ask(chat, conversation, "word " * 760, model, memory=memory)
    assert turn.facts == []
    assert system_of(model) == "Be kind."
    assert turn.context["memory"] == 0
    assert (
        len(ask(chat, conversation, "short", model, memory=memory).facts)
        == len(store.facts.chosen(conversation) or [])
        > 0
    )


def test_each_turn_may_have_a_memory_of_its_own(chat: Chat, store: ConversationStore, conversation: str) -> None:
    model = attentive()
    ask(chat, conversation, "My name is Zoë.", model)
    assert ask(chat, conversation, "What is my name?", model, memory=WindowMemory(0)).text == "I do not know your name."
    assert ask(chat, conversation, "What is my name?", model).text == "Your name is Zoë."
    ask(chat, conversation, "What is 1 + 1?", model, memory=SummaryMemory())
    assert store.memory_state(conversation).covered == 8


# ---- real models ----


@pytest.mark.real
def test_with_facts_too_a_turn_evaluates_only_what_is_new(
    chat: Chat, store: ConversationStore, conversation: str, settings: Settings, tiny_chatml: Path
) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=8, n_ctx=1000)
    store.facts.add(conversation, 0, ["My name is Zoë.", "I was born in 1984."])
    for number in range(8):
        question = f"This is question {number}. I have more of it."
        turn = ask(chat, conversation, question, model)
        assert len(turn.facts) == 2
        assert turn.answer
        if number:
            new = model.get_num_tokens_from_messages([SystemMessage(""), HumanMessage(question)])
            assert turn.answer.response_metadata["evaluated_tokens"] <= new + 8, number
        parts = turn.context
        assert turn.answer.usage_metadata
        assert parts["system"] + parts["memory"] + parts["history"] == turn.answer.usage_metadata["input_tokens"]
        assert parts["memory"] > 0


@pytest.mark.real
def test_a_forgotten_fact_is_in_no_file_and_no_state_of_prompts_that_had_it(
    store: ConversationStore, tmp_path: Path, settings: Settings, tiny_chatml: Path
) -> None:
    close_all()  # an engine that another test left open would keep its states in that test's folder
    store.facts.switch(True)
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=8, n_ctx=1000)
    source, told, other = (store.create().id for _ in range(3))
    store.facts.add(source, 0, [f"My secret is Pincode4711, {'and so on, ' * 20}"])
    chat = Chat(store)
    first = ask(chat, told, "What is my secret? " * 10, model)
    store.facts.switch(False)
    ask(chat, other, "Who are you? " * 20, model)
    store.facts.switch(True)
    chat.close()
    close_all()
    kept = {path.name for path in settings.state_dir.rglob("*.kv")}
    secret = ", ".join(map(str, model.get_token_ids("Pincode4711")))  # as a file's header has it
    assert len(kept) == 2
    assert len(found(settings.state_dir, secret)) == 1
    assert found(tmp_path, "Pincode4711")

    chat = Chat(store, state_dir=settings.state_dir)  # the program was started again, no model is loaded
    store.facts.forget(first.facts[0].id)
    left = {path.name for path in settings.state_dir.rglob("*.kv")}
    assert len(left) == 1
    assert left < kept
    assert found(tmp_path, "Pincode4711") == found(tmp_path, secret) == []
    assert ask(chat, told, "And now?", model).facts == []
    chat.close()
    close_all()


@pytest.mark.real
@pytest.mark.parametrize("where", ["here", "in another process"])
def test_what_is_forgotten_while_a_prompt_with_it_is_answered_is_not_kept_either(
    chat: Chat,
    store: ConversationStore,
    conversation: str,
    settings: Settings,
    tiny_chatml: Path,
    tmp_path: Path,
    where: str,
) -> None:
    close_all()
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=200, n_ctx=1000)
    store.facts.add(conversation, 0, ["My secret is Pincode4711."])
    another = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    turn = chat.send(conversation, "What is my secret? " * 20, model=model)
    while not turn.text and not turn.wait(1):
        pass
    (store if where == "here" else another).facts.forget(turn.facts[0].id)
    turn.stop()
    while not turn.wait(1):
        pass
    assert chat.settle(conversation, LONG)
    another.close()
    close_all()
    assert list(settings.state_dir.rglob("*.kv")) == []


def found(folder: Path, secret: str) -> list[str]:
    """The files that have the bytes of a text."""
    return [path.name for path in sorted(folder.rglob("*")) if path.is_file() and secret.encode() in path.read_bytes()]
