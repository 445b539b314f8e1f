"""What lies before Streamlit: pages of other sites open no WebSocket, and make the app ask nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import streamlit
from browsing import app_process
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Message
from websites import Site, site

from phireside.ui.app import OwnOrigin, page

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize(
    ("origin", "passed"),
    [
        (None, True),
        ("http://127.0.0.1:8501", True),
        ("https://chat.example.org", True),
        ("http://localhost:3000", False),
        ("http://127.0.0.1:8502", False),
        ("https://chat.example.org.bad.example", False),
        ("http://bad.example", False),
        ("null", False),
        ("http://[", False),
        ("", False),
    ],
)
async def test_only_our_own_pages_and_programs_open_websockets(
    origin: str | None, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, sent = list[Any](), list[Message]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        came.append(scope)

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(streamlit, "get_option", lambda _: ["127.0.0.1", "localhost", "chat.example.org"])
    headers = [(b"host", b"127.0.0.1:8501"), *([(b"origin", origin.encode())] if origin is not None else [])]
    await OwnOrigin(app)({"type": "websocket", "headers": headers}, None, send)  # type: ignore[arg-type]
    assert (bool(came), [each["type"] for each in sent]) == (passed, [] if passed else ["websocket.close"])
    await OwnOrigin(app)({"type": "http", "headers": headers}, None, send)  # type: ignore[arg-type]
    assert came[-1]["type"] == "http"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8501", 200),
        ("LOCALHOST:8501", 200),
        ("localhost", 200),
        ("chat.example.org", 200),
        ("chat.example.net", 403),
        ("127.0.0.1.chat.example.net:8501", 403),
    ],
)
async def test_under_another_name_a_page_says_what_to_open(
    host: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"server.allowedHosts": ["127.0.0.1", "localhost", "chat.example.org"], "server.port": 8501}
    monkeypatch.setattr(streamlit, "get_option", options.__getitem__)
    pages = httpx.ASGITransport(Starlette(routes=[Route("/", page)]))
    async with httpx.AsyncClient(transport=pages, base_url="http://127.0.0.1:8501") as client:
        answer = await client.get("/", headers={"Host": host})
    assert answer.status_code == status
    assert ("these only: 127.0.0.1, localhost, chat.example.org." in answer.text) == (status == 403)
    assert ("<code>http://127.0.0.1:8501</code>" in answer.text) == (status == 403)
    assert "example.net" not in answer.text


@pytest.fixture
def outside(loopback: None) -> Iterator[Site]:
    """Where all goes that the app would ask the world."""
    with site({"*": (200, {}, b"127.0.0.1")}) as found:
        yield found


@pytest.mark.real
def test_a_page_of_another_site_makes_the_app_ask_nobody(outside: Site, tmp_path: Path) -> None:
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), outside.url)
    with app_process(tmp_path, **proxies, NO_PROXY="", no_proxy="") as address:
        origins = {"http://bad.example": 403, "http://127.0.0.1:9": 403, address: 101}
        for origin, status in origins.items():
            with httpx.stream("GET", f"{address}/_stcore/stream", headers=HANDSHAKE | {"Origin": origin}) as answer:
                assert answer.status_code == status, origin
    assert outside.hits == []
