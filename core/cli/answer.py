"""An answer on the terminal while it is written: steps and words as they come, Ctrl-C stops it. Knows `Turn` only."""

import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from phireside.cli.output import on_terminal, plain, tell

if TYPE_CHECKING:
    from phireside.chains import Turn


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None if it is none."""
    return shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else None


@contextmanager
def ctrl_c_stops(turn: "Turn") -> Iterator[None]:
    """Let Ctrl-C stop the answer wherever it strikes, e.g. in the middle of printing; a second one ends the program."""

    def stop(*_: object) -> None:
        turn.stop()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ctrl_c_interrupts() -> Iterator[None]:
    """Inside of `ctrl_c_stops`: let Ctrl-C interrupt what waits for the person to type."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Page:
    """Prints text as it comes; with a width, words go to the next line instead of being broken at the edge."""

    def __init__(self, width: int | None) -> None:
        self._width, self._column, self._held, self._taken = width, 0, "", 0

    def show(self, whole: str) -> None:
        """Print what an answer has now and had not before."""
        self._write(plain(whole[self._taken :]))
        self._taken = len(whole)

    def end(self) -> None:
        """Print the rest and end the line."""
        self._put(self._held)
        print(flush=True)

    def _write(self, text: str) -> None:
        """Add text; a word is held back until it is whole."""
        *words, self._held = re.split(r"(?<=\s)", self._held + text)
        for word in words:
            self._put(word)
        if not self._width or len(self._held) > self._width:  # Chinese and Japanese are one long word
            self._put(self._held)
            self._held = ""
        sys.stdout.flush()

    def _put(self, word: str) -> None:
        if self._width and self._column and self._column + len(word.rstrip()) > self._width:
            print()
            self._column = 0
        print(word, end="")
        self._column = 0 if word.endswith("\n") else self._column + len(word)


class Notes:
    """What happens before the words, on a terminal; nothing elsewhere. Paused, it leaves the terminal to others."""

    def __init__(self) -> None:
        self._told, self._status = 0, None
        if on_terminal(sys.stderr):
            from rich.console import Console

            self._status = Console(stderr=True).status("Reading…")

    def __enter__(self) -> "Notes":
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def go_on(self) -> None:
        """Show that something goes on."""
        if self._status:
            self._status.start()

    def pause(self) -> None:
        """Stop the sign that something goes on."""
        if self._status:
            self._status.stop()

    def show(self, turn: "Turn") -> None:
        """Tell the steps that are new."""
        steps, self._told = turn.steps[self._told :], len(turn.steps)
        for step in steps if self._status else ():
            if line := _line(step):
                tell(line)


def _line(step: dict[str, Any]) -> str:
    """A step of a turn in a line; see `Turn.note`."""
    kind = step.get("kind")
    if kind == "searching":
        return f"· searching: {step['query']}"
    if kind == "found":
        count = len(step["passages"])
        return f"· {count} passage{'' if count == 1 else 's'} found"
    if kind == "action":
        return f"· {call_text(step)}"
    if kind == "observation":
        return f"  → {' '.join(step.get('text', '').split())[:200]}"
    return "· checking" if kind == "checking" else ""


def call_text(step: dict[str, Any]) -> str:
    """A call of a tool, on one line."""
    given = ", ".join(f"{name}={value!r}" for name, value in step.get("arguments", {}).items())
    return f"{step.get('tool', '')}({given})"
