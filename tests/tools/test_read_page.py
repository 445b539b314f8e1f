"""The tool `read_page`: what a model gets to read, bounded, and what it is told about pages that cannot be read."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from websites import HTML, PAGE, SENTENCE, Site, site

from phireside.errors import ToolError
from phireside.models.dialects.inputs import checked
from phireside.retrieval.loading.page import page_text
from phireside.tools import Limits, read_page

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


def test_a_page_without_words_is_an_error(loopback: None) -> None:
    with site({"*": (200, HTML, b"<html></html>")}) as here, pytest.raises(ToolError, match="no readable text"):
        read_page(Limits(allow=here.allowed)).invoke({"address": here.url})


def test_a_page_that_cannot_be_read_is_an_error_with_its_reason(
    loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("phireside.tools.read_page"), "page_text", partial(page_text, seconds=0.5))
    slow = b"<!DOCTYPE " + b"/" * 1_900_000  # its parser takes minutes
    with (
        site({"*": (200, HTML, slow)}) as here,
        pytest.raises(ToolError, match=r"page cannot be read\. It takes longer"),
    ):
        read_page(Limits(allow=here.allowed)).invoke({"address": here.url})
