"""What tests in a real browser share: the app in a process of its own, and what a person does on its pages."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, expect
from ports import free_port

from phireside.ui.options import SCRIPT, streamlit_flags

WAIT = 60_000  # ms; the machine may be busy
FADED = 400  # ms, which Streamlit's transitions take
expect.set_options(timeout=WAIT)


@contextmanager
def app_process(data: Path, **environment: str) -> Iterator[str]:
    """The app in a child process, with its data in a folder; gives its address."""
    port = free_port()
    command = [Path(sys.executable).with_name("streamlit"), "run", SCRIPT, *streamlit_flags(server__port=port)]
    variables = os.environ | {"PHIRESIDE_DATA_DIR": str(data)} | environment
    data.mkdir(parents=True, exist_ok=True)
    with (data / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, cwd=data, env=variables, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/_stcore/health", process, data / "log.txt")
        yield address
    finally:
        process.kill()
        process.wait()


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            httpx.get(address).raise_for_status()
            return
        except httpx.HTTPError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)


def patient(page: Page) -> Page:
    """The same page, where clicks wait for what Streamlit still loads: it has another height than its placeholder.

    Without this, in 5 of 80 visits of a busy machine, the settings page moved up by 20 px below the mouse.
    """
    waiting = page.locator("[data-testid=stSkeleton]:visible").first
    page.add_locator_handler(waiting, lambda: None)  # Playwright waits until it is gone
    return page


def go_to(page: Page, name: str) -> None:
    """Open a page by the menu, which is in the sidebar on a phone."""
    narrow = page.viewport_size is not None and page.viewport_size["width"] < 500
    if narrow:
        page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible(timeout=2 * WAIT)
    if narrow:
        sidebar_is_closed(page)


def sidebar_is_closed(page: Page) -> None:
    """What is chosen in the sidebar of a phone closes it."""
    expect(page.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", "true", timeout=WAIT)


def say(page: Page, text: str) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled(timeout=WAIT)
    asked = page.get_by_label("Chat message from user")
    count = asked.count()
    box.fill(text)
    box.press("Enter")
    expect(asked).to_have_count(count + 1, timeout=WAIT)


def button(page: Page, key: str) -> Locator:
    """A button by its key. Streamlit draws one that has a tooltip twice, for fingers and for a mouse."""
    return page.locator(f"[class*='st-key-{key}'] button:visible").first


def stop_button(page: Page) -> Locator:
    return button(page, "stop")


def answered(page: Page) -> str:
    """The text of the last answer, once it is complete."""
    answer = page.get_by_test_id("stChatMessage").last  # not one before it: Streamlit takes old buttons away late
    expect(answer.locator("[class*='st-key-again-'] button:visible").first).to_be_visible(timeout=WAIT)
    return "\n".join(answer.get_by_test_id("stMarkdown").all_inner_texts())


def fits(page: Page) -> None:
    """Nothing sticks out to the right, and the app as a whole cannot be scrolled away."""
    wide = """() => [...document.querySelectorAll('html, #stMain, [data-testid="stChatMessage"]')]
        .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML.slice(0, 200))"""
    assert page.evaluate(wide) == []
    hidden = "e => e.scrollHeight - e.clientHeight"
    assert page.get_by_test_id("stAppViewContainer").evaluate(hidden) <= 1
