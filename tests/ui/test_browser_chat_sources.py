"""Documents and tools in a real Chromium: a file that is dropped into the chat, a citation that is opened, a call that
is allowed. The model is a server that follows a script; the file is really read and searched.
"""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from browsing import WAIT, answered, app_process, button, fits, say
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.real]

READ = 120_000  # ms; the embedding model is loaded first
KILN = "The kiln of Ness was built in 1884. It burns oak and beech. Visitors may come on <b>Sundays</b>."
CITED = "The kiln burns oak and beech. [1] It is made of gold. [1]"
QUERY = "kilns *today* ![x](http://127.0.0.1/)"
FOUND = {"title": "Kilns today", "url": "https://kilns.example/", "content": "Most kilns burn gas today."}


class Scripted(BaseHTTPRequestHandler):
    """OpenAI's chat completions: cites passage 1, or calls `web_search` and then answers; and a SearXNG."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._send(json.dumps({"results": [FOUND]}), "application/json")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last = asked["messages"][-1]
        if "tools" in asked and last["role"] != "tool":
            function = {"name": "web_search", "arguments": json.dumps({"query": QUERY})}
            deltas: list[dict[str, Any]] = [
                {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": function}]}
            ]
        else:
            text = "Most kilns burn gas now." if "tools" in asked else CITED
            deltas = [{"content": f"{word} "} for word in text.split()]
        if asked.get("stream"):
            self._stream(deltas)
        else:
            choice = {"index": 0, "message": {"role": "assistant", **deltas[0]}, "finish_reason": "stop"}
            self._send(json.dumps({"id": "1", "created": 0, "model": "x", "choices": [choice]}), "application/json")

    def _stream(self, deltas: list[dict[str, Any]]) -> None:
        self._send("", "text/event-stream")
        for number, delta in enumerate(deltas, 1):
            choice = {"index": 0, "delta": {"role": "assistant", **delta}}
            reason = "tool_calls" if "tool_calls" in delta else "stop"
            choice |= {"finish_reason": reason if number == len(deltas) else None}
            event = {"id": "1", "created": 0, "model": "x", "object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            time.sleep(0.05)
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, text: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app on the scripted server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = Thread(target=server.serve_forever)
    thread.start()
    here = f"http://127.0.0.1:{server.server_port}"
    settings = {"MODEL": "openai:x", "OPENAI_BASE_URL": f"{here}/v1", "TOOLS__SEARXNG_URL": here}
    with app_process(
        tmp_path_factory.mktemp("app"), **{f"PHIRESIDE_{name}": value for name, value in settings.items()}
    ) as address:
        yield address
    server.shutdown()
    thread.join()
    server.server_close()


def drop(page: Page, name: str, text: str) -> None:
    files = page.get_by_test_id("stChatInput").locator("input[type=file]")
    files.set_input_files({"name": name, "mimeType": "text/plain", "buffer": text.encode()})
    expect(page.get_by_test_id("stChatInput")).to_contain_text(name, timeout=WAIT)
    expect(page.get_by_role("button", name="Send message")).to_be_enabled()  # it is sent: before, Enter does nothing
    expect(page.get_by_test_id("stFileChipIconError")).to_have_count(0)


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_a_file_is_dropped_and_the_answer_cites_it(app, tab, shoot, width, theme):
    page = tab(app, width, theme)
    drop(page, "kiln ![x](y).txt", KILN)
    shoot(page, f"dropped-{width}")
    say(page, "What does the kiln of Ness burn?")
    expect(page.get_by_text("passage found")).to_be_visible(timeout=READ)
    answered(page)
    expect(page.get_by_text("taken back: no passage says so")).to_be_visible()
    fits(page)
    shoot(page, f"cited-{width}")
    button(page, "source-of-1-1").click()
    passage = page.get_by_test_id("stPopoverBody")
    expect(passage).to_contain_text(KILN, timeout=WAIT)
    expect(passage.locator("mark")).to_have_text("It burns oak and beech.")
    expect(passage).to_contain_text("The passage says so.")
    fits(page)
    shoot(page, f"passage-{width}")
    page.keyboard.press("Escape")
    page.get_by_text("1 passage found").click()
    expect(page.get_by_text("Searches for")).to_be_visible()
    shoot(page, f"steps-{width}")
    button(page, "pick-base").click()
    expect(page.get_by_test_id("stPopoverBody")).to_contain_text("Files of this chat", timeout=WAIT)
    fits(page)
    shoot(page, f"documents-{width}")
    assert page.get_by_test_id("stChatMessage").locator("img").count() == 0


@pytest.mark.parametrize(("width", "theme", "word"), [(1440, "dark", "Allow"), (390, "light", "Refuse")])
def test_an_agent_asks_before_it_searches_the_web(app, tab, shoot, width, theme, word):
    page = tab(app, width, theme)
    button(page, "pick-tools").click()
    page.locator("[class*=st-key-tool-web_search]").get_by_text("Web search").click()
    expect(button(page, "pick-tools")).to_contain_text("Tools · 1", timeout=WAIT)
    shoot(page, f"tools-{width}")
    page.keyboard.press("Escape")
    say(page, "What do kilns burn today?")
    expect(page.get_by_text("May it use Web search?")).to_be_visible(timeout=WAIT)
    expect(page.get_by_text(QUERY).last).to_be_visible()
    fits(page)
    shoot(page, f"asking-{width}")
    page.get_by_role("button", name=word).click()
    assert "Most kilns burn gas now." in answered(page)
    page.get_by_text("Web search", exact=False).first.click()
    fits(page)
    shoot(page, f"{word.lower()}-{width}")
    steps = page.get_by_test_id("stExpanderDetails").first
    expect(steps).to_contain_text(FOUND["content"] if word == "Allow" else "reject", timeout=WAIT)
    assert page.get_by_test_id("stChatMessage").locator("img").count() == 0
