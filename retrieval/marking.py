"""Which words of a text the keyword stage finds for a query: as FTS5 itself sees them, stems and all. Knows no base."""

import secrets
import sqlite3
from contextlib import closing

from phireside.retrieval.keywords import match
from phireside.text import clean_text

_TABLE = "CREATE VIRTUAL TABLE words USING fts5(text, tokenize='porter unicode61')"  # the tokenizer of schema.py


def marked(texts: list[str], query: str) -> list[list[tuple[str, bool]]]:
    """Each text in pieces, and of each piece whether it is found.

    Args:
        texts: any; a NUL in one is left out.
        query: any text; nothing in it is an operator.

    Returns:
        For each text its pieces, which joined are the text.
    """
    texts = [clean_text(text).replace("\0", "") for text in texts]
    expression = match(clean_text(query))
    if not expression:
        return [[(text, False)] for text in texts]
    begin, end = secrets.token_hex(16), secrets.token_hex(16)  # nothing that a text could have
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(_TABLE)
        connection.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", enumerate(texts))
        sql = "SELECT rowid, highlight(words, 0, ?, ?) FROM words WHERE words MATCH ?"
        found = dict(connection.execute(sql, (begin, end, expression)).fetchall())
    return [_pieces(found.get(number, text), begin, end) for number, text in enumerate(texts)]


def _pieces(text: str, begin: str, end: str) -> list[tuple[str, bool]]:
    first, *rest = text.split(begin)
    pieces = [(first, False)]
    for part in rest:
        word, _, after = part.partition(end)
        pieces += [(word, True), (after, False)]
    return [piece for piece in pieces if piece[0]]
