"""Row 19: a hostile network, or none, costs bounded seconds and bytes, and the tools say in words what happened."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from websites import (
    HTML,
    PAGE,
    SENTENCE,
    Answer,
    Names,
    Site,
    bomb,
    closed_port,
    endless_body,
    endless_head,
    endless_informational,
    onward,
    plain,
    site,
    slow_body,
    slow_head,
)  # fmt: skip

from phireside.errors import ToolError
from phireside.retrieval.fetch import _Backend
from phireside.tools import Limits, read_page, searxng, web_search
from phireside.tools import ddgs as by_ddgs

Figure = Callable[[int, str], None]
SECONDS, BYTES = 1.5, 300_000
PATIENCE = 60  # seconds, where something else is the limit


def broken_off(visit: object) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhello"


def damaged(visit: object) -> Iterator[bytes]:
    return plain(200, {**HTML, "Content-Encoding": "gzip"}, b"\x1f\x8b\x08 no gzip at all")


HOSTILE: dict[str, tuple[Answer, str]] = {
    "/slow-body": (slow_body, "took longer than 1.5 s"),
    "/slow-head": (slow_head, "took longer than 1.5 s"),
    "/endless-body": (endless_body, "more than 300,000 bytes"),
    "/endless-head": (endless_head, "cannot be read|more than 300,000 bytes"),
    "/endless-informational": (endless_informational, "more than 300,000 bytes|took longer"),
    "/bomb": (bomb(), "more than 300,000 bytes"),
    "/announced": ((200, {**HTML, "Content-Length": "9" * 15}, b""), "more than 300,000 bytes"),
    "/onward": (onward, "leads on more than 5 times"),
    "/broken-off": (broken_off, "cannot be read"),
    "/damaged": (damaged, "packed in a damaged way"),
    "/other-packing": ((200, {**HTML, "Content-Encoding": "br"}, b"x"), "packed as 'br'"),
    "/no-http": (lambda visit: iter([b"\0\xff" * 100]), "cannot be read"),
    "/nothing": (lambda visit: iter([]), "cannot be read"),
    "/not-found": ((404, HTML, b"x"), "404"),
    "/too-often": ((429, {"Retry-After": "60"}, b""), "429"),
    "/broken": ((503, {}, b""), "503"),
    "/odd": ((799, {}, b""), "799"),
    "/picture": ((200, {"Content-Type": "image/png"}, b"\x89PNG"), "no page of text"),
    "/empty": ((200, HTML, b""), "no readable text"),
    "/script": ((200, HTML, b"<html><script>render()</script></html>"), "no readable text"),
}
GOOD: dict[str, Answer] = {
    "/good": (200, HTML, PAGE.encode()),
    "/wrong-charset": (
        200,
        {"Content-Type": "text/html; charset=ascii"},
        PAGE.replace("fire", "feu français").encode(),
    ),
    "/no-charset": (
        200,
        {"Content-Type": "text/html; charset=nonsense"},
        PAGE.replace("fire", "dîner").encode("latin-1"),
    ),
}


@pytest.fixture
def net(loopback: None) -> Iterator[Site]:
    with site(GOOD | {path: answer for path, (answer, _) in HOSTILE.items()}) as here:
        yield here


def counted(connect: Callable[..., Any], received: list[int]) -> Callable[..., Any]:
    """Connect, and count what arrives on the wire: a number for each connection."""

    def connected(self: Any, *args: Any, **kwargs: Any) -> Any:
        stream, at = connect(self, *args, **kwargs), len(received)
        received.append(0)
        read = stream._stream.read

        def reading(*args: Any) -> bytes:
            data: bytes = read(*args)
            received[at] += len(data)
            return data

        stream._stream.read = reading
        return stream

    return connected


def test_every_page_costs_bounded_seconds_and_bytes(net: Site, figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    monkeypatch.setattr("phireside.retrieval.fetch._Backend.connect_tcp", counted(_Backend.connect_tcp, received))
    longest = 0.0
    for path, (_, said) in HOSTILE.items():
        seconds = SECONDS if "took longer" in said else PATIENCE
        tool = read_page(Limits(seconds, BYTES, allow=net.allowed))
        start = time.monotonic()
        with pytest.raises(ToolError, match=said) as caught:
            tool.invoke({"address": net.url + path})
        longest = max(longest, time.monotonic() - start)
        assert "Try another address" in caught.value.hint
    figure(
        19,
        f"{len(HOSTILE)} hostile pages: at most {longest:.1f} of {SECONDS} s, {max(received):,} of {BYTES:,} bytes",
    )
    assert max(received) <= BYTES + 65_536  # one read more
    assert net.hits.count("/onward?n=5") == 1
    assert "/onward?n=6" not in net.hits
    assert SENTENCE.strip() in tool.invoke({"address": net.url + "/good"})  # and the tool goes on


def test_a_bomb_takes_the_memory_of_the_limit_and_not_its_own(net: Site, figure: Figure) -> None:
    tool = read_page(Limits(30, BYTES, allow=net.allowed))
    tracemalloc.start()
    with pytest.raises(ToolError, match="more than 300,000 bytes"):
        tool.invoke({"address": net.url + "/bomb"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    figure(19, f"a gzip bomb of 100 MB: {peak / 1e6:.1f} MB of memory")
    assert peak < 20 * BYTES


def test_a_wrong_charset_is_read_all_the_same(net: Site, figure: Figure) -> None:
    tool = read_page(Limits(PATIENCE, BYTES, allow=net.allowed))
    assert "Title: A feu français\n" in tool.invoke({"address": net.url + "/wrong-charset"})
    assert "Title: A dîner\n" in tool.invoke({"address": net.url + "/no-charset"})
    figure(19, "2 of 2 pages with a wrong charset are read as meant")


def never(host: str, port: int) -> Sequence[str]:
    threading.Event().wait(20)
    return []


def no_dns(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize("resolve", [never, no_dns, Names(), Names(page_invalid=[[]])])
def test_without_names_the_tools_say_that_there_is_no_connection(resolve: Callable[..., Sequence[str]]) -> None:
    limits = Limits(seconds=0.2 if resolve is never else PATIENCE)
    for call in (
        lambda: read_page(limits, resolve=resolve).invoke({"address": "http://page.invalid/"}),
        lambda: web_search(searxng("http://search.invalid", limits, resolve)).invoke({"query": "price"}),
    ):
        with pytest.raises(ToolError, match="no connection to the internet") as caught:
            call()
        assert caught.value.hint == "Answer from what you know, and say that you could not look it up."


def test_a_refused_connection_is_said(loopback: None) -> None:
    port = closed_port()
    with pytest.raises(ToolError, match=r"127\.0\.0\.1 cannot be read: .*refused"):
        read_page(Limits(PATIENCE, allow=frozenset({("127.0.0.1", port)}))).invoke(
            {"address": f"http://127.0.0.1:{port}/"}
        )


def test_search_offline_says_so(loopback: None) -> None:
    offline = by_ddgs(proxy=f"http://127.0.0.1:{closed_port()}")  # ddgs's own sockets know no guard: only by this proxy
    with pytest.raises(ToolError, match="no connection to the internet") as caught:
        web_search(offline).invoke({"query": "price of a kettle"})
    assert "Answer from what you know, and say" in caught.value.hint


SEARCHES: dict[str, tuple[Answer, str]] = {
    "nothing": ((200, {}, b'{"results": []}'), "Nothing was found for 'kettle'"),
    "no results": ((200, {}, b"{}"), "not what SearXNG writes"),
    "rows that are none": (
        (200, {}, b'{"results": [1, null, {"url": 5}, {"url": "file:///x"}, []]}'),
        "Nothing was found",
    ),
    "no JSON": ((200, HTML, PAGE.encode()), "not what SearXNG writes"),
    "deep": ((200, {}, b'{"results": ' + b"[" * 100_000), "not what SearXNG writes"),
    "too often": ((429, {"Retry-After": "60"}, b""), "429"),
    "broken": ((500, {}, b""), "500"),
    "closed": ((403, {}, b""), "403; it may not offer JSON"),
    "slow": (slow_body, "took longer"),
    "endless": (endless_body, "more than 300,000 bytes"),
    "bomb": (bomb(), "more than 300,000 bytes"),
    "onward": (lambda visit: plain(302, {"Location": "/search"}, b""), "leads on more than 5 times"),
}


def test_a_search_that_finds_nothing_invents_nothing(loopback: None, figure: Figure) -> None:
    invented, longest = 0, 0.0
    for answer, said in SEARCHES.values():
        with site({"/search": answer}) as engine:
            seconds = SECONDS if "took longer" in said else PATIENCE
            tool = web_search(searxng(engine.url, Limits(seconds, BYTES)))
            start = time.monotonic()
            try:
                text = tool.invoke({"query": "kettle"})
            except ToolError as error:
                text = str(error)
            longest = max(longest, time.monotonic() - start)
        assert said in text
        assert "nswer from what you know" in text or "another address" in text
        invented += "http" in text
    figure(
        19,
        f"{len(SEARCHES)} failed searches: {invented} invented sources, at most {longest:.1f} s of {SECONDS} allowed",
    )
    assert invented == 0
