"""`load_chat_model`: a file here, or a server that speaks OpenAI's interface, played by one on a loopback address."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from phireside.errors import PhiresideError, RequestError, SettingsError
from phireside.models import ChatGGUF, load_chat_model
from phireside.settings import Settings

WORDS = ["Hello", " from", " the", " server"]


@dataclass
class Server:
    """What it was asked."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps connections
    server_state: Server

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server_state.requests.append({"path": self.path, **asked})
        self.server_state.keys.append(self.headers.get("Authorization"))
        usage = {"prompt_tokens": 5, "completion_tokens": len(WORDS), "total_tokens": 5 + len(WORDS)}
        kind = "text/event-stream" if asked.get("stream") else "application/json"
        if asked.get("stream"):
            deltas = [{"index": 0, "delta": {"role": "assistant", "content": word}} for word in WORDS]
            chunks = [self._chunk([delta]) for delta in deltas]
            chunks.append(self._chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
            chunks.append(self._chunk([], usage=usage))
            body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        else:
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps({**self._chunk([choice], usage=usage), "object": "chat.completion"})
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    @staticmethod
    def _chunk(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        whole = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny", "choices": choices}
        return {**whole, **more}


@pytest.fixture
def server(loopback: None) -> Iterator[Server]:
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_state": state}))
    state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def served(settings: Settings, server: Server) -> Settings:
    return Settings(data_dir=settings.data_dir, openai_base_url=server.url)


def test_a_server_streams_and_reports_its_usage(served: Settings, server: Server) -> None:
    model = load_chat_model("openai:tiny", served, temperature=0.5, max_tokens=9)
    chunks = list(model.stream("Hi"))
    assert [chunk.text for chunk in chunks if chunk.text] == WORDS
    whole = chunks[0] + chunks[1:]  # type: ignore[operator]
    assert whole.usage_metadata["total_tokens"] == 9
    asked = server.requests[0]
    assert (asked["path"], asked["model"], asked["temperature"]) == ("/v1/chat/completions", "tiny", 0.5)
    assert asked["messages"] == [{"role": "user", "content": "Hi"}]
    assert 9 in {asked.get("max_tokens"), asked.get("max_completion_tokens")}


async def test_a_server_answers_invoke_and_its_async_form(served: Settings, server: Server) -> None:
    model = load_chat_model("openai:tiny", served)
    assert model.invoke("Hi").text == (await model.ainvoke("Hi")).text == "Hello from the server"
    assert len(server.requests) == 2


def test_a_server_is_asked_from_one_event_loop_after_another(served: Settings, server: Server) -> None:
    """The loop of a chat and those of chains in the same program, while both loops live."""
    loops = [asyncio.new_event_loop() for _ in range(2)]
    for loop in [*loops, *loops]:
        model = load_chat_model("openai:tiny", served)
        assert loop.run_until_complete(model.ainvoke("Hi")).text == "Hello from the server"
    for loop in loops:
        loop.close()


def test_sampling_that_openai_does_not_know_goes_to_ones_own_server(served: Settings, server: Server) -> None:
    model = load_chat_model("openai:tiny", served, top_k=7, min_p=0.1, repeat_penalty=1.1, top_p=0.9)
    model.invoke("Hi")
    asked = server.requests[0]
    assert (asked["top_k"], asked["min_p"], asked["repeat_penalty"], asked["top_p"]) == (7, 0.1, 1.1, 0.9)


def test_sampling_that_openai_does_not_know_is_not_sent_to_openai(settings: Settings) -> None:
    own = Settings(data_dir=settings.data_dir, openai_api_key=SecretStr("sk-test"))
    model = load_chat_model("openai:gpt-test", own, top_k=7)
    assert not model.extra_body  # type: ignore[attr-defined]


def test_the_key_is_sent_if_there_is_one(served: Settings, server: Server) -> None:
    load_chat_model("openai:tiny", served).invoke("Hi")
    load_chat_model("openai:tiny", served, api_key="secret").invoke("Hi")
    assert server.keys == ["Bearer none", "Bearer secret"]


def test_a_call_may_bring_the_address(settings: Settings, server: Server) -> None:
    load_chat_model("openai:tiny", settings, base_url=server.url).invoke("Hi")
    assert len(server.requests) == 1


def test_a_server_without_an_address_is_refused_before_any_contact(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="address") as caught:
        load_chat_model("openai:tiny", settings)
    assert "PHIRESIDE_OPENAI_BASE_URL" in caught.value.hint


def test_no_name_means_the_settings_model(settings: Settings) -> None:
    other = Settings(data_dir=settings.data_dir, model="phi-3")
    model = load_chat_model(settings=other, temperature=0.1)
    assert isinstance(model, ChatGGUF)
    assert (model.model, model.temperature, model.settings) == ("phi-3", 0.1, other)
    assert load_chat_model("starter", other).model == "starter"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options"),
    [("starter", {"temperature": -1}), ("starter", {"temprature": 1}), ("openai:x", {"temperature": "hot"})],
)
def test_an_option_that_cannot_be_used_is_an_error_of_ours(
    settings: Settings, name: str, options: dict[str, Any]
) -> None:
    own = Settings(data_dir=settings.data_dir, openai_base_url="http://127.0.0.1:9/v1")
    with pytest.raises(RequestError, match=next(iter(options))) as caught:
        load_chat_model(name, own, **options)
    assert isinstance(caught.value, PhiresideError)
    assert "pydantic" not in str(caught.value)


def test_an_engine_setting_that_cannot_be_used_is_refused_at_once(settings: Settings) -> None:
    with pytest.raises(RequestError, match="n_ctx"):
        load_chat_model("starter", settings, n_ctx=-5)
