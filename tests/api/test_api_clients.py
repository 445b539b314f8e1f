"""The programs that people have, unmodified, against a real server on this machine with real weights."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn
from hashed import HashedEmbeddings
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from phireside.api import Options, create_app
from phireside.models.runtime import runtimes
from phireside.settings import EngineSettings, Settings

pytestmark = pytest.mark.real
KEY = "key-of-the-tests-0123"
LONG = 60  # seconds
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}
HELLO: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that answers with the starter."""
    folder = tmp_path_factory.mktemp("served")
    settings = Settings(data_dir=folder, model="starter", engine=EngineSettings(n_ctx=1024))
    app = create_app(settings, embedding_model=HashedEmbeddings(), options=Options(key=KEY))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who asks before the server is up waits
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(LONG)


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=LONG) as made:
        yield made


def test_openais_client_chats_and_finds_the_prompt_in_the_cache(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Tell me something about the colours of autumn leaves."}]
    _, once, again = (  # from the second on the same tokens are evaluated in the same way
        client.chat.completions.create(model="chat", messages=messages, max_tokens=12, temperature=0, seed=1)
        for _ in range(3)
    )
    assert once.choices[0].message.content
    assert once.choices[0].message.content == again.choices[0].message.content
    assert once.choices[0].finish_reason == "length"
    assert once.usage
    assert again.usage
    assert again.usage.prompt_tokens == once.usage.prompt_tokens
    assert once.usage.completion_tokens == 12
    assert again.usage.prompt_tokens_details
    assert (again.usage.prompt_tokens_details.cached_tokens or 0) >= once.usage.prompt_tokens - 8


def test_it_streams_the_same_with_its_cost(client: openai.OpenAI) -> None:
    _, whole = (
        client.chat.completions.create(model="chat", messages=HELLO, max_tokens=10, temperature=0) for _ in range(2)
    )
    chunks = list(
        client.chat.completions.create(
            model="chat", messages=HELLO, max_tokens=10, temperature=0, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 10
    assert chunks[-2].choices[0].finish_reason == "length"


def test_tools_are_called_under_their_schema_and_answered(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    tools: Any = [WEATHER]
    asked = client.chat.completions.create(
        model="chat", messages=messages, tools=tools, tool_choice="required", temperature=0, max_tokens=120
    )
    (call,) = asked.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    assert asked.choices[0].finish_reason == "tool_calls"
    messages += [asked.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}]
    told = client.chat.completions.create(
        model="chat", messages=messages, tools=tools, tool_choice="none", temperature=0, max_tokens=60
    )
    assert told.choices[0].message.content
    assert not told.choices[0].message.tool_calls


def test_an_answer_has_the_form_of_a_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "maximum": 9}},
        "required": ["colour", "count"],
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model="chat", messages=HELLO, response_format=form, max_tokens=60)
    value = json.loads(answer.choices[0].message.content or "")
    assert value["colour"] in ("red", "green")
    assert isinstance(value["count"], int)


def test_several_answers_and_a_stop_string(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Count from one to ten with digits: 1, 2, 3"}]
    answer = client.chat.completions.create(model="starter", messages=messages, n=3, max_tokens=20, seed=1, stop=[","])
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert not any("," in (choice.message.content or "") for choice in answer.choices)


def test_what_does_not_fit_is_told_with_its_numbers(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "word " * 2000}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="chat", messages=messages)
    assert refused.value.code == "context_length_exceeded"
    assert "1024" in refused.value.message


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-5"):
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError):
        wrong.models.list()


def test_models_are_listed_and_vectors_made(client: openai.OpenAI) -> None:
    assert {"chat", "agent", "embeddings", "starter"} <= {model.id for model in client.models.list()}
    coded = client.embeddings.create(model="embeddings", input=["one", "two"])  # asks for base64 by itself
    numbers = client.embeddings.create(model="embeddings", input=["one", "two"], encoding_format="float")
    assert coded.data[1].embedding == pytest.approx(numbers.data[1].embedding)


def test_a_client_that_leaves_frees_the_engine(client: openai.OpenAI, url: str) -> None:
    messages: Any = [{"role": "user", "content": "Write a very long story about a lighthouse."}]
    form: Any = {"type": "json_schema", "json_schema": {"schema": {"type": "array", "minItems": 500}}}
    stream = client.chat.completions.create(model="chat", messages=messages, response_format=form, stream=True)
    for number, _ in enumerate(stream):
        if number == 5:
            break
    stats = next(each.engine for each in runtimes() if each.engine.n_ctx == 1024).stats
    assert stats().running == 1
    stream.close()
    end = time.monotonic() + LONG
    while stats().running and time.monotonic() < end:
        time.sleep(0.01)
    used = stats().cells_used
    time.sleep(0.2)
    assert (stats().running, stats().cells_used) == (0, used)
    assert used < 500


async def test_langchains_client_does_what_it_does_with_openai(url: str) -> None:
    model = ChatOpenAI(model="chat", base_url=f"{url}/v1", api_key=KEY, max_retries=0, temperature=0, max_tokens=60)  # type: ignore[arg-type]
    await model.ainvoke("Say hello.", max_tokens=1)  # from here on the same tokens are evaluated in the same way
    whole = await model.ainvoke("Say hello.", max_tokens=8)
    assert whole.text
    assert whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] == 8
    streamed = [chunk async for chunk in model.astream("Say hello.", max_tokens=8)]
    assert "".join(chunk.text for chunk in streamed) == whole.text
    schema = {"title": "Choice", "type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    assert set(await model.with_structured_output(schema).ainvoke("Is it?")) == {"yes"}  # type: ignore[arg-type]
    bound = model.bind_tools([WEATHER], tool_choice="weather")
    question = HumanMessage("What is the weather in Paris?")
    called = await bound.ainvoke([question])
    assert called.tool_calls[0]["name"] == "weather"
    result = ToolMessage("Sunny.", tool_call_id=called.tool_calls[0]["id"])
    assert (await model.ainvoke([question, called, result])).text


def test_langchains_vectors(url: str) -> None:
    made = OpenAIEmbeddings(model="embeddings", base_url=f"{url}/v1", api_key=KEY, check_embedding_ctx_length=False)  # type: ignore[arg-type]
    assert len(made.embed_documents(["one", "two"])) == 2


def test_curl(url: str, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if not curl:
        pytest.skip("curl is not on this machine")
    body = {"model": "chat", "messages": HELLO, "max_tokens": 4, "stream": True}
    base = [curl, "-sS", "--noproxy", "*", "--max-time", str(LONG)]
    sent = [*base, "-N", f"{url}/v1/chat/completions", "--json", json.dumps(body), "-H", f"Authorization: Bearer {KEY}"]
    streamed = subprocess.run(sent, capture_output=True, text=True, check=True).stdout
    assert streamed.startswith('data: {"id":"chatcmpl-')
    assert streamed.endswith("data: [DONE]\n\n")
    refused = subprocess.run(
        [*base, "-o", str(tmp_path / "body"), "-w", "%{http_code}", f"{url}/v1/models", "-H", "Host: evil.example"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert refused == "403"
