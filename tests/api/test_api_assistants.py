"""The models that are more than one: answers from documents with references, and the agent with its steps."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from acting import acts, call
from answers import Answers, answers
from calling import CHAT, Listener, app_of, asked, calling, events
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage

from phireside.agents.assistant import close_bases
from phireside.api.agent import _tools
from phireside.api.parts import Options
from phireside.errors import SettingsError
from phireside.retrieval import KnowledgeBase
from phireside.settings import Settings

LEASE = "The lease can be ended with three months' notice."
DEPOSIT = "The deposit is two monthly rents."
QUESTION = [{"role": "user", "content": "How high is the deposit?"}]


@pytest.fixture
def base(settings: Settings) -> Iterator[Settings]:
    """A base of two documents, named "flat"."""
    made = KnowledgeBase.named("flat", settings.bases_dir, HashedEmbeddings(), create=True)
    made.add_text(LEASE, source="lease.txt", title="Lease")
    made.add_text(DEPOSIT, source="deposit.txt", title="Deposit")
    made.close()
    yield settings
    close_bases("flat")


async def test_an_answer_from_documents_has_its_references_beside_it(base: Settings) -> None:
    model = answers("The deposit is two monthly rents [1].")
    response = await asked(app_of(base, model, HashedEmbeddings()), model="rag:flat", messages=QUESTION)
    assert response.status_code == 200, response.text
    message = response.json()["choices"][0]["message"]
    assert message["content"] == "The deposit is two monthly rents [1]."
    assert message["known"] is True
    first = message["references"][0]
    assert (first["number"], first["cited"], first["text"], first["source"]) == (1, True, DEPOSIT, "deposit.txt")
    assert message["claims"][0]["verdict"] == "supported"
    assert response.json()["usage"]["completion_tokens"] > 0


async def test_an_upload_is_named_and_not_its_hash(base: Settings) -> None:
    opened = KnowledgeBase.named("flat", base.bases_dir, HashedEmbeddings())
    opened.add_upload("dogs.txt", b"Dogs are allowed on the lawn.")
    opened.close()
    model = answers("Dogs are allowed on the lawn [1].")
    question = [{"role": "user", "content": "Are dogs allowed on the lawn?"}]
    response = await asked(app_of(base, model, HashedEmbeddings()), model="rag:flat", messages=question)
    first = response.json()["choices"][0]["message"]["references"][0]
    assert (first["source"], len(first["document"])) == ("dogs.txt", 16)


async def test_the_files_of_a_chat_are_no_model(base: Settings) -> None:
    name = f"chat-{'0a' * 16}"
    KnowledgeBase.named(name, base.bases_dir, HashedEmbeddings(), create=True).close()
    app = app_of(base, answers("x"), HashedEmbeddings())
    async with calling(app) as client:
        listed = (await client.get("/v1/models")).json()["data"]
    hidden, missing = [await asked(app, model=f"rag:{each}", messages=QUESTION) for each in (name, "sea")]
    assert [each["id"] for each in listed if each["id"].startswith("rag:")] == ["rag:flat"]
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json() == json.loads(missing.text.replace("'sea'", f"'{name}'"))


async def test_what_nothing_supports_is_not_even_streamed(base: Settings) -> None:
    model = answers("Pigs can fly to the moon [1].")
    app = app_of(base, model, HashedEmbeddings())
    response = await asked(app, model="rag:flat", messages=QUESTION, stream=True)
    *chunks, done = events(response.text)
    deltas = [each["choices"][0]["delta"] for each in chunks]
    assert done == "[DONE]"
    assert "".join(each.get("content", "") for each in deltas) == "I don't know."
    assert [each["known"] for each in deltas if "known" in each] == [False]
    assert not any(each["cited"] for delta in deltas for each in delta.get("references", []))


async def test_earlier_turns_are_its_history_and_system_prompts_are_not(base: Settings) -> None:
    model = answers("The deposit is two monthly rents [1].")
    before = [
        {"role": "system", "content": "Be a pirate."},
        {"role": "user", "content": "Whose flat?"},
        {"role": "assistant", "content": "Ada's."},
    ]
    response = await asked(app_of(base, model, HashedEmbeddings()), model="rag:flat", messages=[*before, *QUESTION])
    assert response.status_code == 200, response.text
    sent = str(model.asked[-1])
    assert "Whose flat?" in sent
    assert "pirate" not in sent


async def test_bases_are_listed_and_one_that_is_missing_is_not_found(base: Settings) -> None:
    async with calling(app_of(base, answers("x"), HashedEmbeddings())) as client:
        listed = [each["id"] for each in (await client.get("/v1/models")).json()["data"]]
        missing = await client.post(CHAT, json={"model": "rag:house", "messages": QUESTION})
    assert "rag:flat" in listed
    assert missing.status_code == 404
    assert "rag:flat" in missing.json()["error"]["message"]


@pytest.mark.parametrize("model", ["rag:flat", "agent"])
@pytest.mark.parametrize("body", [{"n": 2}, {"stop": "x"}, {"response_format": {"type": "json_object"}}])
async def test_what_only_a_model_alone_can_do_is_refused(base: Settings, model: str, body: Any) -> None:
    response = await asked(app_of(base, answers("x"), HashedEmbeddings()), model=model, messages=QUESTION, **body)
    assert response.status_code == 400
    assert '"chat"' in response.json()["error"]["message"]


class Slow(Answers):
    """Takes a minute over an answer, and calls no tools though it could."""

    def bind_tools(self, tools: Any, **arguments: Any) -> Any:
        return self


@pytest.mark.parametrize("model", ["rag:flat", "agent"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_ends_their_work(base: Settings, model: str, stream: bool) -> None:
    slow = Slow(rule=lambda _: "word " * 500, pause=0.1, asked=[], arguments=[], left=[])
    app = app_of(base, slow, HashedEmbeddings())
    body = {"model": model, "messages": QUESTION, "stream": stream}
    listener = Listener(app, body, lambda _: False)
    await listener.leave_once(lambda: slow.asked)
    assert slow.left == [1]
    assert listener.heard == ""
    assert app.state.parts.gate.inside == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["rag:flat", "agent"])
@pytest.mark.parametrize(
    ("own", "body", "expected"),
    [
        ({}, {}, (0.0, 1.0)),
        ({}, {"temperature": 0.9}, (0.9, 1.0)),
        ({"temperature": 0.3, "repeat_penalty": 1.2}, {}, (0.3, 1.2)),
        ({"temperature": 0.3}, {"repeat_penalty": 1.3}, (0.3, 1.3)),
    ],
)
async def test_they_answer_with_the_likeliest_words_unless_somebody_says_otherwise(
    base: Settings, model: str, own: Any, body: Any, expected: tuple[float, float]
) -> None:
    used: list[tuple[float, float]] = []

    class Sampled(Answers):
        temperature: float = 0.7
        repeat_penalty: float = 1.1

        def bind_tools(self, tools: Any, **arguments: Any) -> Any:
            return self

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            used.append((self.temperature, self.repeat_penalty))
            return super()._generate(*args, **kwargs)

        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            used.append((self.temperature, self.repeat_penalty))
            async for each in super()._astream(*args, **kwargs):
                yield each

    told = Sampled(rule=lambda _: "Two rents [1].", asked=[], arguments=[], left=[], **own)
    response = await asked(app_of(base, told, HashedEmbeddings()), model=model, messages=QUESTION, **body)
    assert response.status_code == 200, response.text
    assert set(used) == {expected}


async def test_a_question_must_come_last(base: Settings) -> None:
    messages = [*QUESTION, {"role": "assistant", "content": "Two rents."}]
    for model in ("rag:flat", "agent"):
        response = await asked(app_of(base, answers("x"), HashedEmbeddings()), model=model, messages=messages)
        assert response.status_code == 400


async def test_a_model_that_calls_no_tools_is_no_agent(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("x")), model="agent", messages=QUESTION)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "not_supported")


SCRIPT = [call("calculator", expression="2 * 3"), AIMessage("It is 6.")]


async def test_the_agents_steps_stand_beside_its_answer(settings: Settings) -> None:
    model = acts(*SCRIPT)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 * 3?"}]
    response = await asked(app_of(settings, model), model="agent", messages=messages)
    assert response.status_code == 200, response.text
    message = response.json()["choices"][0]["message"]
    assert message["content"] == "It is 6."
    action, observation = message["steps"]
    assert (action["kind"], action["tool"], action["arguments"]) == ("action", "calculator", {"expression": "2 * 3"})
    assert (observation["kind"], observation["text"]) == ("observation", "6")
    assert model.asked[0][0].text == "Be brief."


async def test_and_are_streamed_as_they_are_done(settings: Settings) -> None:
    response = await asked(app_of(settings, acts(*SCRIPT)), model="agent", messages=QUESTION, stream=True)
    *chunks, done = events(response.text)
    deltas = [each["choices"][0]["delta"] for each in chunks]
    assert [step["kind"] for delta in deltas for step in delta.get("steps", [])] == ["action", "observation"]
    assert "".join(delta.get("content", "") for delta in deltas) == "It is 6."
    assert done == "[DONE]"


def test_the_agent_has_no_tool_with_effects_unless_the_owner_says_so(settings: Settings) -> None:
    harmless = {tool.name for tool in _tools(settings, Options())}
    assert harmless == {"calculator", "clock"}
    assert [tool.name for tool in _tools(settings, Options(tools=("clock",)))] == ["clock"]
    allowed = {tool.name for tool in _tools(settings, Options(allow_effects=True))}
    assert {"web_search", "read_page"} < allowed


@pytest.mark.parametrize(
    ("name", "why"),
    [("hammer", "no tool"), ("web_search", "--allow-effects"), ("read_file", "folder"), ("knowledge", "documents")],
)
def test_a_tool_that_was_chosen_and_cannot_be_used_is_said_at_once(settings: Settings, name: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        app_of(settings, acts(), tools=("clock", name))
