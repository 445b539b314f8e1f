"""The tool `read_page`: what a model gets to read, bounded, and bombs that are refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from websites import HTML, PAGE, SENTENCE, Site, site

from phireside.errors import ToolError
from phireside.models.dialects.inputs import checked
from phireside.tools import Limits, read_page
from phireside.tools.page_text import UnreadableError, decoded, page_text, tidy

ROUTES = {
    "/page": (200, HTML, PAGE.encode()),
    "/moved": (302, {"Location": "/page"}, b""),
    "/text": (200, {"Content-Type": "text/plain; charset=utf-8"}, "Käse\x00\r\n\n\n\n\nund Brot".encode()),
    "/json": (200, {"Content-Type": "application/json"}, b'{"price": 5}'),
    "/untitled": (200, {}, PAGE.replace("A fire", "").encode()),
}


@pytest.fixture
def server(loopback: None) -> Iterator[Site]:
    with site(ROUTES) as here:
        yield here


class Served:
    """The tool for LangChain's own tests, which are run as they are."""

    @pytest.fixture(autouse=True)
    def _served(self, server: Site) -> None:
        self.server = server

    @property
    def tool_constructor(self) -> BaseTool:
        return read_page(Limits(allow=self.server.allowed))

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"address": self.server.url + "/page"}


class TestUnit(Served, ToolsUnitTests):
    pass


class TestIntegration(Served, ToolsIntegrationTests):
    pass


def test_a_page_is_title_address_and_text(server: Site) -> None:
    text = read_page(Limits(allow=server.allowed)).invoke({"address": server.url + "/moved"})
    assert text.startswith(f"Title: A fire\nAddress: {server.url}/page\n\n{SENTENCE}")
    assert "<p>" not in text
    untitled = read_page(Limits(allow=server.allowed)).invoke({"address": server.url + "/untitled"})
    assert untitled.startswith("Address: ")


def test_the_artifact_has_title_and_last_address(server: Site) -> None:
    call = {"name": "read_page", "args": {"address": server.url + "/moved"}, "id": "1", "type": "tool_call"}
    message = read_page(Limits(allow=server.allowed)).invoke(call)
    assert isinstance(message, ToolMessage)
    assert message.artifact == {"title": "A fire", "address": server.url + "/page"}


def test_plain_text_and_json_are_read_as_they_are(server: Site) -> None:
    tool = read_page(Limits(allow=server.allowed))
    assert tool.invoke({"address": server.url + "/text"}).endswith("\n\nKäse\n\nund Brot")
    assert tool.invoke({"address": server.url + "/json"}).endswith('\n\n{"price": 5}')


def test_a_long_page_is_cut_and_says_so(server: Site) -> None:
    text = read_page(Limits(allow=server.allowed), longest=100).invoke({"address": server.url + "/page"})
    body = text.partition("\n\n")[2]
    assert body.startswith(SENTENCE)
    assert "\n(The page goes on: " in body
    assert len(body.partition("\n(")[0]) == 100


def test_it_says_what_it_does_and_its_grammar_holds() -> None:
    tool = read_page()
    assert (tool.metadata or {})["effects"] == "outward"
    assert (tool.metadata or {})["untrusted"] is True
    (spec,) = checked([tool])  # compiles the grammar
    assert list(spec.parameters["properties"]) == ["address"]


# Their cost grows with the square of their length.
BOMBS = {
    "attributes": "<html><body><div " + " ".join(f"a{n}=1" for n in range(200_000)) + ">hello",
    "doctype": "<!DOCTYPE " + "/" * 2_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_page_that_its_parser_takes_minutes_for_is_given_up(name: str) -> None:
    with pytest.raises(UnreadableError, match=r"longer than 0\.6 s"):
        page_text(BOMBS[name].encode(), seconds=0.6)


def test_a_page_that_breaks_its_parser_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableError, match="built in a way"):
        page_text(PAGE.encode(), longest="none")  # type: ignore[arg-type]


@pytest.mark.parametrize("tag", ["div", "span", "ul><li", "blockquote", "table><tr><td"])
def test_a_hundred_thousand_nested_tags_are_read_or_refused(tag: str) -> None:
    page = f"<html><body>{f'<{tag}>' * 100_000}hello"
    assert len(page_text(page.encode()).text) < 100


def test_a_page_with_entities_and_outside_references_stays_small() -> None:
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    page = f'<!DOCTYPE html [<!ENTITY a0 "lol">{entities}<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    found = page_text(
        f"{page}<html><body><article><p>{SENTENCE * 5}</p><p>&a9; &x;</p></article></body></html>".encode()
    )
    assert "root:" not in found.text
    assert found.length < 5000


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("süß".encode(), "", "süß"),
        ("süß".encode(), "iso-8859-1", "süß"),
        ("süß".encode("latin-1"), "utf-8", "süß"),
        ("süß".encode("latin-1"), "punycode", "süß"),
        ("süß".encode("utf-16"), "", "süß"),
        ("süß".encode("utf-16-be"), "utf-16-be", "süß"),
        ("日本".encode("shift_jis"), "Shift_JIS", "日本"),
        ("日本".encode("iso-2022-jp"), "iso-2022-jp", "日本"),
        (b'<meta charset="koi8-r">' + "мир".encode("koi8-r"), "", '<meta charset="koi8-r">мир'),
        ("\ufeffx".encode(), "ascii", "x"),
        (b"\x81\xff", "", "\ufffdÿ"),
        (b"", "zlib", ""),
    ],
)
def test_a_page_is_decoded_as_its_bytes_are_and_not_as_its_sender_says(body: bytes, charset: str, text: str) -> None:
    assert decoded(body, charset) == text


def test_control_characters_and_piles_of_empty_lines_go() -> None:
    assert tidy("a\x00\x1b[31m\x9b b\r\n \n\n\n\tc\u2028") == "a [31m  b\n\nc"


def test_what_the_process_writes_is_bounded() -> None:
    head = f"<!doctype html><title>{'t' * 9999}</title>"
    found = page_text(f"{head}<article>{f'<p>{SENTENCE * 3}</p>' * 50}</article>".encode(), longest=50)
    assert (len(found.title), len(found.text)) == (200, 50)
    assert found.length > 50


def test_a_page_without_words_is_an_error(loopback: None) -> None:
    with site({"*": (200, HTML, b"<html></html>")}) as here, pytest.raises(ToolError, match="no readable text"):
        read_page(Limits(allow=here.allowed)).invoke({"address": here.url})
