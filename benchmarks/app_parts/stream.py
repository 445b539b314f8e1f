"""From a token in the engine to that token on the page. Target: none; the 95th percentile is printed.

A token's two times: when the engine hands its text over (stamped.py), and when the page's document has as many letters
of the answer as the engine had written with it. Tokens without letters have no time of their own. Counted are those
that were written while all sessions were being answered. Streamlit draws an answer at most 15 times a second here
(`phireside.ui.streaming`), so a token waits for the next drawing.
"""

import argparse
import json
import re
import statistics
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

from app_parts import pages
from common import Spread, take_turns
from playwright.sync_api import Browser, Page

Stamp = tuple[float, int]  # seconds since 1970, letters until then

PEOPLE = ("a sailor", "a baker", "a clerk", "a painter", "a fisherman", "a doctor", "a teacher", "a gardener")
QUESTION = "Write a story of five hundred words about {} who finds a letter in a bottle. Write plain sentences only."
PERCENT = 95


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Delays of each number of sessions in each pair; there is no target."""
    with TemporaryDirectory(prefix="app-") as name, pages.chromium() as browser:
        data, port = Path(name), pages.free_port()
        log, stamps = data / "log.txt", data / "stamps.jsonl"
        variables = pages.environment(options, data) | {"STAMPS": str(stamps)}
        with pages.process(_command(port), variables, log) as child:
            pages.until_listening(port, child, log)
            arms = {
                str(count): partial(delays, browser, f"http://127.0.0.1:{port}", stamps, count)
                for count in options.sessions
            }
            delays(browser, f"http://127.0.0.1:{port}", stamps, 1, -1)  # loads the model
            results = take_turns(arms, options.pairs)
    for count in arms:
        _tell(count, [pair[count] for pair in results])
    return {"delays": results}, True


def _command(port: int) -> list[str | Path]:
    from phireside.ui.options import SCRIPT, streamlit_flags  # after --help has answered

    script = Path(__file__).with_name("stamped.py")
    return [sys.executable, "-P", script, "run", SCRIPT, *streamlit_flags(server__port=port)]


def _tell(sessions: str, runs: Sequence[Sequence[float]]) -> None:
    for percent in (50, PERCENT):
        spread = Spread.of([1000 * percentile(run, percent) for run in runs])
        print(f"stream   sessions: {sessions:2} p{percent}: {spread.text(0)} ms")
    print(
        f"stream   sessions: {sessions:2} tokens in a run: {Spread.of([len(run) for run in runs]).text(0)}", flush=True
    )


def delays(browser: Browser, address: str, stamps: Path, count: int, pair: int) -> list[float]:
    """Seconds from the engine to the page, of each token that was written while all sessions were answered."""
    with ExitStack() as stack:
        opened = [stack.enter_context(pages.session(browser, address)) for _ in range(count)]
        clocks = [pages.clock(page) for page in opened]
        for number, page in enumerate(opened):
            pages.ask(page, QUESTION.format(PEOPLE[(number + pair) % len(PEOPLE)]))
        for page in opened:
            page.wait_for_function("() => window.__seen.ended")
        shown = [_shown(page, ahead) for page, (ahead, _) in zip(opened, clocks, strict=True)]
        names = [_conversation(page) for page in opened]
    written = [letters(stamps.read_text("utf-8").splitlines(), name) for name in names]
    for one, other in zip(written, shown, strict=True):
        if one[-1][1] != other[-1][1]:
            sys.exit(f"The engine wrote {one[-1][1]} letters and the page shows {other[-1][1]}: nothing to compare.")
    worst = max(wrong for _, wrong in clocks)
    print(f"         sessions: {count:2} clocks agree within {1000 * worst:.1f} ms", flush=True)
    began, ended = overlap(written)
    if began >= ended:
        sys.exit(f"An answer ended before the last of {count} sessions had one: ask for fewer --sessions.")
    return [
        late
        for one, other in zip(written, shown, strict=True)
        for late in lateness([stamp for stamp in one if began <= stamp[0] <= ended], other)
    ]


def _shown(page: Page, ahead: float) -> list[Stamp]:
    """When the page had how many letters, by this process's clock."""
    return [(at - ahead, count) for at, count in pages.seen(page)["letters"]]


def _conversation(page: Page) -> str:
    """The id in the page's address."""
    return parse_qs(urlsplit(page.url).query)["chat"][0]


def letters(lines: Iterable[str], conversation: str) -> list[Stamp]:
    """When the engine had written how many letters of a conversation's answer; pieces without letters are left out."""
    count, stamps = 0, []
    for at, name, text in map(json.loads, lines):
        if name == conversation and (more := len(re.findall(r"[A-Za-z]", text))):
            count += more
            stamps.append((at, count))
    return stamps


def overlap(written: Sequence[Sequence[Stamp]]) -> tuple[float, float]:
    """From when to when all of them were being written."""
    return max(stamps[0][0] for stamps in written), min(stamps[-1][0] for stamps in written)


def lateness(written: Sequence[Stamp], shown: Sequence[Stamp]) -> list[float]:
    """Seconds from writing so many letters to showing at least as many, for each that was written.

    Args:
        written: when, and how many letters by then; both grow.
        shown: the same of the page, which shows them all in the end.
    """
    counts = [count for _, count in shown]
    return [shown[bisect_left(counts, count)][0] - at for at, count in written]


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many per cent of at least two are not above, interpolated."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
