"""What the commands share when they print: errors with their hint, JSON, and text from files that steers no terminal.

Results go to stdout, everything else to stderr, so that a pipe gets results only.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, TextIO

import typer

from phireside.errors import PhiresideError, RequestError
from phireside.text import json_text

_LONGEST_PATH = 300  # characters that are shown of one
FAILED, STOPPED, NO_READER = 1, 130, 141  # exit codes; 2 is typer's, for a command that is not written correctly

_BREAKS = re.compile(r"\s*[\t\n]\s*")  # would be taken for the end of a column or a line

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def reporting_errors() -> Iterator[None]:
    """End a command with a message on stderr and an exit code, where Phireside or the system says what went wrong.

    1 with message and hint for an error of Phireside's own or of the disk, 141 without a word if nobody reads stdout
    any more. Use it as `with reporting_errors():`, or as a decorator below `@app.command()`.
    """
    try:
        yield
    except PhiresideError as error:
        tell(f"Error: {error.message}")
        if error.hint:
            tell(error.hint)
        raise typer.Exit(FAILED) from error
    except BrokenPipeError:
        silence(sys.stdout)
        raise typer.Exit(NO_READER) from None
    except OSError as error:
        tell(f"Error: {_of_system(error)}")
        raise typer.Exit(FAILED) from error


def _of_system(error: OSError) -> str:
    """What the system says, e.g. "No space left on device: /data/x.db"."""
    what = error.strerror or str(error) or type(error).__name__
    return f"{what}: {str(error.filename)[:_LONGEST_PATH]}" if error.filename else f"{what}."


def finish() -> int:
    """Write out what is still held back for stdout; 0, or the exit code if it cannot be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        return NO_READER
    except OSError as error:
        silence(sys.stdout)
        tell(f"Error: {_of_system(error)}")
        return FAILED
    return 0


def silence(stream: TextIO) -> None:
    """Let nothing more be written to a stream that cannot be written to: Python would complain when it ends."""
    with suppress(OSError, ValueError):  # a test's stream has no number
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def tell(text: str) -> None:
    """Print a line for the person, on stderr."""
    print(plain(text), file=sys.stderr)


def print_json(data: object) -> None:
    """Print what a program may read. What JSON lacks becomes what is nearest (`phireside.text.json_text`)."""
    text = json_text(data, RequestError, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # the terminal's encoding is not UTF-8; escapes say the same
        text = json.dumps(json.loads(text), indent=2)
    print(text)


def on_terminal(stream: TextIO) -> bool:
    """Whether a person sees it."""
    return stream.isatty()


def in_colour(stream: TextIO) -> bool:
    """Whether colours are wanted there (https://no-color.org)."""
    return on_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, headed: bool = False) -> None:
    """A table on a terminal; under a pipe, lines with tabs between the columns. Cells are text, never markup.

    Args:
        head: names of the columns.
        rows: the cells.
        headed: whether the names are in a line of their own under a pipe, too.
    """
    if not on_terminal(sys.stdout):
        for row in [head, *rows] if headed else rows:
            print("\t".join(_BREAKS.sub(" ", plain(cell)) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, show_header=any(head), box=None)
    for row in rows:
        table.add_row(*(Text(plain(cell), overflow="fold") for cell in row))
    Console().print(table)


def counting(what: str) -> Callable[[int, int], None]:
    """A function that shows how far something is (done, in all) on stderr, if that is a terminal."""

    def show(done: int, total: int) -> None:
        if on_terminal(sys.stderr):
            print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def examples(*lines: str) -> str:
    """The end of a command's help: commands to copy."""
    return "\n".join(["Examples:", *(f"  {line}" for line in lines)])


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
