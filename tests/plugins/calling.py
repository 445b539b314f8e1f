"""What tests of the API share: an app of it without sockets, and a client that hears single events and may go away."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
from langchain_core.language_models import BaseChatModel
from starlette.types import ASGIApp, Message

from phireside.api import Options, create_app
from phireside.settings import Settings

CHAT = "/v1/chat/completions"
HELLO = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}


def app_of(settings: Settings, model: BaseChatModel | None = None, embeddings: Any = None, **options: Any) -> ASGIApp:
    """The API with a model of the test's own."""
    return create_app(settings, model=model, embedding_model=embeddings, options=Options(**options))


def calling(app: ASGIApp, **headers: str) -> httpx.AsyncClient:
    """A client of an app in the same process. An error that is answered with 500 is raised here."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000", headers=headers)


async def asked(app: ASGIApp, path: str = CHAT, **body: Any) -> httpx.Response:
    """The answer to a POST; without another, the messages are HELLO's."""
    async with calling(app) as client:
        return await client.post(path, json=(HELLO if path == CHAT else {}) | body)


def events(text: str) -> list[Any]:
    """The events of a stream; the last one as it is."""
    lines = text.split("\n\n")
    assert lines.pop() == ""
    data = [line.removeprefix("data: ") for line in lines]
    assert [f"data: {each}" for each in data] == lines
    return [each if each == "[DONE]" else json.loads(each) for each in data]


class Listener:
    """A client that hears an answer piece by piece. `leave_when(body so far)` says when it goes away."""

    def __init__(self, app: ASGIApp, body: Any, leave_when: Callable[[str], bool], path: str = CHAT) -> None:
        self._app, self._path, self._leave_when = app, path, leave_when
        self._body = json.dumps(body).encode()
        self._left = asyncio.Event()
        self.heard = ""

    async def ask(self) -> None:
        """Until the app has ended, which it must once nobody listens."""
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},  # from which on servers need not tell of a client gone
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        await asyncio.wait_for(self._app(scope, self._receive, self._send), 30)  # type: ignore[arg-type]

    async def leave_once(self, is_time: Callable[[], Any]) -> None:
        """Ask, go away as soon as it is time, and wait until the app has ended."""
        asking = asyncio.ensure_future(self.ask())
        while not is_time():
            await asyncio.sleep(0.001)
        self.leave()
        await asking

    def leave(self) -> None:
        """Go away."""
        self._left.set()

    async def _receive(self) -> Message:
        if self._body:
            body, self._body = self._body, b""
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.heard += message.get("body", b"").decode()
        if self._leave_when(self.heard):
            self.leave()
