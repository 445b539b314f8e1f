"""Memories by name, for settings, command lines and menus."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from phireside.errors import SettingsError

if TYPE_CHECKING:
    from phireside.memory.contract import Memory

WINDOW_TURNS = 10
MEMORIES = {
    "buffer": "The whole conversation while it fits, then the newest turns.",
    "window": f"The question and at most {WINDOW_TURNS} turns before it.",
    "summary": "A summary of all earlier turns, and the question.",
    "summary_buffer": "A summary of the older turns, and the newest ones as they are.",
}
"""What each memory sends, in one line."""


def memory_named(name: str) -> "Memory":
    """A memory with its usual numbers.

    Args:
        name: one of `MEMORIES`.

    Raises:
        SettingsError: there is none of that name.
    """
    from phireside.memory.buffer import BufferMemory
    from phireside.memory.summary import SummaryMemory
    from phireside.memory.summary_buffer import SummaryBufferMemory
    from phireside.memory.window import WindowMemory

    kinds: dict[str, Callable[[], Memory]] = {
        "buffer": BufferMemory,
        "window": lambda: WindowMemory(WINDOW_TURNS),
        "summary": SummaryMemory,
        "summary_buffer": SummaryBufferMemory,
    }
    if name not in kinds:
        raise SettingsError(f"There is no memory {name[:80]!r}.", hint=f"Use one of {', '.join(MEMORIES)}.")
    return kinds[name]()
