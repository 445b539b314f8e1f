"""A question as a query of FTS5."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside.retrieval.keywords import BM25, match


@pytest.mark.parametrize(
    ("query", "expression"),
    [
        ("What is the lift of a wing?", '"lift" OR "wing"'),
        ("wing, wing!", '"wing" OR "wing"'),
        ("Who is it?", '"who" OR "is" OR "it"'),
        ('NEAR("a b" OR c*) -d', '"near" OR "b" OR "c" OR "d"'),
        (" ?! ", ""),
    ],
)
def test_the_words_that_tell_something_are_asked_for(query: str, expression: str) -> None:
    assert match(query) == expression


@given(st.text())
def test_any_text_is_a_legal_query(query: str) -> None:
    words = sqlite3.connect(":memory:")
    words.execute("CREATE VIRTUAL TABLE words USING fts5(lead, text)")
    clean = query.encode(errors="replace").decode().replace("\0", "")
    if expression := match(clean):
        words.execute(f"SELECT {BM25} FROM words WHERE words MATCH ?", [expression]).fetchall()  # noqa: S608
    words.close()


def test_a_word_in_the_title_counts_more_than_one_in_the_text() -> None:
    words = sqlite3.connect(":memory:")
    words.execute("CREATE VIRTUAL TABLE words USING fts5(lead, text)")
    words.executemany("INSERT INTO words VALUES (?, ?)", [("", "wing flutter"), ("wing", "flutter"), ("x", "y")])
    query = f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY {BM25}"  # noqa: S608
    assert [number for (number,) in words.execute(query, [match("wing")])] == [2, 1]
    words.close()
