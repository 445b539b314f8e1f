"""Two apps with pages behind one address: a browser keeps to its process, which has its open page and its uploads, and
goes on at the other one when that is killed. How the balancer knows a browser: by a cookie of its own.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from balancing import balanced
from browsing import WAIT, answered, app_process, button, patient, say
from playwright.sync_api import Page, expect, sync_playwright

QUESTION = "Tell me in five sentences how a kiln is built."

pytestmark = [pytest.mark.browser, pytest.mark.real]


@pytest.fixture
def tab(browser_path: Path) -> Iterator[Callable[[str], Page]]:
    """`tab(address)` opens a browser session of its own: it shares no cookie and no connection with another."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])

        def open_tab(address: str) -> Page:
            page = patient(chromium.new_context(viewport={"width": 1440, "height": 900}).new_page())
            page.set_default_timeout(WAIT)
            page.goto(address)
            expect(page.get_by_test_id("stChatInputTextArea")).to_be_visible(timeout=WAIT)
            return page

        yield open_tab
        chromium.close()


def route(page: Page) -> str:
    """The process that the balancer sends this browser to."""
    return next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "route")


def sessions(address: str) -> int:
    """How many pages are open at a process, by its own count."""
    text = httpx.get(f"{address}/_stcore/metrics", params={"families": "active_sessions"}).text
    return int(re.findall(r"^active_sessions (\d+)$", text, re.MULTILINE)[0])


def until_sessions(address: str, count: int) -> None:
    end = time.monotonic() + WAIT / 1000
    while sessions(address) != count:
        assert time.monotonic() < end, sessions(address)
        time.sleep(0.1)


def upload(page: Page) -> int:
    """Drop a file into the chat; the answer's status. Only the process that has the page takes it."""
    with page.expect_response(lambda response: "/upload_file/" in response.url) as sent:
        files = page.get_by_test_id("stChatInput").locator("input[type=file]")
        files.set_input_files({"name": "kiln.txt", "mimeType": "text/plain", "buffer": b"It burns oak."})
    return sent.value.status


def test_a_browser_keeps_to_its_process_and_goes_on_at_the_other_when_it_is_killed(tab, starter_path, tmp_path):
    with ExitStack() as killed, app_process(tmp_path) as other:
        process = killed.enter_context(app_process(tmp_path))
        with balanced([process, other], sticky=True) as address:
            one, two = tab(address), tab(address)
            assert (route(one), route(two)) == ("0", "1")
            assert (sessions(process), sessions(other)) == (1, 1)
            for page in (one, two):
                say(page, QUESTION)
                expect(page.get_by_text("▍")).to_be_visible(timeout=WAIT)
            text, _ = answered(one), answered(two)
            assert [upload(page) for page in (one, one, two, two)] == [204] * 4
            killed.close()
            until_sessions(other, 2)  # the open page found it by itself
            one.reload()
            assert answered(one) == text
            expect(one.get_by_label("Chat message from user")).to_contain_text(QUESTION)
            say(one, "And what does it burn?")
            expect(button(one, "again-3")).to_be_visible(timeout=WAIT)
            assert (route(one), route(two)) == ("1", "1")
            assert (upload(one), upload(two)) == (204, 204)
