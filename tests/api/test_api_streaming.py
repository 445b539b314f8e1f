"""Streams are OpenAI's to the byte, errors in them are told, and nothing is written for a client that has gone."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from acting import acts, call
from answers import answers
from calling import CHAT, HELLO, Listener, app_of, asked, events
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from openai.types.chat import ChatCompletionChunk
from scripted import Scripted, scripted

from phireside.errors import ContextOverflowError, EngineError
from phireside.models import ChatGGUF
from phireside.settings import Settings


def said(chunks: list[Any]) -> list[Any]:
    """What the deltas of a stream have."""
    return [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]


async def test_a_stream_begins_with_the_role_and_ends_with_done(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("Good day")), stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    *chunks, done = events(response.text)
    assert done == "[DONE]"
    assert said(chunks) == ["", "Good", " day", None]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [each["choices"][0]["finish_reason"] for each in chunks] == [None, None, None, "stop"]
    assert len({(each["id"], each["created"], each["model"], each["object"]) for each in chunks}) == 1
    assert "usage" not in chunks[0]
    for chunk in chunks:
        assert ChatCompletionChunk.model_validate(chunk, strict=True).object == "chat.completion.chunk"


async def test_usage_comes_last_and_only_if_it_is_wanted(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("a b")), stream=True, stream_options={"include_usage": True})
    *chunks, last, done = events(response.text)
    assert done == "[DONE]"
    assert {each["usage"] for each in chunks} == {None}
    assert last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (1, 2)


async def test_several_answers_come_in_one_stream(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("a b")), stream=True, n=2)
    *chunks, _ = events(response.text)
    for number in (0, 1):
        own = [each for each in chunks if each["choices"][0]["index"] == number]
        assert said(own) == ["", "a", " b", None]


class Calling(Scripted):
    """Streams two calls, piece by piece, with the numbers that LangChain's parsers give them."""

    async def _astream(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        pieces = [
            ("weather", "", "c1", 1),
            (None, '{"city":', None, 1),
            (None, ' "Köln"}', None, 1),
            ("clock", "{}", "c2", 2),
        ]
        for name, args, call_id, index in pieces:
            chunk = tool_call_chunk(name=name, args=args, id=call_id, index=index)
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[chunk]))


async def test_calls_are_streamed_and_counted_from_zero(settings: Settings) -> None:
    response = await asked(app_of(settings, Calling(words=[], asked=[])), stream=True)
    *chunks, _ = events(response.text)
    deltas = [each["choices"][0]["delta"].get("tool_calls", [None])[0] for each in chunks]
    assert deltas[1] == {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    assert deltas[2] == {"index": 0, "function": {"arguments": '{"city":'}}
    assert [(each["index"], each["function"]["arguments"]) for each in deltas[3:5]] == [(0, ' "Köln"}'), (1, "{}")]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    whole = (await asked(app_of(settings, Calling(words=[], asked=[])))).json()["choices"][0]["message"]["tool_calls"]
    assert [each["function"]["arguments"] for each in whole] == ['{"city": "Köln"}', "{}"]


async def test_a_model_that_does_not_stream_is_one_piece(settings: Settings) -> None:
    response = await asked(app_of(settings, acts(call("clock", zone="UTC"))), stream=True)
    *chunks, _ = events(response.text)
    (made,) = chunks[1]["choices"][0]["delta"]["tool_calls"]
    assert (made["function"]["name"], made["function"]["arguments"]) == ("clock", '{"zone":"UTC"}')


async def test_an_error_before_the_first_piece_has_a_status(settings: Settings) -> None:
    model = scripted(ContextOverflowError("The prompt has 9 tokens."))
    response = await asked(app_of(settings, model), stream=True)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("error", "code"), [(EngineError("The engine failed."), "unavailable"), (ValueError("secret"), "internal_error")]
)
async def test_an_error_later_is_the_last_event(
    settings: Settings, error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await asked(app_of(settings, scripted("Good", error)), stream=True)
    assert response.status_code == 200
    *chunks, last = events(response.text)
    assert said(chunks) == ["", "Good"]
    assert last["error"]["code"] == code
    assert "secret" not in response.text


async def test_a_client_that_goes_away_in_a_stream_ends_the_answer(settings: Settings) -> None:
    model = answers(" ".join("word" for _ in range(500)), pause=0.005)
    listener = Listener(app_of(settings, model), HELLO | {"stream": True}, lambda heard: heard.count("word") >= 3)
    await listener.ask()
    await asyncio.sleep(0)
    assert model.left == [1]
    assert listener.heard.count("word") < 20
    assert "[DONE]" not in listener.heard


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), ("/chains/chain_of_thought", {"question": "Why?"})])
async def test_and_so_it_does_while_it_waits_for_the_whole(settings: Settings, path: str, body: Any) -> None:
    model = answers(" ".join("word" for _ in range(500)), pause=0.005)
    app = app_of(settings, model)
    listener = Listener(app, body, lambda _: False, path)
    await listener.leave_once(lambda: model.asked)
    assert model.left == [1]
    assert listener.heard == ""
    assert app.state.parts.gate.inside == 0  # type: ignore[attr-defined]


class Heard(BaseCallbackHandler):
    """Counts the answers that it was told of."""

    def __init__(self) -> None:
        self.answers = 0

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.answers += 1


@pytest.mark.real
async def test_our_own_model_streams_the_same_whether_callbacks_listen_or_not(
    settings: Settings, tiny_chatml: Path
) -> None:
    heard, texts = Heard(), []
    for callbacks in ([], [heard]):
        model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, callbacks=callbacks)
        wanted = {"stream": True, "max_tokens": 12, "stream_options": {"include_usage": True}}
        *chunks, _ = events((await asked(app_of(settings, model), **wanted)).text)
        texts.append("".join(text or "" for text in said(chunks)))
        assert chunks[-2]["choices"][0]["finish_reason"] == "length"
        assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert texts[0] == texts[1] != ""
    assert heard.answers == 1


@pytest.mark.real
async def test_a_client_that_goes_away_ends_the_answer_of_our_own_model(settings: Settings, tiny_chatml: Path) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0)
    body = HELLO | {"stream": True, "max_tokens": 3000}
    listener = Listener(app_of(settings, model), body, lambda heard: heard.count("data:") >= 3)
    await listener.ask()
    engine = model._open(model.model).runtime.engine
    while engine.stats().running:
        await asyncio.sleep(0.01)
    assert engine.stats().served.generated_tokens < 1000
