"""Strangers stay outside: without the key, from other sites' pages, by names made to lead here, with endless bodies."""

import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from answers import answers
from calling import CHAT, HELLO, app_of, asked, calling
from starlette.applications import Starlette
from starlette.routing import Mount

from phireside.api import Options
from phireside.errors import RequestError
from phireside.settings import Settings

KEY = "a key that nobody guesses"
JSON = {"content-type": "application/json"}


async def test_without_the_key_nothing_is_answered_but_that_the_server_is_there(settings: Settings) -> None:
    model = answers("x")
    async with calling(app_of(settings, model, key=KEY)) as client:
        for path in ("/v1/models", "/v1/models/chat", "/chains", "/metrics", "/nothing"):
            response = await client.get(path)
            assert (path, response.status_code) == (path, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        refused = await client.post(CHAT, json=HELLO)
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/docs")).status_code == 200
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert model.asked == []


async def test_and_so_it_is_inside_of_another_app(settings: Settings) -> None:
    outer = Starlette(routes=[Mount("/inner", app_of(settings, answers("x"), key=KEY))])
    async with calling(outer) as client:
        assert (await client.get("/inner/health")).status_code == 200
        assert (await client.get("/inner/v1/models")).status_code == 401
        assert (await client.get("/inner/v1/models/health")).status_code == 401


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"]
)
async def test_a_key_that_is_not_the_right_one_is_none(settings: Settings, given: str) -> None:
    async with calling(app_of(settings, answers("x"), key=KEY), authorization=given) as client:
        assert (await client.post(CHAT, json=HELLO)).status_code == 401


async def test_the_right_key_is_compared_in_constant_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    same = hmac.compare_digest
    monkeypatch.setattr("phireside.api.auth.hmac.compare_digest", lambda a, b: compared.append((a, b)) or same(a, b))
    async with calling(app_of(settings, answers("x"), key=KEY), authorization=f"Bearer {KEY}") as client:
        assert (await client.post(CHAT, json=HELLO)).status_code == 200
    ((given, known),) = compared
    assert len(given) == len(known) == 32
    assert KEY.encode() not in (given, known)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1:80"])
async def test_this_machines_own_names_are_answered(settings: Settings, host: str) -> None:
    async with calling(app_of(settings, answers("x")), host=host) as client:
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "", "[::2]", "localhost@x"]
)
async def test_a_name_that_was_made_to_lead_here_is_not(settings: Settings, host: str) -> None:
    model = answers("x")
    async with calling(app_of(settings, model), host=host) as client:
        response = await client.post(CHAT, json=HELLO)
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host_not_allowed"
    assert model.asked == []


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
async def test_without_a_key_no_proxy_is_answered(settings: Settings, header: str) -> None:
    async with calling(app_of(settings, answers("x")), **{header: "127.0.0.1"}) as client:
        assert (await client.get("/health")).json()["error"]["code"] == "key_needed"
    keyed = {header: "9.9.9.9", "authorization": f"Bearer {KEY}"}
    async with calling(app_of(settings, answers("x"), key=KEY), **keyed) as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_nor_another_machine_that_calls_itself_this_one(settings: Settings) -> None:
    for address, status in (("192.168.1.5", 403), ("::1", 200), ("127.0.0.9", 200)):
        transport = httpx.ASGITransport(app_of(settings, answers("x")), client=(address, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/v1/models")).status_code == status


async def test_any_name_is_answered_only_by_a_server_with_a_key(settings: Settings) -> None:
    with pytest.raises(RequestError, match="key"):
        Options(hosts=None)
    app = app_of(settings, answers("x"), key=KEY, hosts=None)
    async with calling(app, host="box.example", authorization=f"Bearer {KEY}") as client:
        assert (await client.get("/v1/models")).status_code == 200
        client.headers["host"] = ""  # so that a page without an address would be the server's own
        assert (await client.get("/v1/models", headers={"origin": "null"})).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:9999", "http://["])
async def test_pages_of_other_sites_may_not_ask(settings: Settings, origin: str) -> None:
    async with calling(app_of(settings, answers("x")), origin=origin) as client:
        assert (await client.get("/v1/models")).status_code == 403


async def test_a_page_of_the_server_itself_may_and_no_other_site_is_ever_invited(settings: Settings) -> None:
    async with calling(app_of(settings, answers("x")), origin="http://127.0.0.1:8000") as client:
        response = await client.post(CHAT, json=HELLO)
        asking = await client.options(CHAT, headers={"access-control-request-method": "POST"})
    assert response.status_code == 200
    assert asking.status_code == 405
    assert not [name for name in [*response.headers, *asking.headers] if name.startswith("access-control")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_page_can_send_without_asking_is_not_taken(settings: Settings, kind: str) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        response = await client.post(CHAT, content=b'{"model": "chat"}', headers={"content-type": kind})
    assert response.status_code == 415


async def test_a_body_that_is_too_large_is_not_read(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("x"), max_bytes=500), user="x" * 500)
    assert response.status_code == 413
    assert "500 bytes" in response.json()["error"]["message"]


async def test_nor_one_that_does_not_say_how_large_it_is(settings: Settings) -> None:
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b"x" * 100

    async with calling(app_of(settings, answers("x"), max_bytes=500)) as client:
        response = await client.post(CHAT, content=endless(), headers=JSON)
    assert response.status_code == 413
    assert len(sent) < 10


async def test_the_schema_says_whether_there_is_a_key(settings: Settings) -> None:
    for key, security in ((KEY, [{"key": []}]), ("", None)):
        async with calling(app_of(settings, answers("x"), key=key)) as client:
            schema = (await client.get("/openapi.json")).json()
        assert schema.get("security") == security
        assert "422" not in str([each["responses"] for path in schema["paths"].values() for each in path.values()])


async def test_every_answer_forbids_guessing_its_type(settings: Settings) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        for response in (await client.get("/v1/models"), await client.get("/nothing"), await client.get("/docs")):
            assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_page_of_the_docs_loads_nothing(settings: Settings) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        response = await client.get("/docs")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<script" not in response.text
    assert "POST /v1/chat/completions" in response.text
    assert "ClassifyResult" in response.text


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(Options(key=KEY))


async def test_a_path_is_no_path_of_a_file(settings: Settings) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        for path in ("/v1/models/..%2f..%2fetc%2fpasswd", "/chains/..%2f", "/%00", "/v1/models//etc/passwd"):
            response: Any = await client.get(path)
            assert response.status_code in (404, 405)
            assert response.json()["error"]["message"]
