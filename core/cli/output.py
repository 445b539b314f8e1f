"""What the commands share when they print: errors with their hint, and text from files kept from steering the terminal.

Results go to stdout, everything else to stderr, so that a pipe gets results only.
"""

import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from phireside.errors import PhiresideError


@contextmanager
def reporting_errors() -> Iterator[None]:
    """End a command with exit code 1, message and hint on stderr, when Phireside raises an error of its own.

    Use it as `with reporting_errors():`, or as a decorator below `@app.command()`.
    """
    try:
        yield
    except PhiresideError as error:
        tell(f"Error: {error.message}")
        if error.hint:
            tell(error.hint)
        raise typer.Exit(1) from error


def tell(text: str) -> None:
    """Print a line for the person, on stderr."""
    print(plain(text), file=sys.stderr)


def plain(text: str) -> str:
    """Text from a file, a file name or a model, without what could move the cursor or reverse the line: shown as �."""
    return "".join(char if _is_harmless(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def _is_harmless(char: str) -> bool:
    """Whether a character only shows: spaces of all widths do, and joiners, which many scripts and emoji need."""
    return char.isprintable() or char in "\n\t\u200c\u200d" or unicodedata.category(char) == "Zs"


def size_text(count: int | None) -> str:
    """Bytes as a person reads them, e.g. "2.39 GB" or "98.4 MB"; "-" for None."""
    if count is None:
        return "-"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
