"""Who answers in a conversation, by what it has switched on; bases are opened once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acting import acts, call, calls
from grounding import TEXTS, grounded
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from one_chat import ended

from phireside.agents import Uses, answerer, close_bases, knowledge_base
from phireside.agents.answering import WithTools
from phireside.agents.assistant import agent, rag
from phireside.chains import Chat
from phireside.chains.answering import FromDocuments
from phireside.errors import KnowledgeError, RequestError, SettingsError
from phireside.memory import ConversationStore
from phireside.settings import Settings

MODEL = acts(AIMessage("Hello."))


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_bases()


@pytest.fixture
def house(settings: Settings) -> Settings:
    """Settings with a base "house"."""
    base = knowledge_base("house", settings, HashedEmbeddings(64), create=True)
    base.add_texts(list(TEXTS), [{"source": "lease.txt"}] * 3)
    return settings


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, type(None)),
        ({"base": "", "tools": []}, type(None)),
        ({"base": "house"}, FromDocuments),
        ({"tools": ["calculator"]}, WithTools),
        ({"base": "house", "tools": ["calculator"]}, WithTools),
        ({"base": 3, "tools": "calculator"}, type(None)),  # options may have been written by anybody
    ],
)
def test_a_conversations_options_say_who_answers(settings: Settings, options: dict[str, Any], kind: type) -> None:
    """Nothing is opened for it: there is no base yet."""
    assert isinstance(answerer(MODEL, settings, Uses.of(options)), kind)


def test_documents_answer_in_a_chat_and_with_a_tool_on_the_agent_searches_them(house: Settings) -> None:
    store = ConversationStore("sqlite://")
    chat = Chat(store)
    try:
        model = grounded(f"{TEXTS[2]} [1]", max_tokens=50)
        alone = answerer(model, house, Uses("house"))
        turn = ended(chat.send(store.create().id, "dogs in the garden", model=model, answerer=alone))
        assert turn.answer, turn.error
        assert turn.answer.additional_kwargs["phireside"]["base"] == "house"
        acting = acts(call("knowledge", query="dogs garden"), AIMessage("Dogs are allowed in the garden. [1]"))
        both = answerer(acting, house, Uses("house", ("calculator", "knowledge")))
        turn = ended(chat.send(store.create().id, "dogs?", model=acting, answerer=both))
        assert turn.answer, turn.error
        ours = turn.answer.additional_kwargs["phireside"]
        assert (ours["passages"][0]["text"], ours["claims"][0]["verdict"]) == (TEXTS[2], "supported")
        assert acting.options[0]["tools"] == ["calculator", "knowledge"]
    finally:
        chat.close()
        store.close()


def test_a_base_is_opened_once_until_it_is_closed(house: Settings) -> None:
    first = knowledge_base("house", house)
    assert knowledge_base("house", house) is first
    close_bases("another")
    assert knowledge_base("house", house) is first
    close_bases("house")
    again = knowledge_base("house", house, HashedEmbeddings(64))
    assert again is not first
    assert len(again.similarity_search("dogs", k=5)) == 3


def test_a_base_that_is_not_there_is_not_made_by_chance(settings: Settings) -> None:
    for name in ("hose", "../hose", ""):
        with pytest.raises(KnowledgeError):
            knowledge_base(name, settings)
    assert not settings.bases_dir.exists()


def test_an_agent_and_a_chain_are_made_by_name_for_other_programs(house: Settings) -> None:
    model = acts(call("knowledge", query="dogs"), AIMessage("Dogs are allowed."))
    given = agent(model, house, ["clock"], "house").invoke({"messages": [("user", "dogs?")]})
    assert given["messages"][-1].text == "Dogs are allowed."
    assert (model.options[0]["tools"], model.asked[0][0].text.startswith(house.system_prompt)) == (
        ["clock", "knowledge"], True,
    )  # fmt: skip
    found = rag(grounded(f"{TEXTS[2]} [1]", max_tokens=50), house, "house", passages=1).invoke("dogs in the garden")
    assert [each.page_content for each in found.passages] == [TEXTS[2]]


def test_an_agent_with_effects_needs_a_place_to_wait_for_approval(house: Settings) -> None:
    with pytest.raises(RequestError, match="checkpointer"):
        agent(MODEL, house, ["web_search"])
    assert agent(MODEL, house, ["web_search"], checkpointer=InMemorySaver())
    with pytest.raises(SettingsError):
        agent(MODEL, house, ["read_file"])
    with pytest.raises(KnowledgeError):
        agent(MODEL, house, base="hose")


def test_folders_of_a_conversation_may_be_read_in_it(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "plan.txt").write_text("Sow in March.")
    store = ConversationStore("sqlite://")
    chat = Chat(store)
    try:
        model = acts(calls(("read_file", {"name": "plan.txt"})), AIMessage("In March."))
        who = answerer(model, settings, Uses(tools=("read_file",)), folders=[tmp_path])
        turn = ended(chat.send(store.create().id, "When do I sow?", model=model, answerer=who))
        assert [step["text"] for step in turn.steps if step["kind"] == "observation"] == ["Sow in March."]
    finally:
        chat.close()
        store.close()
