"""An answer while it is written: draws a `Turn` of `phireside.chains` until it ends, at most 15 times a second.

The turn belongs to `Chat`, not to the page: a person who opens another conversation, or reloads, leaves it running and
finds it again. It is stopped by the Stop button, or some seconds after the last tab that shows it is closed.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import StopException

from phireside.chains import Turn
from phireside.models.loaded import loaded_models
from phireside.ui.approval import Approvals
from phireside.ui.attachments import Attached
from phireside.ui.messages import show_segment
from phireside.ui.safe_text import Segment, literal, segments
from phireside.ui.steps import LiveSteps

CURSOR = " ▍"
ANY = range(1, 10_000)  # numbers that citations may have while nobody says which passages there are
STATES = {
    "waiting": ":material/hourglass_empty: Starting …",
    "reading": ":material/menu_book: Reading …",
}
LOADING = ":material/hourglass_empty: Loading the model. It takes some seconds, once …"
FASTEST = 1 / 15  # seconds from one drawing to the next; the processor belongs to llama.cpp
CHARACTERS_PER_SECOND = 40_000  # that the browser is asked to draw again: long answers are drawn less often
PATIENCE = 0.25  # seconds without news after which the page is touched, so that a click or a closed tab is noticed

GRACE = 30.0  # seconds that an answer goes on after its last page was closed: time enough to load the page again

_watchers: Counter[Turn] = Counter()
_lock = threading.Lock()


def watch(turn: Turn) -> None:
    """Show the answer as it grows, until it ends.

    Streamlit interrupts this at any drawing by an exception of its own, which goes on to Streamlit.
    """
    with _watching(turn):
        steps = LiveSteps()
        canvas = _Canvas()
        approvals = Approvals()
        while True:
            steps.draw(turn)
            approvals.draw(turn)
            canvas.draw(turn)
            if turn.wait(PATIENCE):
                break
            time.sleep(max(FASTEST, len(turn.text) / CHARACTERS_PER_SECOND))


def watch_files(files: Attached) -> None:
    """Show how far the files of a chat are, until they are read."""
    work, bar = files.work, st.progress(0.0)
    while not work.wait(PATIENCE):
        now = f": {literal(work.step)}" if work.step else ""
        text = f":material/attach_file: {work.title}{now}".removesuffix(" …")  # some steps bring one along
        bar.progress(work.done / max(1, work.total), f"{text} …")


class _Canvas:
    """The stretches of a growing text, each in its own place, so that only what changed is sent to the browser."""

    def __init__(self) -> None:
        self._whole = st.container()
        self._places: list[DeltaGenerator] = []
        self._shown: list[Segment] = []

    def draw(self, turn: Turn) -> None:
        """Bring the page up to date; the last stretch is always sent, since this is where Streamlit interrupts."""
        cited = ANY if any(step.get("kind") == "found" for step in turn.steps) else ()
        found = segments(turn.text) or [Segment(_status(turn))]
        if turn.text and found[-1].language is None:
            found[-1] = Segment(found[-1].text + CURSOR)
        for number, segment in enumerate(found):
            if number == len(self._places):
                self._places.append(self._whole.empty())
            if number == len(found) - 1 or self._shown[number : number + 1] != [segment]:
                show_segment(self._places[number], segment, cited)
        for place in self._places[len(found) :]:
            place.empty()
        self._shown = found


def _status(turn: Turn) -> str:
    """What stands where the answer will be."""
    if turn.ahead:
        return f":material/hourglass_empty: Waiting for others to be answered: number {turn.ahead} in the queue …"
    if turn.state in STATES and any(each.stats.state == "loading" for each in loaded_models()):
        return LOADING
    return STATES.get(turn.state, "")


@contextmanager
def _watching(turn: Turn) -> Iterator[None]:
    """Count the pages that show a turn. When Streamlit ends a page, its tab was closed or is being loaded again."""
    with _lock:
        _watchers[turn] += 1
    try:
        yield
    except StopException:
        timer = threading.Timer(GRACE, _stop_if_alone, (turn,))
        timer.daemon = True
        timer.start()
        raise
    finally:
        with _lock:
            _watchers[turn] -= 1
            if not _watchers[turn]:
                del _watchers[turn]


def _stop_if_alone(turn: Turn) -> None:
    """Stop a turn that no page shows."""
    with _lock:
        alone = turn not in _watchers
    if alone:
        turn.stop()
