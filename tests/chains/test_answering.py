"""A chat whose answers come from documents: steps, passages, verdicts, and prompts that only grow at their end."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from grounding import PASSAGES, TEXTS, Grounded, finding
from grounding import grounded as grounded_model
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from one_chat import LONG, ended
from scripted import scripted

from phireside.chains import Chat, Turn
from phireside.chains.answering import FromDocuments
from phireside.chains.rag.answer import KEPT, PLACED
from phireside.errors import KnowledgeError
from phireside.memory import BufferMemory, ConversationStore
from phireside.models import ChatGGUF
from phireside.settings import EngineSettings, Settings

NOTICE = "The lease can be ended with three months' notice. [1]"
HOW = "How can the lease be ended?"


def grounded(says: Any, size: int = 400) -> Grounded:
    return grounded_model(says, size=size, max_tokens=50)


@pytest.fixture
def chat(store: ConversationStore) -> Iterator[Chat]:
    conversations = Chat(store)
    yield conversations
    conversations.close()


def ours(turn: Turn) -> dict[str, Any]:
    assert turn.answer, turn.error
    return turn.answer.additional_kwargs["phireside"]  # type: ignore[no-any-return]


def prompts(model: Grounded) -> list[list[str]]:
    return [[message.text for message in messages] for messages, _ in model.arguments]


def test_an_answer_has_its_steps_passages_and_verdicts_and_the_question_its_passages(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    where = {"source": "lease.pdf", "title": "Lease", "heading": "End", "page": 3, "ranks": {"dense": 1}}
    passage = Document(TEXTS[0], id="p1", metadata=where)
    answerer = FromDocuments(grounded(NOTICE), lambda: finding(passage), "house")
    turn = ended(chat.send(conversation, HOW, model=answerer._model, answerer=answerer))
    assert (turn.state, turn.text.strip()) == ("done", NOTICE)
    row = {
        "id": "p1", "text": TEXTS[0], "source": "lease.pdf", "title": "Lease", "place": "End, page 3",
        "ranks": {"dense": 1},
    }  # fmt: skip
    searching, found, checking = turn.steps
    assert searching == {"kind": "searching", "query": HOW}
    assert {**found, "seconds": 0} == {"kind": "found", "queries": [HOW], "passages": [row], "seconds": 0}
    assert checking == {"kind": "checking"}
    assert ours(turn) == {
        "base": "house",
        "known": True,
        "passages": [{"number": 1, **row}],
        "claims": [{"text": NOTICE.removesuffix(" [1]"), "cited": [1], "verdict": "supported", "score": 1.0}],
        "steps": turn.steps,
    }
    question = store.messages(conversation)[0]
    assert question.text == HOW
    assert [each["id"] for each in question.additional_kwargs[PLACED]] == ["p1"]


def test_a_sentence_that_nothing_supports_is_taken_back_and_stays_to_be_seen(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = grounded(f"{NOTICE} Unicorns graze on Mars. [2]")
    turn = ended(
        chat.send(conversation, HOW, model=model, answerer=FromDocuments(model, lambda: finding(*PASSAGES), "house"))
    )
    assert turn.text == NOTICE == store.messages(conversation)[1].text
    assert [claim["verdict"] for claim in ours(turn)["claims"]] == ["supported", "none"]


def test_what_no_passage_answers_is_not_known(chat: Chat, conversation: str) -> None:
    model = grounded("Unicorns graze on Mars. [1]")
    turn = ended(chat.send(conversation, HOW, model=model, answerer=FromDocuments(model, lambda: finding(), "house")))
    assert turn.text == "I don't know."
    assert (ours(turn)["known"], ours(turn)["passages"], model.arguments) == (False, [], [])


def test_a_follow_up_repeats_the_prompt_before_it_and_adds_what_is_new(chat: Chat, conversation: str) -> None:
    model = grounded(NOTICE)
    found = {HOW: PASSAGES[:1], "And dogs?": [PASSAGES[0], PASSAGES[2]]}
    for question in found:
        answerer = FromDocuments(model, lambda: finding(rule=lambda query: found[query]), "house")
        turn = ended(chat.send(conversation, question, model=model, system="Be brief.", answerer=answerer))
    before, after = prompts(model)
    assert after[: len(before)] == before
    assert "Be brief." in before[0]
    assert after[-1].count("[") == 1  # the new passage only
    assert "[2]" in after[-1]
    assert [each["number"] for each in ours(turn)["passages"]] == [1, 2]
    assert {arguments["keep"] for _, arguments in model.arguments} == {conversation}


def test_when_the_memory_leaves_turns_out_the_numbers_begin_anew(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    """Their passages are gone, so that no later answer may count on from them."""
    long = "word " * 100
    model = grounded(lambda messages: NOTICE, size=2000)
    passages = {f"Question {n}? {long}": Document(f"Passage number {n} is here.", id=str(n)) for n in range(6)}
    for question in passages:
        answerer = FromDocuments(model, lambda: finding(rule=lambda query: [passages[query]]), "house", check=False)
        turn = ended(chat.send(conversation, question, model=model, memory=BufferMemory(budget=900), answerer=answerer))
        assert turn.answer, turn.error
    assert turn.left_out > 0
    questions = [message for message in store.messages(conversation) if message.type == "human"]
    anew = [at for at, each in enumerate(questions) if KEPT in each.additional_kwargs]
    assert anew
    for prompt in prompts(model):
        shown = [line.split("]")[0] for text in prompt[1:] for line in text.splitlines() if line.startswith("[")]
        assert shown == [f"[{number}" for number in range(1, len(shown) + 1)]
    last = prompts(model)[-1]
    (number,) = (each["number"] for each in ours(turn)["passages"] if each["id"] == "5")
    assert f"[{number}] Passage number 5 is here." in last[-1]


class Slow(Grounded):
    """Writes its words, and then waits."""

    wrote: Any = None

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(self.says(messages)))
        self.wrote.set()
        await asyncio.sleep(LONG)


def test_a_stopped_answer_keeps_its_passages_and_is_told_as_unchecked(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    model = Slow(
        says=lambda messages: NOTICE,
        rule=lambda prompt, text: 0.0,
        asked=[],
        arguments=[],
        max_tokens=50,
        wrote=threading.Event(),
    )
    answerer = FromDocuments(model, lambda: finding(*PASSAGES), "house")
    turn = chat.send(conversation, HOW, model=model, answerer=answerer)
    assert model.wrote.wait(LONG)
    limit = time.monotonic() + LONG
    while not turn.text and time.monotonic() < limit:
        turn.wait(0.1)
    turn.stop()
    ended(turn)
    assert (turn.state, turn.text) == ("stopped", NOTICE)
    assert len(ours(turn)["passages"]) == 3
    assert [claim["verdict"] for claim in ours(turn)["claims"]] == ["unchecked"]
    assert len(store.messages(conversation)[0].additional_kwargs[PLACED]) == 3


def test_numbers_of_an_agents_passages_are_nothing_to_answers_from_documents(
    chat: Chat, store: ConversationStore, conversation: str
) -> None:
    call = {"name": "knowledge", "args": {"query": "dogs"}, "id": "c1", "type": "tool_call"}
    said = AIMessage("Dogs are allowed. [7]", additional_kwargs={"phireside": {"passages": []}})
    store.save_turn(
        conversation,
        [
            HumanMessage("Dogs?"),
            AIMessage("Let me look.", tool_calls=[call]),
            ToolMessage("Yes", tool_call_id="c1"),
            said,
        ],
    )
    model = grounded(NOTICE)
    ended(chat.send(conversation, HOW, model=model, answerer=FromDocuments(model, lambda: finding(*PASSAGES))))
    ((_, *turns, _),) = prompts(model)
    assert turns == ["Question: Dogs?", "Dogs are allowed."]


def test_a_base_that_cannot_be_opened_is_the_turns_error(chat: Chat, conversation: str) -> None:
    def lost() -> Any:
        raise KnowledgeError("There is no base 'house'.", hint="Choose another one.")

    model = grounded(NOTICE)
    turn = ended(chat.send(conversation, HOW, model=model, answerer=FromDocuments(model, lost)))
    assert (turn.state, str(turn.error)) == ("failed", "There is no base 'house'. Choose another one.")
    assert ended(chat.send(conversation, HOW, model=scripted("Ask me."))).state == "done"


@pytest.mark.real
def test_with_a_base_on_only_what_is_new_is_evaluated_and_the_context_is_told(
    chat: Chat, conversation: str, starter_path: Path, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, engine=EngineSettings(n_ctx=1024))
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=64)

    def ask(question: str, found: Sequence[Document]) -> AIMessage:
        answerer = FromDocuments(model, lambda: finding(*found), "house", max_tokens=32, sentences=1, check=False)
        turn = ended(chat.send(conversation, question, model=model, system="Be brief.", answerer=answerer))
        assert turn.answer, turn.error
        context, usage = turn.context, turn.answer.usage_metadata
        assert usage
        assert sum(context[part] for part in ("system", "memory", "passages", "history")) == usage["input_tokens"]
        assert sum(context.values()) - context["size"] == context["size"]
        return turn.answer

    first = ask(HOW, PASSAGES[:2])
    second = ask("And the dogs?", PASSAGES[1:])
    assert first.usage_metadata
    assert second.usage_metadata
    new = second.usage_metadata["input_tokens"] - first.usage_metadata["total_tokens"]
    assert second.response_metadata["evaluated_tokens"] <= new + 8
