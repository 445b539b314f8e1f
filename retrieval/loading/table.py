"""Tables in CSV: each row becomes a paragraph that names its columns, so that it means something by itself."""

import csv
import io
from collections.abc import Iterator
from itertools import chain, islice

from phireside.retrieval.loading.loaded import Section
from phireside.retrieval.loading.parsers import Parsed
from phireside.retrieval.loading.text import guessed

_SAMPLE = 20_000  # characters by which the form is guessed
_ROWS = 1000  # in a section


def read(data: bytes, tab: bool) -> Parsed:
    """Rows as "Name: Ada; Born: 1815". The first row has the columns' names, unless it has numbers or empty cells."""
    text = guessed(data)
    csv.field_size_limit(len(text) + 1)
    return "", _sections(csv.reader(io.StringIO(text, newline=""), _dialect(text[:_SAMPLE], tab)))


def _dialect(sample: str, tab: bool) -> type[csv.Dialect]:
    class Dialect(csv.excel):
        delimiter = "\t" if tab else max(",;\t|", key=sample.partition("\n")[0].count)

    return Dialect


def _sections(rows: Iterator[list[str]]) -> Iterator[Section]:
    first = next(rows, [])
    names = [] if any(not cell.strip() or cell.strip()[0].isdecimal() for cell in first) else first
    texts = filter(None, (_row(row, names) for row in (rows if names else chain([first], rows))))
    held = list(islice(texts, _ROWS)) or ["; ".join(names)]
    while held:
        yield Section("\n\n".join(held))
        held = list(islice(texts, _ROWS))


def _row(cells: list[str], names: list[str]) -> str:
    shown = [(names[at] if at < len(names) else "", " ".join(cell.split())) for at, cell in enumerate(cells)]
    return "; ".join(f"{name.strip()}: {cell}" if name.strip() else cell for name, cell in shown if cell)
