"""`ChatGGUF` in the hands of a LangChain user: callbacks, events, batches, loops, caches, copies and bindings."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda

from phireside.errors import RequestError
from phireside.models import ChatGGUF
from phireside.settings import Settings

FOREVER = "Say something."  # the random models never end an answer by themselves


@pytest.fixture
def tiny(settings: Settings, tiny_chatml: Path) -> ChatGGUF:
    return ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=8)


def lengths(answers: Sequence[AIMessage]) -> list[int]:
    return [answer.usage_metadata["input_tokens"] for answer in answers]


@pytest.mark.real
def test_calls_from_several_loops_and_threads_are_all_answered(tiny: ChatGGUF) -> None:
    def ask(number: int) -> None:
        answers[number] = asyncio.run(tiny.ainvoke("word " * number))

    answers: dict[int, AIMessage] = {}
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[n].usage_metadata["output_tokens"] for n in range(1, 5)] == [8] * 4
    assert lengths([answers[n] for n in range(1, 5)]) == [
        tiny.get_num_tokens_from_messages([HumanMessage("word " * n)]) for n in range(1, 5)
    ]


@pytest.mark.real
async def test_batches_keep_their_order(tiny: ChatGGUF) -> None:
    questions = ["word " * n for n in (5, 1, 4, 2, 3)]
    expected = [tiny.get_num_tokens_from_messages([HumanMessage(question)]) for question in questions]
    assert len(set(expected)) == 5
    assert lengths(tiny.batch(questions)) == expected
    assert lengths(await tiny.abatch(questions)) == expected


@pytest.mark.real
async def test_callbacks_see_every_token_of_a_stream(tiny: ChatGGUF) -> None:
    class Ear(BaseCallbackHandler):
        def __init__(self) -> None:
            self.tokens: list[str] = []
            self.ends: list[Any] = []
            self.params: dict[str, Any] = {}

        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            self.params = kwargs["metadata"] | kwargs["invocation_params"]

        def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
            self.tokens.append(token)

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            self.ends.append(response)

    ear = Ear()
    chunks = list(tiny.with_config(callbacks=[ear]).stream(FOREVER))
    assert "".join(ear.tokens) == "".join(chunk.text for chunk in chunks)
    assert len(ear.ends) == 1
    assert ear.params["ls_provider"] == "phireside"
    assert ear.params["ls_model_name"] == tiny.model
    assert ear.params["ls_max_tokens"] == 8
    assert ear.params["temperature"] == 0


@pytest.mark.real
async def test_events_of_a_chain_stream_the_tokens(tiny: ChatGGUF) -> None:
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | RunnableLambda(lambda value: value) | tiny
    names, text = set(), ""
    chain.invoke({"q": "Hi"})
    async for event in chain.astream_events({"q": "Hi"}, version="v2"):
        names.add(event["event"])
        if event["event"] == "on_chat_model_stream":
            text += event["data"]["chunk"].text
    assert {"on_chat_model_start", "on_chat_model_stream", "on_chat_model_end"} <= names
    assert text == chain.invoke({"q": "Hi"}).text


@pytest.mark.real
def test_a_call_may_choose_another_model(tiny: ChatGGUF, tiny_phi3: Path) -> None:
    answer = tiny.invoke("Hi", model=str(tiny_phi3))
    assert answer.response_metadata["model_name"] == str(tiny_phi3)
    assert tiny._get_ls_params(model="phi-3")["ls_model_name"] == "phi-3"


@pytest.mark.real
def test_configurable_fields_and_copies_change_the_sampling(tiny: ChatGGUF) -> None:
    changeable = tiny.configurable_fields(max_tokens=ConfigurableField(id="length"))
    answer = changeable.invoke(FOREVER, config={"configurable": {"length": 3}})
    assert answer.usage_metadata["output_tokens"] == 3
    with pytest.raises(RequestError, match="temperature is -1"):
        tiny.model_copy(update={"temperature": -1}).invoke("Hi")


@pytest.mark.real
def test_a_cache_answers_the_same_question_and_no_other(tiny: ChatGGUF) -> None:
    cached = tiny.model_copy(update={"cache": InMemoryCache()})
    first = cached.invoke(FOREVER)
    second = cached.invoke(FOREVER)
    assert second.text == first.text
    assert second.usage_metadata.get("total_cost") == 0  # LangChain's mark of an answer from its cache
    for change in ({"max_tokens": 4}, {"temperature": 1.0}, {"stop": ["a"]}, {"n_ctx": 256}, {"seed": 1}):
        assert "total_cost" not in cached.model_copy(update=change).invoke(FOREVER).usage_metadata, change
    assert "total_cost" not in cached.invoke(FOREVER, max_tokens=5).usage_metadata
