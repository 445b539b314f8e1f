"""The app's first token after a cold start, and that of a fresh process without the app. Target: none, a ratio.

Cold is the process: nothing of it runs, but its files are in the system's page cache, for a turn of each is run before
the ones that count. The question is typed as soon as the page can be typed into; a person takes longer.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from app_parts import pages
from common import Spread, ratios, take_turns
from playwright.sync_api import Browser

APP, ENGINE, BARE = "app", "ChatGGUF alone", "llama-cpp-python"
STEPS = ("listening", "page ready", "asked", "first token")
SYSTEM = "You are a helpful assistant."
QUESTION = "Write a story about a sailor who finds a letter in a bottle."
CHILD = Path(__file__).with_name("first_token.py")

Run = dict[str, float]  # seconds since the start, by step


def measure(options: argparse.Namespace) -> tuple[list[dict[str, Run]], bool]:
    """Seconds of each step, of everyone in each pair; there is no target."""
    with pages.chromium() as browser:
        arms = {
            APP: partial(app, options, browser),
            ENGINE: partial(alone, options, "chat"),
            BARE: partial(alone, options, "bare"),
        }
        for arm in arms.values():
            arm(-1)
        results = take_turns(arms, options.pairs)
    tell(results)
    return results, True


def app(options: argparse.Namespace, browser: Browser, _pair: int) -> Run:
    """`phireside ui` on an empty data folder, a page, a question."""
    with TemporaryDirectory(prefix="app-") as name:
        data, port = Path(name), pages.free_port()
        command = [Path(sys.executable).with_name("phireside"), "ui", "--no-browser", "--port", str(port)]
        log, variables = data / "log.txt", pages.environment(options, data) | {"PHIRESIDE_SYSTEM_PROMPT": SYSTEM}
        began = time.time()
        with pages.process(command, variables, log) as child:
            listening = pages.until_listening(port, child, log)
            with pages.session(browser, f"http://127.0.0.1:{port}") as page:
                ahead, _ = pages.clock(page)
                asked = pages.ask(page, QUESTION)
                page.wait_for_function("() => window.__seen.letters.length")
                noted = pages.seen(page)
    times = (listening, noted["ready"] - ahead, asked, noted["letters"][0][0] - ahead)
    return {step: at - began for step, at in zip(STEPS, times, strict=True)}


def alone(options: argparse.Namespace, how: str, _pair: int) -> Run:
    """A fresh Python process that loads the model and prints the first token."""
    arguments = [options.path, options.n_ctx, options.threads, options.n_batch, SYSTEM, QUESTION]
    command = [sys.executable, str(CHILD), how, *map(str, arguments)]
    began = time.time()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        first = child.stdout.readline()
        seconds = time.time() - began
        child.communicate()
    if not first:
        sys.exit(f"{how}: no token came from {options.path}.")
    return {"first token": seconds}


def tell(results: Sequence[dict[str, Run]]) -> None:
    """Print what each step took, and the ratios."""
    for step, took in steps([pair[APP] for pair in results]).items():
        print(f"start    {APP:16} {step:24} {took.text(2)} s")
    for name in (APP, ENGINE, BARE):
        print(f"start    {name:16} {'first token':24} {Spread.of([total(pair[name]) for pair in results]).text(2)} s")
    for name in (ENGINE, BARE):
        print(f"start    {APP} ÷ {name}: {ratios(results, APP, name, total).text(2)}", flush=True)


def steps(runs: Sequence[Run]) -> dict[str, Spread]:
    """Seconds that each step of the app took after the one before."""
    before = (None, *STEPS)
    return {step: Spread.of([run[step] - (run[last] if last else 0) for run in runs])
            for last, step in zip(before, STEPS, strict=False)}  # fmt: skip


def total(run: Run) -> float:
    """Seconds until the first token."""
    return run["first token"]
