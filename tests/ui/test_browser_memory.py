"""Memory in a real Chromium: facts that are learned, corrected and forgotten; strategies; what was left out.

The model is a server that follows a script where facts are learned, and the starter where a context runs full.
"""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from browsing import WAIT, answered, app_process, button, fits, go_to, say
from langchain_core.messages import AIMessage, HumanMessage
from playwright.sync_api import Page, expect

from phireside.memory import ConversationStore, MemoryState
from phireside.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.real]
FACT = "My name is Ana and I live in Porto."


class Scripted(BaseHTTPRequestHandler):
    """OpenAI's chat completions: says hello, and finds that every sentence is a fact."""

    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        text = '{"kind": "fact"}' if "response_format" in asked else "Hello there."
        part = "delta" if asked.get("stream") else "message"
        choice = {"index": 0, part: {"role": "assistant", "content": text}, "finish_reason": "stop"}
        whole = json.dumps({"id": "1", "created": 0, "model": "x", "object": "chat.completion", "choices": [choice]})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if asked.get("stream") else "application/json")
        self.end_headers()
        self.wfile.write((f"data: {whole}\n\ndata: [DONE]\n\n" if asked.get("stream") else whole).encode())

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.asked = []  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def app(server, tmp_path_factory) -> Iterator[str]:
    """The app on the scripted server."""
    address, folder = f"http://127.0.0.1:{server.server_port}/v1", tmp_path_factory.mktemp("app")
    with app_process(folder, PHIRESIDE_MODEL="openai:x", PHIRESIDE_OPENAI_BASE_URL=address) as here:
        yield here


def seeded(data: Path) -> list[str]:
    """Two long conversations in a new data folder, and a fact from one; their ids."""
    store, made = ConversationStore(Settings(data_dir=data).conversations_url), []
    text = "The keeper of the lighthouse climbed the stairs every evening and lit the lamp before the ships came home. "
    for _ in range(2):
        made.append(store.create("Lighthouses", max_tokens=32).id)
        store.save_turn(made[-1], [m for i in range(8) for m in (HumanMessage(f"Part {i}?"), AIMessage(text * 4))])
        state = MemoryState("A story of a lighthouse keeper.", ("The human likes ![ships](x).",), 10)
        store.save_memory_state(made[-1], state)
    store.facts.switch(True)
    store.facts.add(made[0], 0, ["I like ships, and long evenings at the sea, and to read about both of them."])
    store.close()
    return made


def to_memory(page: Page) -> None:
    page.get_by_role("link", name="Memory").click()
    expect(page.get_by_text("Remember facts about me")).to_be_visible(timeout=WAIT)


def facts(page: Page) -> Any:
    return page.locator("[class*='st-key-fact-']")


def test_a_fact_is_learned_corrected_and_forgotten(app, server, tab, shoot):
    page = tab(app)
    to_memory(page)
    expect(page.get_by_text("Nothing is remembered.")).to_be_visible()
    shoot(page, "memory-off")
    page.locator(".st-key-remember label").click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible(timeout=WAIT)
    page.get_by_role("link", name="Chat").click()
    say(page, FACT)
    answered(page)
    address = page.url
    # It is learned after the answer, and the page shows what there is when it is opened.
    for _ in range(20):
        to_memory(page)
        if facts(page).count():
            break
        page.get_by_role("link", name="Chat").click()
        answered(page)
    expect(facts(page)).to_have_count(1, timeout=WAIT)
    expect(facts(page)).to_contain_text("Ana")
    shoot(page, "memory-fact")
    page.get_by_role("link", name="this message").click()
    answered(page)
    assert page.url == address, "Its source opens, and the menu led back to it before."
    to_memory(page)
    button(page, "reword-").click()
    page.get_by_label("Fact", exact=True).fill("My name is Ana and I live in Lisbon.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("edited by you")).to_be_visible(timeout=WAIT)
    button(page, "new").click()
    say(page, "Where do I live?")
    answered(page)
    told = [json.dumps(asked["messages"]) for asked in server.asked if asked.get("stream")][-1]
    assert "I live in Lisbon" in told, "Another conversation knows it."
    to_memory(page)
    button(page, "forget-").click()
    expect(page.get_by_text("It is deleted for good")).to_be_visible(timeout=WAIT)
    button(page, "sure-").click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible(timeout=WAIT)
    page.goto(app)
    to_memory(page)
    expect(page.get_by_text("Nothing yet.")).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("Lisbon")).to_have_count(0)


def test_the_strategy_of_a_chat_survives_a_reload(app, tab):
    page = tab(app)
    button(page, "pick-memory").click()
    page.get_by_text("Summary + buffer", exact=True).click()
    expect(button(page, "pick-memory")).to_contain_text("Summary + buffer", timeout=WAIT)
    page.keyboard.press("Escape")
    say(page, "Hello")
    answered(page)
    page.reload()
    answered(page)
    expect(button(page, "pick-memory")).to_contain_text("Summary + buffer")
    button(page, "new").click()
    expect(button(page, "pick-memory")).to_contain_text("Buffer", timeout=WAIT)


def test_what_was_left_out_and_the_memory_of_a_chat_are_shown(tab, shoot, tmp_path, starter_path):
    opened = seeded(tmp_path)
    with app_process(tmp_path, PHIRESIDE_MODEL="starter", PHIRESIDE_ENGINE__N_CTX="512") as address:
        for chat, width, theme in zip(opened, (1440, 390), ("light", "dark"), strict=True):
            page = tab(f"{address}/?chat={chat}", width, theme)
            answered(page)  # the whole conversation is drawn
            say(page, "And then?")
            note = page.get_by_text(re.compile(r"\d+ older messages left out"))
            expect(note).to_be_visible(timeout=WAIT)
            expect(page.locator(".context-bar:visible")).to_have_count(1)
            fits(page)
            page.locator("[class*='st-key-facts-'] [data-testid='stTooltipIcon']:visible").last.hover()
            expect(page.get_by_text("The model did not see these")).to_be_visible(timeout=WAIT)
            shoot(page, f"left-out-{width}-{theme}")
            page.mouse.move(0, 0)
            button(page, "pick-memory").click()
            popover = page.get_by_test_id("stPopoverBody")
            expect(popover).to_contain_text("Context of the last answer, in tokens")
            expect(popover).to_contain_text("Summary of the first 10 messages")
            expect(popover).to_contain_text("The human likes ![ships](x).")
            fits(page)
            shoot(page, f"chat-memory-{width}-{theme}")
            page.keyboard.press("Escape")
            go_to(page, "Memory")
            expect(facts(page)).to_have_count(1)
            fits(page)
            shoot(page, f"memory-{width}-{theme}")
            page.close()
