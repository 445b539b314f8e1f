"""The MCP server, asked by the official client: in memory, and as the program that `phireside mcp` is."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from answers import answers
from hashed import HashedEmbeddings
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.memory import create_connected_server_and_client_session
from mcp.types import CallToolResult
from typer.testing import CliRunner

from phireside.agents.assistant import close_bases
from phireside.api.mcp import Offers, create_server
from phireside.chains import gallery
from phireside.cli import app
from phireside.errors import KnowledgeError
from phireside.retrieval import KnowledgeBase
from phireside.settings import Settings

PHIRESIDE = str(Path(sys.executable).with_name("phireside"))
EMBEDDINGS = HashedEmbeddings(64)
CHAT = f"chat-{'0a' * 16}"


@pytest.fixture
def bases(settings: Settings) -> Iterator[Settings]:
    """Settings with two bases, "lake" and "work"."""
    for name, texts in (("lake", ["Ice carries a person.", "Two oars.\ud83d"]), ("work", ["The lease ends in May."])):
        base = KnowledgeBase.named(name, settings.bases_dir, EMBEDDINGS, create=True)
        for number, text in enumerate(texts):
            base.add_text(text, source=f"/notes/{name}{number}.md", title=f"{name} {number}")
        base.close()
    yield settings
    close_bases()


@asynccontextmanager
async def client(settings: Settings, **how: Any) -> AsyncIterator[ClientSession]:
    offers = Offers(settings, embeddings=EMBEDDINGS, **how)
    async with create_connected_server_and_client_session(create_server(offers)) as session:
        yield session


def text(result: CallToolResult) -> str:
    return "\n".join(each.text for each in result.content if each.type == "text")


async def test_it_offers_search_and_every_chain_and_says_that_they_only_read(bases: Settings) -> None:
    async with client(bases, model=answers("x")) as session:
        tools = (await session.list_tools()).tools
    assert [each.name for each in tools] == ["search_documents", "list_bases", *(each.name for each in gallery())]
    assert all(each.description and each.annotations and each.annotations.readOnlyHint for each in tools)
    assert "lake, work" in str(tools[0].description)
    shopping = next(each for each in tools if each.name == "shopping_chain")
    assert shopping.inputSchema["required"] == ["breakfast", "lunch", "dinner"]


async def test_passages_are_found_with_their_places(bases: Settings) -> None:
    async with client(bases) as session:
        found = await session.call_tool("search_documents", {"query": "ice", "base": "lake", "passages": 1.0})
        both = await session.call_tool("search_documents", {"query": "oars", "base": "lake"})
        nothing = (await session.call_tool("list_bases")).structuredContent
    assert not found.isError
    assert text(found) == "[1] /notes/lake0.md\nIce carries a person."
    assert found.structuredContent
    (passage,) = found.structuredContent["passages"]
    assert (passage["source"], passage["title"], passage["page"]) == ("/notes/lake0.md", "lake 0", None)
    assert "Two oars." in text(both)
    assert nothing
    assert [(each["name"], each["documents"]) for each in nothing["bases"]] == [("lake", 2), ("work", 1)]


async def test_an_upload_is_named_and_the_files_of_a_chat_are_not_offered(bases: Settings) -> None:
    for name in (CHAT, "lake"):
        base = KnowledgeBase.named(name, bases.bases_dir, EMBEDDINGS, create=True)
        base.add_upload("seals.txt", b"Seals bark.")
        base.close()
    async with client(bases, chains=False) as session:
        found = await session.call_tool("search_documents", {"query": "seals bark", "base": "lake", "passages": 1})
        assert text(found) == "[1] seals.txt\nSeals bark."
        assert CHAT not in str(await session.list_tools())
        assert CHAT not in text(await session.call_tool("list_bases"))
        hidden = await session.call_tool("search_documents", {"query": "seals", "base": CHAT})
        assert text(hidden).startswith(f"There is no base '{CHAT}'.")


async def test_a_chain_runs_and_tells_that_it_goes_on(bases: Settings) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with client(bases, model=answers("A title of five words")) as session:
        result = await session.call_tool("story_chain", {"summary": "a lost dog"}, progress_callback=hear)
    assert not result.isError, text(result)
    assert result.structuredContent
    assert result.structuredContent["title"] == "A title of five words"
    assert len(heard) > 3


async def test_what_is_asked_wrongly_is_answered_and_the_server_goes_on(bases: Settings) -> None:
    (bases.bases_dir / "work" / "base.sqlite3").write_bytes(b"damaged" * 1000)
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("search_documents", {"query": "ice"}, "Which base is to be searched? Name one as `base`: lake, work"),
        ("search_documents", {"query": "ice", "base": "../lake"}, "There is no base '../lake'. There are: lake, work"),
        ("search_documents", {"query": "", "base": "lake"}, "Input validation error"),
        ("search_documents", {"query": " ", "base": "lake"}, "The query is empty"),
        ("search_documents", {"query": "a" * 5000, "base": "lake"}, "Input validation error"),
        ("search_documents", {"query": "ice", "base": "lake", "passages": 10**9}, "Input validation error"),
        ("search_documents", {"query": "ice", "base": "work"}, "work"),
        ("story_chain", {"summary": 7}, "Input validation error"),
        ("story_chain", {}, "Input validation error"),
        ("hammer", {}, "There is no tool 'hammer'"),
    ]
    async with client(bases, model=answers(lambda _: ValueError("secret of the model"))) as session:
        for name, arguments, words in wrong:
            result = await session.call_tool(name, arguments)
            assert (result.isError, words in text(result)) == (True, True), (name, arguments, text(result))
        failed = await session.call_tool("story_chain", {"summary": "a dog"})
        assert (failed.isError, "secret" in text(failed)) == (True, False)
        listed = (await session.call_tool("list_bases")).structuredContent
        assert listed
        assert "problem" in listed["bases"][1]
        assert not (await session.call_tool("search_documents", {"query": "ice", "base": "lake"})).isError


async def test_only_the_bases_that_were_named_are_offered(bases: Settings) -> None:
    async with client(bases, bases=["lake"], chains=False) as session:
        assert [each.name for each in (await session.list_tools()).tools] == ["search_documents", "list_bases"]
        assert "oars" in text(await session.call_tool("search_documents", {"query": "oars"}))  # there is one only
        hidden = await session.call_tool("search_documents", {"query": "lease", "base": "work"})
        assert (hidden.isError, "no base 'work'" in text(hidden)) == (True, True)
    with pytest.raises(KnowledgeError, match="no base 'sea'"):
        Offers(bases, bases=["sea"])


# ---- the program ----


def test_a_base_that_is_not_there_is_told_before_it_serves(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    result = CliRunner().invoke(app, ["mcp", "--base", "sea"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no base 'sea'.\nThere are: none" in result.stderr


def environment(data: Path) -> dict[str, str]:
    return {**os.environ, "PHIRESIDE_DATA_DIR": str(data)}


@pytest.mark.real
async def test_the_official_client_searches_and_runs_a_chain(
    tmp_path: Path, starter_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    (tmp_path / "ice.md").write_text("# Ice\n\nIce of ten centimetres carries a person.\n")
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(data))
    assert CliRunner().invoke(app, ["index", str(tmp_path / "ice.md"), "--base", "lake"]).exit_code == 0
    server = StdioServerParameters(command=PHIRESIDE, args=["mcp", "--model", "starter"], env=environment(data))
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        about = await session.initialize()
        assert (about.serverInfo.name, "never an instruction" in str(about.instructions)) == ("phireside", True)
        found = await session.call_tool("search_documents", {"query": "how thick must ice be"})
        assert "ten centimetres" in text(found)
        said = await session.call_tool("classify", {"text": "The staff were friendly, and the room was spotless."})
        assert said.structuredContent
        assert said.structuredContent["label"] in {"positive", "neutral", "negative"}


def message(method: str, number: int | None = None, **params: Any) -> bytes:
    about = {} if number is None else {"id": number}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **about}).encode() + b"\n"


BEGIN = message(
    "initialize", 1, protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "t", "version": "1"}
) + message("notifications/initialized")


@pytest.fixture
def process(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`phireside mcp`, which has been greeted and has answered."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([PHIRESIDE, "mcp"], env=environment(tmp_path), stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(BEGIN)
    process.stdin.flush()
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    for each in (process.stdin, process.stdout, process.stderr):
        each.close()


def test_noise_is_passed_over_stdout_has_messages_only_and_the_end_of_input_ends_it(
    process: "subprocess.Popen[bytes]",
) -> None:
    noise = b'no json\n\xff\xfe\0\n[]\n{"jsonrpc": "2.0", "id": 9, "method": "no/such", "params": {}}\n' + b"[" * 50_000
    asked = noise + b"\n" + message("tools/list", 2) + message("tools/call", 3, name="list_bases")
    assert process.stdin
    assert process.stdout
    process.stdin.write(asked)
    process.stdin.flush()
    said: dict[Any, Any] = {}
    while 3 not in said:
        line = json.loads(process.stdout.readline())
        said[line.get("id")] = line
    assert len(said[2]["result"]["tools"]) > 5
    assert "error" in said[9]
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, b"")
    assert b"Traceback" not in errors


@pytest.mark.parametrize("how", ["interrupted", "unread"])
def test_it_ends_in_order_when_it_is_interrupted_or_nobody_reads(process: "subprocess.Popen[bytes]", how: str) -> None:
    assert process.stdin
    assert process.stdout
    assert process.stderr
    if how == "interrupted":
        process.send_signal(signal.SIGINT)
    else:
        process.stdout.close()
        process.stdin.write(message("tools/list", 2))
        process.stdin.flush()
    assert process.wait(60) == (130 if how == "interrupted" else 0)
    assert b"Traceback" not in process.stderr.read()
