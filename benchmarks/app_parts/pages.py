"""The app in a process of its own, and its chat page in a headless Chromium that notes when what is on it.

Times of a page are the browser's (`performance.timeOrigin` + `performance.now()`), as seconds since 1970; `clock` tells
how far they are from this process's. A change is noted when it is in the document, up to one frame before it is
painted. Knows nothing of what is measured.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
PATIENCE = 120.0  # seconds
BOX = '[data-testid="stChatInputTextArea"]'

# `ready`: the box can be typed into. `letters`: [seconds, letters of the last answer's text] whenever there are more.
# Letters, for Markdown takes away other characters; captions and what says "Reading …" are no text of the answer.
NOTES = """(() => {
  const now = () => (performance.timeOrigin + performance.now()) / 1000;
  const seen = (window.__seen = {ready: 0, letters: [], begun: false, ended: false, text: ''});
  const look = () => {
    const box = document.querySelector('[data-testid="stChatInputTextArea"]');
    if (!seen.ready && box && !box.disabled) seen.ready = now();
    const answer = [...document.querySelectorAll('[aria-label="Chat message from assistant"]')].pop();
    if (!answer) return;
    const text = [...answer.querySelectorAll('[data-testid="stMarkdownContainer"], [data-testid="stCode"] code')]
      .filter(part => !part.closest('[data-testid="stCaptionContainer"], button, [data-testid="stHtml"]'))
      .map(part => part.textContent).join('\\n');
    seen.begun = seen.begun || text.includes('▍');
    if (!seen.begun) return;
    const count = (text.match(/[A-Za-z]/g) || []).length;
    const last = seen.letters.length ? seen.letters[seen.letters.length - 1][1] : 0;
    if (count > last) { seen.letters.push([now(), count]); seen.text = text; }
    seen.ended = !!answer.querySelector('[class*="st-key-again-"]');
  };
  new MutationObserver(look).observe(document, {childList: true, subtree: true, characterData: true, attributes: true,
                                                attributeFilter: ['disabled']});
})()"""


def environment(options: argparse.Namespace, data: Path) -> dict[str, str]:
    """The app's: its data in a folder, the model, context and batch of the command line, all threads for reading.

    For writing the engine's own default stays, which leaves a core to the app and the browser.
    """
    given: dict[str, Any] = {
        "DATA_DIR": data,
        "MODEL": options.path,
        "ENGINE__N_CTX": options.n_ctx,
        "ENGINE__N_BATCH": options.n_batch,
        "ENGINE__N_THREADS_BATCH": options.threads,
    }
    return os.environ | {f"PHIRESIDE_{name}": str(value) for name, value in given.items()}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: Sequence[str | Path], variables: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A program whose output goes to a file; it is asked to end, and waited for."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, env=variables, cwd=log.parent, stdout=output, stderr=output)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def until_listening(port: int, child: "subprocess.Popen[bytes]", log: Path) -> float:
    """Wait until the app takes connections; when that was."""
    end = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return time.time()
        time.sleep(0.005)
    sys.exit(f"The app did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium of this system. Ends the program with a message if there is none."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path:
        sys.exit("Chromium is not on this machine: apt-get install chromium (or your system's package).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


@contextmanager
def session(browser: Browser, address: str) -> Iterator[Page]:
    """A browser session of its own on the chat page, once that can be typed into."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(NOTES)
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(address, wait_until="commit")
    page.wait_for_function("() => window.__seen && window.__seen.ready")
    yield page
    context.close()


def ask(page: Page, question: str) -> float:
    """Type a question and send it; when Enter was pressed."""
    page.locator(BOX).fill(question)
    asked = time.time()
    page.locator(BOX).press("Enter")
    return asked


def seen(page: Page) -> dict[str, Any]:
    """What the page has noted: see `NOTES`."""
    noted: dict[str, Any] = page.evaluate("() => window.__seen")
    return noted


def clock(page: Page, tries: int = 9) -> tuple[float, float]:
    """How far the browser's clock is ahead of ours, and the most by which that may be wrong, in seconds."""
    found = []
    for _ in range(tries):
        before = time.time()
        theirs = page.evaluate("() => (performance.timeOrigin + performance.now()) / 1000")
        after = time.time()
        found.append((theirs - (before + after) / 2, (after - before) / 2))
    return min(found, key=lambda each: each[1])
